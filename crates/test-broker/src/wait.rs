//! Deadlines.

use std::future::Future;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a test waits for anything before it fails. A generous limit: a busy machine is not a
/// bug. It is longer than any pause between two attempts of what is tested.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Polls until the condition is true.
///
/// # Panics
///
/// After the deadline, with a message that `what` did not happen.
pub fn wait_until(deadline: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !holds() {
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a future on a separate thread, since the test itself may run inside a runtime.
pub(crate) fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let wait = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(future)
    };
    thread::scope(|scope| scope.spawn(wait).join().unwrap())
}

/// Nanoseconds since 1970, used to make names unique.
pub(crate) fn nanos() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos()
}
