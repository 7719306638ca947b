//! Ends that are fixed before a plan runs.

use std::sync::Arc;
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::physical_plan::{ExecutionPlan, collect, execute_stream};
use datafusion_kafka::{Error, KafkaScanExec, fix_ends};
use futures::StreamExt as _;

use super::{COLUMNS, number};
use crate::broker::{self, Broker, Rec};
use crate::declared::{APPEND, Declared, in_time};
use crate::session::cells;

/// A plan of the query whose ends are fixed.
async fn fixed(table: &Declared, sql: &str) -> Arc<dyn ExecutionPlan> {
    try_fixed(table, sql).await.unwrap()
}

async fn try_fixed(
    table: &Declared,
    sql: &str,
) -> datafusion_kafka::Result<Arc<dyn ExecutionPlan>> {
    let frame = datafusion_kafka::sql(&table.ctx, sql).await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    in_time("fix_ends", fix_ends(plan)).await
}

async fn run(
    table: &Declared,
    plan: &Arc<dyn ExecutionPlan>,
) -> Result<Vec<String>, DataFusionError> {
    let batches = in_time("a plan", collect(Arc::clone(plan), table.ctx.task_ctx())).await?;
    let mut rows: Vec<String> = cells(&batches).iter().map(|row| row.join("|")).collect();
    rows.sort();
    Ok(rows)
}

fn ends(plan: &Arc<dyn ExecutionPlan>) -> Vec<Option<String>> {
    let scans = KafkaScanExec::all_in(plan);
    let ends = scans.iter().map(|scan| scan.end_offsets());
    ends.map(|end| Some(end?.to_string())).collect()
}

/// Records of two partitions with these values.
fn records(values: std::ops::Range<i32>) -> Vec<Rec> {
    let one = |v: i32| number(&format!("k{v}"), i64::from(v)).partition(v % 2);
    values.map(one).collect()
}

async fn table(broker: &Broker, topic: &str, options: &[(&str, &str)]) -> Declared {
    Declared::new(broker, topic, COLUMNS, options).await
}

