//! What INSERT writes, as somebody else reads it.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array as _, ArrayRef, BinaryArray, Float64Array, Int32Array, Int64Array, ListArray,
    StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaTable, KafkaTopics};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::broker::{self, Broker, Rec, topic_name, wait_until};
use crate::session::{cells, count, counted, error, rows, session, try_rows, within};

/// A session with a table `t` on a topic.
pub struct Writable {
    pub ctx: SessionContext,
    pub topic: String,
    broker: &'static Broker,
}

impl Writable {
    /// On a new topic of one partition.
    pub async fn new(broker: &'static Broker, columns: &str, options: &[(&str, &str)]) -> Self {
        let topic = broker.new_topic("writing", 1, &[]);
        Self::on(broker, topic, columns, options).await
    }

    pub async fn on(
        broker: &'static Broker,
        topic: String,
        columns: &str,
        options: &[(&str, &str)],
    ) -> Self {
        let ctx = session(broker, KafkaTopics::new());
        rows(&ctx, &create_table("t", columns, &topic, options)).await;
        Writable { ctx, topic, broker }
    }

    pub async fn insert(&self, rest: &str) -> u64 {
        count(&self.ctx, &format!("INSERT INTO t {rest}")).await
    }

    pub async fn refused(&self, rest: &str) -> String {
        error(&self.ctx, &format!("INSERT INTO t {rest}")).await
    }

    /// Keys and payloads in the order of the log.
    pub fn records(&self) -> Vec<(String, Option<String>)> {
        records(self.broker, &self.topic)
    }

    /// Payloads in the order of the log.
    fn payloads(&self) -> Vec<String> {
        let records = self.records().into_iter();
        records.map(|(_, payload)| payload.unwrap()).collect()
    }
}

/// `CREATE EXTERNAL TABLE`, for a session that knows the servers.
pub fn create_table(name: &str, columns: &str, topic: &str, options: &[(&str, &str)]) -> String {
    let columns = match columns {
        "" => String::new(),
        columns => format!("({columns})"),
    };
    let options: Vec<_> = options
        .iter()
        .map(|(key, value)| format!("'{key}' '{value}'"))
        .collect();
    let options = match options.as_slice() {
        [] => String::new(),
        options => format!("OPTIONS ({})", options.join(", ")),
    };
    format!(
        "CREATE EXTERNAL TABLE \"{name}\" {columns} STORED AS KAFKA LOCATION '{topic}' {options}"
    )
}

/// Keys and payloads in the order of the log, as another client reads them.
pub fn records(broker: &Broker, topic: &str) -> Vec<(String, Option<String>)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let records = broker.read_all(topic).into_iter();
    records
        .map(|record| (text(record.key.unwrap()), record.payload.map(text)))
        .collect()
}

pub fn record(key: &str, payload: &str) -> (String, Option<String>) {
    (key.to_owned(), Some(payload.to_owned()))
}

#[track_caller]
pub fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

const PEOPLE: &str = "_key VARCHAR NOT NULL, \"firstName\" VARCHAR, \"lastName\" VARCHAR";

