//! Topics with more keys than memory: the keys that have no room go to disk.

use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::{collect, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt as _;

use crate::broker::{self, Broker, Rec};
use crate::declared::{Declared, in_time};
use crate::reading::runs::scan_of;
use crate::session::cells;

const KEYS: i64 = 50_000;
const RECORDS: i64 = 60_000;
const COLUMNS: &str = "_key VARCHAR, v BIGINT";
/// Too little for the keys of the topic.
pub const LITTLE: usize = 3_000_000;

/// Two partitions of 30 000 records each, with keys that are numbers. A key is in one partition.
pub fn topic(broker: &Broker) -> String {
    let topic = broker.new_topic("spill", 2, &[]);
    let records: Vec<Rec> = (0..RECORDS)
        .map(|n| {
            let record = Rec::new(format!("key-{}", n % KEYS), format!("{{\"v\":{n}}}"));
            record.partition((n % 2) as i32)
        })
        .collect();
    broker.produce(&topic, &records);
    topic
}

/// A session with this much memory for the table.
async fn within(table: &Declared, memory: usize, disk: DiskManagerBuilder) -> SessionContext {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(memory, 1.0)
        .with_disk_manager_builder(disk);
    let config = SessionConfig::new().with_target_partitions(2);
    let ctx = SessionContext::new_with_config_rt(config, runtime.build_arc().unwrap());
    let provider = table.ctx.table_provider("t").await.unwrap();
    ctx.register_table("t", provider).unwrap();
    ctx
}

/// Waits until the session has no temporary file any more, for a second at most.
pub async fn has_no_files(ctx: &SessionContext) {
    let manager = &ctx.runtime_env().disk_manager;
    let end = tokio::time::Instant::now() + Duration::from_secs(1);
    loop {
        let progress = manager.spilling_progress();
        let directories = manager.temp_dir_paths();
        let files = directories
            .iter()
            .flat_map(|directory| std::fs::read_dir(directory).unwrap());
        if (
            progress.current_bytes,
            progress.active_files_count,
            files.count(),
        ) == (0, 0, 0)
        {
            return;
        }
        assert!(
            tokio::time::Instant::now() < end,
            "{progress:?} after a second"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_topic_with_more_keys_than_memory_is_read_once_and_its_keys_go_to_disk() {
    let Some(broker) = broker::required("a_topic_with_more_keys_than_memory_is_read_once") else {
        return;
    };
    let table = Declared::new(broker, &topic(broker), COLUMNS, &[]).await;
    let sql = "SELECT count(*), sum(v), min(_key), max(_key) FROM t";
    let mut answers = Vec::new();
    for (memory, spills) in [(100_000_000, false), (LITTLE, true)] {
        let ctx = within(&table, memory, DiskManagerBuilder::default()).await;
        let frame = ctx.sql(sql).await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let batches = in_time(sql, collect(Arc::clone(&plan), ctx.task_ctx())).await;
        answers.push(cells(&batches.unwrap()));
        let metrics = scan_of(&plan).metrics().unwrap();
        let metrics = metrics.aggregate_by_name();
        let metric = |name| {
            let mut metrics = metrics.iter();
            let found = metrics.find(|metric| metric.value().name() == name);
            found.unwrap().value().as_usize()
        };
        assert_eq!(metric("passes"), 1);
        assert_eq!(metric("spill_count") > 0, spills);
        assert_eq!(metric("spilled_bytes") > 500_000, spills);
        assert_eq!(metric("spilled_rows") > 20_000, spills);
        assert_eq!(metric("superseded"), (RECORDS - KEYS) as usize);
        let fetched = metric("records_fetched");
        assert!(fetched < RECORDS as usize * 5 / 4, "{fetched} records");
        has_no_files(&ctx).await;
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0][0][0], KEYS.to_string());
    let ctx = within(&table, LITTLE, DiskManagerBuilder::default()).await;
    let analyzed = ctx.sql(&format!("EXPLAIN ANALYZE {sql}")).await.unwrap();
    let text = cells(&in_time(sql, analyzed.collect()).await.unwrap());
    let text = text.into_iter().flatten().collect::<String>();
    for metric in ["spill_count=", "spilled_bytes=", "spilled_rows="] {
        let scan = &text[text.find("KafkaScanExec").unwrap()..];
        assert!(scan.contains(metric), "{text}");
        assert!(!scan.contains(&format!("{metric}0")), "{text}");
    }
}

#[tokio::test]
async fn the_files_are_gone_after_a_limit_and_after_a_drop() {
    let Some(broker) = broker::required("the_files_are_gone_after_a_limit") else {
        return;
    };
    let table = Declared::new(broker, &topic(broker), COLUMNS, &[]).await;
    let ctx = within(&table, LITTLE, DiskManagerBuilder::default()).await;
    let manager = Arc::clone(&ctx.runtime_env().disk_manager);
    for sql in ["SELECT * FROM t", "SELECT * FROM t LIMIT 45000"] {
        let frame = ctx.sql(sql).await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let mut stream = execute_stream(plan, ctx.task_ctx()).unwrap();
        let mut rows = 0;
        while manager.spilling_progress().current_bytes == 0 {
            rows += in_time(sql, stream.next())
                .await
                .unwrap()
                .unwrap()
                .num_rows();
        }
        drop(stream);
        has_no_files(&ctx).await;
        assert!(rows < 45_000, "{rows} rows before the first file");
    }
    let limited = ctx.sql("SELECT * FROM t LIMIT 45000").await.unwrap();
    let batches = in_time("LIMIT", limited.collect()).await.unwrap();
    assert_eq!(cells(&batches).len(), 45_000);
    has_no_files(&ctx).await;
}

#[tokio::test]
async fn the_files_are_gone_after_an_error() {
    let Some(broker) = broker::required("the_files_are_gone_after_an_error") else {
        return;
    };
    let topic = broker.new_topic("spill", 1, &[]);
    let bad = Rec::new("bad", "{\"v\":\"none\"}");
    let others = (0..30_000).map(|n| Rec::new(format!("key-{n}"), format!("{{\"v\":{n}}}")));
    let records: Vec<Rec> = std::iter::once(bad).chain(others).collect();
    broker.produce(&topic, &records);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let ctx = within(&table, 1_500_000, DiskManagerBuilder::default()).await;
    let sum = || async { ctx.sql("SELECT sum(v) FROM t").await?.collect().await };
    let error = in_time("an error", sum()).await.unwrap_err().to_string();
    assert!(error.contains("offset 0"), "{error}");
    has_no_files(&ctx).await;
    // A later record of the key hides the one that does not fit.
    broker.produce(&topic, &[Rec::new("bad", "{\"v\":0}")]);
    let batches = in_time("the sum", sum()).await.unwrap();
    assert_eq!(cells(&batches), [["449985000"]]);
    has_no_files(&ctx).await;
}

#[tokio::test]
async fn a_limit_of_temporary_files_is_named_and_without_them_the_topic_is_read_in_passes() {
    let Some(broker) = broker::required("a_limit_of_temporary_files_is_named") else {
        return;
    };
    let topic = topic(broker);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let count = |disk| async {
        let ctx = within(&table, LITTLE, disk).await;
        let sql = "SELECT count(v) FROM t";
        let result = in_time(sql, async { ctx.sql(sql).await?.collect().await }).await;
        has_no_files(&ctx).await;
        result.map(|batches| cells(&batches))
    };
    let disk = || DiskManagerBuilder::default();
    let error = count(disk().with_max_temp_directory_size(50_000)).await;
    let error = error.unwrap_err().to_string();
    for part in [
        &format!("topic `{topic}` partition"),
        "temporary files have reached their limit of 48.8 KB",
        "`datafusion.runtime.max_temp_directory_size`",
    ] {
        assert!(error.contains(part), "{error}");
    }
    for disk in [
        disk().with_max_temp_directory_size(50_000_000),
        disk().with_mode(DiskManagerMode::Disabled),
    ] {
        assert_eq!(count(disk).await.unwrap(), [["50000"]]);
    }
}

#[tokio::test]
async fn keys_are_compared_on_disk_where_memory_has_no_room() {
    let Some(broker) = broker::required("keys_are_compared_on_disk") else {
        return;
    };
    let topic = topic(broker);
    let check = ("kafka.check_keys", "fail");
    let table = Declared::new(broker, &topic, COLUMNS, &[check]).await;
    let count = || async {
        let ctx = within(&table, LITTLE, DiskManagerBuilder::default()).await;
        let sql = "SELECT count(v) FROM t";
        let result = in_time(sql, async { ctx.sql(sql).await?.collect().await }).await;
        has_no_files(&ctx).await;
        result.map(|batches| cells(&batches))
    };
    assert_eq!(count().await.unwrap(), [["50000"]]);
    // The key has its other record among the oldest ones of partition 0.
    let twice = Rec::new("key-10000", "{\"v\":1}").partition(1);
    broker.produce(&topic, &[twice]);
    let error = count().await.unwrap_err().to_string();
    for part in [
        "the key of this record is also in partition",
        "partition 0",
        "partition 1",
    ] {
        assert!(error.contains(part), "{error}");
    }
}
