//! Admin requests: one request, one answer.

use std::ptr;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::ffi::{Owned, check, millis};

/// Makes a request, and waits up to `timeout` for the event with its answer.
///
/// `make` is called once, with the client, the options and the queue for the answer. They are
/// valid for that call. The queue is that of this request alone, so that the event is the
/// answer to it.
///
/// # Errors
/// The answer's code, or [`RDKafkaErrorCode::OperationTimedOut`] when no answer came.
pub(crate) fn request<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    operation: sys::rd_kafka_admin_op_t,
    timeout: Duration,
    make: impl FnOnce(
        *mut sys::rd_kafka_t,
        *mut sys::rd_kafka_AdminOptions_t,
        *mut sys::rd_kafka_queue_t,
    ),
) -> Result<Owned<sys::rd_kafka_event_t>, RDKafkaErrorCode> {
    let nothing = RDKafkaErrorCode::OperationTimedOut;
    let client = consumer.client().native_ptr();
    // SAFETY: the client is alive. The queue is new, and destroyed by `Owned` alone.
    let queue = unsafe {
        let queue = sys::rd_kafka_queue_new(client);
        Owned::new(queue, sys::rd_kafka_queue_destroy).ok_or(nothing)?
    };
    // SAFETY: the client is alive. The options are new, and destroyed by `Owned` alone.
    let options = unsafe {
        let options = sys::rd_kafka_AdminOptions_new(client, operation);
        Owned::new(options, sys::rd_kafka_AdminOptions_destroy).ok_or(nothing)?
    };
    // SAFETY: the options are alive. No buffer for an error text is given.
    unsafe {
        let (time, text) = (millis(timeout), ptr::null_mut());
        sys::rd_kafka_AdminOptions_set_request_timeout(options.as_ptr(), time, text, 0);
    }
    make(client, options.as_ptr(), queue.as_ptr());
    // SAFETY: the queue is alive. The event is ours, and destroyed by `Owned` alone.
    let event = unsafe {
        let event = sys::rd_kafka_queue_poll(queue.as_ptr(), millis(timeout));
        Owned::new(event, sys::rd_kafka_event_destroy).ok_or(nothing)?
    };
    // SAFETY: the event is alive.
    check(unsafe { sys::rd_kafka_event_error(event.as_ptr()) })?;
    Ok(event)
}
