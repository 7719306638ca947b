//! VALUES below an INSERT have the types of their own values, not those of the topic's columns.

use super::{Writable, create_table, record, records, says};
use crate::broker;
use crate::session::{count, counted, error, within};

const COLUMNS: &str = "_key VARCHAR, a INT";

/// The result of a statement that DataFusion's own planner plans.
async fn plain(ctx: &datafusion::prelude::SessionContext, sql: &str) -> Result<u64, String> {
    within(sql, async {
        let frame = ctx.sql(sql).await?;
        Ok(counted(&frame.collect().await?))
    })
    .await
    .map_err(|error: datafusion::error::DataFusionError| error.to_string())
}

#[tokio::test]
async fn values_below_a_query_keep_their_own_types() {
    let Some(broker) = broker::required("values_below_a_query") else {
        return;
    };
    for query in [
        "SELECT k, CAST(d * 10 AS INT) FROM (VALUES ('k', 1.7)) v(k, d)",
        // The number of columns differs from the topic's.
        "SELECT k, CAST(d * e AS INT) FROM (VALUES ('k', 1.7, 10)) v(k, d, e)",
        "SELECT 'k', CAST(d * 10 AS INT) FROM (VALUES (1.7)) v(d)",
        "WITH w AS (SELECT * FROM (VALUES ('k', 1.7)) v(k, d)) SELECT k, CAST(d * 10 AS INT) FROM w",
        "SELECT k, CAST(d * 10 AS INT) FROM (SELECT * FROM (VALUES ('k', 1.7)) ORDER BY 2) v(k, d)",
        "SELECT k, CAST(d * 10 AS INT) FROM (VALUES ('k', 1.7) UNION ALL VALUES ('l', 1.7)) v(k, d) WHERE k = 'k'",
        "SELECT k, CAST(d * 10 AS INT) FROM (VALUES ('k', 1.7), ('l', 2.7) ORDER BY 1 LIMIT 1) v(k, d)",
        "SELECT 'k', (SELECT CAST(max(d) * 10 AS INT) FROM (VALUES ('x', 1.7)) v(k, d))",
        "SELECT x.k, CAST(y.d * 10 AS INT) FROM (VALUES ('k')) x(k) JOIN (VALUES ('k', 1.7)) y(k, d) ON x.k = y.k",
        "SELECT k, CAST(d * 10 AS INT) FROM (WITH w(k, d) AS (VALUES ('k', 1.7)) SELECT * FROM w) v",
    ] {
        for verb in [
            "INSERT INTO t",
            "INSERT OVERWRITE t",
            "INSERT INTO t (_key, a)",
        ] {
            let t = Writable::new(broker, COLUMNS, &[]).await;
            let insert = format!("{verb} {query}");
            assert_eq!(plain(&t.ctx, &insert).await, Ok(1), "{insert}");
            let t_too = Writable::new(broker, COLUMNS, &[]).await;
            assert_eq!(count(&t_too.ctx, &insert).await, 1);
            for topic in [&t.topic, &t_too.topic] {
                assert_eq!(
                    records(broker, topic),
                    [record("k", r#"{"a":17}"#)],
                    "{insert}"
                );
            }
        }
    }
}

#[tokio::test]
async fn values_in_a_with_clause_keep_their_own_types_or_are_refused() {
    let Some(broker) = broker::required("values_in_a_with_clause") else {
        return;
    };
    for query in [
        "WITH v(k, d) AS (VALUES ('k', 1.7)) SELECT k, CAST(d * 10 AS INT) FROM v",
        "SELECT 'k', 17 WHERE 1.7 IN (VALUES (1.7))",
    ] {
        for verb in ["INSERT INTO t", "INSERT OVERWRITE t"] {
            let t = Writable::new(broker, COLUMNS, &[]).await;
            let insert = format!("{verb} {query}");
            assert_eq!(count(&t.ctx, &insert).await, 1);
            assert_eq!(t.records(), [record("k", r#"{"a":17}"#)], "{insert}");
        }
    }
    // DataFusion's own planner converts the values to the topic's types before this library can
    // act.
    let t = Writable::new(broker, COLUMNS, &[]).await;
    for insert in [
        "INSERT INTO t WITH v(k, d) AS (VALUES ('k', 1.7)) SELECT k, CAST(d * 10 AS INT) FROM v",
        "INSERT OVERWRITE t WITH v(k, d) AS (VALUES ('k', 1.7)) SELECT k, CAST(d * 10 AS INT) FROM v",
        "INSERT INTO t SELECT 'k', 17 WHERE EXISTS (VALUES ('k', 1.7))",
        "INSERT INTO t WITH v(k, d) AS (VALUES ('k', 1.7) UNION ALL VALUES ('l', 2.7)) SELECT k, CAST(d * 10 AS INT) FROM v",
        "INSERT INTO t WITH v AS (VALUES ('k', 1.7) ORDER BY 2 LIMIT 1) SELECT column1, CAST(column2 * 10 AS INT) FROM v",
    ] {
        let why = plain(&t.ctx, insert).await.unwrap_err();
        says(
            &why,
            &[
                &t.topic,
                "SELECT * FROM (VALUES ..)",
                "datafusion_kafka::sql",
            ],
        );
    }
    // A value that is the same in the topic's type is not an error.
    let insert = "INSERT INTO t WITH v(k, n) AS (VALUES ('k', 17)) SELECT k, n FROM v";
    assert_eq!(plain(&t.ctx, insert).await, Ok(1));
    assert_eq!(t.records(), [record("k", r#"{"a":17}"#)]);
}

#[tokio::test]
async fn values_of_the_insert_itself_have_the_types_of_the_topic() {
    let Some(broker) = broker::required("values_of_the_insert_itself") else {
        return;
    };
    let columns = "_key VARCHAR, n DECIMAL(20, 4), ts TIMESTAMP(3)";
    for insert in [
        "INSERT INTO t VALUES ('k', 1234567890123456.7891, '2026-01-01T00:00:00.5')",
        "INSERT INTO t (ts, _key, n) VALUES ('2026-01-01T00:00:00.5', 'k', 1234567890123456.7891)",
    ] {
        let t = Writable::new(broker, columns, &[]).await;
        assert_eq!(count(&t.ctx, insert).await, 1);
        let payload = t.payloads().remove(0);
        says(
            &payload,
            &[r#""ts":"2026-01-01T00:00:00.500""#, "1234567890123456.7"],
        );
    }
    let t = Writable::new(broker, columns, &[]).await;
    let prepare = "PREPARE p AS INSERT INTO t SELECT k, n, NULL FROM (VALUES ($1, $2)) v(k, n)";
    plain_unit(&t.ctx, prepare).await;
    assert_eq!(plain(&t.ctx, "EXECUTE p('k', 2.5)").await, Ok(1));
    assert_eq!(t.payloads(), [r#"{"n":2.5000,"ts":null}"#]);
    let why = error(&t.ctx, "INSERT INTO t VALUES ('k', 1)").await;
    says(&why, &["got 2 values in row 0 but expected 3"]);
}

async fn plain_unit(ctx: &datafusion::prelude::SessionContext, sql: &str) {
    ctx.sql(sql).await.unwrap().collect().await.unwrap();
}

#[tokio::test]
async fn a_session_that_was_not_prepared_plans_values_by_sql_alike() {
    let Some(broker) = broker::required("a_session_that_was_not_prepared") else {
        return;
    };
    let topic = broker.new_topic("values", 1, &[]);
    let ctx = datafusion::prelude::SessionContext::new();
    let factory = std::sync::Arc::new(datafusion_kafka::KafkaTableFactory::default());
    let state = ctx.state_ref();
    state
        .write()
        .table_factories_mut()
        .insert("KAFKA".to_owned(), factory);
    let options = [("kafka.bootstrap.servers", broker.servers.as_str())];
    plain_unit(&ctx, &create_table("t", COLUMNS, &topic, &options)).await;
    let insert = "INSERT INTO t WITH w(k, d, e) AS (VALUES ('k', 1.7, 10)) \
                  SELECT k, CAST(d * e AS INT) FROM w";
    assert_eq!(count(&ctx, insert).await, 1);
    assert_eq!(records(broker, &topic), [record("k", r#"{"a":17}"#)]);
}