#[tokio::test]
async fn payload_is_the_columns_in_table_order_with_explicit_nulls() {
    let Some(broker) = broker::required("payload_is_the_columns") else {
        return;
    };
    let t = Writable::new(broker, PEOPLE, &[]).await;
    assert_eq!(
        t.insert("VALUES ('a', 'Ada', 'Lovelace'), ('b', 'Bob', NULL)")
            .await,
        2
    );
    assert_eq!(t.insert("SELECT 'c', 'Cy', 'Young'").await, 1);
    assert_eq!(
        t.insert("(lastName, _key) VALUES ('Dee \"D\" \u{e9}', 'd')")
            .await,
        1
    );
    assert_eq!(
        t.records(),
        [
            record("a", r#"{"firstName":"Ada","lastName":"Lovelace"}"#),
            record("b", r#"{"firstName":"Bob","lastName":null}"#),
            record("c", r#"{"firstName":"Cy","lastName":"Young"}"#),
            record(
                "d",
                "{\"firstName\":null,\"lastName\":\"Dee \\\"D\\\" \u{e9}\"}"
            ),
        ]
    );
    let Some(out) = broker.kcat(&["-C", "-t", &t.topic, "-e", "-q", "-f", "%k %s\n"], "") else {
        return;
    };
    assert_eq!(
        out.lines().next(),
        Some(r#"a {"firstName":"Ada","lastName":"Lovelace"}"#)
    );
}

#[tokio::test]
async fn omitted_nulls_are_not_in_the_payload() {
    let Some(broker) = broker::required("omitted_nulls") else {
        return;
    };
    let t = Writable::new(broker, PEOPLE, &[("kafka.json.nulls", "omit")]).await;
    t.insert("VALUES ('a', NULL, 'Lovelace'), ('b', NULL, NULL)")
        .await;
    assert_eq!(t.payloads(), [r#"{"lastName":"Lovelace"}"#, "{}"]);
}

#[tokio::test]
async fn order_by_is_the_order_of_the_log() {
    let Some(broker) = broker::required("order_by_is_the_order") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR, n BIGINT", &[]).await;
    numbers(&t.ctx, 1000);
    let insert = "SELECT CAST(n AS VARCHAR) AS k, n FROM numbers ORDER BY n DESC";
    assert_eq!(t.insert(insert).await, 1000);
    let expected: Vec<_> = (0..1000).rev().map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(t.payloads(), expected);
}

/// A table `numbers` of one column `n`, in several partitions.
fn numbers(ctx: &SessionContext, n: i64) {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let (left, right): (Vec<i64>, Vec<i64>) = (0..n).partition(|n| n % 2 == 0);
    let batch = |numbers: Vec<i64>| {
        let column: ArrayRef = Arc::new(Int64Array::from(numbers));
        RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap()
    };
    let partitions = vec![vec![batch(left)], vec![batch(right)]];
    let table = MemTable::try_new(Arc::clone(&schema), partitions).unwrap();
    ctx.register_table("numbers", Arc::new(table)).unwrap();
}

#[tokio::test]
async fn a_full_queue_is_waited_for_and_every_row_arrives_once() {
    let Some(broker) = broker::required("a_full_queue_is_waited_for") else {
        return;
    };
    for queue in ["100", "1"] {
        let rows = if queue == "1" { 200 } else { 50_000 };
        let topic = broker.new_topic("queue", 3, &[]);
        let options = [
            ("kafka.producer.queue.buffering.max.messages", queue),
            ("kafka.producer.linger.ms", "0"),
        ];
        let t = Writable::on(broker, topic, "_key VARCHAR, n BIGINT", &options).await;
        numbers(&t.ctx, rows);
        let written = t
            .insert("SELECT CAST(n AS VARCHAR) AS k, n FROM numbers")
            .await;
        let mut keys: Vec<i64> = t
            .records()
            .iter()
            .map(|(key, _)| key.parse().unwrap())
            .collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..rows).collect::<Vec<_>>());
        assert_eq!(written, u64::try_from(rows).unwrap());
    }
}

#[tokio::test]
async fn a_record_that_never_fits_the_queue_is_an_error() {
    let Some(broker) = broker::required("a_record_that_never_fits_the_queue") else {
        return;
    };
    let options = [("kafka.producer.queue.buffering.max.kbytes", "1")];
    let t = Writable::new(broker, PEOPLE, &options).await;
    assert_eq!(t.insert("VALUES ('a', 'Ada', NULL)").await, 1);
    let why = t
        .refused(&format!(
            "VALUES ('b', 'Bob', NULL), ('c', '{}', NULL)",
            "x".repeat(5000)
        ))
        .await;
    says(
        &why,
        &[
            "1 records had been",
            "kafka.producer.queue.buffering.max.kbytes",
        ],
    );
}

#[tokio::test]
async fn no_rows_write_nothing() {
    let Some(broker) = broker::required("no_rows_write_nothing") else {
        return;
    };
    let t = Writable::new(broker, PEOPLE, &[]).await;
    assert_eq!(t.insert("SELECT 'a', 'b', 'c' WHERE false").await, 0);
    assert_eq!(t.records(), []);
}

#[tokio::test]
async fn a_data_frame_is_written_by_the_names_of_its_columns() {
    let Some(broker) = broker::required("a_data_frame_is_written") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR, n BIGINT, s VARCHAR, d DOUBLE", &[]).await;
    let write = async |sql: &str| {
        let frame = t.ctx.sql(sql).await.unwrap();
        within(sql, frame.write_table("t", DataFrameWriteOptions::new())).await
    };
    let written = write("SELECT 1.5 AS s, CAST(7 AS INT) AS n, 'a' AS _key").await;
    assert_eq!(counted(&written.unwrap()), 1);
    let written = write("SELECT d, _key FROM (VALUES (1, 'b'), (NULL, 'c')) AS v (d, _key)").await;
    assert_eq!(counted(&written.unwrap()), 2);
    assert_eq!(
        t.payloads(),
        [
            r#"{"n":7,"s":"1.5","d":null}"#,
            r#"{"n":null,"s":null,"d":1.0}"#,
            r#"{"n":null,"s":null,"d":null}"#,
        ]
    );

    let extra = write("SELECT 'a' AS _key, 1 AS m").await.unwrap_err();
    says(&extra.to_string(), &["no column `m`", "_key, n, s, d"]);
    let keyless = write("SELECT 1 AS n").await.unwrap_err();
    says(&keyless.to_string(), &["needs a value for `_key`"]);
    let not_a_number = write("SELECT 'a' AS _key, 'x' AS n").await.unwrap_err();
    says(&not_a_number.to_string(), &["'x'", "Int64"]);
    assert_eq!(t.records().len(), 3);
}

#[tokio::test]
async fn decimals_are_exact_numbers_or_strings() {
    let Some(broker) = broker::required("decimals_are_exact") else {
        return;
    };
    let columns = "_key VARCHAR, d DECIMAL(38, 2)";
    let t = Writable::new(broker, columns, &[]).await;
    assert_eq!(t.insert("VALUES ('a', 1.5)").await, 1);
    assert_eq!(t.insert("VALUES ('b', CAST('-0.05' AS DECIMAL(38, 2))), ('c', CAST('123456789012345678901234567890.12' AS DECIMAL(38, 2)))").await, 2);
    assert_eq!(
        t.payloads(),
        [
            r#"{"d":1.50}"#,
            r#"{"d":-0.05}"#,
            r#"{"d":123456789012345678901234567890.12}"#
        ]
    );
    let t = Writable::new(broker, columns, &[("kafka.json.decimals", "string")]).await;
    t.insert("VALUES ('a', 1.5)").await;
    assert_eq!(t.payloads(), [r#"{"d":"1.50"}"#]);
}

#[tokio::test]
async fn non_finite_numbers_are_refused_or_strings() {
    let Some(broker) = broker::required("non_finite_numbers") else {
        return;
    };
    let columns = "_key VARCHAR, d DOUBLE";
    let values = "VALUES ('a', 1), ('b', CAST('NaN' AS DOUBLE)), ('c', CAST('-inf' AS DOUBLE))";
    let t = Writable::new(broker, columns, &[]).await;
    says(
        &t.refused(values).await,
        &["row 1", "`d`", "`kafka.json.non_finite` = string"],
    );
    let t = Writable::new(broker, columns, &[("kafka.json.non_finite", "string")]).await;
    t.insert(values).await;
    assert_eq!(
        t.payloads(),
        [r#"{"d":1.0}"#, r#"{"d":"NaN"}"#, r#"{"d":"-Infinity"}"#]
    );
}

/// A list of one row, which holds all values.
fn list(values: ArrayRef) -> ArrayRef {
    let item = Field::new("item", values.data_type().clone(), true);
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    Arc::new(ListArray::new(Arc::new(item), offsets, values, None))
}

fn object<const N: usize>(columns: [(&str, ArrayRef); N]) -> ArrayRef {
    let field =
        |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let fields: Fields = columns.iter().map(field).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    Arc::new(StructArray::new(fields, arrays, None))
}

fn register<const N: usize>(ctx: &SessionContext, name: &str, columns: [(&str, ArrayRef); N]) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    ctx.register_batch(name, batch).unwrap();
}

#[tokio::test]
async fn times_bytes_and_nested_values_have_their_json_form() {
    let Some(broker) = broker::required("times_bytes_and_nested_values") else {
        return;
    };
    let columns = "_key VARCHAR, ts TIMESTAMP, day DATE, \
                   b BYTEA, tags VARCHAR[], at STRUCT<x INT, y DOUBLE>";
    let t = Writable::new(broker, columns, &[]).await;
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None]));
    let x: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let y: ArrayRef = Arc::new(Float64Array::from(vec![None]));
    register(
        &t.ctx,
        "given",
        [("tags", list(texts)), ("at", object([("x", x), ("y", y)]))],
    );
    t.insert(
        "SELECT 'a', TIMESTAMP '2024-05-06T07:08:09.25', \
         DATE '2024-05-06', X'0001ff', tags, at FROM given",
    )
    .await;
    let payloads = t.payloads();
    let payload: serde_json::Value = serde_json::from_str(&payloads[0]).unwrap();
    assert_eq!(
        payload,
        serde_json::json!({
            "ts": "2024-05-06T07:08:09.250",
            "day": "2024-05-06",
            "b": "AAH/",
            "tags": ["x", null],
            "at": {"x": 1, "y": null},
        }),
    );

    rows(&t.ctx, "SET datafusion.execution.time_zone = '+02:00'").await;
    let create = create_table(
        "zoned",
        "_key VARCHAR, ts TIMESTAMP WITH TIME ZONE",
        &t.topic,
        &[],
    );
    rows(&t.ctx, &create).await;
    rows(
        &t.ctx,
        "INSERT INTO zoned VALUES ('b', '2024-05-06T07:08:09Z')",
    )
    .await;
    assert_eq!(t.payloads()[1], r#"{"ts":"2024-05-06T09:08:09+02:00"}"#);
}

#[tokio::test]
async fn json_keys_are_written_and_read() {
    let Some(broker) = broker::required("json_keys") else {
        return;
    };
    let options = [("kafka.key.format", "json")];
    let id: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let region: ArrayRef = Arc::new(StringArray::from(vec!["eu"]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a \"b\""]));
    let both = object([("id", Arc::clone(&id)), ("region", region)]);
    for (declared, value, key) in [
        ("BIGINT", id, "7"),
        ("VARCHAR", text, r#""a \"b\"""#),
        (
            "STRUCT<id BIGINT, region VARCHAR>",
            both,
            r#"{"id":7,"region":"eu"}"#,
        ),
    ] {
        let columns = format!("_key {declared} NOT NULL, v INT");
        let t = Writable::new(broker, &columns, &options).await;
        register(&t.ctx, "given", [("k", value)]);
        assert_eq!(t.insert("SELECT k, 1 FROM given").await, 1);
        assert_eq!(t.records(), [record(key, r#"{"v":1}"#)]);

        broker.produce(&t.topic, &[Rec::new(key, r#"{"v":2}"#)]);
        let back = rows(&t.ctx, "SELECT _key, v FROM t").await;
        let given = rows(&t.ctx, "SELECT k, 2 FROM given").await;
        assert_eq!(cells(&back), cells(&given), "{declared}");
    }
}

#[tokio::test]
async fn byte_keys_are_written_as_they_are() {
    let Some(broker) = broker::required("byte_keys") else {
        return;
    };
    let t = Writable::new(
        broker,
        "_key BYTEA, v INT",
        &[("kafka.key.format", "bytes")],
    )
    .await;
    t.insert("VALUES (X'00ff', 1), (X'', 2)").await;
    let keys: Vec<_> = broker
        .read_all(&t.topic)
        .into_iter()
        .map(|record| record.key.unwrap())
        .collect();
    assert_eq!(keys, [vec![0, 0xff], vec![]]);
}

#[tokio::test]
async fn a_key_that_is_no_text_is_refused_before_anything_is_written() {
    let Some(broker) = broker::required("a_key_that_is_no_text") else {
        return;
    };
    let ctx = session(broker, KafkaTopics::new());
    let why = error(&ctx, &create_table("t", "_key BIGINT, v INT", "any", &[])).await;
    says(&why, &["`_key`", "Int64", "`kafka.key.format` = `json`"]);
}

#[tokio::test]
async fn a_tombstone_row_is_a_tombstone_record() {
    let Some(broker) = broker::required("a_tombstone_row") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR, v INT, _tombstone BOOLEAN", &[]).await;
    assert_eq!(
        t.insert("VALUES ('a', 1, false), ('b', 2, NULL), ('a', 3, true)")
            .await,
        3
    );
    assert_eq!(
        t.records(),
        [
            record("a", r#"{"v":1}"#),
            record("b", r#"{"v":2}"#),
            ("a".to_owned(), None)
        ]
    );
    let left = rows(&t.ctx, "SELECT _key FROM t").await;
    assert_eq!(cells(&left), [["b"]]);
}

#[tokio::test]
async fn timestamp_headers_and_partition_are_those_of_the_row() {
    let Some(broker) = broker::required("timestamp_headers_and_partition") else {
        return;
    };
    // A record from 1970 is past every retention.
    let topic = broker.new_topic("metadata", 3, &[("retention.ms", "-1")]);
    let columns = "_key VARCHAR, v INT, _partition INT, _timestamp TIMESTAMP, \
                   _headers STRUCT<key VARCHAR, value BYTEA>[]";
    let t = Writable::on(broker, topic, columns, &[]).await;
    let names: ArrayRef = Arc::new(StringArray::from(vec!["h", "n", "h"]));
    let values = [Some(b"\x01".as_slice()), None, Some(b"\x02")];
    let values: ArrayRef = Arc::new(BinaryArray::from_iter(values));
    let headers = list(object([("key", names), ("value", values)]));
    register(&t.ctx, "given", [("headers", headers)]);
    let insert = "SELECT 'a', 1, 2, TIMESTAMP '1970-01-01T00:00:01.234', headers FROM given";
    t.insert(insert).await;
    t.insert("(_key, v) VALUES ('a', 2)").await;
    let records = broker.read_all(&t.topic);
    let given = records.iter().find(|r| r.partition == 2).unwrap();
    assert_eq!(given.timestamp, Some(1_234));
    assert_eq!(given.payload.as_deref(), Some(br#"{"v":1}"#.as_slice()));
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    assert_eq!(
        given.headers,
        [
            header("h", Some(b"\x01")),
            header("n", None),
            header("h", Some(b"\x02"))
        ]
    );
    let other = records
        .iter()
        .find(|r| r.payload.as_deref() == Some(br#"{"v":2}"#))
        .unwrap();
    assert!(other.headers.is_empty());
    assert!(other.timestamp.unwrap() > 1_000_000_000_000);

    let why = t.refused("(_key, v, _partition) VALUES ('a', 3, 3)").await;
    says(&why, &["Unknown partition", "0 records had been"]);
}

#[tokio::test]
async fn a_timestamp_that_kafka_cannot_hold_is_refused() {
    let Some(broker) = broker::required("a_timestamp_that_kafka_cannot_hold") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR, _timestamp TIMESTAMP", &[]).await;
    for timestamp in ["1970-01-01T00:00:00", "1969-12-31T23:59:59"] {
        let why = t
            .refused(&format!("VALUES ('a', TIMESTAMP '{timestamp}')"))
            .await;
        says(&why, &["row 0", "`_timestamp`", "1970"]);
    }
    assert_eq!(t.records(), []);
}

#[tokio::test]
async fn what_only_the_broker_knows_cannot_be_written() {
    let Some(broker) = broker::required("what_only_the_broker_knows") else {
        return;
    };
    let columns = "_key VARCHAR, v INT, _offset BIGINT, _topic VARCHAR, _error VARCHAR";
    let t = Writable::new(broker, columns, &[]).await;
    assert_eq!(t.insert("VALUES ('a', 1, NULL, NULL, NULL)").await, 1);
    assert_eq!(t.insert("(_key, v) VALUES ('a', 2)").await, 1);
    for (column, value) in [
        ("_offset", "7"),
        ("_topic", "'elsewhere'"),
        ("_error", "'bad'"),
    ] {
        let insert = format!("(_key, v, {column}) VALUES ('a', 3, {value})");
        says(
            &t.refused(&insert).await,
            &["row 0", &format!("`{column}`"), "leave it out"],
        );
    }
    assert_eq!(t.payloads(), [r#"{"v":1}"#, r#"{"v":2}"#]);
}

#[tokio::test]
async fn a_null_key_names_its_row() {
    let Some(broker) = broker::required("a_null_key_names_its_row") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR NOT NULL, v INT", &[]).await;
    let keys: ArrayRef = Arc::new(StringArray::from(vec![
        Some("a"),
        Some("b"),
        None,
        Some("d"),
    ]));
    register(&t.ctx, "given", [("k", keys)]);
    let why = t.refused("SELECT k, 1 FROM given").await;
    says(&why, &["row 2", &t.topic, "`_key` is NULL"]);
    let written = t.records();
    assert!(written.len() <= 2, "{written:?}");
    // Found by DataFusion, as in every column that is declared NOT NULL.
    let why = t.refused("VALUES ('c', 1), (NULL, 2)").await;
    says(&why, &["non-nullable"]);
    // Those on their way when the first statement failed may have come late.
    let written = t.records();
    assert!(written.len() <= 2, "{written:?}");

    let t = Writable::new(broker, "_key VARCHAR, v INT", &[]).await;
    let why = t.refused("VALUES ('c', 1), (NULL, 2)").await;
    says(&why, &["row 1", &t.topic, "`_key` is NULL"]);
}

#[tokio::test]
async fn an_insert_without_a_key_is_refused() {
    let Some(broker) = broker::required("an_insert_without_a_key") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR NOT NULL, v INT", &[]).await;
    says(
        &t.refused("(v) VALUES (1)").await,
        &[&t.topic, "needs a value for `_key`"],
    );
    assert_eq!(t.records(), []);
}

#[tokio::test]
async fn payloads_that_are_not_json_are_one_column() {
    let Some(broker) = broker::required("payloads_that_are_not_json") else {
        return;
    };
    let text = [("kafka.value.format", "string")];
    let t = Writable::new(broker, "_key VARCHAR, _value VARCHAR", &text).await;
    t.insert("VALUES ('a', 'x=1'), ('b', '')").await;
    assert_eq!(t.records(), [record("a", "x=1"), record("b", "")]);
    let why = t.refused("VALUES ('c', NULL)").await;
    says(&why, &["row 0", "`_value` is NULL", "`_tombstone`"]);

    let bytes = [("kafka.value.format", "bytes")];
    let columns = "_key VARCHAR, _value BYTEA, _tombstone BOOLEAN";
    let t = Writable::new(broker, columns, &bytes).await;
    t.insert("VALUES ('a', X'00ff', NULL), ('b', NULL, true)")
        .await;
    let payloads: Vec<_> = broker
        .read_all(&t.topic)
        .into_iter()
        .map(|record| record.payload)
        .collect();
    assert_eq!(payloads, [Some(vec![0, 0xff]), None]);
}

/// As Java's client places keys: `toPositive(murmur2(key)) % partitions`.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ u32::try_from(key.len()).unwrap();
    let (chunks, rest) = key.as_chunks::<4>();
    for chunk in chunks {
        let mut k = u32::from_le_bytes(*chunk).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[tokio::test]
async fn keys_are_placed_as_java_places_them() {
    // From the tests of Kafka itself.
    for (key, hash) in [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("abc", 479_470_107),
    ] {
        assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
    }
    let Some(broker) = broker::required("keys_are_placed_as_java_places_them") else {
        return;
    };
    const PARTITIONS: i32 = 7;
    let topic = broker.new_topic("murmur", PARTITIONS, &[]);
    let t = Writable::on(broker, topic, "_key VARCHAR, v INT", &[]).await;
    let mut keys: Vec<String> = (0..40).map(|n| format!("key-{n}")).collect();
    keys.extend(["", "a", "ab", "abc", "\u{e9}\u{4e16}", "foobar"].map(str::to_owned));
    let values: Vec<_> = keys.iter().map(|key| format!("('{key}', 1)")).collect();
    t.insert(&format!("VALUES {}", values.join(", "))).await;
    let records = broker.read_all(&t.topic);
    assert_eq!(records.len(), keys.len());
    for record in records {
        let key = record.key.unwrap();
        let expected = (murmur2(&key) & 0x7fff_ffff).cast_signed() % PARTITIONS;
        assert_eq!(record.partition, expected, "{key:?}");
    }
}

async fn topic_configs(broker: &Broker, topic: &str) -> Vec<(String, Option<String>)> {
    let admin: AdminClient<DefaultClientContext> = broker.config().create().unwrap();
    let resource = ResourceSpecifier::Topic(topic);
    let described = admin.describe_configs([&resource], &AdminOptions::new());
    let mut described = described.await.unwrap();
    let entries = described.remove(0).unwrap().entries;
    entries.into_iter().map(|e| (e.name, e.value)).collect()
}

fn partitions(broker: &Broker, topic: &str) -> usize {
    let consumer: BaseConsumer = broker.config().create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30));
    metadata.unwrap().topics()[0].partitions().len()
}

#[tokio::test]
async fn a_missing_topic_is_created_only_where_that_is_asked_for() {
    let Some(broker) = broker::required("a_missing_topic_is_created") else {
        return;
    };
    let columns = "_key VARCHAR, v INT";
    let t = Writable::on(broker, topic_name("missing"), columns, &[]).await;
    let why = t.refused("VALUES ('a', 1)").await;
    says(
        &why,
        &[
            &t.topic,
            &broker.servers,
            "does not exist",
            "`kafka.create_topic` = `true`",
        ],
    );
    // Asked for by name, an auto-creating client would have made it.
    let why = error(&t.ctx, "SELECT * FROM t").await;
    says(&why, &[&t.topic, "does not exist"]);

    let options = [
        ("kafka.create_topic", "true"),
        ("kafka.topic.partitions", "3"),
        ("kafka.topic.config.retention.ms", "123456"),
    ];
    let t = Writable::on(broker, topic_name("created"), columns, &options).await;
    assert_eq!(t.insert("VALUES ('a', 1)").await, 1);
    assert_eq!(t.insert("VALUES ('b', 2)").await, 1);
    assert_eq!(t.records().len(), 2);
    let configs = topic_configs(broker, &t.topic).await;
    let config = |name: &str| {
        let found = configs.iter().find(|(config, _)| config == name);
        found.and_then(|(_, value)| value.clone())
    };
    assert_eq!(config("cleanup.policy").as_deref(), Some("compact"));
    assert_eq!(config("retention.ms").as_deref(), Some("123456"));
    assert_eq!(partitions(broker, &t.topic), 3);

    let options = [
        ("kafka.create_topic", "true"),
        ("kafka.topic.config.cleanup.policy", "delete"),
    ];
    let t = Writable::on(broker, topic_name("created"), columns, &options).await;
    t.insert("VALUES ('a', 1)").await;
    let configs = topic_configs(broker, &t.topic).await;
    assert!(configs.contains(&("cleanup.policy".to_owned(), Some("delete".to_owned()))));
}

#[tokio::test]
async fn a_topic_that_the_broker_refuses_to_create_says_why() {
    let Some(broker) = broker::required("a_topic_that_the_broker_refuses") else {
        return;
    };
    let options = [
        ("kafka.create_topic", "true"),
        ("kafka.topic.replication", "3"),
    ];
    let columns = "_key VARCHAR, v INT";
    let t = Writable::on(broker, topic_name("refused"), columns, &options).await;
    let why = t.refused("VALUES ('a', 1)").await;
    says(&why, &["cannot create topic", &t.topic, "replication"]);

    let options = [
        ("kafka.create_topic", "true"),
        ("kafka.topic.config.clean.policy", "compact"),
    ];
    let t = Writable::on(broker, topic_name("refused"), columns, &options).await;
    let why = t.refused("VALUES ('a', 1)").await;
    says(&why, &["cannot create topic", &t.topic, "onfig"]);
}

#[tokio::test]
async fn a_record_that_the_broker_refuses_fails_the_statement() {
    let Some(broker) = broker::required("a_record_that_the_broker_refuses") else {
        return;
    };
    let small = [("max.message.bytes", "2000")];
    let topic = broker.new_topic("small", 1, &small);
    let t = Writable::on(broker, topic, "_key VARCHAR, s VARCHAR", &[]).await;
    assert_eq!(t.insert("VALUES ('a', 'x')").await, 1);
    let why = t
        .refused(&format!("VALUES ('b', '{}')", "x".repeat(5000)))
        .await;
    says(
        &why,
        &[
            &t.topic,
            "too large",
            "0 records had been",
            "max.message.bytes",
        ],
    );
    assert_eq!(t.records(), [record("a", r#"{"s":"x"}"#)]);

    // Many small records travel together, and the broker's limit is for all of them.
    let topic = broker.new_topic("small", 1, &small);
    let batch = [("kafka.producer.batch.size", "1500")];
    let t = Writable::on(broker, topic, "_key VARCHAR, s VARCHAR", &batch).await;
    numbers(&t.ctx, 200);
    let insert = format!(
        "SELECT CAST(n AS VARCHAR), '{}' FROM numbers",
        "x".repeat(100)
    );
    assert_eq!(t.insert(&insert).await, 200);
}

#[tokio::test]
async fn servers_that_do_not_answer_are_named_in_time() {
    let Some(broker) = broker::required("servers_that_do_not_answer") else {
        return;
    };
    let ctx = session(broker, KafkaTopics::new());
    let create = "CREATE EXTERNAL TABLE t (_key VARCHAR, v INT) STORED AS KAFKA \
                  LOCATION 'gone' OPTIONS ('kafka.bootstrap.servers' '127.0.0.1:1', \
                  'kafka.timeout' '2s')";
    rows(&ctx, create).await;
    let why = error(&ctx, "INSERT INTO t VALUES ('a', 1)").await;
    says(&why, &["127.0.0.1:1", "2s", "Connection refused"]);
}

#[tokio::test]
async fn a_query_that_fails_fails_the_insert() {
    let Some(broker) = broker::required("a_query_that_fails") else {
        return;
    };
    let source = broker.new_topic("source", 1, &[]);
    let t = Writable::new(broker, "_key VARCHAR, v INT", &[]).await;
    let append = [("kafka.mode", "append")];
    let create = create_table("source", "_key VARCHAR, v INT", &source, &append);
    rows(&t.ctx, &create).await;
    let good = Rec::new("a", r#"{"v":1}"#);
    let bad = Rec::new("b", r#"{"v":"not a number"}"#);
    broker.produce(&source, &[good.clone(), bad, good]);
    let why = t.refused("SELECT * FROM source").await;
    says(&why, &[&source, "offset 1", "`v`"]);
    assert!(t.records().len() <= 1);
}

#[tokio::test]
async fn an_insert_that_is_dropped_stops_sending() {
    let Some(broker) = broker::required("an_insert_that_is_dropped") else {
        return;
    };
    // In a process of its own: its threads can be counted there.
    let servers = [("KAFKA_BOOTSTRAP_SERVERS", broker.servers.as_str())];
    let test = "writing::child_drops_an_insert";
    within(test, child(test, &servers)).await;
}

/// Runs one ignored test in a process of its own.
pub async fn child(test: &str, env: &[(&str, &str)]) {
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .envs(env.iter().copied())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by `an_insert_that_is_dropped_stops_sending`"]
async fn child_drops_an_insert() {
    let broker = broker::required("child_drops_an_insert").unwrap();
    let t = Writable::new(broker, "_key VARCHAR, n BIGINT", &[]).await;
    numbers(&t.ctx, 1000);
    let ctx = t.ctx.clone();
    let insert = tokio::spawn(async move {
        let endless = "INSERT INTO t SELECT CAST(a.n AS VARCHAR) AS k, b.n \
                       FROM numbers a, numbers b, numbers c, numbers d";
        try_rows(&ctx, endless).await
    });
    // Not by reading, which would not end either.
    let consumer: BaseConsumer = broker.config().create().unwrap();
    let patience = Duration::from_secs(30);
    wait_until(patience, "some records", || {
        consumer.fetch_watermarks(&t.topic, 0, patience).unwrap().1 > 0
    });
    drop(consumer);
    insert.abort();
    assert!(insert.await.unwrap_err().is_cancelled());
    // librdkafka names its threads.
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.starts_with("rdk:"))
            .count()
    };
    wait_until(patience, "no client is left", || threads() == 0);
}

/// A column of three rows, the last NULL, of every type that JSON can carry.
fn every_type() -> RecordBatch {
    use DataType as T;
    let integers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(86), None]));
    let small: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(86), None]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), Some(-0.25), None]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![
        Some("a"),
        Some("\u{e9} \"\\\n"),
        None,
    ]));
    let four: ArrayRef = Arc::new(StringArray::from(vec![
        Some("abcd"),
        Some("\u{1}\u{2}\u{3}\u{4}"),
        None,
    ]));
    let utc: Arc<str> = "UTC".into();
    let zone: Arc<str> = "+02:30".into();
    let mut columns: Vec<(DataType, ArrayRef)> = Vec::new();
    let mut add = |from: &ArrayRef, data_type: DataType| {
        let array = cast(from, &data_type).unwrap();
        columns.push((data_type, array));
    };
    for integer in [
        T::Int8,
        T::Int16,
        T::Int32,
        T::Int64,
        T::UInt8,
        T::UInt16,
        T::UInt32,
        T::UInt64,
    ] {
        add(&integers, integer);
    }
    for float in [T::Float16, T::Float32, T::Float64] {
        add(&floats, float);
    }
    for decimal in [
        T::Decimal32(9, 2),
        T::Decimal64(18, 2),
        T::Decimal128(38, 2),
        T::Decimal256(76, 2),
    ] {
        add(&floats, decimal);
    }
    add(&integers, T::Boolean);
    let dictionary = T::Dictionary(Box::new(T::Int32), Box::new(T::Utf8));
    for text in [
        T::Utf8,
        T::LargeUtf8,
        T::Utf8View,
        dictionary,
        T::Binary,
        T::LargeBinary,
        T::BinaryView,
    ] {
        add(&texts, text);
    }
    add(&cast(&four, &T::Binary).unwrap(), T::FixedSizeBinary(4));
    add(&small, T::Date32);
    add(
        &cast(&cast(&small, &T::Date32).unwrap(), &T::Date64).unwrap(),
        T::Date64,
    );
    for time in [
        T::Time32(TimeUnit::Second),
        T::Time32(TimeUnit::Millisecond),
    ] {
        add(&small, time);
    }
    for time in [
        T::Time64(TimeUnit::Microsecond),
        T::Time64(TimeUnit::Nanosecond),
    ] {
        add(&integers, time);
    }
    for unit in [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ] {
        add(&integers, T::Timestamp(unit, None));
        add(&integers, T::Timestamp(unit, Some(Arc::clone(&utc))));
        add(&integers, T::Timestamp(unit, Some(Arc::clone(&zone))));
        add(&integers, T::Duration(unit));
    }
    let spans: ArrayRef = Arc::new(StringArray::from(vec![
        Some("1 year 2 months"),
        Some("3 months"),
        None,
    ]));
    add(&spans, T::Interval(IntervalUnit::YearMonth));
    let spans: ArrayRef = Arc::new(StringArray::from(vec![
        Some("1 month 2 days 3.5 seconds"),
        Some("-4 hours"),
        None,
    ]));
    add(&spans, T::Interval(IntervalUnit::MonthDayNano));
    let item = |data_type| Arc::new(Field::new("item", data_type, true));
    add(&integers, T::List(item(T::Int16)));
    add(&texts, T::LargeList(item(T::Utf8)));
    add(&integers, T::FixedSizeList(item(T::Int32), 1));

    let inner = Fields::from(vec![
        Field::new("x", T::Int64, true),
        Field::new("list", T::List(item(T::Utf8)), true),
    ]);
    let list = cast(&texts, inner[1].data_type()).unwrap();
    let nulls = arrow::buffer::NullBuffer::from(vec![true, true, false]);
    let nested = StructArray::new(
        inner.clone(),
        vec![Arc::clone(&integers), list],
        Some(nulls),
    );
    columns.push((T::Struct(inner), Arc::new(nested)));
    let mut map = arrow::array::MapBuilder::new(
        None,
        arrow::array::StringBuilder::new(),
        arrow::array::Int64Builder::new(),
    );
    map.keys().append_value("k");
    map.values().append_value(1);
    map.append(true).unwrap();
    map.keys().append_value("l");
    map.values().append_null();
    map.append(true).unwrap();
    map.append(false).unwrap();
    let map: ArrayRef = Arc::new(map.finish());
    columns.push((map.data_type().clone(), map));

    let mut fields = vec![Field::new("_key", T::Utf8, false)];
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    let mut arrays = vec![keys];
    for (index, (data_type, array)) in columns.into_iter().enumerate() {
        fields.push(Field::new(format!("c{index}"), data_type, true));
        arrays.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

#[tokio::test]
async fn what_is_inserted_is_selected_whatever_the_type() {
    let Some(broker) = broker::required("what_is_inserted_is_selected") else {
        return;
    };
    let batch = every_type();
    let schema = batch.schema();
    for options in [
        &[][..],
        &[
            ("kafka.json.nulls", "omit"),
            ("kafka.json.decimals", "string"),
        ],
    ] {
        let topic = broker.new_topic("types", 2, &[]);
        let mut table = KafkaTable::builder(&topic)
            .with_schema(Arc::clone(&schema))
            .with_option("kafka.bootstrap.servers", &broker.servers);
        for (key, value) in options {
            table = table.with_option(*key, *value);
        }
        let ctx = SessionContext::new();
        let table = table.build().await.unwrap();
        ctx.register_table("t", Arc::new(table)).unwrap();
        ctx.register_batch("given", batch.clone()).unwrap();
        assert_eq!(count(&ctx, "INSERT INTO t SELECT * FROM given").await, 3);
        let back = rows(&ctx, "SELECT * FROM t ORDER BY _key").await;
        let back = concat_batches(&schema, &back).unwrap();
        for (index, field) in schema.fields().iter().enumerate() {
            assert_eq!(back.column(index), batch.column(index), "{field:?}");
        }
    }
}

#[tokio::test]
async fn a_tombstone_needs_no_payload_where_columns_are_not_null() {
    let Some(broker) = broker::required("a_tombstone_needs_no_payload") else {
        return;
    };
    let columns = "_key VARCHAR, v INT NOT NULL, _tombstone BOOLEAN";
    let t = Writable::new(broker, columns, &[]).await;
    assert_eq!(t.insert("(_key, v) VALUES ('a', 1)").await, 1);
    assert_eq!(t.insert("(_key, _tombstone) VALUES ('a', true)").await, 1);
    assert_eq!(t.records().last(), Some(&("a".to_owned(), None)));
    let why = t.refused("(_key) VALUES ('b')").await;
    says(&why, &["row 0", &t.topic, "`v` is NULL"]);
}
