//! Regression tests: side effects that statements must not have.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_kafka::{
    KafkaConfig, KafkaDataFrame, KafkaTopics, Options, SinkOptions, SourceOptions, register_kafka,
};

use super::{Changing, sent};
use crate::broker::{self, End, Rec};
use crate::session::{cells, count, counted, error, rows, session, within};
use crate::writing::{create_table, says};

const COLUMNS: &str = "_key VARCHAR NOT NULL, v BIGINT, s VARCHAR";

#[tokio::test]
async fn rows_of_one_key_are_written_in_the_order_in_which_they_are_read() {
    let Some(broker) = broker::required("rows_of_one_key_are_written") else {
        return;
    };
    let config = SessionConfig::new()
        .with_target_partitions(8)
        .with_batch_size(500);
    let ctx = SessionContext::new_with_config(config);
    let servers = KafkaConfig::new().with_option("kafka.bootstrap.servers", &broker.servers);
    register_kafka(&ctx, servers).unwrap();
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8, false),
        Field::new("v", DataType::Int64, false),
    ]));
    let batches = (0..40_i64).map(|batch| {
        let values = Int64Array::from_iter_values(batch * 500..(batch + 1) * 500);
        let keys = StringArray::from(vec!["k"; 500]);
        RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(keys), Arc::new(values)]).unwrap()
    });
    let memory = MemTable::try_new(Arc::clone(&schema), vec![batches.collect()]).unwrap();
    ctx.register_table("memory", Arc::new(memory)).unwrap();
    rows(&ctx, "CREATE TABLE few AS SELECT 'k' AS k").await;
    rows(
        &ctx,
        "SET datafusion.optimizer.hash_join_single_partition_threshold = 0",
    )
    .await;
    rows(
        &ctx,
        "SET datafusion.optimizer.hash_join_single_partition_threshold_rows = 0",
    )
    .await;
    for (name, insert) in [
        ("plain", "INSERT INTO \"{t}\" SELECT k, v FROM memory"),
        (
            "expression",
            "INSERT INTO \"{t}\" SELECT k, v + 0 FROM memory WHERE random() >= 0",
        ),
        (
            "log",
            "INSERT INTO \"{t}\" SELECT _key, v + 0 FROM log WHERE random() >= 0",
        ),
        (
            "replace",
            "REPLACE INTO \"{t}\" SELECT k, v + 0 FROM memory",
        ),
        ("frame", ""),
    ] {
        let topic = broker.new_topic(name, 1, &[]);
        rows(
            &ctx,
            &create_table(&topic, "_key VARCHAR, v BIGINT", &topic, &[]),
        )
        .await;
        if name == "frame" {
            let frame = ctx
                .sql("SELECT k AS _key, v + 0 AS v FROM memory")
                .await
                .unwrap();
            within(name, frame.write_kafka(&topic, Options::new()))
                .await
                .unwrap();
        } else {
            assert_eq!(count(&ctx, &insert.replace("{t}", &topic)).await, 20_000);
        }
        let payloads = broker
            .read_all(&topic)
            .into_iter()
            .map(|stored| stored.payload.unwrap());
        let expected = (0..20_000).map(|v| format!("{{\"v\":{v}}}").into_bytes());
        assert!(payloads.eq(expected), "{name}");
        if name == "plain" {
            let append = [("kafka.mode", "append")];
            rows(
                &ctx,
                &create_table("log", "_key VARCHAR, v BIGINT", &topic, &append),
            )
            .await;
        }
    }
}

