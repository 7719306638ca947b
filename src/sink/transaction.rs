//! One Kafka transaction per statement (`kafka.delivery` = `exactly_once`).

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer as _, ThreadedProducer};

use crate::client::DropElsewhere;
use crate::error::{Error, Result};
use crate::options::TableOptions;
use crate::sink::member::{Member, Positions, random_id};
use crate::sink::producer::{Acknowledgements, blocking};

pub(super) type Native = Arc<DropElsewhere<ThreadedProducer<Acknowledgements>>>;

/// An open transaction of one producer; dropping it aborts it.
pub(super) struct Transaction {
    native: Option<Native>,
    topic: String,
    limits: Limits,
}

/// How long brokers are waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    timeout: Duration,
    retry_timeout: Duration,
}

impl Limits {
    pub(super) fn of(options: &TableOptions) -> Self {
        Limits {
            timeout: options.timeout,
            retry_timeout: options.retry_timeout,
        }
    }
}

/// A `transactional.id` that no other statement has: two statements at the same
/// time must not fence each other. Its beginning can be named in an ACL.
pub(super) fn new_id() -> String {
    format!("datafusion-kafka-{}", random_id())
}

/// Makes a producer ready for transactions. One that an earlier producer with its
/// `transactional.id` has left open is aborted.
///
/// # Errors
/// [`Error::BeginTransaction`]
pub(super) async fn init(native: Native, topic: &str, limits: Limits) -> Result<()> {
    let context = Arc::clone(native.client().context());
    let begun =
        blocking(move || retried(limits.timeout, || native.init_transactions(limits.timeout)));
    begun.await?.map_err(|error| Error::BeginTransaction {
        topic: topic.to_owned(),
        reason: context.explain(&error),
    })
}

impl Transaction {
    /// # Errors
    /// [`Error::BeginTransaction`]
    pub(super) async fn begin(native: Native, topic: &str, limits: Limits) -> Result<Self> {
        let begun = {
            let native = Arc::clone(&native);
            blocking(move || native.begin_transaction()).await?
        };
        begun.map_err(|error| Error::BeginTransaction {
            topic: topic.to_owned(),
            reason: native.client().context().explain(&error),
        })?;
        Ok(Transaction {
            native: Some(native),
            topic: topic.to_owned(),
            limits,
        })
    }

    /// Makes everything that was sent visible at once, and with it where a
    /// continuous query has come to. Dropping the future does not take back what
    /// was asked for.
    ///
    /// # Errors
    /// [`Error::TransactionFailed`] when the brokers refuse, which aborts it;
    /// [`Error::CommitUnknown`] when they do not answer.
    pub(super) async fn commit(mut self, read: Option<(Arc<Member>, Positions)>) -> Result<()> {
        let Some(native) = self.native.clone() else {
            return Ok(());
        };
        let Limits {
            timeout,
            retry_timeout,
        } = self.limits;
        let offsets = match read {
            None => None,
            Some((member, read)) => Some((member.offsets(&read)?, member.metadata(&self.topic)?)),
        };
        let result = blocking(move || {
            if let Some((offsets, group)) = &offsets {
                retried(retry_timeout, || {
                    native.send_offsets_to_transaction(offsets, group, timeout)
                })
                .map_err(|error| (error, false))?;
            }
            retried(retry_timeout, || native.commit_transaction(timeout))
                .map_err(|error| (error, true))
        })
        .await?;
        let Err((error, commits)) = result else {
            self.native = None;
            return Ok(());
        };
        let reason = self.explain(&error);
        let topic = self.topic.clone();
        match &error {
            KafkaError::Transaction(error) if commits && error.is_retriable() => {
                // The commit may still come through; an abort could not undo it.
                self.native = None;
                Err(Error::CommitUnknown { topic, reason })
            }
            _ => Err(Error::TransactionFailed { topic, reason }),
        }
    }

    fn explain(&self, error: &KafkaError) -> String {
        match &self.native {
            Some(native) => native.client().context().explain(error),
            None => error.to_string(),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(native) = self.native.take() else {
            return;
        };
        // Waits for the brokers, and whoever drops it may be a Tokio worker. A
        // transaction that is not aborted holds up the topic's readers.
        let retry_timeout = self.limits.retry_timeout;
        let spawned = thread::Builder::new()
            .name("kafka-abort".to_owned())
            .spawn(move || {
                let aborted = retried(retry_timeout, || native.abort_transaction(PURGE_AGAIN));
                if let Err(error) = aborted {
                    log::warn!("a transaction was left to time out: {error}");
                }
            });
        if let Err(error) = spawned {
            log::warn!("a transaction was left to time out: {error}");
        }
    }
}

/// Records that were on their way when an abort began are not thrown away by it,
/// and waited for; they are by the next attempt.
const PURGE_AGAIN: Duration = Duration::from_millis(200);

/// Goes on with what librdkafka says may be asked for again.
fn retried(
    timeout: Duration,
    request: impl Fn() -> Result<(), KafkaError>,
) -> Result<(), KafkaError> {
    let deadline = Instant::now() + timeout;
    loop {
        match request() {
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && Instant::now() < deadline => {}
            result => return result,
        }
    }
}

/// What helps where a transaction was taken away.
pub(super) fn fenced(code: Option<RDKafkaErrorCode>) -> Option<&'static str> {
    matches!(
        code,
        Some(
            RDKafkaErrorCode::Fenced
                | RDKafkaErrorCode::ProducerFenced
                | RDKafkaErrorCode::InvalidProducerEpoch
                | RDKafkaErrorCode::InvalidTransactionalState
        )
    )
    .then_some(
        "the brokers ended the transaction, as they do when it is open longer than \
         `kafka.producer.transaction.timeout.ms` (default 60000); raise it, or write less at once",
    )
}
