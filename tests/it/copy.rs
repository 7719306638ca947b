//! COPY TO: the rows of a query as records, checked by another client.

use std::sync::Arc;

use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaConfig, KafkaTopics, WriteReport, register_kafka};

use crate::broker::{self, PATIENCE, Rec, topic_name, wait_until};
use crate::session::{cells, count, counted, error, rows, session, table, within};
use crate::writing::{create_table, record, records, says};

/// The COPY of a query, in a session that knows the servers.
fn copy(query: &str, topic: &str, options: &[(&str, &str)]) -> String {
    let options = options
        .iter()
        .map(|(key, value)| format!("'{key}' '{value}'"));
    let options = match options.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => none,
        options => format!(" OPTIONS ({options})"),
    };
    format!("COPY ({query}) TO '{topic}' STORED AS KAFKA{options}")
}

/// The result of a statement that DataFusion's own planner plans.
async fn plain(ctx: &SessionContext, sql: &str) -> datafusion::error::Result<u64> {
    within(sql, async {
        Ok(counted(&ctx.sql(sql).await?.collect().await?))
    })
    .await
}

/// The error of a statement. It must be the same for this library's planner and for DataFusion's.
async fn refused(ctx: &SessionContext, sql: &str) -> String {
    let planned = plain(ctx, sql).await.unwrap_err().to_string();
    let error = error(ctx, sql).await;
    assert!(planned.ends_with(&error), "{planned}\n{error}");
    error
}

/// Records from 1970 are kept.
const FOREVER: [(&str, &str); 1] = [("retention.ms", "-1")];

const PEOPLE: &str = "SELECT * FROM (VALUES ('a', 'Ada', 1), ('b', NULL, 2)) \
                      AS people (_key, \"firstName\", n) ORDER BY n";

