//! Why a transaction has failed.

use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::ffi::{Owned, millis, text};

/// Why the transaction of a producer has failed: the code, and librdkafka's words.
///
/// Call it only for a producer that refuses records because its transaction has failed.
/// librdkafka gives the reason only to a commit, and so this is one: **a transaction that has
/// not failed is committed**, which is the answer `None`.
///
/// librdkafka refuses the commit of a failed transaction before it does anything else. rdkafka's
/// own call does not get there: it first waits for the delivery of records that were thrown
/// away.
///
/// Blocks up to `timeout`, for librdkafka's own thread, and cannot be cancelled. The transaction
/// has still to be aborted.
///
/// # Errors
/// The function itself does not fail. For a client that is not a transactional producer it returns
/// librdkafka's reason not to commit.
///
/// ```
/// use std::time::Duration;
///
/// use rdkafka::ClientConfig;
/// use rdkafka::producer::{BaseProducer, Producer};
/// use rdkafka_extra::failed_transaction_error;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let producer: BaseProducer = ClientConfig::new()
///     .set("bootstrap.servers", "localhost:9092")
///     .create()?;
/// let error = failed_transaction_error(producer.client(), Duration::from_secs(1));
/// assert!(error.is_some(), "the producer has no `transactional.id`");
/// # Ok(()) }
/// ```
pub fn failed_transaction_error<C: ClientContext>(
    client: &Client<C>,
    timeout: Duration,
) -> Option<(RDKafkaErrorCode, String)> {
    // SAFETY: the client is alive. The error is ours, destroyed by `Owned` alone, and its text
    // lives as long.
    unsafe {
        let error = sys::rd_kafka_commit_transaction(client.native_ptr(), millis(timeout));
        let error = Owned::new(error, sys::rd_kafka_error_destroy)?;
        let code = sys::rd_kafka_error_code(error.as_ptr());
        let text = text(sys::rd_kafka_error_string(error.as_ptr()));
        Some((code.into(), text.unwrap_or_default()))
    }
}
