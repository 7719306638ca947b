//! Statements that are dropped at each of their awaits, and at points of their whole time:
//! within a second no thread, connection, temporary file or memory is left.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use datafusion::common::Result;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt as _;

use super::spilling::{LITTLE, has_no_files, topic};
use crate::broker::Broker;
use crate::declared::{Declared, in_time};
use crate::dropping::{Held, KEEP_NOTHING, alone_in, one_thread, several_threads};

const COLUMNS: &str = "_key VARCHAR, v BIGINT";

/// The keys of `t` exceed the memory of the session, those of `u` do not.
const STATEMENTS: &[&str] = &[
    "SELECT * FROM t",
    "SELECT count(*) FROM t JOIN u ON t._key = u._key",
    "SELECT * FROM log ORDER BY v LIMIT 5",
    "INSERT INTO u SELECT _key, v FROM t LIMIT 20000",
    "INSERT INTO once VALUES ('a', 1)",
    "UPDATE u SET v = v + 1",
];

/// The points of the time of a statement at which it is dropped.
const POINTS: u32 = 8;

#[test]
fn a_statement_can_be_dropped_at_its_awaits() {
    let test = "a_statement_can_be_dropped_at_its_awaits";
    alone_in("reading::dropped_anywhere", test, |broker| {
        for runtime in [one_thread(), several_threads()] {
            let before = Held::now();
            runtime.block_on(async {
                let ctx = session(broker).await;
                for sql in STATEMENTS {
                    let mut polls = 0;
                    let result = loop {
                        let work = polled(run(&ctx, sql), polls);
                        if let Some(result) = in_time(sql, work).await {
                            break result;
                        }
                        nothing_is_left(&ctx, before, &format!("{sql}, {polls} polls")).await;
                        polls += 1;
                    };
                    result.unwrap();
                    assert!(polls > 1, "{sql} has one await");
                    nothing_is_left(&ctx, before, sql).await;
                }
            });
        }
    });
}

#[test]
fn a_statement_can_be_dropped_at_any_time() {
    let test = "a_statement_can_be_dropped_at_any_time";
    alone_in("reading::dropped_anywhere", test, |broker| {
        let runtime = several_threads();
        let before = Held::now();
        runtime.block_on(async {
            let ctx = session(broker).await;
            for sql in STATEMENTS {
                let start = Instant::now();
                in_time(sql, run(&ctx, sql)).await.unwrap();
                let whole = start.elapsed();
                for point in 1..POINTS {
                    let time = whole * point / POINTS;
                    match tokio::time::timeout(time, run(&ctx, sql)).await {
                        Ok(result) => result.unwrap(),
                        Err(_) => nothing_is_left(&ctx, before, &format!("{sql}, {time:?}")).await,
                    }
                }
            }
        });
    });
}

async fn session(broker: &Broker) -> SessionContext {
    let topics = [1, 2].map(|partitions| broker.new_topic("dropped", partitions, &[]));
    let large = topic(broker);
    let tables = Declared::new(broker, &large, COLUMNS, &[KEEP_NOTHING]).await;
    let append = [KEEP_NOTHING, ("kafka.mode", "append")];
    let once = [KEEP_NOTHING, ("kafka.delivery", "exactly_once")];
    for (name, topic, options) in [
        ("log", &large, &append[..]),
        ("u", &topics[1], &[KEEP_NOTHING]),
        ("once", &topics[0], &once),
    ] {
        tables.add(name, topic, COLUMNS, options).await.unwrap();
    }
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(LITTLE, 1.0)
        .with_disk_manager_builder(DiskManagerBuilder::default())
        .build_arc()
        .unwrap();
    let state = SessionStateBuilder::new_from_existing(tables.ctx.state());
    let ctx = SessionContext::new_with_state(state.with_runtime_env(runtime).build());
    let insert = "INSERT INTO u SELECT 'k' || value, value FROM generate_series(1, 500)";
    in_time(insert, run(&ctx, insert)).await.unwrap();
    ctx
}

/// Plans the statement, runs it, and drops its rows.
async fn run(ctx: &SessionContext, sql: &str) -> Result<()> {
    let frame = datafusion_kafka::sql(ctx, sql).await?;
    let rows = frame.execute_stream().await?;
    rows.try_for_each(|_| async { Ok(()) }).await
}

/// The result of the work, or `None` if it is not done after this many polls. The work is dropped
/// then.
async fn polled(work: impl Future<Output = Result<()>>, polls: usize) -> Option<Result<()>> {
    let mut work = pin!(work);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match work.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn nothing_is_left(ctx: &SessionContext, before: Held, what: &str) {
    before.is_restored(what).await;
    has_no_files(ctx).await;
    // Tasks of the plan that were running are dropped when they come to their next await.
    let pool = &ctx.runtime_env().memory_pool;
    let freed = async {
        while pool.reserved() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    in_time(what, freed).await;
}