#[tokio::test]
async fn a_query_is_copied_to_a_topic() {
    let Some(broker) = broker::required("a_query_is_copied") else {
        return;
    };
    let topic = broker.new_topic("copied", 1, &[]);
    // The session does not name the servers; the location does.
    let ctx = SessionContext::new();
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    let copy = copy(PEOPLE, &format!("kafka://{}/{topic}", broker.servers), &[]);
    assert_eq!(count(&ctx, &copy).await, 2);
    assert_eq!(plain(&ctx, &copy).await.unwrap(), 2);
    let a = record("a", r#"{"firstName":"Ada","n":1}"#);
    let b = record("b", r#"{"firstName":null,"n":2}"#);
    let expected = [a.clone(), b.clone(), a, b];
    assert_eq!(records(broker, &topic), expected);
}

#[tokio::test]
async fn a_table_is_copied_to_a_topic() {
    let Some(broker) = broker::required("a_table_is_copied") else {
        return;
    };
    let from = broker.new_topic("from", 1, &FOREVER);
    let to = broker.new_topic("to", 1, &FOREVER);
    let old = [
        Rec::new("a", r#"{"v":1}"#),
        Rec::new("b", r#"{"v":2}"#),
        Rec::new("a", r#"{"v":3}"#).timestamp(1_000),
        Rec::tombstone("b"),
    ];
    broker.produce(&from, &old);
    let ctx = session(broker, KafkaTopics::new());
    let columns = "_key VARCHAR NOT NULL, v INT NOT NULL, _timestamp TIMESTAMP";
    rows(&ctx, &create_table("t", columns, &from, &[])).await;
    let copy = format!("COPY t TO '{to}' STORED AS KAFKA");
    assert_eq!(count(&ctx, &copy).await, 1);
    assert_eq!(records(broker, &to), [record("a", r#"{"v":3}"#)]);
    assert_eq!(broker.read_all(&to)[0].timestamp, Some(1_000));
}

#[tokio::test]
async fn metadata_columns_say_where_and_what_a_record_is() {
    let Some(broker) = broker::required("metadata_columns_say") else {
        return;
    };
    let topic = broker.new_topic("metadata", 3, &FOREVER);
    let ctx = session(broker, KafkaTopics::new());
    let query = "SELECT 'a' AS _key, 1 AS v, 2 AS _partition, \
                 TIMESTAMP '1970-01-01T00:00:05' AS _timestamp, false AS _tombstone \
                 UNION ALL SELECT 'b', 2, 1, NULL, true";
    assert_eq!(count(&ctx, &copy(query, &topic, &[])).await, 2);
    let mut written = broker.read_all(&topic);
    written.sort_by_key(|stored| stored.key.clone());
    assert_eq!((written[0].partition, written[1].partition), (2, 1));
    assert_eq!(written[0].timestamp, Some(5_000));
    assert_eq!(written[0].payload.as_deref(), Some(&br#"{"v":1}"#[..]));
    assert_eq!(written[1].payload, None);
    let offset = "SELECT 'a' AS _key, CAST(1 AS BIGINT) AS _offset";
    says(
        &refused(&ctx, &copy(offset, &topic, &[])).await,
        &["_offset"],
    );
}

#[tokio::test]
async fn columns_hold_the_values_of_all_parts_of_a_query() {
    let Some(broker) = broker::required("columns_hold_the_values") else {
        return;
    };
    let ctx = session(broker, KafkaTopics::new());
    let union = "SELECT 'a' AS _key, 1 AS v UNION ALL SELECT 'b', 2.5";
    let expected = [record("a", r#"{"v":1.0}"#), record("b", r#"{"v":2.5}"#)];
    for planned_by_datafusion in [false, true] {
        let topic = broker.new_topic("parts", 1, &[]);
        let copy = copy(union, &topic, &[]);
        let written = match planned_by_datafusion {
            false => count(&ctx, &copy).await,
            true => plain(&ctx, &copy).await.unwrap(),
        };
        assert_eq!(written, 2);
        let mut records = records(broker, &topic);
        records.sort();
        assert_eq!(records, expected);
    }
}

#[tokio::test]
async fn a_copy_may_be_a_transaction() {
    let Some(broker) = broker::required("a_copy_may_be_a_transaction") else {
        return;
    };
    let topic = broker.new_topic("transaction", 2, &[]);
    let ctx = session(broker, KafkaTopics::new());
    let options = [("KAFKA.Delivery", "exactly_once")];
    let bad = "SELECT * FROM (VALUES ('a', 1), (NULL, 2)) AS t (_key, v) ORDER BY v";
    let failed = error(&ctx, &copy(bad, &topic, &options)).await;
    says(&failed, &[&format!("row 1 for topic `{topic}`"), "_key"]);
    assert!(broker.read_all(&topic).is_empty());
    let good = copy(PEOPLE, &topic, &options);
    let plan = datafusion_kafka::sql(&ctx, &good).await.unwrap();
    let plan = plan.create_physical_plan().await.unwrap();
    let rows = within(&good, collect(Arc::clone(&plan), ctx.task_ctx())).await;
    assert_eq!(counted(&rows.unwrap()), 2);
    let report = WriteReport::of(&plan).unwrap();
    assert_eq!((report.upserts, report.tombstones), (2, 0));
    // The marker of a commit may be written after its acknowledgement.
    wait_until(PATIENCE, "both records", || {
        broker.read_all(&topic).len() == 2
    });
    let explained = table(&ctx, &format!("EXPLAIN {good}")).await;
    says(&explained, &["KafkaSink", "delivery=exactly_once"]);
}

#[tokio::test]
async fn a_copy_creates_the_topic_where_that_is_asked_for() {
    let Some(broker) = broker::required("a_copy_creates_the_topic") else {
        return;
    };
    let topic = topic_name("Created.By.COPY");
    let ctx = session(broker, KafkaTopics::new());
    let missing = refused(&ctx, &copy(PEOPLE, &topic, &[])).await;
    says(
        &missing,
        &[&topic, "does not exist", "`kafka.create_topic`"],
    );
    let options = [
        ("kafka.create_topic", "true"),
        ("kafka.topic.partitions", "3"),
    ];
    assert_eq!(count(&ctx, &copy(PEOPLE, &topic, &options)).await, 2);
    let partitions = format!("SELECT count(*) FROM kafka_offsets('{topic}')");
    assert_eq!(cells(&rows(&ctx, &partitions).await), [["3"]]);
    assert_eq!(broker.read_all(&topic).len(), 2);
}

#[tokio::test]
async fn options_apply_in_their_order() {
    let Some(broker) = broker::required("options_apply_in_their_order") else {
        return;
    };
    let topic = broker.new_topic("order", 1, &[]);
    let ctx = SessionContext::new();
    let config = KafkaConfig::new().with_option("kafka.json.nulls", "omit");
    register_kafka(&ctx, config).unwrap();
    let query = "SELECT 'a' AS _key, CAST(NULL AS INT) AS v, 1.50 AS d";
    let session = [
        format!("SET kafka.bootstrap.servers = '{}'", broker.servers),
        "SET kafka.json.nulls = 'write'".to_owned(),
        // This setting has no effect on a COPY, and is not an error.
        "SET kafka.topic.partitions = '3'".to_owned(),
        "SET kafka.json.decimals = 'string'".to_owned(),
        "SET datafusion.sql_parser.parse_float_as_decimal = true".to_owned(),
    ];
    for set in session {
        rows(&ctx, &set).await;
    }
    // The options of `register_kafka` override those of the session.
    assert_eq!(count(&ctx, &copy(query, &topic, &[])).await, 1);
    let own = [("kafka.json.nulls", "write"), ("kafka.mode", "append")];
    assert_eq!(count(&ctx, &copy(query, &topic, &own)).await, 1);
    assert_eq!(
        records(broker, &topic),
        [
            record("a", r#"{"d":"1.50"}"#),
            record("a", r#"{"v":null,"d":"1.50"}"#),
        ]
    );
    let dry = copy(query, &topic, &[("kafka.dry_run", "true")]);
    assert_eq!(count(&ctx, &dry).await, 1);
    assert_eq!(broker.read_all(&topic).len(), 2);
}

#[tokio::test]
async fn what_cannot_be_copied_is_refused_before_anything_is_sent() {
    let Some(broker) = broker::required("what_cannot_be_copied") else {
        return;
    };
    let topic = broker.new_topic("refused", 1, &[]);
    let ctx = session(broker, KafkaTopics::new());
    let needs_key = format!("COPY TO topic `{topic}` needs a column `_key` in its query");
    let null_key = format!("COPY TO topic `{topic}`: `_key` is NULL");
    for (query, reason) in [
        ("SELECT 1 AS v", needs_key.as_str()),
        ("SELECT 'a' AS \"_KEY\"", &needs_key),
        ("SELECT NULL AS _key, 1 AS v", &null_key),
        ("SELECT 1 AS _key", "`kafka.key.format` = `json`"),
        ("SELECT 'a' AS _key, 'x' AS _tombstone", "`_tombstone`"),
        (
            "SELECT a.*, b.* FROM (SELECT 'a' AS _key) a, (SELECT 'b' AS _key) b",
            "`_key`",
        ),
    ] {
        says(&refused(&ctx, &copy(query, &topic, &[])).await, &[reason]);
    }
    for (key, value, reason) in [
        (
            "mode",
            "append",
            "option keys start with `kafka.`: `kafka.mode`",
        ),
        (
            "format.mode",
            "append",
            "option keys start with `kafka.`: `kafka.mode`",
        ),
        ("kafka.mod", "append", "did you mean `kafka.mode`?"),
        (
            "execution.keep_partition_by_columns",
            "true",
            "unknown option",
        ),
        ("single_file_output", "true", "unknown option"),
        ("kafka.mode", "changes", "upsert, append"),
        (
            "kafka.topic.partitions",
            "3",
            "no effect without `kafka.create_topic`",
        ),
        ("kafka.producer.acks", "1", "all"),
    ] {
        let error = refused(&ctx, &copy(PEOPLE, &topic, &[(key, value)])).await;
        says(&error, &[key, reason]);
    }
    for (location, reason) in [
        ("", "names no topic"),
        ("two words", "is not a topic name"),
        ("dir/topic", "is not a topic name"),
        ("kafka://host:9092", "names no topic"),
        ("kafka://a:1,b:2/t", "names several servers"),
        ("host:9092/t", "names a server"),
        ("s3://bucket/t", "must start with `kafka://`"),
        ("kafka://me:pw@host:9092/t", "`kafka.client.sasl.username`"),
    ] {
        says(
            &refused(&ctx, &copy(PEOPLE, location, &[])).await,
            &[reason],
        );
    }
    let located = format!("kafka://127.0.0.1:1/{topic}");
    let two = copy(
        PEOPLE,
        &located,
        &[("kafka.bootstrap.servers", "127.0.0.1:2")],
    );
    says(
        &refused(&ctx, &two).await,
        &["`LOCATION` and `kafka.bootstrap.servers` set the same thing"],
    );
    let partitioned = format!("COPY ({PEOPLE}) TO '{topic}' STORED AS KAFKA PARTITIONED BY (n)");
    says(
        &refused(&ctx, &partitioned).await,
        &["PARTITIONED BY does not apply", "`_partition`"],
    );
    assert!(broker.read_uncommitted(&topic).is_empty());
}

#[tokio::test]
async fn a_topic_is_no_file() {
    let Some(broker) = broker::required("a_topic_is_no_file") else {
        return;
    };
    let ctx = session(broker, KafkaTopics::new());
    // A suffix that looks like a file extension has no effect.
    for suffix in ["", ".v1", ".json", ".KAFKA"] {
        let topic = format!("{}{suffix}", topic_name("No.File"));
        broker.create_topic(&topic, 1, &[]);
        let located = format!("kafka://{}/{topic}", broker.servers);
        let named = format!("COPY ({PEOPLE}) TO '{located}' STORED AS KAFKA");
        assert_eq!(plain(&ctx, &named).await.unwrap(), 2, "{topic}");
        let unnamed = format!("COPY ({PEOPLE}) TO '{located}'");
        assert_eq!(count(&ctx, &unnamed).await, 2, "{topic}");
        let explained = table(&ctx, &format!("EXPLAIN {unnamed}")).await;
        says(&explained, &["DataSinkExec: sink=KafkaSink"]);
        assert_eq!(broker.read_all(&topic).len(), 4);
    }
    let located = format!("kafka://{}/topic.json", broker.servers);
    let unnamed = format!("COPY ({PEOPLE}) TO '{located}'");
    let planned = plain(&ctx, &unnamed).await.unwrap_err().to_string();
    says(&planned, &["STORED AS KAFKA"]);
    let csv = format!("COPY ({PEOPLE}) TO '{located}' STORED AS CSV");
    says(&refused(&ctx, &csv).await, &["STORED AS KAFKA", "`csv`"]);
    // COPY to files works as before.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("people.json");
    let file = file.to_str().unwrap();
    let json = format!("COPY ({PEOPLE}) TO '{file}'");
    assert_eq!(count(&ctx, &json).await, 2);
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 2);
    let explained = table(&ctx, &format!("EXPLAIN VERBOSE {json}")).await;
    says(&explained, &["CopyTo: format=json"]);
    let select = format!("CREATE EXTERNAL TABLE f STORED AS JSON LOCATION '{file}'");
    rows(&ctx, &select).await;
}

#[tokio::test]
async fn explain_shows_the_sink_and_sends_nothing() {
    let Some(broker) = broker::required("explain_shows_the_sink") else {
        return;
    };
    let topic = broker.new_topic("explained", 1, &[]);
    let ctx = session(broker, KafkaTopics::new());
    let sql = format!("EXPLAIN {}", copy(PEOPLE, &topic, &[]));
    let sink = format!("DataSinkExec: sink=KafkaSink(topic={topic}, columns=[_key, firstName, n])");
    says(&table(&ctx, &sql).await, &["Dml: op=[Insert Into]", &sink]);
    assert!(broker.read_uncommitted(&topic).is_empty());
    let analyze = sql.replace("EXPLAIN", "EXPLAIN ANALYZE");
    let metrics = ["records_produced=2", "records_acknowledged=2"];
    says(&table(&ctx, &analyze).await, &metrics);
    assert_eq!(broker.read_all(&topic).len(), 2);
}
