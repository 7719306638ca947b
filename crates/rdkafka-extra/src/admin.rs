//! Requests to brokers that rdkafka has no call for, or whose answers it shortens.

use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::TopicHandle;

impl<C: ConsumerContext> TopicHandle<C> {
    /// [`request`] of the topic's client.
    pub(crate) fn request(
        &self,
        operation: sys::rd_kafka_admin_op_t,
        timeout: Duration,
        make: impl FnOnce(
            *mut sys::rd_kafka_t,
            *mut sys::rd_kafka_AdminOptions_t,
            *mut sys::rd_kafka_queue_t,
        ),
    ) -> Result<Owned<sys::rd_kafka_event_t>, RDKafkaErrorCode> {
        request(&self.consumer, operation, timeout, make)
    }
}

/// Makes a request, and waits for the event with its answer.
///
/// `make` is called with the client, the options and the queue for the answer, which
/// live as long as the call.
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
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let client = consumer.client().native_ptr();
    // SAFETY: the client is alive.
    let queue = unsafe { sys::rd_kafka_queue_new(client) };
    let queue = Owned::new(queue, sys::rd_kafka_queue_destroy)?;
    // SAFETY: the client is alive.
    let options = unsafe { sys::rd_kafka_AdminOptions_new(client, operation) };
    let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy)?;
    // SAFETY: the options are alive. The text of an error is not asked for.
    unsafe {
        let text = ptr::null_mut();
        sys::rd_kafka_AdminOptions_set_request_timeout(options.as_ptr(), millis, text, 0);
    }
    make(client, options.as_ptr(), queue.as_ptr());
    // SAFETY: the queue is alive.
    let event = unsafe { sys::rd_kafka_queue_poll(queue.as_ptr(), millis) };
    let event = Owned::new(event, sys::rd_kafka_event_destroy)?;
    // SAFETY: the event is alive.
    no_error(unsafe { sys::rd_kafka_event_error(event.as_ptr()) })?;
    Ok(event)
}

pub(crate) fn no_error(code: sys::rd_kafka_resp_err_t) -> Result<(), RDKafkaErrorCode> {
    match code {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(code.into()),
    }
}

/// # Safety
/// `text` is null or a C string.
pub(crate) unsafe fn text(text: *const std::os::raw::c_char) -> Option<String> {
    // SAFETY: promised by the caller.
    let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })?;
    Some(text.to_string_lossy().into_owned()).filter(|text| !text.is_empty())
}

/// Something of librdkafka's that is ours to destroy.
pub(crate) struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    /// Nothing came, or could be made, in time.
    pub(crate) fn new(
        pointer: *mut T,
        destroy: unsafe extern "C" fn(*mut T),
    ) -> Result<Self, RDKafkaErrorCode> {
        let pointer = NonNull::new(pointer).ok_or(RDKafkaErrorCode::OperationTimedOut)?;
        Ok(Owned(pointer, destroy))
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: given with the pointer, which is destroyed once.
        unsafe { (self.1)(self.0.as_ptr()) }
    }
}
