//! Work that waits for brokers, and whoever waits for it.

use std::sync::Arc;

use datafusion::error::{DataFusionError, Result as DataFusionResult};

use crate::error::Result;

/// Tells blocking work whether anybody still waits for it.
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

/// PlanState blocking work off the runtime's workers. Dropping the future cancels it.
pub(crate) async fn blocking<T, F>(work: F) -> DataFusionResult<T>
where
    T: Send + 'static,
    F: FnOnce(&Cancel) -> Result<T> + Send + 'static,
{
    // Lives in this future, so its end is the future's.
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
