//! [`Transaction`]: a Kafka transaction (`kafka.delivery` = `exactly_once`).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer as _, ThreadedProducer};
use rdkafka_extra::{failed_transaction_error, rebootstrap};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::client::{DropOnThread, WARN_AFTER, threads};
use crate::error::{Error, Result, own_error};
use crate::options::TableOptions;
use crate::sink::acknowledgements::{Acknowledgements, Cause, Operation, Reason};
use crate::sink::instance::{Positions, QueryInstance};

pub(super) type Native = Arc<DropOnThread<ThreadedProducer<Acknowledgements>>>;

/// An open transaction of a producer. Dropping it without a commit aborts the transaction.
pub(super) struct Transaction {
    native: Option<Native>,
    topic: String,
    limits: Limits,
}

/// How long to wait for the brokers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    timeout: Duration,
    pub(super) retry_timeout: Duration,
}

impl Limits {
    pub(super) fn of(options: &TableOptions) -> Self {
        Limits {
            timeout: options.timeout,
            retry_timeout: options.retry_timeout,
        }
    }
}

/// Prepares a producer for transactions. This fences earlier producers with the same
/// `transactional.id`, and aborts a transaction that one of them has left open.
pub(super) async fn init(native: &Native, limits: Limits) -> Result<(), TransactionFailure> {
    let wait = limits.timeout;
    asked(native, wait, wait, move |native| {
        native.init_transactions(wait)
    })
    .await
}

impl Transaction {
    /// # Errors
    /// [`Error::BeginTransaction`]
    pub(super) async fn begin(native: Native, topic: &str, limits: Limits) -> Result<Self> {
        let begun = {
            let native = Arc::clone(&native);
            blocking(move || native.begin_transaction()).await?
        };
        begun.map_err(|error| not_begun(topic, native.client().context().explain(&error, None)))?;
        Ok(Transaction {
            native: Some(native),
            topic: topic.to_owned(),
            limits,
        })
    }

    /// Commits all records that were sent and, for a continuous query, the offsets `read`,
    /// atomically.
    ///
    /// # Errors
    /// [`Error::TransactionFailed`] if the brokers refuse, which aborts the transaction;
    /// [`Error::CommitUnknown`] if the brokers do not answer.
    ///
    /// # Cancellation
    /// Dropping the future does not undo a commit that was requested.
    pub(super) async fn commit(
        mut self,
        read: Option<(Arc<QueryInstance>, Positions)>,
    ) -> Result<()> {
        let Some(native) = self.native.clone() else {
            return Ok(());
        };
        let Limits {
            timeout: wait,
            retry_timeout,
        } = self.limits;
        if let Some((instance, read)) = read {
            let offsets = instance.offsets(&read)?;
            let group = instance.metadata(&self.topic)?;
            // An error does not say which of several topics it is for. The first one stands for
            // all, since reading them needs the same right.
            let source = read.keys().next().map(|topic| ("READ", topic.as_str()));
            let sent = asked(&native, wait, retry_timeout, move |native| {
                native.send_offsets_to_transaction(&offsets, &group, wait)
            });
            sent.await
                .map_err(|failure| self.failed(failure.explain(&native, source)))?;
        }
        let committed = asked(&native, wait, retry_timeout, move |native| {
            native.commit_transaction(wait)
        });
        let Err(failure) = committed.await else {
            self.native = None;
            return Ok(());
        };
        let reason = failure.explain(&native, None);
        if failure.may_come_true() {
            // The brokers may still commit, and an abort could not undo that.
            self.native = None;
            return Err(Error::CommitUnknown {
                topic: self.topic.clone(),
                code: reason.code(),
                reason: reason.to_string(),
            });
        }
        Err(self.failed(reason))
    }

    /// Why the transaction has failed; `None` if it has not.
    pub(super) async fn cause(&self) -> Option<Reason> {
        let native = self.native.clone()?;
        let (code, text) = {
            let (native, wait) = (Arc::clone(&native), self.limits.timeout);
            blocking(move || failed_transaction_error(native.client(), wait))
                .await
                .ok()??
        };
        let acknowledgements = native.client().context();
        Some(acknowledgements.reason(None, Some(code), text))
    }

    fn failed(&self, reason: Reason) -> Error {
        reason.into_error(|cause| Error::TransactionFailed {
            refused_row: None,
            topic: self.topic.clone(),
            code: cause.code,
            reason: cause.text,
        })
    }
}

