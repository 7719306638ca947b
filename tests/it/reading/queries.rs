//! Projection, filter and limit, and the ways to declare a table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaTable, KafkaTopics, SourceOptions};

use super::{COLUMNS, number, topic_of};
use crate::broker::{self, Rec};
use crate::declared::{APPEND, Declared, in_time};
use crate::session::{cells, error, session};

// Filters and limits.

#[tokio::test]
async fn a_limit_gives_so_many_rows_also_behind_a_filter() {
    let Some(broker) = broker::required("a_limit_gives_so_many_rows") else {
        return;
    };
    let topic = broker.new_topic("limits", 3, &[]);
    let one = |n: i64| {
        let partition = i32::try_from(n % 3).unwrap();
        number(&format!("k{n:04}"), n).partition(partition)
    };
    let records: Vec<Rec> = (0..3_000).map(one).collect();
    broker.produce(&topic, &records);
    let columns = "_key VARCHAR, v BIGINT, _partition INT, _offset BIGINT";
    for options in [&[][..], &[APPEND]] {
        let table = Declared::new(broker, &topic, columns, options).await;
        for (filter, matching) in [
            ("true", 3_000),
            ("v < 10", 10),
            ("v % 100 = 1", 30),
            ("_key < 'k0005'", 5),
            ("_key IN ('k0001', 'k2999', 'none')", 2),
            ("_partition = 1", 1_000),
            ("_partition = 1 AND _offset < 7 AND v > 4", 5),
            ("_offset >= 990", 30),
            ("v IS NULL", 0),
        ] {
            let filtered = format!("SELECT v FROM t WHERE {filter}");
            let rows = table.rows(&filtered).await;
            assert_eq!(rows.len(), matching, "{filter}");
            for limit in [0, 1, 7, 29, 5_000] {
                let limited = table.rows(&format!("{filtered} LIMIT {limit}")).await;
                assert_eq!(limited.len(), matching.min(limit), "{filter} LIMIT {limit}");
                assert!(limited.iter().all(|row| rows.contains(row)));
            }
            let skipping = table.rows(&format!("{filtered} LIMIT 5 OFFSET 3")).await;
            assert_eq!(skipping.len(), matching.saturating_sub(3).min(5));
        }
        let random = table.rows("SELECT v FROM t WHERE random() >= 0").await;
        assert_eq!(random.len(), 3_000);
    }
}

#[tokio::test]
async fn a_newer_version_that_a_filter_leaves_out_still_hides_the_older() {
    let Some(broker) = broker::required("a_newer_version_that_a_filter_leaves_out") else {
        return;
    };
    let records = [
        number("a", 1).timestamp(1_000),
        number("b", 1).timestamp(1_000),
        number("a", 2).timestamp(2_000),
        number("c", 1).timestamp(2_000),
        Rec::tombstone("c").timestamp(3_000),
    ];
    let topic = topic_of(broker, "hidden", &records);
    let columns =
        "_key VARCHAR, v BIGINT, _offset BIGINT, _timestamp TIMESTAMP, _tombstone BOOLEAN";
    let table = Declared::new(broker, &topic, columns, &[]).await;
    for filter in [
        "v = 1",
        "_offset < 2",
        "_offset BETWEEN 0 AND 1",
        "_timestamp < TIMESTAMP '1970-01-01T00:00:02'",
        "NOT _tombstone AND _offset <> 2",
    ] {
        let rows = table
            .rows(&format!("SELECT _key, v FROM t WHERE {filter}"))
            .await;
        assert_eq!(rows, ["b|1"], "{filter}");
        let limited = format!("SELECT _key FROM t WHERE {filter} LIMIT 2");
        assert_eq!(table.rows(&limited).await, ["b"], "{filter}");
    }
}

