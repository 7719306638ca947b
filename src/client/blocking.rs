//! Blocking work that waits for brokers, and its cancellation.

use std::sync::Arc;
use std::thread;

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

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
///
/// Where DataFusion plans over its foreign function interface, the future is polled by a runtime
/// that this library does not see. The work has a thread of its own then.
pub(crate) async fn blocking<T, F>(work: F) -> DataFusionResult<T>
where
    T: Send + 'static,
    F: FnOnce(&Cancel) -> Result<T> + Send + 'static,
{
    // Lives in this future: the work is cancelled when the future is dropped.
    let waiting = Arc::new(());
    let weak = Arc::downgrade(&waiting);
    let cancel = Cancel::when(move || weak.strong_count() == 0);
    let work = move || work(&cancel);
    let result = match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.map_err(external),
        Err(_) => on_a_thread(work).await,
    };
    drop(waiting);
    Ok(result??)
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> DataFusionResult<T> {
    let (sender, receiver) = oneshot::channel();
    let name = "kafka planning".to_owned();
    let spawned = thread::Builder::new().name(name).spawn(move || {
        // Nobody receives the result of cancelled work.
        let _ = sender.send(work());
    });
    spawned.map_err(external)?;
    receiver.await.map_err(external)
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn work_is_done_without_a_runtime() {
        let thread = || thread::current().id();
        let done = block_on(blocking(move |_| Ok(thread()))).unwrap();
        assert_ne!(done, thread::current().id());
    }

    #[test]
    fn work_that_panics_without_a_runtime_is_an_error() {
        let done = block_on(blocking(|_| -> Result<()> { panic!("as a bug does") }));
        assert!(matches!(done, Err(DataFusionError::External(_))));
    }
}