#[tokio::test]
async fn fixed_ends_are_known_before_the_plan_runs_and_stay() {
    let Some(broker) = broker::required("fixed_ends_are_known") else {
        return;
    };
    for mode in [&[][..], &[APPEND]] {
        let topic = broker.new_topic("fixed", 2, &[]);
        broker.produce(&topic, &records(0..10));
        let t = table(broker, &topic, mode).await;
        let sql =
            "SELECT count(*), sum(v) FROM t UNION ALL SELECT count(*), sum(v) FROM t WHERE v > 4";
        let plan = fixed(&t, sql).await;
        let known = Some(r#"offsets:{"0":5,"1":5}"#.to_owned());
        assert_eq!(ends(&plan), [known.clone(), known.clone()], "{mode:?}");
        for turn in 1..3 {
            broker.produce(&topic, &records(0..10 * turn));
            let again = in_time("again", fix_ends(Arc::clone(&plan))).await.unwrap();
            assert_eq!(ends(&again), [known.clone(), known.clone()], "{mode:?}");
            assert_eq!(run(&t, &plan).await.unwrap(), ["10|45", "5|35"], "{mode:?}");
        }
    }
}

#[tokio::test]
async fn a_plan_without_topics_and_a_plan_that_ran_are_left_as_they_are() {
    let Some(broker) = broker::required("a_plan_without_topics") else {
        return;
    };
    let topic = broker.new_topic("ran", 2, &[]);
    broker.produce(&topic, &records(0..4));
    let t = table(broker, &topic, &[]).await;
    let none = fixed(&t, "SELECT 1").await;
    assert_eq!(run(&t, &none).await.unwrap(), ["1"]);
    let frame = t.ctx.sql("SELECT count(*) FROM t").await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    assert_eq!(run(&t, &plan).await.unwrap(), ["4"]);
    let before = ends(&plan);
    broker.produce(&topic, &records(4..8));
    // No broker is asked: the topic is gone.
    broker.delete_topic(&topic);
    let plan = fix_ends(plan).await.unwrap();
    assert_eq!(ends(&plan), before);
}

#[tokio::test]
async fn every_kind_of_bound_is_fixed() {
    let Some(broker) = broker::required("every_kind_of_bound") else {
        return;
    };
    let topic = broker.new_topic("bounds", 1, &[("retention.ms", "-1")]);
    let record = |v: i64| number(&format!("k{v}"), v).timestamp((v + 1) * 1_000);
    let write = |values: std::ops::Range<i64>| {
        broker.produce(&topic, &values.map(record).collect::<Vec<_>>());
    };
    write(0..10);
    let group = format!("group-{topic}");
    broker.commit(&group, &topic, 0, 6);
    let from_group = [("kafka.start", "group"), ("kafka.group.id", &group)];
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&from_group, "4|30"),
        (&[("kafka.start", "timestamp:8000")], "3|24"),
        // No record is that new yet.
        (&[("kafka.end", "timestamp:12000")], "10|45"),
        (&[("kafka.end", r#"offsets:{"0":3}"#)], "3|3"),
    ];
    let mut plans = Vec::new();
    for (options, expected) in cases {
        let t = table(broker, &topic, options).await;
        let plan = fixed(&t, "SELECT count(*), sum(v) FROM t").await;
        plans.push((t, plan, expected));
    }
    write(10..20);
    broker.commit(&group, &topic, 0, 15);
    for (t, plan, expected) in plans {
        assert_eq!(run(&t, &plan).await.unwrap(), [expected]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fixing_waits_for_offsets_and_explaining_does_not() {
    let Some(broker) = broker::required("fixing_waits_for_offsets") else {
        return;
    };
    let topic = broker.new_topic("awaited", 1, &[]);
    broker.produce(&topic, &[number("a", 1)]);
    let wait = ("kafka.wait_for", r#"offsets:{"0":2}"#);
    let short = table(broker, &topic, &[wait, ("kafka.timeout", "1s")]).await;
    let explained = short.rows("EXPLAIN SELECT * FROM t").await;
    assert!(explained.concat().contains("KafkaScanExec"));
    let error = try_fixed(&short, "SELECT * FROM t").await.unwrap_err();
    assert!(matches!(error, Error::NotYetThere { .. }), "{error}");
    let long = table(broker, &topic, &[wait]).await;
    let fixing = fixed(&long, "SELECT v FROM t");
    let writing = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        tokio::task::block_in_place(|| broker.produce(&topic, &[number("b", 2)]));
    };
    let (plan, ()) = tokio::join!(fixing, writing);
    assert_eq!(ends(&plan), [Some(r#"offsets:{"0":2}"#.to_owned())]);
    assert_eq!(run(&long, &plan).await.unwrap(), ["1", "2"]);
}

#[tokio::test]
async fn a_topic_that_was_recreated_after_fixing_is_an_error() {
    let Some(broker) = broker::required("recreated_after_fixing") else {
        return;
    };
    for mode in [&[][..], &[APPEND]] {
        // The new topic has fewer records, as many, or more.
        for count in [3, 10, 30] {
            let topic = broker.new_topic("refixed", 1, &[]);
            let write = |values: std::ops::Range<i64>| {
                let records: Vec<Rec> = values.map(|v| number(&format!("k{v}"), v)).collect();
                broker.produce(&topic, &records);
            };
            write(0..10);
            let t = table(broker, &topic, mode).await;
            let plan = fixed(&t, "SELECT sum(v) FROM t").await;
            broker.delete_topic(&topic);
            broker.create_topic(&topic, 1, &[]);
            write(100..100 + count);
            let error = run(&t, &plan).await.unwrap_err().to_string();
            let says_so = error.contains("recreated") && error.contains(&topic);
            assert!(says_so, "{mode:?}, {count}: {error}");
        }
    }
}

#[tokio::test]
async fn records_that_retention_deleted_after_fixing_are_an_error() {
    let Some(broker) = broker::required("deleted_after_fixing") else {
        return;
    };
    for mode in [&[][..], &[APPEND]] {
        for before in [1, 10] {
            let topic = broker.new_topic("shortened", 1, &[]);
            let records: Vec<Rec> = (0..10).map(|v| number(&format!("k{v}"), v)).collect();
            broker.produce(&topic, &records);
            let t = table(broker, &topic, mode).await;
            let plan = fixed(&t, "SELECT sum(v) FROM t").await;
            broker.delete_records(&topic, 0, before);
            let error = run(&t, &plan).await.unwrap_err().to_string();
            let says_so = error.contains("the broker no longer holds this offset");
            assert!(says_so && error.contains(&topic), "{mode:?}: {error}");
        }
    }
}

#[tokio::test]
async fn an_unbounded_scan_starts_where_it_was_fixed() {
    let Some(broker) = broker::required("an_unbounded_scan_starts") else {
        return;
    };
    let topic = broker.new_topic("endless", 1, &[]);
    broker.produce(&topic, &[number("a", 1)]);
    let t = table(broker, &topic, &[]).await;
    let latest = [("kafka.start", "latest"), APPEND];
    t.add_unbounded("u", &topic, COLUMNS, &latest)
        .await
        .unwrap();
    let plan = fixed(&t, "SELECT v FROM u").await;
    broker.produce(&topic, &[number("b", 2)]);
    for _ in 0..2 {
        let mut rows = execute_stream(Arc::clone(&plan), t.ctx.task_ctx()).unwrap();
        let first = in_time("a row", rows.next()).await.unwrap().unwrap();
        assert_eq!(cells(&[first]), [["2"]]);
    }
}