#[tokio::test]
async fn explain_says_what_is_read() {
    let Some(broker) = broker::required("explain_says_what_is_read") else {
        return;
    };
    let topic = broker.new_topic("explained", 3, &[]);
    let table = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
    for (most, read) in [(1, "3 in 1 group"), (2, "3 in 2 groups")] {
        let set = format!("SET datafusion.execution.target_partitions = {most}");
        table.rows(&set).await;
        let plan = table.rows("EXPLAIN FORMAT INDENT SELECT * FROM t").await;
        let expected = format!("mode=append, partitions={read}, start");
        assert!(plan.join("").contains(&expected), "{plan:?}");
    }
    let set = "SET datafusion.execution.target_partitions = 3";
    table.rows(set).await;
    let plan = table
        .rows("EXPLAIN FORMAT INDENT SELECT _key FROM t WHERE v > 1 LIMIT 3")
        .await
        .join("\n");
    let expected = format!(
        "KafkaScanExec: topic={topic}, mode=append, partitions=3, start=earliest, end=latest, \
         projection=[_key], filter=v@1 > 1, limit=3"
    );
    assert!(plan.contains(&expected), "{plan}");
    assert!(!plan.contains("FilterExec"), "{plan}");

    let bounds = [
        ("kafka.start", r#"offsets:{"0":0,"2":0}"#),
        ("kafka.end", "timestamp:1000"),
    ];
    let table = Declared::new(broker, &topic, COLUMNS, &bounds).await;
    table.rows(set).await;
    let tree = table.rows("EXPLAIN FORMAT TREE SELECT * FROM t").await;
    assert!(tree.join("").contains("KafkaScanExec"), "{tree:?}");
    let plan = table.rows("EXPLAIN FORMAT INDENT SELECT * FROM t").await;
    let expected = "mode=upsert, partitions=3, start=offsets:{\"0\":0,\"2\":0}, \
                    end=timestamp:1000, projection=[_key, v]";
    assert!(plan.join("").contains(expected), "{plan:?}");
}

// Ways to declare a table.

#[tokio::test]
async fn a_table_is_built_in_rust_and_read_with_plain_sql() {
    let Some(broker) = broker::required("a_table_is_built_in_rust") else {
        return;
    };
    let record = Rec::new("a", r#"{"firstName":"Ada","born":1815}"#);
    let topic = topic_of(broker, "built", &[record]);
    let fields = vec![
        Field::new("born", DataType::Int32, true),
        Field::new("firstName", DataType::LargeUtf8, false),
    ];
    let ctx = SessionContext::new();
    let declared = KafkaTable::builder(&topic)
        .with_schema(Schema::new(fields))
        .with_option("kafka.bootstrap.servers", &broker.servers);
    let inferred =
        KafkaTable::builder(&topic).with_option("kafka.bootstrap.servers", &broker.servers);
    for (name, builder) in [("declared", declared), ("inferred", inferred)] {
        let table = in_time("build", builder.build()).await.unwrap();
        ctx.register_table(name, Arc::new(table)).unwrap();
        let sql = format!("SELECT _key, \"firstName\", born FROM {name}");
        let frame = ctx.sql(&sql).await.unwrap();
        let batches = in_time(&sql, frame.collect()).await.unwrap();
        assert_eq!(cells(&batches), [["a", "Ada", "1815"]]);
    }
}

#[tokio::test]
async fn a_topic_that_matches_a_pattern_is_read_with_plain_sql() {
    let Some(broker) = broker::required("a_topic_that_matches_a_pattern") else {
        return;
    };
    let topic = topic_of(
        broker,
        "Matched",
        &[Rec::new("a", r#"{"firstName":"Ada"}"#)],
    );
    let ctx = session(
        broker,
        KafkaTopics::new().with_source("^Matched-", SourceOptions::new()),
    );
    let sql = format!("SELECT _key, \"firstName\" FROM \"{topic}\"");
    let frame = ctx.sql(&sql).await.unwrap();
    let batches = in_time(&sql, frame.collect()).await.unwrap();
    assert_eq!(cells(&batches), [["a", "Ada"]]);
    let error = error(&ctx, "SELECT * FROM unmatched").await;
    assert!(error.contains("not found"), "{error}");
}