#[tokio::test]
async fn an_insert_into_undeclared_columns_goes_by_names_whatever_the_topic_holds() {
    let Some(broker) = broker::required("an_insert_into_undeclared_columns") else {
        return;
    };
    let topics = KafkaTopics::new()
        .with_source("^undeclared-names", SourceOptions::new())
        .with_sink(
            "^undeclared-names",
            SinkOptions::new().with_option("kafka.json.nulls", "omit"),
        );
    let ctx = session(broker, topics);
    let topic = broker.new_topic("undeclared-names", 1, &[]);
    broker.produce(&topic, &[Rec::new("x", r#"{"last":"L","first":"F"}"#)]);
    let query = "SELECT 'k' AS _key, 'Ada' AS first, 'Lovelace' AS last \
                 UNION ALL SELECT 'l', NULL, 'L' UNION ALL SELECT 'x', 'F', 'L'";
    assert_eq!(
        count(&ctx, &format!("INSERT INTO \"{topic}\" {query}")).await,
        3
    );
    let state = super::latest(broker.read_all(&topic));
    assert_eq!(state["k"], r#"{"first":"Ada","last":"Lovelace"}"#);
    assert_eq!(state["l"], r#"{"last":"L"}"#);
    let overwrite = format!("INSERT OVERWRITE \"{topic}\" {query}");
    assert_eq!(count(&ctx, &overwrite).await, 0);
    // Without a column list, VALUES are for the columns that the records show.
    let values = format!("INSERT INTO \"{topic}\" VALUES ('m', 'Z', 'Z')");
    assert_eq!(count(&ctx, &values).await, 1);
    let found = rows(
        &ctx,
        &format!("SELECT last, first FROM \"{topic}\" WHERE _key = 'm'"),
    )
    .await;
    assert_eq!(cells(&found), [["Z", "Z"]]);
}

#[tokio::test]
async fn a_dry_run_that_is_set_holds_for_tables_made_before() {
    let Some(broker) = broker::required("a_dry_run_that_is_set") else {
        return;
    };
    let t = Changing::new(broker, COLUMNS, &[Rec::new("a", r#"{"v":1}"#)]).await;
    rows(&t.ctx, "PREPARE p AS DELETE FROM t").await;
    rows(&t.ctx, "SET kafka.dry_run = 'true'").await;
    for sql in ["DELETE FROM t", "EXECUTE p", "UPDATE t SET v = 2"] {
        assert_eq!(count(&t.ctx, sql).await, 1);
        assert!(t.is_untouched(), "{sql}");
    }
    rows(&t.ctx, "SET kafka.dry_run = ''").await;
    assert_eq!(count(&t.ctx, "EXECUTE p").await, 1);
    assert!(t.state().is_empty());
}

#[tokio::test]
async fn where_patterns_differ_reading_says_what_a_column_is_and_the_safer_option_counts() {
    let Some(broker) = broker::required("where_patterns_differ") else {
        return;
    };
    let schema = Schema::new(vec![Field::new("v", DataType::Int64, true)]);
    let source = SourceOptions::new()
        .with_schema(schema)
        .with_option("kafka.json.names", "exact");
    let topics = |source| {
        KafkaTopics::new()
            .with_source("^differing", source)
            .with_sink("^differing", SinkOptions::new())
    };
    let topic = broker.new_topic("differing", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"V":1,"w":1}"#)]);
    let update = format!("UPDATE \"{topic}\" SET v = 5");
    let dry = source.clone().with_option("kafka.dry_run", "true");
    assert_eq!(count(&session(broker, topics(dry)), &update).await, 1);
    assert_eq!(broker.read_all(&topic).len(), 1);
    assert_eq!(count(&session(broker, topics(source)), &update).await, 1);
    assert_eq!(
        super::latest(broker.read_all(&topic))["a"],
        r#"{"V":1,"w":1,"v":5}"#
    );
}

#[tokio::test]
async fn what_is_not_committed_is_not_taken_over() {
    let Some(broker) = broker::required("what_is_not_committed") else {
        return;
    };
    let options = [("kafka.isolation", "read_uncommitted")];
    let t = Changing::with(broker, 1, COLUMNS, &[Rec::new("k", r#"{"v":1}"#)], &options).await;
    broker.transaction(&t.topic, &[Rec::new("k", r#"{"v":2}"#)], End::Abort);
    for sql in [
        "UPDATE t SET v = 3",
        "DELETE FROM t",
        "INSERT OVERWRITE t VALUES ('k', 2, NULL)",
    ] {
        says(&error(&t.ctx, sql).await, &[&t.topic, "read_uncommitted"]);
    }
    assert_eq!(
        count(&t.ctx, "INSERT INTO t VALUES ('k', 2, NULL)").await,
        1
    );
}

#[tokio::test]
async fn a_data_frame_overwrites_by_names_and_types_as_it_inserts() {
    let Some(broker) = broker::required("a_data_frame_overwrites_by_names") else {
        return;
    };
    let t = Changing::new(broker, COLUMNS, &[Rec::new("a", r#"{"v":1,"s":null}"#)]).await;
    let write = |sql: &'static str| {
        let ctx = t.ctx.clone();
        async move {
            let frame = ctx.sql(sql).await.unwrap();
            let overwrite = DataFrameWriteOptions::new().with_insert_operation(InsertOp::Overwrite);
            within(sql, frame.write_table("t", overwrite)).await
        }
    };
    let rows =
        write("SELECT arrow_cast('z', 'Utf8') AS s, 'b' AS _key, arrow_cast(7, 'Int32') AS v");
    assert_eq!(counted(&rows.await.unwrap()), 2);
    assert_eq!(t.state()["b"], r#"{"v":7,"s":"z"}"#);
    assert_eq!(
        counted(&write("SELECT 'b' AS _key, 7 AS v, 'z' AS s").await.unwrap()),
        0
    );
    assert_eq!(
        counted(&write("SELECT 'b' AS _key, 8 AS v").await.unwrap()),
        1
    );
    assert_eq!(t.state()["b"], r#"{"v":8,"s":null}"#);
    let extra = write("SELECT 'b' AS _key, 1 AS extra")
        .await
        .unwrap_err()
        .to_string();
    says(&extra, &[&t.topic, "no column `extra`"]);
    let no_key = write("SELECT 1 AS v").await.unwrap_err().to_string();
    says(&no_key, &[&t.topic, "`_key`"]);
}

#[tokio::test]
async fn names_of_the_plans_own_columns_cannot_be_in_the_way() {
    let Some(broker) = broker::required("names_of_the_plans_own_columns") else {
        return;
    };
    let columns = "_key VARCHAR NOT NULL, __change INT, __is_new BOOLEAN, __new INT";
    let mut t = Changing::new(broker, columns, &[Rec::new("a", "{}")]).await;
    let done = t.run("INSERT INTO t VALUES ('b', 1, true, 2)").await;
    let payload = r#"{"__change":1,"__is_new":true,"__new":2}"#;
    assert_eq!(done.sent, sent(&[("b", Some(payload))]));
    assert_eq!(t.run("UPDATE t SET __change = 0").await.count, 2);
    assert_eq!(
        t.run("INSERT OVERWRITE t VALUES ('b', 0, true, 2)")
            .await
            .count,
        1
    );
    let reserved = create_table("r", "_key VARCHAR, __record_change INT", &t.topic, &[]);
    says(&error(&t.ctx, &reserved).await, &["__record_", "reserved"]);
    let none = "CREATE EXTERNAL TABLE n (_key VARCHAR, v INT) STORED AS KAFKA LOCATION '{t}' \
                OPTIONS ('kafka.wait_for' 'offsets:{}')";
    rows(&t.ctx, &none.replace("{t}", &t.topic)).await;
    assert_eq!(
        cells(&rows(&t.ctx, "SELECT count(*) FROM n").await),
        [["1"]]
    );
    let columns = "_key VARCHAR, _partition INT";
    rows(&t.ctx, &create_table("p", columns, &t.topic, &[])).await;
    says(
        &error(&t.ctx, "INSERT INTO p VALUES ('a', -1)").await,
        &["`_partition` is negative"],
    );
}

#[tokio::test]
async fn overwriting_undeclared_columns_obeys_the_source_pattern() {
    let Some(broker) = broker::required("overwriting_undeclared_columns") else {
        return;
    };
    for (option, value, parts) in [
        ("kafka.mode", "append", &["append"][..]),
        ("kafka.start", "latest", &["kafka.start"]),
        ("kafka.isolation", "read_uncommitted", &["read_uncommitted"]),
        ("kafka.value.format", "string", &["kafka.value.format"]),
        ("", "", &["source and a sink pattern"]),
        ("kafka.dry_run", "true", &[]),
    ] {
        let topic = broker.new_topic("guarded", 1, &[]);
        broker.produce(
            &topic,
            &[Rec::new("a", r#"{"v":1}"#), Rec::new("b", r#"{"v":2}"#)],
        );
        let mut topics = KafkaTopics::new().with_sink("^guarded", SinkOptions::new());
        if !option.is_empty() {
            topics =
                topics.with_source("^guarded", SourceOptions::new().with_option(option, value));
        }
        let ctx = session(broker, topics);
        let overwrite = format!("INSERT OVERWRITE \"{topic}\" SELECT 'a' AS _key, 5 AS v");
        match parts {
            [] => assert_eq!(count(&ctx, &overwrite).await, 2),
            parts => says(&error(&ctx, &overwrite).await, parts),
        }
        assert_eq!(broker.read_uncommitted(&topic).len(), 2, "{option}");
    }
}

#[tokio::test]
async fn an_insert_that_goes_by_names_is_not_prepared_to_go_by_places() {
    let Some(broker) = broker::required("an_insert_that_goes_by_names") else {
        return;
    };
    let topics = KafkaTopics::new()
        .with_source("^prepared", SourceOptions::new())
        .with_sink("^prepared", SinkOptions::new());
    let ctx = session(broker, topics);
    let topic = broker.new_topic("prepared", 1, &[]);
    broker.produce(&topic, &[Rec::new("k", r#"{"a":"x","b":"y"}"#)]);
    let insert = format!("INSERT INTO \"{topic}\" SELECT 'y' AS b, 'x' AS a, 'kP' AS _key");
    let prepare = format!("PREPARE p AS {insert}");
    says(&error(&ctx, &prepare).await, &["PREPARE", &topic, "list"]);
    let list = insert.replace(" SELECT", " (b, a, _key) SELECT");
    rows(&ctx, &format!("PREPARE p AS {list}")).await;
    assert_eq!(count(&ctx, "EXECUTE p").await, 1);
    assert_eq!(
        super::latest(broker.read_all(&topic))["kP"],
        r#"{"a":"x","b":"y"}"#
    );
}
