//! [`TimeLimit`]: how long a transaction may stay open.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::client::{Client, blocking};
use crate::error::{Error, Result, own_error};
use crate::options::{Delivery, TRANSACTION_TIMEOUT, TableOptions};

/// How long the brokers let a transaction stay open before they abort it.
///
/// A statement is one transaction, however long it takes, so it asks for the longest limit
/// that the brokers allow. The price is paid when a process is killed during a statement: its
/// transaction blocks readers of committed records for the whole limit, because no later
/// statement has the same `transactional.id` and fences it. An unbounded statement commits
/// regularly and needs no long limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeLimit {
    /// Set by an option.
    Given(Duration),
    /// The longest limit that the brokers allow.
    Longest(Duration),
    /// The longest limit that brokers allow by default, used when they do not report theirs.
    Assumed(Duration),
    /// Kafka's default, used when the brokers refuse the assumed limit, and for unbounded
    /// statements.
    Usual(Duration),
}

/// Kafka's own default of `transaction.max.timeout.ms`.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Kafka's own default of `transaction.timeout.ms`.
pub(super) const USUAL: TimeLimit = TimeLimit::Usual(Duration::from_secs(60));

impl TimeLimit {
    /// The limit of an unbounded statement, which commits regularly.
    pub(super) fn of_stream(config: &ClientConfig) -> Self {
        Self::given(config).unwrap_or(USUAL)
    }

    /// The limit of a statement that ends. Asks the brokers for the longest one.
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
        // librdkafka reads a signed 32-bit number.
        let millis = self.time().as_millis().min(i32::MAX as u128);
        config.set(TRANSACTION_TIMEOUT, millis.to_string());
    }

    /// What to do after the brokers have ended a transaction, for an error message.
    pub(super) fn help(self) -> String {
        let time = self.time();
        let most = match self {
            TimeLimit::Longest(_) => ", the most that they allow",
            _ => "",
        };
        let remedy = match self {
            TimeLimit::Given(_) | TimeLimit::Usual(_) => {
                "raise `kafka.producer.transaction.timeout.ms`, up to the brokers' \
                 `transaction.max.timeout.ms`, or write less in one transaction"
            }
            TimeLimit::Longest(_) => {
                "raise the brokers' `transaction.max.timeout.ms`, or set `kafka.delivery` = \
                 `at_least_once`"
            }
            TimeLimit::Assumed(_) => {
                "set `kafka.producer.transaction.timeout.ms`, up to the brokers' \
                 `transaction.max.timeout.ms`, which they did not report (that needs the right \
                 DESCRIBE_CONFIGS on the cluster), or `kafka.delivery` = `at_least_once`"
            }
        };
        format!(
            "the brokers ended the transaction, as they do when it is open longer than \
             {time:?}{most}; {remedy}"
        )
    }
}

/// Checks that `kafka.commit.ms` is shorter than the time-out of transactions.
///
/// # Errors
/// [`Error::InvalidOption`] if the brokers would end a transaction before its commit.
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
             end a transaction; commit more often, or raise that time-out",
            options.commit_time.as_millis(),
            time_out.as_millis()
        ),
    })
}

/// The error of an unbounded statement whose transaction the brokers have ended.
///
/// # Errors
/// The errors of the producer's configuration.
pub(crate) fn taken_away(topic: &str, options: &TableOptions) -> Result<Error> {
    let limit = TimeLimit::of_stream(&options.client.producer_config()?);
    Ok(Error::TransactionFailed {
        topic: topic.to_owned(),
        code: None,
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