fn not_begun(topic: &str, reason: Reason) -> Error {
    reason.into_error(|cause| Error::BeginTransaction {
        topic: topic.to_owned(),
        code: cause.code,
        reason: cause.text,
    })
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(native) = self.native.take() else {
            return;
        };
        // An abort waits for the brokers, and `drop` may run on a Tokio worker, so the abort gets
        // a thread. Without the abort the transaction would block readers of committed records.
        let retry_timeout = self.limits.retry_timeout;
        let spawned = threads::spawn("kafka-abort".to_owned(), move || {
            let aborted = retried(retry_timeout, || native.abort_transaction(ABORT_ATTEMPT));
            if let Err(error) = aborted {
                log::warn!("a transaction was not aborted and must time out: {error}");
            }
        });
        if let Err(error) = spawned {
            log::warn!("a transaction was not aborted and must time out: {error}");
        }
    }
}

/// How long one attempt to abort may take.
///
/// The first attempt waits for the records that are in flight when it begins, and only the
/// next attempt discards them. So attempts are short.
const ABORT_ATTEMPT: Duration = Duration::from_millis(200);

/// Repeats a request until the `timeout` while librdkafka reports a retriable error.
fn retried(
    timeout: Duration,
    request: impl Fn() -> Result<(), KafkaError>,
) -> Result<(), KafkaError> {
    let deadline = Instant::now() + timeout;
    loop {
        match request() {
            Err(error) if is_retriable(&error) && Instant::now() < deadline => {}
            result => return result,
        }
    }
}

fn is_retriable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.is_retriable())
}

/// Why a transactional request failed.
pub(super) enum TransactionFailure {
    Refused(KafkaError),
    /// librdkafka did not return in time.
    Silent(Duration),
    /// No thread could be started for the request.
    NoThread(io::Error),
}

impl TransactionFailure {
    /// Whether the producer's transaction time-out is longer than the brokers allow.
    pub(super) fn is_of_time_limit(&self) -> bool {
        let code = match self {
            TransactionFailure::Refused(KafkaError::Transaction(error)) => error.code(),
            _ => return false,
        };
        code == RDKafkaErrorCode::InvalidTransactionTimeout
    }

    /// The error of a producer that could not be prepared for transactions.
    pub(super) fn not_begun(&self, native: &Native, topic: &str) -> Error {
        not_begun(topic, self.explain(native, None))
    }

    fn may_come_true(&self) -> bool {
        match self {
            TransactionFailure::Refused(error) => is_retriable(error),
            TransactionFailure::Silent(_) => true,
            TransactionFailure::NoThread(_) => false,
        }
    }

    fn explain(&self, native: &Native, on: Option<Operation<'_>>) -> Reason {
        let text = match self {
            TransactionFailure::Refused(error) => {
                return native.client().context().explain(error, on);
            }
            TransactionFailure::Silent(time) => {
                format!("the brokers have not answered for {time:?}")
            }
            TransactionFailure::NoThread(error) => {
                format!("cannot start a thread to ask the brokers: {error}")
            }
        };
        Reason::Other(Cause { code: None, text })
    }
}

/// How much longer than its own time-out a call to librdkafka may take.
const COMMIT_GRACE: Duration = Duration::from_secs(5);

/// Makes a request in which librdkafka waits for the brokers for up to `wait`. Repeats the
/// request until the `timeout` while librdkafka reports a retriable error.
///
/// librdkafka ignores its time-out after it has lost the coordinator. A call that does not
/// return is therefore abandoned, on a thread of its own that no runtime waits for.
async fn asked(
    native: &Native,
    wait: Duration,
    timeout: Duration,
    request: impl Fn(&Native) -> Result<(), KafkaError> + Send + Sync + 'static,
) -> Result<(), TransactionFailure> {
    let deadline = Instant::now() + timeout;
    let request = Arc::new(request);
    loop {
        let (sender, mut answer) = oneshot::channel();
        let (asking, request) = (Arc::clone(native), Arc::clone(&request));
        let spawned = threads::spawn("kafka-transaction".to_owned(), move || {
            let _ = sender.send(request(&asking));
        });
        spawned.map_err(TransactionFailure::NoThread)?;
        let asked_at = Instant::now();
        let longest = wait + COMMIT_GRACE;
        let too_late = sleep(longest);
        tokio::pin!(too_late);
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                () = &mut too_late => return Err(TransactionFailure::Silent(longest)),
                // librdkafka may have lost its broker list.
                () = sleep(WARN_AFTER) => rebootstrap(native.client()),
            }
        };
        match answer {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if is_retriable(&error) && Instant::now() < deadline => {}
            Ok(Err(error)) => return Err(TransactionFailure::Refused(error)),
            // The thread has panicked.
            Err(_) => return Err(TransactionFailure::Silent(asked_at.elapsed())),
        }
    }
}

/// Runs blocking work outside of the runtime's workers.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| {
        own_error(datafusion::error::DataFusionError::External(Box::new(
            error,
        )))
    })
}
