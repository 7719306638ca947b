//! Whether all records are of one topic, not also of another one that was made
//! under its name while it was read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rdkafka_extra::TopicId;

use crate::client::{Cancel, Client};
use crate::error::{Error, FetchFailure, Result};

/// What the streams of a scan know together.
#[derive(Default)]
pub(crate) struct Checked {
    /// When brokers that still had the topic were last asked.
    at: Mutex<Option<Instant>>,
    /// The rows that were given out.
    rows: AtomicUsize,
}

/// The topic that a stream began to read.
pub(crate) struct TopicGuard<'a> {
    pub(crate) checked: &'a Checked,
    pub(crate) client: &'a Client,
    pub(crate) topic: &'a str,
    /// Nothing is checked without.
    pub(crate) id: Option<TopicId>,
    /// How many rows of all streams are enough.
    pub(crate) limit: Option<usize>,
    pub(crate) partition: i32,
    /// Where reading ends.
    pub(crate) end: i64,
    pub(crate) cancel: Arc<Cancel>,
}

impl TopicGuard<'_> {
    /// Before rows are given out: those that may be the last that anybody
    /// wants are checked first, since their stream may not get to its end.
    pub(crate) fn give(&self, rows: usize) -> Result<()> {
        let given = self.checked.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        match self.limit.is_some_and(|limit| given >= limit) {
            true => self.check(),
            false => Ok(()),
        }
    }

    /// Makes sure that all that was read so far is of the same topic: one that
    /// is there now was there before. A topic that is gone is no failure to who
    /// has read all of it.
    pub(crate) fn check(&self) -> Result<()> {
        if self.id.is_none() {
            return Ok(());
        }
        let read = Instant::now();
        let mut checked = self
            .checked
            .at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Streams mostly end together: what others asked meanwhile was asked for all.
        if checked.is_some_and(|at| at >= read) {
            return Ok(());
        }
        let asked = Instant::now();
        match self.client.topic(&self.cancel) {
            Ok(topic) if topic.is_another(self.id) => Err(Error::Fetch {
                topic: self.topic.to_owned(),
                partition: self.partition,
                offset: self.end,
                reason: FetchFailure::Recreated,
            }),
            Ok(_) | Err(Error::TopicNotFound { .. }) => {
                *checked = Some(asked);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
