//! Sending the records of a producer without waiting for more.

use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka_sys as sys;

use crate::ffi::{check, millis};

/// Sends all records of a producer's queue at once, whatever `linger.ms` is. Returns true once
/// none is left, and false after `timeout`.
///
/// rdkafka's own call flushes again and again for no time at all. librdkafka ignores the linger
/// only while a flush lasts, so that records may nevertheless wait for the linger to end.
///
/// Delivery reports are not served: another thread has to poll the producer, as that of a
/// [`ThreadedProducer`](rdkafka::producer::ThreadedProducer) does. A record is in the queue until
/// its report is served. Blocks, and cannot be cancelled: a caller that may be cancelled calls
/// it again and again with a short timeout.
///
/// ```
/// use std::time::Duration;
///
/// use rdkafka::ClientConfig;
/// use rdkafka::mocking::MockCluster;
/// use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kafka = MockCluster::new(1)?;
/// kafka.create_topic("orders", 1, 1)?;
/// let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
///     .set("bootstrap.servers", kafka.bootstrap_servers())
///     .set("linger.ms", "60000")
///     .create()?;
/// let record = BaseRecord::to("orders").key("order-1").payload("open");
/// producer.send(record).map_err(|(error, _)| error)?;
/// assert!(rdkafka_extra::flush(producer.client(), Duration::from_secs(30)));
/// # Ok(()) }
/// ```
pub fn flush<C: ClientContext>(client: &Client<C>, timeout: Duration) -> bool {
    // SAFETY: the client is alive. For a client that is not a producer the call is an error.
    check(unsafe { sys::rd_kafka_flush(client.native_ptr(), millis(timeout)) }).is_ok()
}
