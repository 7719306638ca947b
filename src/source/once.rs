//! What several threads need, and one makes.

use std::sync::{Mutex, PoisonError};

use crate::error::Result;

/// A value that is made once, by whoever asks first while the others wait. A
/// failure is the asker's alone, who may only have been cancelled.
pub(super) struct Once<T>(Mutex<Option<T>>);

impl<T: Clone> Once<T> {
    pub(super) fn get(&self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = match made.take() {
            Some(value) => value,
            None => make()?,
        };
        Ok(made.insert(value).clone())
    }

    /// Does not wait for whoever makes it.
    pub(super) fn made(&self) -> Option<T> {
        self.0.try_lock().ok()?.clone()
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Once(Mutex::new(None))
    }
}
