//! A value that one thread makes for several.

use std::sync::{Mutex, PoisonError};

use crate::error::Result;

/// A value that is made once. The first thread that asks makes the value while the others wait. A
/// failure is returned only to the thread that tried: that thread may only have been cancelled,
/// so the next one tries again.
pub(crate) struct Once<T>(Mutex<Option<T>>);

impl<T: Clone> Once<T> {
    pub(crate) fn get(&self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = match made.take() {
            Some(value) => value,
            None => make()?,
        };
        Ok(made.insert(value).clone())
    }

    /// Returns the value if it is there, without waiting for the thread that makes it.
    pub(crate) fn made(&self) -> Option<T> {
        self.0.try_lock().ok()?.clone()
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Once(Mutex::new(None))
    }
}
