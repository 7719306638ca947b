//! How long a transaction may be open.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::client::{Client, blocking};
use crate::error::{Error, Result, own_error};
use crate::options::{Delivery, TRANSACTION_TIMEOUT, TableOptions};

/// How long the brokers let a transaction be open before they end it.
///
/// A statement is one transaction, however long it takes, so its limit is the longest that
/// the brokers allow. The price: where a process is killed in mid-statement, the brokers hold
/// readers of committed records up for so long, since no later statement has its
/// `transactional.id`. What does not end commits all the time, and needs no long one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeLimit {
    /// By an option.
    Given(Duration),
    /// The longest that the brokers allow.
    Longest(Duration),
    /// The longest that they allow by default: they do not tell what they do allow.
    Assumed(Duration),
    /// Where they do not allow that either, and where there are commits from time to time.
    Usual(Duration),
}

/// Kafka's own default of `transaction.max.timeout.ms`.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Kafka's own default of `transaction.timeout.ms`.
pub(super) const USUAL: TimeLimit = TimeLimit::Usual(Duration::from_secs(60));

impl TimeLimit {
    /// That of what commits from time to time.
    pub(super) fn of_stream(config: &ClientConfig) -> Self {
        Self::given(config).unwrap_or(USUAL)
    }

    /// That of a statement. Asks the brokers.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Login`]
    pub(super) async fn of_statement(
        config: &ClientConfig,
        topic: &str,
        options: &TableOptions,
    ) -> Result<Self> {
        if let Some(given) = Self::given(config) {
            return Ok(given);
        }
        let (topic, options) = (topic.to_owned(), options.clone());
        let longest =
            blocking(move |cancel| Client::new(&topic, &options)?.longest_transaction(cancel));
        let longest = longest.await.map_err(own_error)?;
        Ok(longest.map_or(TimeLimit::Assumed(LONGEST), TimeLimit::Longest))
    }

    fn given(config: &ClientConfig) -> Option<Self> {
        let millis = config.get(TRANSACTION_TIMEOUT)?.trim().parse().ok()?;
        Some(TimeLimit::Given(Duration::from_millis(millis)))
    }

    pub(super) fn time(self) -> Duration {
        match self {
            TimeLimit::Given(time)
            | TimeLimit::Longest(time)
            | TimeLimit::Assumed(time)
            | TimeLimit::Usual(time) => time,
        }
    }

    pub(super) fn set(self, config: &mut ClientConfig) {
        // librdkafka takes 32 bits.
        let millis = self.time().as_millis().min(i32::MAX as u128);
        config.set(TRANSACTION_TIMEOUT, millis.to_string());
    }

    /// What helps where the brokers have ended a transaction.
    pub(super) fn help(self) -> String {
        let time = self.time();
        let most = match self {
            TimeLimit::Longest(_) => ", the most that they allow",
            _ => "",
        };
        let remedy = match self {
            TimeLimit::Given(_) | TimeLimit::Usual(_) => {
                "raise `kafka.producer.transaction.timeout.ms`, up to the brokers' \
                 `transaction.max.timeout.ms`, or write less at once"
            }
            TimeLimit::Longest(_) => {
                "raise the brokers' `transaction.max.timeout.ms`, or set `kafka.delivery` = \
                 `at_least_once`"
            }
            TimeLimit::Assumed(_) => {
                "set `kafka.producer.transaction.timeout.ms`, up to the brokers' \
                 `transaction.max.timeout.ms`, which they did not tell (that takes the right \
                 DESCRIBE_CONFIGS on the cluster), or `kafka.delivery` = `at_least_once`"
            }
        };
        format!(
            "the brokers ended the transaction, as they do when it is open longer than \
             {time:?}{most}; {remedy}"
        )
    }
}

/// Brokers end a transaction that is open for too long.
///
/// # Errors
/// [`Error::InvalidOption`] where it would be before the next commit.
pub(crate) fn check_commit_time(options: &TableOptions) -> Result<()> {
    if options.delivery != Delivery::ExactlyOnce {
        return Ok(());
    }
    let time_out = TimeLimit::of_stream(&options.client.producer_config()?).time();
    if options.commit_time < time_out {
        return Ok(());
    }
    Err(Error::InvalidOption {
        key: "kafka.commit.ms".to_owned(),
        reason: format!(
            "{} is not less than `kafka.producer.transaction.timeout.ms`, {}, after which brokers \
             end a transaction; commit more often, or raise that one",
            options.commit_time.as_millis(),
            time_out.as_millis()
        ),
    })
}

/// The error of what never ends, whose transaction the brokers have ended.
///
/// # Errors
/// Those of the producer's configuration.
pub(crate) fn taken_away(topic: &str, options: &TableOptions) -> Result<Error> {
    let limit = TimeLimit::of_stream(&options.client.producer_config()?);
    Ok(Error::TransactionFailed {
        topic: topic.to_owned(),
        reason: limit.help(),
        refused_row: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helps_depends_on_who_has_set_the_limit() {
        let minute = Duration::from_secs(60);
        for (limit, parts) in [
            (
                TimeLimit::Given(minute),
                [
                    "longer than 60s; raise",
                    "`kafka.producer.transaction.timeout.ms`",
                ],
            ),
            (
                TimeLimit::Longest(minute),
                [
                    "60s, the most",
                    "raise the brokers' `transaction.max.timeout.ms`",
                ],
            ),
            (
                TimeLimit::Assumed(minute),
                [
                    "set `kafka.producer.transaction.timeout.ms`",
                    "DESCRIBE_CONFIGS",
                ],
            ),
        ] {
            let help = limit.help();
            for part in parts {
                assert!(help.contains(part), "{help}");
            }
        }
    }

    #[test]
    fn a_limit_is_no_longer_than_librdkafka_takes() {
        let mut config = ClientConfig::new();
        TimeLimit::Longest(Duration::from_secs(u64::from(u32::MAX))).set(&mut config);
        assert_eq!(config.get(TRANSACTION_TIMEOUT), Some("2147483647"));
        assert_eq!(
            TimeLimit::given(&config).unwrap().time(),
            Duration::from_millis(2_147_483_647)
        );
    }
}
