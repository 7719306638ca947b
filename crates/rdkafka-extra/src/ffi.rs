//! What crosses the C interface: owned objects, texts, bytes, codes and times.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

/// An object of librdkafka's that the caller has to destroy.
pub(crate) struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes ownership of an object; `None` when librdkafka has returned null.
    ///
    /// # Safety
    /// `pointer` is null, or nothing else destroys its object, which lives until `destroy`
    /// is called on it and may be destroyed on the thread that drops this value.
    pub(crate) unsafe fn new(
        pointer: *mut T,
        destroy: unsafe extern "C" fn(*mut T),
    ) -> Option<Self> {
        NonNull::new(pointer).map(|pointer| Owned { pointer, destroy })
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the caller of `new` has promised that this is the only call.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

/// The result that a code stands for.
pub(crate) fn check(code: sys::rd_kafka_resp_err_t) -> Result<(), RDKafkaErrorCode> {
    match code {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(code.into()),
    }
}

/// Milliseconds as C takes them. A longer time becomes the longest one, 24 days.
pub(crate) fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// A copy of a text; `None` when it is null or empty.
///
/// # Safety
/// `text` is null or a C string.
pub(crate) unsafe fn text(text: *const c_char) -> Option<String> {
    // SAFETY: promised by the caller.
    let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })?;
    Some(text.to_string_lossy().into_owned()).filter(|text| !text.is_empty())
}

/// Bytes that are borrowed from librdkafka; `None` when `data` is null.
///
/// # Safety
/// `data` is null or points to `length` bytes that live, and do not change, for `'a`.
pub(crate) unsafe fn bytes<'a>(data: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: promised by the caller.
    (!data.is_null()).then(|| unsafe { std::slice::from_raw_parts(data.cast(), length) })
}
