//! [`fix_ends`]: fixes what a plan reads, before it runs.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use futures::future::try_join_all;

use crate::client::blocking;
use crate::error::{Result, own_error};
use crate::source::exec::KafkaScanExec;
use crate::source::look_ups::LookUps;

/// Fixes the offsets that a plan reads, at one instant per topic, and returns the plan.
///
/// The plan then returns the same rows whenever and however often it is executed, and
/// [`KafkaScanExec::end_offsets`] is known before it runs. Without `fix_ends`, a plan is fixed
/// when its first stream is polled. The plan is not copied: its scans are fixed in place.
///
/// All bounds are resolved here: `kafka.wait_for`, and `kafka.start` and `kafka.end` as
/// timestamps, offsets or the position of a group. Scans whose offsets are fixed already keep
/// them, and other scans of the topic share their instant. Scans are those that
/// [`KafkaScanExec::all_in`] finds. In contrast to planning, `fix_ends` gives all scans of a topic
/// one instant also in sessions that [`register_kafka`](crate::register_kafka) has not prepared.
///
/// For an unbounded scan only the start is fixed. Each execution begins there and reads on without
/// end, so no record is missed that is written between `fix_ends` and the execution.
///
/// # Errors
/// [`Error::Connect`](crate::Error::Connect), [`Error::Login`](crate::Error::Login) and
/// [`Error::TopicNotFound`](crate::Error::TopicNotFound);
/// [`Error::NotYetThere`](crate::Error::NotYetThere) where the topic does not reach
/// `kafka.wait_for` within `kafka.timeout`; the errors of bounds, such as
/// [`Error::OffsetOutOfRange`](crate::Error::OffsetOutOfRange).
///
/// Executing the plan later fails, instead of returning other rows, once retention has deleted
/// records that it reads, and where the topic was deleted and created again.
///
/// # Cancellation
/// Dropping the future ends the look-ups within a second. Scans that were fixed until then stay
/// fixed.
///
/// # Example
/// ```
/// # use std::sync::Arc;
/// # use arrow::datatypes::{DataType, Field, Schema};
/// # use datafusion::physical_plan::collect;
/// # use datafusion::prelude::*;
/// # use datafusion_kafka::{EmbeddedKafka, KafkaScanExec, KafkaTable, fix_ends};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let kafka = EmbeddedKafka::start()?;
/// # kafka.create_topic("orders", 2)?;
/// # let servers = kafka.bootstrap_servers();
/// # let orders = KafkaTable::builder("orders")
/// #     .with_schema(Schema::new(vec![Field::new("amount", DataType::Int64, true)]))
/// #     .with_option("kafka.bootstrap.servers", servers);
/// # let ctx = SessionContext::new();
/// # ctx.register_table("orders", Arc::new(orders.build().await?))?;
/// # ctx.sql("INSERT INTO orders VALUES ('a', 1), ('b', 2)").await?.collect().await?;
/// let query = ctx.sql("SELECT * FROM orders WHERE amount > 0").await?;
/// let plan = fix_ends(query.create_physical_plan().await?).await?;
/// for scan in KafkaScanExec::all_in(&plan) {
///     // such as `orders ends at offsets:{"0":1,"1":1}`
///     println!("{} ends at {}", scan.topic(), scan.end_offsets().unwrap());
/// }
/// ctx.sql("INSERT INTO orders VALUES ('c', 3)").await?.collect().await?;
/// for _ in 0..2 {
///     let batches = collect(Arc::clone(&plan), ctx.task_ctx()).await?; // without the order `c`
/// #     assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 2);
/// }
/// # Ok(()) }
/// ```
pub async fn fix_ends(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let scans = KafkaScanExec::all_in(&plan);
    let topics = LookUps::default();
    for spec in scans.iter().map(|scan| scan.spec()) {
        if let Some(state) = spec.ends.state() {
            topics.state(&spec.table).get(|| Ok(state))?;
        }
    }
    let specs = scans.into_iter().map(|scan| scan.spec().clone());
    let fixing = specs.filter(|s| s.ends.fixed().is_none()).map(|spec| {
        let state = topics.state(&spec.table);
        blocking(move |cancel| {
            let client = spec.planning_client.lend(&spec.table)?;
            let planned = &spec.watermarks;
            spec.ends
                .get_at(&state, &client, &spec.table, planned, cancel)
        })
    });
    try_join_all(fixing).await.map_err(own_error)?;
    Ok(plan)
}
