//! Tracks the threads and clients that this crate starts, and waits for their end.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Waits until the Kafka clients of this process are destroyed and their threads have ended. A
/// program calls it before it exits. Returns true once all have ended, and false after `timeout`.
///
/// A client that a query no longer needs is destroyed in the background, which takes some
/// milliseconds. A process that exits in the meantime runs OpenSSL's exit handlers while those
/// threads still use OpenSSL. The process may then crash, even though all of its work is done. A
/// program whose librdkafka has TLS (features `ssl`, `ssl-vendored`, `curl`, `curl-static` and
/// `dynamic-linking`) therefore calls this function last, after it has dropped its frames, plans,
/// streams, tables, sessions and [`ContinuousQuery`](crate::ContinuousQuery)s. Those that still
/// live keep their clients, and the call waits for these until `timeout`. Drop the Tokio runtime
/// afterwards, because its threads have created clients. `#[tokio::main]` does that by itself.
///
/// A program that cannot wait, or gets `false`, exits without exit handlers: it flushes its
/// output and calls `_exit`, for instance by `signal_hook::low_level::exit`. The command line
/// program does that.
///
/// Clients that the program itself creates with rdkafka are not waited for. Dropping the future
/// only ends the wait.
///
/// ```
/// # use std::time::Duration;
/// # use arrow::datatypes::{DataType, Field, Schema};
/// # use datafusion::prelude::SessionContext;
/// # use datafusion_kafka::{EmbeddedKafka, KafkaTable};
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let done = work().await; // its session is dropped inside
///     if !datafusion_kafka::wait_for_clients(Duration::from_secs(10)).await {
///         eprintln!("Kafka clients are still at work");
///     }
///     done
/// }
/// # async fn work() -> Result<(), Box<dyn std::error::Error>> {
/// #     let kafka = EmbeddedKafka::start()?;
/// #     kafka.create_topic("orders", 1)?;
/// #     let orders = KafkaTable::builder("orders")
/// #         .with_schema(Schema::new(vec![Field::new("amount", DataType::Int64, true)]))
/// #         .with_option("kafka.bootstrap.servers", kafka.bootstrap_servers());
/// #     let ctx = SessionContext::new();
/// #     let rows = ctx.read_table(std::sync::Arc::new(orders.build().await?))?;
/// #     assert_eq!(rows.count().await?, 0);
/// #     Ok(())
/// # }
/// ```
pub async fn wait_for_clients(timeout: Duration) -> bool {
    let asked = Instant::now();
    loop {
        if have_ended() {
            return true;
        }
        let left = timeout.saturating_sub(asked.elapsed());
        if left.is_zero() {
            return false;
        }
        tokio::time::sleep(POLL_INTERVAL.min(left)).await;
    }
}

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Threads that were started and not yet joined. A thread that looks finished may still be
/// freeing what OpenSSL keeps for it.
static THREADS: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// The number of live clients. While a client is being destroyed, its thread counts instead.
static CLIENTS: AtomicUsize = AtomicUsize::new(0);

/// Starts a thread, and joins those that have finished.
pub(crate) fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // The lock is held during the spawn, so no thread runs without being in the list.
    let mut threads = threads();
    threads.push(Builder::new().name(name).spawn(work)?);
    join_finished(&mut threads);
    Ok(())
}

pub(crate) fn client_was_made() {
    CLIENTS.fetch_add(1, Ordering::SeqCst);
}

/// To be called once the thread that destroys the client has started.
pub(crate) fn client_was_dropped() {
    CLIENTS.fetch_sub(1, Ordering::SeqCst);
}

fn have_ended() -> bool {
    // Clients must be checked before threads: in the other order, the last client could turn into
    // a thread in between.
    if CLIENTS.load(Ordering::SeqCst) > 0 {
        return false;
    }
    let mut threads = threads();
    join_finished(&mut threads);
    threads.is_empty()
}

fn join_finished(threads: &mut Vec<JoinHandle<()>>) {
    for thread in threads.extract_if(.., |thread| thread.is_finished()) {
        // A panic was reported where it happened.
        let _ = thread.join();
    }
}

fn threads() -> MutexGuard<'static, Vec<JoinHandle<()>>> {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner)
}
