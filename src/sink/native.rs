//! librdkafka's producer: its configuration, and what keeps it from waiting.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;
use rdkafka_extra::flush;

use crate::client::{Reuse, set_statistics_interval};
use crate::error::Result;
use crate::options::{LINGER, Partitioner, TableOptions};
use crate::sink::transaction::{Native, blocking};

impl Reuse for Native {
    fn renew(&self) -> bool {
        let has_failed = self.client().fatal_error().is_some();
        self.client().context().renew() && !has_failed && self.in_flight_count() == 0
    }
}

/// Whether the producer of an earlier statement still reaches the brokers. The answer also tells
/// the producer how many partitions the topic has now, and who leads them.
pub(super) async fn knows_topic(native: &Native, topic: &str) -> bool {
    let (native, topic) = (Arc::clone(native), topic.to_owned());
    let asked = blocking(move || {
        let metadata = native.client().fetch_metadata(Some(&topic), STALE_AFTER)?;
        let found = metadata.topics().first();
        Ok::<_, KafkaError>(found.is_some_and(|found| found.error().is_none()))
    });
    matches!(asked.await, Ok(Ok(true)))
}

/// How long the producer of an earlier statement may take to reach the brokers before a new one
/// takes its place. Long enough for a busy broker: only one that is gone costs a statement this
/// time.
const STALE_AFTER: Duration = Duration::from_secs(2);

/// Lets librdkafka send records without waiting for others to send with them, until this value is
/// dropped or no record is left.
pub(super) struct Flushing {
    _wanted: Arc<()>,
}

impl Flushing {
    pub(super) fn start(native: &Native) -> Self {
        let wanted = Arc::new(());
        let (native, is_wanted) = (Arc::clone(native), Arc::downgrade(&wanted));
        tokio::task::spawn_blocking(move || {
            while is_wanted.strong_count() > 0 && !flush(native.client(), FLUSH) {}
        });
        Flushing { _wanted: wanted }
    }
}

/// How long one flush lasts. A producer that is dropped meanwhile is destroyed after that time.
const FLUSH: Duration = Duration::from_millis(100);

/// The configuration of a producer. `of_query` is true for that of a continuous query.
pub(super) fn config(options: &TableOptions, of_query: bool) -> Result<ClientConfig> {
    let mut config = options.client.producer_config()?;
    if options.partitioner == Some(Partitioner::Crc32) {
        config.set("partitioner", "consistent_random");
    }
    if of_query && !options.client.producer_gives(LINGER) {
        // Each commit waits for its records, so a long linger delays every commit.
        config.set(LINGER, "5");
    }
    set_statistics_interval(
        &mut config,
        options.retry_timeout,
        LONGEST_STATISTICS_INTERVAL,
    );
    Ok(config)
}

/// The longest interval between the statistics of a producer.
const LONGEST_STATISTICS_INTERVAL: Duration = Duration::from_secs(1);

/// Lets a new producer get its producer id immediately.
///
/// An idempotent producer requests an id when it is created, which fails because it is not
/// connected yet, and then retries only every half second. A metadata response makes it retry
/// immediately. So metadata of the topic is requested until the first record is acknowledged.
pub(super) fn request_producer_id_early(native: &Native, topic: &str) {
    let (native, topic) = (Arc::downgrade(native), topic.to_owned());
    tokio::task::spawn_blocking(move || {
        let mut pause = Duration::from_millis(5);
        while pause < PRODUCER_ID_INTERVAL
            && let Some(native) = native.upgrade()
            && native.client().context().count() == 0
        {
            if let Err(error) = native
                .client()
                .fetch_metadata(Some(&topic), PRODUCER_ID_INTERVAL)
            {
                // The statement reports the same failure with more context.
                log::debug!("topic `{topic}`: {error}");
            }
            drop(native);
            thread::sleep(pause);
            pause *= 2;
        }
    });
}

/// How often librdkafka itself requests the id of an idempotent producer that has none.
const PRODUCER_ID_INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn linger(option: Option<&str>, of_query: bool) -> String {
        let mut own = Options::new().with_option("kafka.bootstrap.servers", "localhost:9092");
        if let Some(millis) = option {
            own = own.with_option("kafka.producer.linger.ms", millis);
        }
        let config = config(&TableOptions::parse(&[&own]).unwrap(), of_query).unwrap();
        config.get(LINGER).unwrap().to_owned()
    }

    #[test]
    fn a_continuous_query_waits_less_for_more_records_unless_somebody_says_how_long() {
        assert_eq!(
            (linger(None, false), linger(None, true)),
            ("20".into(), "5".into())
        );
        for given in ["20", "7"] {
            assert_eq!(linger(Some(given), true), given);
        }
    }
}
