//! A topic that another library gives to a session.

use std::env;
use std::ffi::{CString, c_char};
use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::datatypes::UInt64Type;
use datafusion::catalog::TableProvider;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, common};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_ffi::execution_plan::ForeignExecutionPlan;
use datafusion_ffi::table_provider::{FFI_TableProvider, ForeignTableProvider};
use kafka_test_broker::{Broker, Rec, required};
use libloading::{Library, Symbol};

const PARTITIONS: i32 = 4;

/// A session with the topic as table `t`, which the library built from this crate reads.
fn session(broker: &Broker, topic: &str) -> SessionContext {
    type RecordsOf = unsafe extern "C" fn(*const c_char, *const c_char) -> FFI_TableProvider;
    let tests = env::current_exe().unwrap();
    let name = format!(
        "{}datafusion_kafka_ffi_tests{}",
        env::consts::DLL_PREFIX,
        env::consts::DLL_SUFFIX
    );
    let path = tests
        .ancestors()
        .map(|above| above.join(&name))
        .find(|path| path.exists());
    // The library stays loaded, since its threads may still run when a test ends.
    let library = Box::leak(Box::new(unsafe { Library::new(path.unwrap()) }.unwrap()));
    let (servers, topic) = (
        CString::new(&*broker.servers).unwrap(),
        CString::new(topic).unwrap(),
    );
    let provider = unsafe {
        let records_of: Symbol<RecordsOf> = library.get(b"records_of").unwrap();
        records_of(servers.as_ptr(), topic.as_ptr())
    };
    let table: Arc<dyn TableProvider> = (&provider).into();
    assert!(table.is::<ForeignTableProvider>());
    // Each partition of the topic is an output partition.
    let config = SessionConfig::new().with_target_partitions(PARTITIONS as usize);
    let ctx = SessionContext::new_with_config(config);
    ctx.register_table("t", table).unwrap();
    ctx
}

/// Writes one record to each partition.
fn write(broker: &Broker, topic: &str) {
    let record = |partition| Rec::new("k", r#"{"v":1}"#).partition(partition);
    broker.produce(topic, &(0..PARTITIONS).map(record).collect::<Vec<_>>());
}

async fn plan(ctx: &SessionContext) -> Arc<dyn ExecutionPlan> {
    let frame = ctx.sql("SELECT v FROM t WHERE v > 0").await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    assert!(reads_foreign(&plan), "{plan:?}");
    assert_eq!(plan.output_partitioning().partition_count(), 4);
    plan
}

fn reads_foreign(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<ForeignExecutionPlan>() || plan.children().into_iter().any(reads_foreign)
}

async fn rows(ctx: &SessionContext, plan: &Arc<dyn ExecutionPlan>, partition: usize) -> usize {
    let stream = plan.execute(partition, ctx.task_ctx()).unwrap();
    let batches = common::collect(stream).await.unwrap();
    batches.iter().map(|batch| batch.num_rows()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_partitions_are_read_at_one_instant_while_somebody_writes() {
    let Some(broker) = required("ffi::all_partitions_are_read_at_one_instant") else {
        return;
    };
    let topic = broker.new_topic("foreign", PARTITIONS, &[]);
    let ctx = session(broker, &topic);
    write(broker, &topic);
    let together = plan(&ctx).await;
    for partition in 0..4 {
        assert_eq!(rows(&ctx, &together, partition).await, 1, "{partition}");
        write(broker, &topic);
        // A plan for this partition alone takes the end that it has now.
        let alone = plan(&ctx).await;
        assert_eq!(rows(&ctx, &alone, partition).await, partition + 2);
    }
    // The plan returns the same rows when it runs again.
    for partition in (0..4).rev() {
        assert_eq!(rows(&ctx, &together, partition).await, 1, "{partition}");
    }
    let all = ctx.sql("SELECT * FROM t WHERE v > 0").await.unwrap();
    assert_eq!(all.count().await.unwrap(), 5 * 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_filtered_and_written() {
    let Some(broker) = required("ffi::rows_are_filtered_and_written") else {
        return;
    };
    let topic = broker.new_topic("foreign", PARTITIONS, &[]);
    let ctx = session(broker, &topic);
    let insert = "INSERT INTO t (v) SELECT value FROM generate_series(1, 100)";
    let written = ctx.sql(insert).await.unwrap().collect().await.unwrap();
    assert_eq!(
        written[0].column(0).as_primitive::<UInt64Type>().value(0),
        100
    );
    for (filter, expected) in [
        ("v > 90", 10),
        ("v > 90 AND abs(v) < 95", 4),
        ("v IN (1, 2, 100, 101)", 3),
        ("v IS NULL", 0),
        ("v = 5 OR _partition < 0", 1),
        ("_partition >= 0 AND v <= 50", 50),
    ] {
        let frame = ctx.sql(&format!("SELECT v FROM t WHERE {filter}")).await;
        assert_eq!(frame.unwrap().count().await.unwrap(), expected, "{filter}");
    }
    let joined =
        "SELECT l.v FROM t AS l JOIN t AS r ON l.v = r.v WHERE r.v < 10 ORDER BY l.v LIMIT 5";
    assert_eq!(ctx.sql(joined).await.unwrap().count().await.unwrap(), 5);
}
