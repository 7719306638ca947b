//! Blocking work that waits for brokers, and its cancellation.

use std::sync::Arc;

use datafusion::error::{DataFusionError, Result as DataFusionResult};

use crate::error::Result;

/// Tells blocking work whether its result is still wanted.
pub(crate) struct Cancel(Box<dyn Fn() -> bool + Send + Sync>);

impl Cancel {
    pub(crate) fn when(cancelled: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Cancel(Box::new(cancelled))
    }

    pub(crate) fn never() -> Self {
        Cancel(Box::new(|| false))
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        (self.0)()
    }
}

/// Runs blocking work off the runtime's workers. Dropping the future cancels the work.
pub(crate) async fn blocking<T, F>(work: F) -> DataFusionResult<T>
where
    T: Send + 'static,
    F: FnOnce(&Cancel) -> Result<T> + Send + 'static,
{
    // Lives in this future: the work is cancelled when the future is dropped.
    let waiting = Arc::new(());
    let weak = Arc::downgrade(&waiting);
    let cancel = Cancel::when(move || weak.strong_count() == 0);
    let result = tokio::task::spawn_blocking(move || work(&cancel)).await;
    drop(waiting);
    match result {
        Ok(result) => Ok(result?),
        Err(error) => Err(DataFusionError::External(Box::new(error))),
    }
}
