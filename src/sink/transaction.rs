//! One Kafka transaction per statement (`kafka.delivery` = `exactly_once`).

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer as _, ThreadedProducer};

use crate::client::DropElsewhere;
use crate::error::{Error, Result};
use crate::options::TableOptions;
use crate::sink::producer::{Acknowledgements, blocking};

pub(super) type Native = Arc<DropElsewhere<ThreadedProducer<Acknowledgements>>>;

/// An open transaction of one producer; dropping it aborts it.
pub(super) struct Transaction {
    native: Option<Native>,
    topic: String,
    timeout: Duration,
    retry_timeout: Duration,
}

/// A `transactional.id` that no other statement has: two statements at the same
/// time must not fence each other. Its beginning can be named in an ACL.
pub(super) fn new_id() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("datafusion-kafka-{:016x}{:016x}", random(), random())
}

impl Transaction {
    /// # Errors
    /// [`Error::BeginTransaction`]
    pub(super) async fn begin(native: Native, topic: &str, options: &TableOptions) -> Result<Self> {
        let timeout = options.timeout;
        let begun = {
            let native = Arc::clone(&native);
            blocking(move || {
                native.init_transactions(timeout)?;
                native.begin_transaction()
            })
            .await?
        };
        begun.map_err(|error| Error::BeginTransaction {
            topic: topic.to_owned(),
            reason: native.client().context().explain(&error),
        })?;
        Ok(Transaction {
            native: Some(native),
            topic: topic.to_owned(),
            timeout,
            retry_timeout: options.retry_timeout,
        })
    }

    /// Makes everything that was sent visible at once. Dropping the future does
    /// not take back what was asked for.
    ///
    /// # Errors
    /// [`Error::TransactionFailed`] when the brokers refuse, which aborts it;
    /// [`Error::CommitUnknown`] when they do not answer.
    pub(super) async fn commit(mut self) -> Result<()> {
        let Some(native) = self.native.clone() else {
            return Ok(());
        };
        let (timeout, retry_timeout) = (self.timeout, self.retry_timeout);
        let result =
            blocking(move || retried(retry_timeout, || native.commit_transaction(timeout))).await?;
        let Err(error) = result else {
            self.native = None;
            return Ok(());
        };
        let reason = self.explain(&error);
        let topic = self.topic.clone();
        match &error {
            KafkaError::Transaction(error) if error.is_retriable() => {
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
        let retry_timeout = self.retry_timeout;
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
