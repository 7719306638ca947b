//! Requests for the offsets of partitions.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};

use super::Client;
use super::blocking::Cancel;
use super::offset_range::OffsetRange;
use crate::error::{Error, Result};

impl Client {
    /// The low watermarks and the end offsets of the partitions. Where only committed records are
    /// read, the end is the last stable offset.
    pub(crate) fn watermarks(
        &self,
        partitions: &[i32],
        cancel: &Cancel,
    ) -> Result<BTreeMap<i32, OffsetRange>> {
        // At the same time, since one request with both ends is not possible.
        let (low, high) = thread::scope(|scope| {
            let low = scope.spawn(|| self.offsets(partitions, Offset::Beginning, cancel));
            let high = self.offsets(partitions, Offset::End, cancel);
            (low.join(), high)
        });
        let low = low.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let high = high?;
        Ok(low
            .into_iter()
            .map(|(partition, start)| {
                let end = high.get(&partition).copied().flatten();
                let start = start.unwrap_or(0);
                let end = end.unwrap_or(start).max(start);
                (partition, OffsetRange { start, end })
            })
            .collect())
    }

    /// The same, once the partitions end at the offsets of `wait_for` or later.
    ///
    /// # Errors
    /// [`Error::NotYetThere`] after `kafka.timeout`.
    pub(crate) fn watermarks_behind(
        &self,
        partitions: &[i32],
        wait_for: &BTreeMap<i32, i64>,
        cancel: &Cancel,
    ) -> Result<BTreeMap<i32, OffsetRange>> {
        if let Some(missing) = wait_for.keys().find(|p| !partitions.contains(p)) {
            return Err(Error::Request {
                act: "wait for the offsets",
                topic: self.name.clone(),
                code: None,
                reason: format!("it has no partition {missing} (`kafka.wait_for`)"),
            });
        }
        let deadline = Instant::now() + self.timeout;
        loop {
            let watermarks = self.watermarks(partitions, cancel)?;
            let end = |partition| watermarks.get(partition).map_or(0, |held| held.end);
            let missing = wait_for.iter().find(|(p, wanted)| end(p) < **wanted);
            let Some((&partition, &wanted)) = missing else {
                return Ok(watermarks);
            };
            if Instant::now() >= deadline || cancel.is_cancelled() {
                return Err(Error::NotYetThere {
                    topic: self.name.clone(),
                    partition,
                    end: end(&partition),
                    wanted,
                    timeout: self.timeout,
                });
            }
            // Another writer has to write the records, and gives no signal when it has.
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// The offset of the first record at or after `millis` in each partition; `None` where no
    /// record is that new.
    pub(crate) fn offsets_for_timestamp(
        &self,
        partitions: &[i32],
        millis: i64,
        cancel: &Cancel,
    ) -> Result<BTreeMap<i32, Option<i64>>> {
        self.offsets(partitions, Offset::Offset(millis), cancel)
    }

    /// Sends one request per leader. librdkafka sends the offset field of the list as the
    /// timestamp to look up. There, -2 and -1 mean the two ends of the log.
    fn offsets(
        &self,
        partitions: &[i32],
        at: Offset,
        cancel: &Cancel,
    ) -> Result<BTreeMap<i32, Option<i64>>> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let consumer = self.consumer();
        self.retry(cancel, |wait| {
            let mut list = TopicPartitionList::with_capacity(partitions.len());
            for partition in partitions {
                list.add_partition_offset(&self.name, *partition, at)?;
            }
            let list = consumer.offsets_for_times(list, wait)?;
            list.elements()
                .iter()
                .map(|element| {
                    element.error()?;
                    Ok((
                        element.partition(),
                        element.offset().to_raw().filter(|o| *o >= 0),
                    ))
                })
                .collect()
        })
        .map_err(|failure| self.error("read the offsets", failure))
    }
}

/// How often the end offsets are looked up while a query waits for them.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
