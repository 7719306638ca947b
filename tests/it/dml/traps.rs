//! Predicates that DataFusion does not pass to a provider as they are. Each is tried on the
//! rewritten path, where exactly the matching rows change, and on the plain path, which refuses.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::prelude::SessionContext;
use datafusion_kafka::KafkaTable;

use super::Changing;
use crate::broker::{self, Rec};
use crate::session::{rows, try_rows, within};
use crate::writing::says;

/// `v` is 1, 2, 3, 4, and NULL for `e`.
fn records() -> Vec<Rec> {
    vec![
        Rec::new("a", r#"{"v":1,"w":10}"#),
        Rec::new("b", r#"{"v":2,"w":20}"#),
        Rec::new("c", r#"{"v":3,"w":30}"#),
        Rec::new("d", r#"{"v":4,"w":40}"#),
        Rec::new("e", r#"{"w":50}"#),
    ]
}

const COLUMNS: &str = "_key VARCHAR NOT NULL, v BIGINT, w BIGINT";

/// The keys that a WHERE clause, including LIMIT, selects; `*` if only their number is determined.
const PREDICATES: &[(&str, &str)] = &[
    ("", "abcde"),
    ("WHERE false", ""),
    ("WHERE 1 = 0", ""),
    ("WHERE true", "abcde"),
    ("WHERE NULL", ""),
    ("WHERE v = NULL", ""),
    ("WHERE v IS NULL", "e"),
    ("WHERE v > 2", "cd"),
    ("WHERE NOT v > 2", "ab"),
    ("WHERE v IN (SELECT x FROM empty)", ""),
    ("WHERE v IN (SELECT x FROM few)", "bd"),
    ("WHERE v NOT IN (SELECT x FROM empty)", "abcde"),
    ("WHERE v NOT IN (SELECT x FROM few)", "ac"),
    ("WHERE v NOT IN (SELECT x FROM nulls)", ""),
    ("WHERE v > 2 AND v IN (SELECT x FROM few)", "d"),
    ("WHERE v > 2 AND v IN (SELECT x FROM empty)", ""),
    ("WHERE v < 2 OR v IN (SELECT x FROM few)", "abd"),
    ("WHERE EXISTS (SELECT 1 FROM empty)", ""),
    ("WHERE EXISTS (SELECT 1 FROM few)", "abcde"),
    ("WHERE NOT EXISTS (SELECT 1 FROM few)", ""),
    ("WHERE EXISTS (SELECT 1 FROM few WHERE few.x = t.v)", "bd"),
    (
        "WHERE NOT EXISTS (SELECT 1 FROM few WHERE few.x = t.v)",
        "ace",
    ),
    ("WHERE v = (SELECT min(x) FROM few)", "b"),
    ("WHERE v = (SELECT max(x) FROM empty)", ""),
    ("WHERE v = (SELECT max(v) FROM t)", "d"),
    ("WHERE v > (SELECT avg(v) FROM t)", "cd"),
    (
        "WHERE v < (SELECT max(o.w) FROM t o WHERE o._key = t._key)",
        "abcd",
    ),
    (
        "WHERE v = (SELECT max(o.w) FROM t o WHERE o._key = t._key)",
        "",
    ),
    ("WHERE _key IN (SELECT _key FROM t WHERE w >= 40)", "de"),
    ("WHERE w IN (SELECT max(w) FROM t GROUP BY v IS NULL)", "de"),
    ("WHERE _key = 'b'", "b"),
    ("WHERE _key IN ('b', 'x', 'd')", "bd"),
    ("WHERE CAST(v AS VARCHAR) LIKE '1%'", "a"),
];

async fn changing(broker: &'static broker::Broker) -> Changing {
    let t = Changing::new(broker, COLUMNS, &records()).await;
    helpers(&t.ctx).await;
    t
}

async fn helpers(ctx: &SessionContext) {
    for sql in [
        "CREATE TABLE empty (x BIGINT)",
        "CREATE TABLE few AS VALUES (2), (4), (9)",
        "CREATE TABLE nulls AS VALUES (2), (NULL)",
    ] {
        rows(ctx, sql).await;
    }
    for table in ["few", "nulls"] {
        let view = format!(
            "CREATE OR REPLACE TABLE {table} AS SELECT CAST(column1 AS BIGINT) AS x FROM {table}"
        );
        rows(ctx, &view).await;
    }
}

#[tokio::test]
async fn delete_sends_a_tombstone_for_each_row_of_its_predicate() {
    let Some(broker) = broker::required("delete_sends_a_tombstone") else {
        return;
    };
    for (predicate, keys) in PREDICATES {
        let mut t = changing(broker).await;
        let done = t.run(&format!("DELETE FROM t {predicate}")).await;
        let mut deleted: Vec<_> = done.sent.iter().map(|(key, _)| key.as_str()).collect();
        deleted.sort_unstable();
        assert_eq!(deleted.concat(), *keys, "{predicate}");
        assert!(done.sent.iter().all(|(_, payload)| payload.is_none()));
        assert_eq!(done.count, keys.len() as u64, "{predicate}");
        broker.delete_topic(&t.topic);
    }
}

#[tokio::test]
async fn update_sends_a_record_for_each_row_of_its_predicate() {
    let Some(broker) = broker::required("update_sends_a_record") else {
        return;
    };
    for (predicate, keys) in PREDICATES {
        let mut t = changing(broker).await;
        let before = t.state();
        // The new value depends on the column itself, and on another column.
        let set = "v = coalesce(v, 100) * 2 + w";
        let done = t.run(&format!("UPDATE t SET {set} {predicate}")).await;
        let mut updated: Vec<_> = done.sent.iter().map(|(key, _)| key.as_str()).collect();
        updated.sort_unstable();
        assert_eq!(updated.concat(), *keys, "{predicate}");
        assert_eq!(done.count, keys.len() as u64, "{predicate}");
        for (key, payload) in &done.sent {
            let expected = match key.as_str() {
                "a" => r#"{"v":12,"w":10}"#,
                "b" => r#"{"v":24,"w":20}"#,
                "c" => r#"{"v":36,"w":30}"#,
                "d" => r#"{"v":48,"w":40}"#,
                _ => r#"{"w":50,"v":250}"#,
            };
            assert_eq!(payload.as_deref(), Some(expected), "{predicate}");
        }
        assert_eq!(t.state().len(), before.len());
        broker.delete_topic(&t.topic);
    }
}

#[tokio::test]
async fn delete_stops_at_its_limit() {
    let Some(broker) = broker::required("delete_stops_at_its_limit") else {
        return;
    };
    for (rest, count) in [
        ("LIMIT 0", 0),
        ("LIMIT 3", 3),
        ("LIMIT 100", 5),
        ("WHERE v > 2 LIMIT 1", 1),
        ("WHERE v IN (SELECT x FROM few) LIMIT 1", 1),
        ("WHERE false LIMIT 2", 0),
    ] {
        let mut t = changing(broker).await;
        let done = t.run(&format!("DELETE FROM t {rest}")).await;
        assert_eq!(
            (done.count, done.sent.len()),
            (count, count as usize),
            "{rest}"
        );
        assert_eq!(t.state().len(), 5 - count as usize, "{rest}");
        broker.delete_topic(&t.topic);
    }
}

/// PREPARE optimizes a statement before it is rewritten. By then its filters are inside the scan
/// and its subqueries are joins.
#[tokio::test]
async fn prepared_statements_change_the_rows_of_their_predicate_or_are_refused() {
    let Some(broker) = broker::required("prepared_statements_change") else {
        return;
    };
    let mut refused = Vec::new();
    for (predicate, keys) in PREDICATES {
        for verb in ["DELETE FROM t", "UPDATE t SET v = coalesce(v, 100) * 2 + w"] {
            let t = changing(broker).await;
            let limit = if keys.len() > 2 && verb.starts_with('D') {
                " LIMIT 2"
            } else {
                ""
            };
            rows(&t.ctx, &format!("PREPARE p AS {verb} {predicate}{limit}")).await;
            let result = try_rows(&t.ctx, "EXECUTE p").await;
            let changed: Vec<_> = broker.read_all(&t.topic).split_off(5);
            match result {
                Ok(_) => {
                    let keys: Vec<_> = keys.chars().map(|key| key.to_string()).collect();
                    let right = changed.iter().all(|stored| {
                        keys.iter()
                            .any(|key| Some(key.as_bytes()) == stored.key.as_deref())
                    });
                    assert!(right, "{verb} {predicate}");
                    let count = if limit.is_empty() { keys.len() } else { 2 };
                    assert_eq!(changed.len(), count, "{verb} {predicate}");
                }
                Err(error) => {
                    assert!(changed.is_empty());
                    refused.push(format!("{verb} {predicate}: {error}"));
                }
            }
            broker.delete_topic(&t.topic);
        }
    }
    assert!(refused.len() < 12, "{}: {refused:#?}", refused.len());
}

#[tokio::test]
async fn parameters_and_ctes_are_part_of_the_predicate() {
    let Some(broker) = broker::required("parameters_and_ctes") else {
        return;
    };
    let mut t = changing(broker).await;
    let delete = datafusion_kafka::sql(&t.ctx, "DELETE FROM t WHERE v > $1 AND v <= $2").await;
    let delete = delete.unwrap().with_param_values(vec![
        datafusion::scalar::ScalarValue::from(1_i64),
        datafusion::scalar::ScalarValue::from(3_i64),
    ]);
    within("delete", delete.unwrap().collect()).await.unwrap();
    assert_eq!(t.state().into_keys().collect::<String>(), "ade");
    rows(&t.ctx, "PREPARE cut(BIGINT) AS DELETE FROM t WHERE v = $1").await;
    rows(&t.ctx, "EXECUTE cut(4)").await;
    assert_eq!(t.state().into_keys().collect::<String>(), "ae");
    let cte = "UPDATE t SET v = 7 WHERE _key IN (WITH k AS (SELECT 'e' AS k) SELECT k FROM k)";
    assert_eq!(t.run(cte).await.count, 1);
}

#[tokio::test]
async fn a_session_that_only_registered_the_table_refuses_and_says_what_to_call() {
    let Some(broker) = broker::required("a_session_that_only_registered") else {
        return;
    };
    let topic = broker.new_topic("bare", 1, &[]);
    broker.produce(&topic, &records());
    let bigint = |name| Field::new(name, DataType::Int64, true);
    let table = KafkaTable::builder(&topic)
        .with_schema(Schema::new(vec![bigint("v"), bigint("w")]))
        .with_option("kafka.bootstrap.servers", &broker.servers)
        .build()
        .await
        .unwrap();
    let ctx = SessionContext::new();
    ctx.register_table("t", Arc::new(table)).unwrap();
    helpers(&ctx).await;
    let mut statements = vec![
        "TRUNCATE TABLE t".to_owned(),
        "INSERT OVERWRITE t VALUES ('a', 1, 2)".to_owned(),
        "MERGE INTO t USING few ON t.v = few.x WHEN MATCHED THEN DELETE".to_owned(),
        "DELETE FROM t LIMIT 3".to_owned(),
        "DELETE FROM t LIMIT 0".to_owned(),
    ];
    for (predicate, _) in PREDICATES {
        statements.push(format!("DELETE FROM t {predicate}"));
        statements.push(format!("UPDATE t SET v = v + 1 {predicate}"));
    }
    for sql in statements {
        let result = within(&sql, async { ctx.sql(&sql).await?.collect().await }).await;
        let error = result
            .err()
            .unwrap_or_else(|| panic!("{sql} ran"))
            .to_string();
        // DataFusion itself cannot pass some correlated subqueries to a provider.
        if !error.contains("subquery") && !error.contains("Subquery") {
            says(&error, &["register_kafka", &topic]);
        }
    }
    assert_eq!(broker.read_uncommitted(&topic).len(), 5);
}
