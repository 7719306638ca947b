//! Checks that all records are of one topic, and not also of a topic that was recreated under the
//! same name during the scan.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rdkafka_extra::TopicId;

use crate::client::{Cancel, Client};
use crate::error::{Error, FetchFailure, Result};

/// The state of the check, shared by the streams of a scan.
#[derive(Default)]
pub(crate) struct Checked {
    /// When the brokers were last asked and still had the topic.
    at: Mutex<Option<Instant>>,
    /// The number of rows that were sent.
    rows: AtomicUsize,
}

/// The topic that a stream began to read.
pub(crate) struct TopicGuard<'a> {
    pub(crate) checked: &'a Checked,
    pub(crate) client: &'a Client,
    pub(crate) topic: &'a str,
    /// The id of the topic. Without an id, nothing is checked.
    pub(crate) id: Option<TopicId>,
    /// The number of rows, of all streams together, that the query needs.
    pub(crate) limit: Option<usize>,
    /// A partition that is read, and the offset at which it ends, for errors.
    pub(crate) last: (i32, i64),
    pub(crate) cancel: Arc<Cancel>,
}

impl TopicGuard<'_> {
    /// Runs before rows are sent. Rows that reach the limit are checked first, because the query
    /// may stop there and the stream may never get to its end.
    pub(crate) fn before_output(&self, rows: usize) -> Result<()> {
        let given = self.checked.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        match self.limit.is_some_and(|limit| given >= limit) {
            true => self.check(),
            false => Ok(()),
        }
    }

    /// Checks that everything read so far is of the same topic. If the topic still has its id
    /// now, it had that id before. A topic that was deleted is not an error for a scan that has
    /// read all of it.
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
        // Streams usually end together: a look-up that started after this stream stopped reading
        // counts for this stream too.
        if checked.is_some_and(|at| at >= read) {
            return Ok(());
        }
        let asked = Instant::now();
        match self.client.topic(&self.cancel) {
            Ok(topic) if topic.is_another(self.id) => Err(Error::Fetch {
                topic: self.topic.to_owned(),
                partition: self.last.0,
                offset: self.last.1,
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
