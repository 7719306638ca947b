//! [`ContinuousQuery`](datafusion_kafka::ContinuousQuery) for queries that cannot go record by
//! record: joins, aggregates, windows.

use std::sync::Arc;

use datafusion::catalog::view::ViewTable;
use datafusion_kafka::{QueryProgress, QueryStatus};

use super::{EXACTLY_ONCE, caught_up, log, start, stopped, until, value, written};
use crate::broker::{self, Broker, Rec, topic_name};
use crate::declared::{Declared, in_time};

async fn declared(
    broker: &Broker,
    orders: &str,
    names: &str,
    out: &str,
    options: &[(&str, &str)],
) -> Declared {
    let columns = "_key VARCHAR, customer VARCHAR, v BIGINT";
    let declared = Declared::new(broker, orders, columns, &[]).await;
    declared
        .add("names", names, "_key VARCHAR, name VARCHAR", &[])
        .await
        .unwrap();
    let columns = "_key VARCHAR, name VARCHAR, total BIGINT";
    declared.add("out", out, columns, options).await.unwrap();
    declared
}

fn order(key: &str, customer: &str, v: i64) -> Rec {
    Rec::new(key, format!(r#"{{"customer":"{customer}","v":{v}}}"#))
}

fn name(key: &str, name: &str) -> Rec {
    Rec::new(key, format!(r#"{{"name":"{name}"}}"#))
}

const TOTALS: &str = "INSERT INTO out SELECT customer AS _key, max(name) AS name, sum(v) AS total \
                      FROM t JOIN names ON customer = names._key GROUP BY customer";

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_is_written() {
    let Some(broker) = broker::required("continuous::only_what_differs_is_written") else {
        return;
    };
    for delivery in ["at_least_once", "exactly_once"] {
        let orders = broker.new_topic("orders", 2, &[]);
        let names = broker.new_topic("names", 1, &[]);
        let out = broker.new_topic("out", 1, &[]);
        let options = [("kafka.delivery", delivery)];
        let declared = declared(broker, &orders, &names, &out, &options).await;
        broker.produce(&names, &[name("c1", "Ada"), name("c2", "Bob")]);
        broker.produce(
            &orders,
            &[
                order("o1", "c1", 1),
                order("o2", "c2", 5),
                order("o3", "c1", 2),
            ],
        );
        // The output already has a row that is equal but spelled differently, and rows that are not
        // part of the result.
        let same = Rec::new("c2", "{ \"total\": 5, \"name\": \"Bob\", \"more\": 1 }");
        broker.produce(&out, &[same, name("c9", "Eve"), Rec::new("c8", "broken")]);
        let query_name = topic_name("query");
        let query = start(&declared, &query_name, TOTALS).await;
        let mut found = written(broker, &out, 6).await[3..].to_vec();
        found.sort();
        assert_eq!(
            found,
            [r#"c1={"name":"Ada","total":3}"#, "c8=null", "c9=null"]
        );
        // A change of either input, and a row that is removed.
        broker.produce(&names, &[name("c2", "Bea")]);
        assert_eq!(
            written(broker, &out, 7).await[6],
            r#"c2={"name":"Bea","total":5}"#
        );
        broker.produce(&orders, &[order("o1", "c1", 10)]);
        assert_eq!(
            written(broker, &out, 8).await[7],
            r#"c1={"name":"Ada","total":12}"#
        );
        broker.produce(&orders, &[Rec::tombstone("o2")]);
        assert_eq!(written(broker, &out, 9).await[8], "c2=null");
        // The row moves to another key and back, within one refresh.
        broker.produce(&orders, &[order("o2", "c2", 7), order("o2", "c1", 7)]);
        caught_up(broker, &query, &[&orders, &names]).await;
        stopped(broker, &query, &out).await;
        let kept = declared.rows("SELECT * FROM out").await;
        assert_eq!(kept, ["c1|Ada|19"], "{delivery}");
        // A restarted query has nothing to write.
        let records = log(broker, &out).len();
        let query = start(&declared, &query_name, TOTALS).await;
        until("a refresh", &query, |p| p.refreshes > 0).await;
        let progress = query.progress();
        assert_eq!(
            (progress.upserts, progress.tombstones, progress.unchanged),
            (0, 0, 1)
        );
        query.stop().await.unwrap();
        assert_eq!(log(broker, &out).len(), records);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_changes_are_put_together() {
    let Some(broker) = broker::required("continuous::many_small_changes_are_put_together") else {
        return;
    };
    let topic = broker.new_topic("feed", 2, &[]);
    let out = broker.new_topic("out", 1, &[]);
    let columns = "_key VARCHAR, v BIGINT";
    let declared = Declared::new(broker, &topic, columns, &[]).await;
    declared
        .add("out", &out, "_key VARCHAR, n BIGINT, total BIGINT", &[])
        .await
        .unwrap();
    let sql = "INSERT INTO out SELECT 'all' AS _key, count(*) AS n, sum(v) AS total FROM t";
    let query = start(&declared, &topic_name("query"), sql).await;
    let mut expected = std::collections::BTreeMap::new();
    for round in 0..90_i64 {
        let mut records = Vec::new();
        for n in 0..5 {
            let key = format!("k{}", (round * 7 + n * 3) % 40);
            match (round + n) % 6 {
                0 => {
                    expected.remove(&key);
                    records.push(Rec::tombstone(&key));
                }
                _ => {
                    expected.insert(key.clone(), round * n);
                    records.push(value(&key, round * n));
                }
            }
        }
        let refreshes = query.progress().refreshes;
        broker.produce(&topic, &records);
        if round % 3 == 0 {
            until("no refresh", &query, |p| p.refreshes > refreshes).await;
        }
    }
    caught_up(broker, &query, &[&topic]).await;
    query.stop().await.unwrap();
    let total: i64 = expected.values().sum();
    let row = format!("all|{}|{total}", expected.len());
    assert_eq!(declared.rows("SELECT * FROM out").await, [row]);
    assert_eq!(
        declared.rows("SELECT 'all', count(*), sum(v) FROM t").await,
        declared.rows("SELECT * FROM out").await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rows_of_one_key_end_it_before_anything_is_written() {
    let test = "continuous::two_rows_of_one_key_end_it_before_anything_is_written";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for options in [&[][..], &[EXACTLY_ONCE]] {
        let topic = broker.new_topic("feed", 1, &[]);
        let out = broker.new_topic("out", 1, &[]);
        let columns = "_key VARCHAR, v BIGINT";
        let declared = Declared::new(broker, &topic, columns, &[]).await;
        declared.add("out", &out, columns, options).await.unwrap();
        broker.produce(&topic, &[value("a", 1), value("b", 1), value("c", 2)]);
        let sql = "INSERT INTO out SELECT CAST(v AS VARCHAR) AS _key, v FROM t";
        let query = start(&declared, &topic_name("query"), sql).await;
        let error = in_time("the end", query.wait())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("has the `_key` of another row"), "{error}");
        assert_eq!(log(broker, &out), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_bounds_what_is_kept() {
    let Some(broker) = broker::required("continuous::memory_bounds_what_is_kept") else {
        return;
    };
    let topic = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    let columns = "_key VARCHAR, v BIGINT";
    let declared = Declared::new(broker, &topic, columns, &[]).await;
    declared
        .add("out", &out, "_key VARCHAR, n BIGINT", &[])
        .await
        .unwrap();
    let records: Vec<Rec> = (0..20_000).map(|n| value(&format!("key-{n}"), n)).collect();
    broker.produce(&topic, &records);
    declared
        .rows("SET datafusion.runtime.memory_limit = '1M'")
        .await;
    let sql = "INSERT INTO out SELECT 'all' AS _key, count(*) AS n FROM t";
    let query = start(&declared, &topic_name("query"), sql).await;
    let error = in_time("the end", query.wait())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("Resources exhausted"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_of_a_query_that_was_optimized_before_are_kept() {
    let Some(broker) = broker::required("continuous::filters_of_a_query_that_was_optimized") else {
        return;
    };
    let topic = broker.new_topic("feed", 2, &[]);
    let columns = "_key VARCHAR, v BIGINT, w BIGINT";
    let declared = Declared::new(broker, &topic, columns, &[]).await;
    let wide = |key: &str, v: i64| Rec::new(key, format!(r#"{{"v":{v},"w":{v}}}"#));
    broker.produce(
        &topic,
        &[wide("a", 1), wide("b", 2), wide("c", 3), wide("d", 4)],
    );
    let view = "SELECT x.w AS w, x._key AS k FROM t AS x WHERE x.v > 1 AND x.v < 4";
    let frame = declared.ctx.sql(view).await.unwrap();
    let optimized = ViewTable::new(frame.into_optimized_plan().unwrap(), None);
    declared
        .ctx
        .register_table("optimized", Arc::new(optimized))
        .unwrap();
    for (from, limit, rows) in [
        ("optimized", 9, vec!["all|5|2"]),
        ("optimized", 1, vec!["all|2|1", "all|3|1"]),
    ] {
        let out = broker.new_topic("out", 1, &[]);
        let name = format!("out{limit}");
        let columns = "_key VARCHAR, total BIGINT, n BIGINT";
        declared.add(&name, &out, columns, &[]).await.unwrap();
        let sql = format!(
            "INSERT INTO {name} SELECT 'all' AS _key, sum(w) AS total, count(*) AS n FROM (SELECT w FROM {from} LIMIT {limit})"
        );
        let query = start(&declared, &topic_name("query"), &sql).await;
        caught_up(broker, &query, &[&topic]).await;
        query.stop().await.unwrap();
        let found = declared
            .rows(&format!("SELECT * FROM {name}"))
            .await
            .concat();
        assert!(rows.contains(&found.as_str()), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_at_a_time_to_come_is_the_first_record_of_that_time() {
    let Some(broker) = broker::required("continuous::a_start_at_a_time_to_come") else {
        return;
    };
    let (refreshed, row_by_row) = (
        "INSERT INTO out SELECT _key, max(v) AS v FROM t GROUP BY _key",
        "INSERT INTO out SELECT _key, v FROM t",
    );
    for (sql, delivery) in [
        (refreshed, "at_least_once"),
        (row_by_row, "at_least_once"),
        (row_by_row, "exactly_once"),
    ] {
        let topic = broker.new_topic("feed", 2, &[("retention.ms", "-1")]);
        let out = broker.new_topic("out", 1, &[]);
        let columns = "_key VARCHAR, v BIGINT";
        let start_at = [("kafka.start", "timestamp:5000")];
        let declared = Declared::new(broker, &topic, columns, &start_at).await;
        let options = [("kafka.delivery", delivery)];
        declared.add("out", &out, columns, &options).await.unwrap();
        let at = |partition: i32, key: &str, v: i64, millis: i64| {
            value(key, v).partition(partition).timestamp(millis)
        };
        broker.produce(&topic, &[at(0, "a", 1, 1_000)]);
        let query_name = topic_name("query");
        let query = start(&declared, &query_name, sql).await;
        in_time("a beginning", async {
            while !matches!(query.status(), QueryStatus::Running) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
        broker.produce(&topic, &[at(1, "b", 2, 6_000)]);
        assert_eq!(written(broker, &out, 1).await, [r#"b={"v":2}"#], "{sql}");
        broker.produce(&topic, &[at(0, "c", 3, 4_000)]);
        broker.produce(&topic, &[at(1, "d", 4, 4_000)]);
        assert_eq!(written(broker, &out, 2).await[1], r#"d={"v":4}"#, "{sql}");
        // Also if the query restarts before that time has come.
        stopped(broker, &query, &out).await;
        broker.produce(&topic, &[at(0, "e", 5, 4_999)]);
        let query = start(&declared, &query_name, sql).await;
        broker.produce(&topic, &[at(0, "f", 6, 5_000), at(0, "g", 7, 1_000)]);
        let mut found = written(broker, &out, 4).await[2..].to_vec();
        found.sort();
        assert_eq!(found, [r#"f={"v":6}"#, r#"g={"v":7}"#], "{sql}");
        stopped(broker, &query, &out).await;
        let rows = declared.rows("SELECT _key FROM out").await;
        assert_eq!(rows, ["b", "d", "f", "g"], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_at_the_end_is_that_of_the_query_however_often_it_begins_again() {
    let Some(broker) = broker::required("continuous::a_start_at_the_end_is_that_of_the_query")
    else {
        return;
    };
    let topic = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    let columns = "_key VARCHAR, v BIGINT";
    let latest = [("kafka.start", "latest")];
    let declared = Declared::new(broker, &topic, columns, &latest).await;
    declared
        .add("out", &out, columns, &[EXACTLY_ONCE])
        .await
        .unwrap();
    broker.produce(&topic, &[value("old", 1)]);
    let sql = "INSERT INTO out SELECT _key, max(v) AS v FROM t GROUP BY _key";
    let name = topic_name("query");
    let query = start(&declared, &name, sql).await;
    until("it begins", &query, |p| p.commits > 0).await;
    broker.produce(&topic, &[value("a", 2)]);
    assert_eq!(written(broker, &out, 1).await, [r#"a={"v":2}"#]);
    // The fence makes the query restart.
    broker.fence(&format!("datafusion-kafka-{name}"));
    broker.produce(&topic, &[value("b", 3)]);
    in_time("a failure", async {
        while !matches!(query.status(), QueryStatus::Retrying { .. }) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    // The topic gets a partition meanwhile.
    broker.add_partitions(&topic, 2);
    broker.produce(&topic, &[value("c", 4).partition(1)]);
    assert_eq!(written(broker, &out, 3).await.len(), 3);
    query.stop().await.unwrap();
    let all = Declared::new(broker, &out, columns, &[]).await;
    assert_eq!(
        all.rows("SELECT _key, v FROM t").await,
        ["a|2", "b|3", "c|4"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_has_passed_is_no_row_any_more() {
    let test = "continuous::what_retention_has_passed_is_no_row_any_more";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let topic = broker.new_topic("feed", 1, &[("cleanup.policy", "delete")]);
    let out = broker.new_topic("out", 1, &[]);
    let columns = "_key VARCHAR, v BIGINT";
    let declared = Declared::new(broker, &topic, columns, &[]).await;
    declared.add("out", &out, columns, &[]).await.unwrap();
    broker.produce(&topic, &[value("a", 1), value("b", 2)]);
    // The query cannot go record by record, and has a row for each record.
    let sql = "INSERT INTO out SELECT _key, max(v) AS v FROM t GROUP BY _key";
    let query = start(&declared, &topic_name("query"), sql).await;
    assert_eq!(written(broker, &out, 2).await.len(), 2);
    // No record after an open transaction is read, so `c` is deleted before it is read.
    let open = broker.begin(&topic, &[value("c", 3)]);
    broker.produce(&topic, &[value("d", 4)]);
    let name = topic.clone();
    let gone = tokio::task::spawn_blocking(move || {
        broker.delete_records(&name, 0, 3);
        open.abort();
    });
    gone.await.unwrap();
    // Between the deletion and the end of the transaction the topic has no rows.
    let is_done = |p: &QueryProgress| p.tombstones >= 2 && p.upserts >= 3;
    until("the rows that are left", &query, is_done).await;
    query.stop().await.unwrap();
    assert_eq!(declared.rows("SELECT * FROM out").await, ["d|4"]);
}
