//! Dates and times are written in the form in which the table reads them.

use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaTopics, SinkOptions, SourceOptions};

use super::{Writable, create_table, record, records, says};
use crate::broker::{self, Rec, topic_name};
use crate::session::{cells, count, error, rows, session};

const MS: (&str, &str) = ("kafka.json.timestamp_unit", "ms");
const COLUMNS: &str = "_key VARCHAR, ts TIMESTAMP(3), day DATE, at TIME, span INTERVAL";

#[tokio::test]
async fn numbers_of_a_unit_stay_numbers() {
    let Some(broker) = broker::required("numbers_of_a_unit_stay_numbers") else {
        return;
    };
    let t = Writable::new(broker, COLUMNS, &[MS]).await;
    let insert =
        "VALUES ('a', '2026-07-01T12:00:00.001', '2026-07-01', '12:34:56.789', INTERVAL '1 day')";
    t.insert(insert).await;
    let a = r#"{"ts":1782907200001,"day":1782864000000,"at":45296789,"span":"P1D"}"#;
    assert_eq!(t.records(), [record("a", a)]);
    let read = rows(&t.ctx, "SELECT ts, day, at FROM t").await;
    assert_eq!(
        cells(&read),
        [["2026-07-01T12:00:00.001", "2026-07-01", "12:34:56.789"]]
    );

    count(
        &t.ctx,
        "UPDATE t SET ts = ts + INTERVAL '1 day', day = day + INTERVAL '1 day'",
    )
    .await;
    let updated = r#"{"ts":1782993600001,"day":1782950400000,"at":45296789,"span":"P1D"}"#;
    assert_eq!(t.records().last(), Some(&record("a", updated)));

    let merge = "MERGE INTO t USING (VALUES ('a', TIMESTAMP '1970-01-01T00:00:01'), \
                 ('b', TIMESTAMP '1970-01-01T00:00:02')) AS s(k, at) ON t._key = s.k \
                 WHEN MATCHED THEN UPDATE SET ts = s.at \
                 WHEN NOT MATCHED THEN INSERT (_key, ts) VALUES (s.k, s.at)";
    assert_eq!(count(&t.ctx, merge).await, 2);
    let mut last = t.records().split_off(2);
    last.sort();
    let merged = r#"{"ts":1000,"day":1782950400000,"at":45296789,"span":"P1D"}"#;
    let inserted = r#"{"ts":2000,"day":null,"at":null,"span":null}"#;
    assert_eq!(last, [record("a", merged), record("b", inserted)]);

    t.insert("SELECT 'c', ts, day, at, span FROM t WHERE _key = 'b'")
        .await;
    assert_eq!(t.records().last(), Some(&record("c", inserted)));
    let overwrite = "INSERT OVERWRITE t SELECT _key, ts, day, at, span FROM t WHERE _key <> 'c'";
    assert_eq!(count(&t.ctx, overwrite).await, 1);
    assert_eq!(t.records().last(), Some(&("c".to_owned(), None)));

    let day_is_text = [MS, ("kafka.column.day.encoding", "text")];
    let topic = broker.new_topic("day", 1, &[]);
    rows(&t.ctx, &create_table("u", COLUMNS, &topic, &day_is_text)).await;
    let insert = "INSERT INTO u (_key, ts, day) VALUES ('a', '1970-01-01T00:00:01', '2026-07-01')";
    assert_eq!(count(&t.ctx, insert).await, 1);
    let text = r#"{"ts":1000,"day":"2026-07-01","at":null,"span":null}"#;
    assert_eq!(records(broker, &topic), [record("a", text)]);

    let copied = broker.new_topic("copied", 1, &[]);
    let copy = format!(
        "COPY (SELECT _key, ts, day FROM t WHERE _key = 'a') TO '{copied}' STORED AS KAFKA \
         OPTIONS ('kafka.json.timestamp_unit' 's')"
    );
    assert_eq!(count(&t.ctx, &copy).await, 1);
    assert_eq!(
        records(broker, &copied),
        [record("a", r#"{"ts":1,"day":1782950400}"#)]
    );

    // Columns that a query passes on keep their own form.
    let copied = broker.new_topic("copied", 1, &[]);
    let query = "SELECT _key, ts, day, ts + INTERVAL '1 second' AS next FROM t WHERE _key = 'a'";
    let copy = format!("COPY ({query}) TO '{copied}' STORED AS KAFKA");
    assert_eq!(count(&t.ctx, &copy).await, 1);
    let text = "'kafka.column.ts.encoding' 'text'";
    let copy = format!(
        "COPY (SELECT _key, ts FROM t WHERE _key = 'a') TO '{copied}' STORED AS KAFKA OPTIONS ({text})"
    );
    assert_eq!(count(&t.ctx, &copy).await, 1);
    let handed_on = r#"{"ts":1000,"day":1782950400000,"next":"1970-01-01T00:00:02"}"#;
    let as_text = r#"{"ts":"1970-01-01T00:00:01"}"#;
    assert_eq!(
        records(broker, &copied),
        [record("a", handed_on), record("a", as_text)]
    );
}

#[tokio::test]
async fn text_stays_text_where_it_is_updated() {
    let Some(broker) = broker::required("text_stays_text_where_it_is_updated") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR, ts TIMESTAMP(3), day DATE", &[MS]).await;
    let stored = [
        Rec::new("a", r#"{"ts":"1970-01-01T00:00:01Z","day":"1970-01-02"}"#),
        Rec::new("b", r#"{"ts":1000}"#),
    ];
    broker.produce(&t.topic, &stored);
    let update = "UPDATE t SET ts = ts + INTERVAL '1 second', day = DATE '1970-01-03'";
    assert_eq!(count(&t.ctx, update).await, 2);
    let mut updated = t.records().split_off(2);
    updated.sort();
    let a = r#"{"ts":"1970-01-01T00:00:02","day":"1970-01-03"}"#;
    assert_eq!(
        updated,
        [
            record("a", a),
            record("b", r#"{"ts":2000,"day":172800000}"#)
        ]
    );
}

#[tokio::test]
async fn what_is_more_precise_than_the_unit_is_not_written() {
    let Some(broker) = broker::required("what_is_more_precise_than_the_unit") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR, ts TIMESTAMP", &[MS]).await;
    let late = "('a', '2026-07-01T12:00:00.001'), ('b', '2026-07-01T12:00:00.0000001')";
    let why = t.refused(&format!("VALUES {late}")).await;
    says(
        &why,
        &[
            "row 1",
            "`ts`",
            "more precise than ms",
            "date_trunc('millisecond', ..)",
        ],
    );
    t.insert("SELECT 'c', date_trunc('millisecond', TIMESTAMP '2026-07-01T12:00:00.0019')")
        .await;
    assert_eq!(
        t.records().last(),
        Some(&record("c", r#"{"ts":1782907200001}"#))
    );
}

#[tokio::test]
async fn a_pattern_writes_as_it_reads() {
    let Some(broker) = broker::required("a_pattern_writes_as_it_reads") else {
        return;
    };
    let topic = broker.new_topic("forms", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"ts":1000}"#)]);
    let schema = arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new(
        "ts",
        arrow::datatypes::DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None),
        true,
    )]);
    let source = SourceOptions::new()
        .with_option(MS.0, MS.1)
        .with_schema(schema);
    let topics = KafkaTopics::new()
        .with_source("^forms", source)
        .with_sink("^forms", SinkOptions::new());
    let ctx = session(broker, topics);
    let update = format!("UPDATE \"{topic}\" SET ts = ts + INTERVAL '1 second'");
    assert_eq!(count(&ctx, &update).await, 1);
    let insert = format!(
        "INSERT INTO \"{topic}\" SELECT 'b' AS _key, TIMESTAMP '1970-01-01T00:00:03' AS ts"
    );
    assert_eq!(count(&ctx, &insert).await, 1);
    let written = records(broker, &topic).split_off(1);
    assert_eq!(
        written,
        [record("a", r#"{"ts":2000}"#), record("b", r#"{"ts":3000}"#)]
    );
}

async fn written_with_zone(ctx: &SessionContext, broker: &broker::Broker) -> Vec<String> {
    let topic = broker.new_topic("zoned", 1, &[]);
    let columns = "_key VARCHAR, at TIMESTAMP WITH TIME ZONE, seconds TIMESTAMP(0) WITH TIME ZONE, plain TIMESTAMP(3)";
    rows(ctx, &create_table("t", columns, &topic, &[])).await;
    let noon = "'2026-07-01T12:00:00+02:00'";
    let insert = format!("INSERT INTO t VALUES ('a', {noon}, {noon}, '2026-07-01T12:00:00')");
    assert_eq!(count(ctx, &insert).await, 1);
    let update =
        "UPDATE t SET at = at + INTERVAL '1 hour', seconds = TIMESTAMPTZ '2026-07-01T12:00:00Z'";
    assert_eq!(count(ctx, update).await, 1);
    let copied = format!("{topic}-copied");
    let copy = format!(
        "COPY (SELECT _key, at, CAST({noon} AS TIMESTAMPTZ) AS cast FROM t) TO '{copied}' STORED AS KAFKA \
         OPTIONS ('kafka.create_topic' 'true')"
    );
    assert_eq!(count(ctx, &copy).await, 1);
    let same = "SELECT count(*) FROM t WHERE at = TIMESTAMPTZ '2026-07-01T11:00:00Z' AND seconds = TIMESTAMPTZ '2026-07-01T12:00:00Z'";
    assert_eq!(cells(&rows(ctx, same).await), [["1"]]);
    let payloads = [records(broker, &topic), records(broker, &copied)].concat();
    payloads
        .into_iter()
        .map(|(_, payload)| payload.unwrap())
        .collect()
}

#[tokio::test]
async fn a_time_with_a_zone_has_one_in_every_session() {
    let Some(broker) = broker::required("a_time_with_a_zone_has_one") else {
        return;
    };
    let ctx = session(broker, KafkaTopics::new());
    assert_eq!(
        written_with_zone(&ctx, broker).await,
        [
            r#"{"at":"2026-07-01T10:00:00Z","seconds":"2026-07-01T10:00:00Z","plain":"2026-07-01T12:00:00"}"#,
            r#"{"at":"2026-07-01T11:00:00Z","seconds":"2026-07-01T12:00:00Z","plain":"2026-07-01T12:00:00"}"#,
            r#"{"at":"2026-07-01T11:00:00Z","cast":"2026-07-01T10:00:00Z"}"#,
        ]
    );
    // The time zone is that of the session when the table is created.
    rows(&ctx, "SET TIME ZONE = 'Europe/Berlin'").await;
    rows(&ctx, "DROP TABLE t").await;
    assert_eq!(
        written_with_zone(&ctx, broker).await,
        [
            r#"{"at":"2026-07-01T12:00:00+02:00","seconds":"2026-07-01T12:00:00+02:00","plain":"2026-07-01T12:00:00"}"#,
            r#"{"at":"2026-07-01T13:00:00+02:00","seconds":"2026-07-01T14:00:00+02:00","plain":"2026-07-01T12:00:00"}"#,
            r#"{"at":"2026-07-01T13:00:00+02:00","cast":"2026-07-01T12:00:00+02:00"}"#,
        ]
    );
    let create = create_table(
        "other",
        "at TIMESTAMP(4) WITH TIME ZONE",
        &topic_name("none"),
        &[],
    );
    says(&error(&ctx, &create).await, &["TIMESTAMP(4)"]);
}

/// Arrays that are computed during planning are lists like any other.
#[tokio::test]
async fn arrays_that_are_written_out_have_the_form_of_their_column() {
    let Some(broker) = broker::required("arrays_that_are_written_out") else {
        return;
    };
    let columns = "_key VARCHAR, l TIMESTAMP(3)[], j VARCHAR[], s STRUCT<l DATE[]>";
    let options = [MS, ("kafka.column.j[].encoding", "json")];
    let t = Writable::new(broker, columns, &options).await;
    t.insert("VALUES ('a', [TIMESTAMP '1970-01-01T00:00:01'], ['1', '\"x\"'], NULL), ('b', [], [], NULL)")
        .await;
    t.insert("VALUES ('c', ['1970-01-01T00:00:02'], NULL, NULL)")
        .await;
    t.insert("SELECT 'd', [TIMESTAMP '1970-01-01T00:00:03', NULL], make_array('{}'), named_struct('l', [DATE '1970-01-02'])")
        .await;
    t.insert("SELECT 'e', l, j, s FROM t WHERE _key = 'a'")
        .await;
    let list = |key: &str, l: &str, j: &str, s: &str| {
        record(key, &format!(r#"{{"l":{l},"j":{j},"s":{s}}}"#))
    };
    let expected = [
        list("a", "[1000]", r#"[1,"x"]"#, "null"),
        list("b", "[]", "[]", "null"),
        list("c", "[2000]", "null", "null"),
        list("d", "[3000,null]", "[{}]", r#"{"l":[86400000]}"#),
        list("e", "[1000]", r#"[1,"x"]"#, "null"),
    ];
    assert_eq!(t.records(), expected);
    let update = "UPDATE t SET l = [TIMESTAMP '1970-01-01T00:00:05'] WHERE _key = 'b'";
    assert_eq!(count(&t.ctx, update).await, 1);
    assert_eq!(t.records().last(), Some(&list("b", "[5000]", "[]", "null")));
    let overwrite = "INSERT OVERWRITE t VALUES ('a', ['1970-01-01T00:00:09'], ['2'], NULL)";
    count(&t.ctx, overwrite).await;
    let rows = rows(&t.ctx, "SELECT _key, l, j FROM t").await;
    assert_eq!(cells(&rows), [["a", "[1970-01-01T00:00:09]", "[2]"]]);
}
