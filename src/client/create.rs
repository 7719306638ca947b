//! Creates clients, and sets what librdkafka needs besides the options.

use std::time::Duration;

use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, ClientContext};

use super::error_log::ErrorLog;
use crate::error::{Error, Result};
use crate::options::{DEFAULT_QUEUED_KBYTES, QUEUED_KBYTES, STATISTICS_INTERVAL, TableOptions};

/// The size of one fetch from a partition, and the smallest size that little memory reduces it
/// to. About one fetch is read past the end of each chunk and discarded, so the size is half of
/// librdkafka's default.
const FETCH_BYTES: usize = 512 * 1024;
const LEAST_FETCH_BYTES: usize = 16 * 1024;

/// The configuration of a client that may use `bytes` bytes of memory per partition.
pub(super) fn config_within(options: &TableOptions, bytes: usize) -> Result<ClientConfig> {
    let mut config = options.client.consumer_config(options.isolation)?;
    if config.get("fetch.message.max.bytes").is_none() {
        let fetch_bytes = (bytes / 16).clamp(LEAST_FETCH_BYTES, FETCH_BYTES);
        config.set("fetch.message.max.bytes", fetch_bytes.to_string());
    }
    let queued = (bytes / 4 / 1024).max(LEAST_FETCH_BYTES / 1024);
    if !options.client.consumer_gives(QUEUED_KBYTES) && queued < DEFAULT_QUEUED_KBYTES {
        config.set(QUEUED_KBYTES, queued.to_string());
    }
    set_statistics_interval(&mut config, options.retry_timeout, LONGEST_INTERVAL);
    Ok(config)
}

/// The configuration of a client whose scan ends, within `bytes` bytes of memory per partition.
///
/// At the end of a partition librdkafka asks for more records at once. The broker answers after
/// this time, and answers nothing else to the client meanwhile: the scan's last request waits as
/// long.
pub(super) fn config_of_scan(options: &TableOptions, bytes: usize) -> Result<ClientConfig> {
    let mut config = config_within(options, bytes)?;
    if !options.client.consumer_gives(FETCH_WAIT) {
        config.set(FETCH_WAIT, "1");
    }
    Ok(config)
}

const FETCH_WAIT: &str = "fetch.wait.max.ms";

/// Makes a client report statistics often enough to explain within `time` why no records come. An
/// interval that an option sets is kept.
pub(crate) fn set_statistics_interval(
    config: &mut ClientConfig,
    time: Duration,
    longest: Duration,
) {
    if config.get(STATISTICS_INTERVAL).is_none() {
        let interval = (time / 4).clamp(SHORTEST_INTERVAL.min(longest), longest);
        config.set(STATISTICS_INTERVAL, interval.as_millis().to_string());
    }
}

/// A client that reads reports on many partitions, so its statistics should not be frequent.
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Creates a client that reads, without connecting.
pub(super) fn consumer(config: ClientConfig, timeout: Duration) -> Result<BaseConsumer<ErrorLog>> {
    create(config, timeout, |heard| heard)
}

/// The time-out of setting up a connection. librdkafka's default is longer than `kafka.timeout`,
/// and librdkafka names the failed step only when the time-out ends.
const CONNECTION_TIMEOUT: &str = "socket.connection.setup.timeout.ms";
const CONNECTION_TIMEOUTS: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(10)];

/// Creates a client without connecting. librdkafka's message about a property's value is not
/// repeated, since the value may be a secret.
pub(crate) fn create<C, T>(
    mut config: ClientConfig,
    timeout: Duration,
    context: impl FnOnce(ErrorLog) -> C,
) -> Result<T>
where
    C: ClientContext,
    T: FromClientConfigAndContext<C>,
{
    if config.get(CONNECTION_TIMEOUT).is_none() {
        let [least, most] = CONNECTION_TIMEOUTS;
        let time = (timeout * 4 / 5).clamp(least, most);
        config.set(CONNECTION_TIMEOUT, time.as_millis().to_string());
    }
    // librdkafka reports closed connections, with the step, only at this log level.
    let level = match config.log_level {
        RDKafkaLogLevel::Debug => RDKafkaLogLevel::Debug,
        _ => RDKafkaLogLevel::Info,
    };
    config.set_log_level(level);
    let context = context(ErrorLog::of(&config));
    T::from_config_and_context(&config, context).map_err(|error| Error::CreateClient {
        reason: match error {
            KafkaError::ClientConfig(_, reason, key, _) => format!("property `{key}`: {reason}"),
            other => other.to_string(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn queued(option: Option<&str>, bytes: usize) -> String {
        let mut own = Options::new().with_option("kafka.bootstrap.servers", "localhost:9092");
        if let Some(kbytes) = option {
            own = own.with_option("kafka.consumer.queued.max.messages.kbytes", kbytes);
        }
        let config = config_within(&TableOptions::parse(&[&own]).unwrap(), bytes).unwrap();
        config.get(QUEUED_KBYTES).unwrap().to_owned()
    }

    #[test]
    fn a_scan_that_ends_does_not_wait_for_records_unless_somebody_says_so() {
        let wait = |given: Option<&str>, config: fn(&TableOptions, usize) -> Result<_>| {
            let mut own = Options::new().with_option("kafka.bootstrap.servers", "localhost:9092");
            if let Some(millis) = given {
                own = own.with_option("kafka.consumer.fetch.wait.max.ms", millis);
            }
            let config: ClientConfig = config(&TableOptions::parse(&[&own]).unwrap(), 1).unwrap();
            config.get(FETCH_WAIT).unwrap().to_owned()
        };
        assert_eq!(wait(None, config_of_scan), "1");
        assert_eq!(wait(None, config_within), "10");
        assert_eq!(wait(Some("30"), config_of_scan), "30");
    }

    #[test]
    fn what_waits_to_be_taken_is_what_memory_has_room_for_unless_somebody_says_how_much() {
        assert_eq!(queued(None, usize::MAX), "16384");
        assert_eq!(queued(None, 4 << 20), "1024");
        for given in ["16384", "2048"] {
            assert_eq!(queued(Some(given), 4 << 20), given);
        }
    }
}
