//! The threads that this crate starts, and the wait for their end and that of its clients.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Waits until the Kafka clients of this process are destroyed and their threads have
/// ended, for a program that is about to exit: true once they have, false after
/// `timeout`.
///
/// A client that a query no longer needs is destroyed in the background, which takes some
/// milliseconds. A process that exits meanwhile runs OpenSSL's exit handlers while those
/// threads still use OpenSSL, and may crash, also after all of its work was done well. So a
/// program whose librdkafka has TLS (features `ssl`, `ssl-vendored`, `curl`, `curl-static`
/// and `dynamic-linking`) calls this last, after it has dropped its frames, plans, streams, tables,
/// sessions and [`ContinuousQuery`](crate::ContinuousQuery)s: what still lives keeps its
/// clients, and they are waited for until `timeout`. Then the Tokio runtime is dropped, as
/// `#[tokio::main]` does by itself, since its threads have made clients.
///
/// A program that cannot wait, or gets `false`, leaves without exit handlers: it flushes
/// what it has written and calls `_exit`, by `signal_hook::low_level::exit` for instance.
/// The command line program does that.
///
/// Clients that the program makes itself with rdkafka are not waited for. Dropping the
/// future only ends the wait.
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

/// Threads that were started and not yet joined. A thread that only looks finished may
/// still free what OpenSSL keeps for it.
static THREADS: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Clients that live; one that is being destroyed is counted by its thread.
static CLIENTS: AtomicUsize = AtomicUsize::new(0);

/// Starts a thread, and joins those that have finished.
pub(crate) fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // Held meanwhile: no thread runs that is not among them.
    let mut threads = threads();
    threads.push(Builder::new().name(name).spawn(work)?);
    join_finished(&mut threads);
    Ok(())
}

pub(crate) fn client_was_made() {
    CLIENTS.fetch_add(1, Ordering::SeqCst);
}

/// To be called once the thread is started that destroys the client.
pub(crate) fn client_was_dropped() {
    CLIENTS.fetch_sub(1, Ordering::SeqCst);
}

fn have_ended() -> bool {
    // In this order, or the last client could become a thread in between.
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
