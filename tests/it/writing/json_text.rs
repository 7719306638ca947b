//! Text columns that hold JSON: a copy has the same JSON values.

use datafusion_kafka::{KafkaTopics, SinkOptions, SourceOptions};

use super::{Writable, create_table, record, records, says};
use crate::broker::{self, Broker, Rec, topic_name};
use crate::session::{cells, count, error, rows, session};

/// Values of several kinds, and how a column shows them.
const VALUES: [(&str, &str, &str); 7] = [
    ("a", "1", "1"),
    ("b", r#""x1""#, "x1"),
    ("c", r#""1""#, r#""1""#),
    ("d", r#"{"x": 1}"#, r#"{"x": 1}"#),
    ("e", "[1.50, null]", "[1.50, null]"),
    ("f", "true", "true"),
    ("g", "null", "NULL"),
];

fn payload(value: &str) -> String {
    format!(r#"{{"id":{value},"o":{{}},"tags":[{value}],"deep":{{"id":{value}}},"n":1}}"#)
}

fn stored() -> Vec<(String, Option<String>)> {
    let stored = VALUES
        .iter()
        .map(|(key, value, _)| record(key, &payload(value)));
    stored.collect()
}

fn mixed_topic(broker: &Broker, name: &str) {
    broker.create_topic(name, 1, &[]);
    let records = VALUES.map(|(key, value, _)| Rec::new(key, payload(value)));
    broker.produce(name, &records);
}

fn sorted(broker: &Broker, topic: &str) -> Vec<(String, Option<String>)> {
    let mut records = records(broker, topic);
    records.sort();
    records
}

#[tokio::test]
async fn values_of_several_kinds_are_copied_as_they_are() {
    let Some(broker) = broker::required("values_of_several_kinds_are_copied") else {
        return;
    };
    let prefix = topic_name("mixed");
    let topic = format!("{prefix}-in");
    mixed_topic(broker, &topic);
    let creating = SinkOptions::new().with_option("kafka.create_topic", "true");
    let topics = KafkaTopics::new()
        .with_source(format!("^{prefix}"), SourceOptions::new())
        .with_sink(format!("^{prefix}-out"), creating);
    let ctx = session(broker, topics);
    let read = rows(
        &ctx,
        &format!("SELECT id, tags[1], deep['id'] FROM \"{topic}\" ORDER BY _key"),
    )
    .await;
    let shown = VALUES.map(|(_, _, text)| [text; 3]);
    assert_eq!(cells(&read), shown);
    let found = rows(
        &ctx,
        &format!("SELECT _key FROM \"{topic}\" WHERE id = 'x1'"),
    )
    .await;
    assert_eq!(cells(&found), [["b"]]);

    let out = format!("{prefix}-out");
    assert_eq!(
        count(
            &ctx,
            &format!("INSERT INTO \"{out}\" SELECT * FROM \"{topic}\"")
        )
        .await,
        7
    );
    assert_eq!(sorted(broker, &out), stored());
    let copied = topic_name("copied");
    let copy = format!(
        "COPY (SELECT t._key, t.id, t.o, t.tags, t.deep, t.n FROM \"{topic}\" t WHERE n = 1 ORDER BY 1) \
         TO '{copied}' STORED AS KAFKA OPTIONS ('kafka.create_topic' 'true')"
    );
    assert_eq!(count(&ctx, &copy).await, 7);
    assert_eq!(sorted(broker, &copied), stored());
    // The copy does not differ from the original.
    let overwrite = format!("INSERT OVERWRITE \"{out}\" SELECT * FROM \"{topic}\"");
    assert_eq!(count(&ctx, &overwrite).await, 0);
}

#[tokio::test]
async fn what_was_inferred_can_be_declared() {
    let Some(broker) = broker::required("what_was_inferred_can_be_declared") else {
        return;
    };
    let topic = topic_name("mixed");
    mixed_topic(broker, &topic);
    let ctx = session(broker, KafkaTopics::new());
    rows(&ctx, &create_table("inferred", "", &topic, &[])).await;
    let ddl = cells(&rows(&ctx, "SHOW CREATE TABLE inferred").await)[0][3].clone();
    for path in ["id", "o", "tags[]", "deep.id"] {
        says(&ddl, &[&format!("'kafka.column.{path}.encoding' 'mixed'")]);
    }
    let declared = ddl.replacen("inferred", "declared", 1);
    rows(&ctx, &declared).await;
    let again = cells(&rows(&ctx, "SHOW CREATE TABLE declared").await)[0][3].clone();
    let options = |ddl: &str| {
        let (_, options) = ddl.split_once("OPTIONS (").unwrap();
        let mut options: Vec<_> = options
            .split(", ")
            .map(|o| o.trim_end_matches(')').to_owned())
            .collect();
        options.sort();
        options
    };
    assert_eq!(options(&again), options(&ddl));
    for table in ["inferred", "declared"] {
        let copied = broker.new_topic("copied", 1, &[]);
        let copy = format!("COPY {table} TO '{copied}' STORED AS KAFKA");
        assert_eq!(count(&ctx, &copy).await, 7, "{table}");
        assert_eq!(sorted(broker, &copied), stored(), "{table}");
        let read = rows(&ctx, &format!("SELECT id, o FROM {table} ORDER BY _key")).await;
        assert_eq!(cells(&read), VALUES.map(|(_, _, text)| [text, "{}"]));
    }
    // With the encoding `text`, values differ only by their text.
    let text = [("kafka.column.id.encoding", "text")];
    rows(&ctx, &create_table("as_text", "", &topic, &text)).await;
    let read = rows(
        &ctx,
        "SELECT id FROM as_text WHERE _key IN ('a', 'c') ORDER BY _key",
    )
    .await;
    assert_eq!(cells(&read), [["1"], ["1"]]);
}

#[tokio::test]
async fn a_declared_column_of_json_is_read_and_written_as_json() {
    let Some(broker) = broker::required("a_declared_column_of_json") else {
        return;
    };
    let json = [("kafka.column.doc.encoding", "json")];
    let t = Writable::new(broker, "_key VARCHAR, \"Doc\" VARCHAR, n INT", &json).await;
    t.insert(r#"VALUES ('a', '{"x": [1, "y"]}', 1), ('b', '"text"', 2), ('c', '1.50', 3), ('d', NULL, 4), ('e', ' true ', 5)"#)
        .await;
    let expected = [
        r#"{"Doc":{"x": [1, "y"]},"n":1}"#,
        r#"{"Doc":"text","n":2}"#,
        r#"{"Doc":1.50,"n":3}"#,
        r#"{"Doc":null,"n":4}"#,
        r#"{"Doc":true,"n":5}"#,
    ];
    assert_eq!(t.payloads(), expected);
    let read = rows(&t.ctx, "SELECT \"Doc\" FROM t ORDER BY _key").await;
    let texts = [r#"{"x": [1, "y"]}"#, r#""text""#, "1.50", "NULL", "true"];
    assert_eq!(cells(&read), texts.map(|text| [text]));
    for bad in ["text", "{\"x\":1", "", "NaN", "{\"x\":1} 2"] {
        let why = t
            .refused(&format!("VALUES ('a', '1', 1), ('b', '{bad}', 1)"))
            .await;
        says(
            &why,
            &["row 1", "`Doc`", "the text is not JSON", "'\"text\"'"],
        );
    }
    count(&t.ctx, "UPDATE t SET \"Doc\" = '[true]' WHERE _key = 'a'").await;
    assert_eq!(t.payloads().last().unwrap(), r#"{"Doc":[true],"n":1}"#);
    let why = error(&t.ctx, "UPDATE t SET \"Doc\" = 'x'").await;
    says(&why, &["`Doc`", "the text is not JSON"]);
    let merge = "MERGE INTO t USING (VALUES ('b', '{}')) s(k, j) ON t._key = s.k \
                 WHEN MATCHED THEN UPDATE SET \"Doc\" = s.j";
    count(&t.ctx, merge).await;
    assert_eq!(t.payloads().last().unwrap(), r#"{"Doc":{},"n":2}"#);
    let ddl = cells(&rows(&t.ctx, "SHOW CREATE TABLE t").await)[0][3].clone();
    says(&ddl, &["'kafka.column.doc.encoding' 'json'"]);
}

#[tokio::test]
async fn an_encoding_is_that_of_a_text_column_of_the_table() {
    let Some(broker) = broker::required("an_encoding_is_that_of_a_text_column") else {
        return;
    };
    let ctx = session(broker, KafkaTopics::new());
    for (columns, option, reason) in [
        (
            "a VARCHAR",
            ("kafka.column.b.encoding", "json"),
            "no such column; it has _key, a",
        ),
        (
            "a INT",
            ("kafka.column.a.encoding", "mixed"),
            "`mixed` is an encoding of VARCHAR, and this is INT",
        ),
        (
            "a VARCHAR",
            ("kafka.column.a.encoding", "xml"),
            "one of text, json, mixed",
        ),
        (
            "a VARCHAR",
            ("kafka.column._key.encoding", "json"),
            "does not come from JSON",
        ),
        (
            "a VARCHAR",
            ("kafka.column.a.encodin", "json"),
            "`kafka.column.<name>.encoding`",
        ),
    ] {
        let create = create_table("t", columns, "nothing", &[option]);
        says(&error(&ctx, &create).await, &[option.0, reason]);
    }
    // A default of the session applies only to tables that have the column.
    rows(&ctx, "SET kafka.column.doc.encoding = 'json'").await;
    rows(&ctx, &create_table("without", "a INT", "nothing", &[])).await;
    let t = broker.new_topic("json", 1, &[]);
    rows(
        &ctx,
        &create_table("t", "_key VARCHAR, doc VARCHAR", &t, &[]),
    )
    .await;
    assert_eq!(count(&ctx, "INSERT INTO t VALUES ('a', '1')").await, 1);
    assert_eq!(records(broker, &t), [record("a", r#"{"doc":1}"#)]);
}

#[tokio::test]
async fn keys_of_several_kinds_are_copied_as_they_are() {
    let Some(broker) = broker::required("keys_of_several_kinds_are_copied") else {
        return;
    };
    let topic = broker.new_topic("keys", 1, &[]);
    let keys = ["1", "\"1\"", "\"x\"", r#"{"id": 1}"#, "true"];
    broker.produce(&topic, &keys.map(|key| Rec::new(key, r#"{"v":1}"#)));
    let ctx = session(broker, KafkaTopics::new());
    let json = [("kafka.key.format", "json")];
    rows(&ctx, &create_table("t", "", &topic, &json)).await;
    let read = rows(&ctx, "SELECT _key FROM t ORDER BY 1").await;
    assert_eq!(
        cells(&read),
        [["\"1\""], ["1"], ["true"], ["x"], [r#"{"id": 1}"#]]
    );
    for (key, found) in [
        ("1", 1),
        ("\"1\"", 1),
        ("x", 1),
        (r#"{"id": 1}"#, 1),
        ("\"x\"", 0),
    ] {
        let found_now = rows(
            &ctx,
            &format!("SELECT count(*) FROM t WHERE _key = '{key}'"),
        )
        .await;
        assert_eq!(cells(&found_now), [[found.to_string()]], "{key}");
    }
    let copied = broker.new_topic("copied", 1, &[]);
    let copy = format!("COPY t TO '{copied}' STORED AS KAFKA OPTIONS ('kafka.key.format' 'json')");
    assert_eq!(count(&ctx, &copy).await, 5);
    let mut expected = keys.map(|key| record(key, r#"{"v":1}"#)).to_vec();
    expected.sort();
    assert_eq!(sorted(broker, &copied), expected);
    // The row replaces the existing key, and does not add another one.
    assert_eq!(count(&ctx, "INSERT INTO t VALUES ('1', 2)").await, 1);
    assert_eq!(
        cells(&rows(&ctx, "SELECT v FROM t WHERE _key = '1'").await),
        [["2"]]
    );
    assert_eq!(cells(&rows(&ctx, "SELECT count(*) FROM t").await), [["5"]]);
}

#[tokio::test]
async fn columns_of_several_kinds_are_like_any_text_in_queries() {
    let Some(broker) = broker::required("columns_of_several_kinds_are_like_any_text") else {
        return;
    };
    let topic = topic_name("mixed");
    mixed_topic(broker, &topic);
    let ctx = session(broker, KafkaTopics::new());
    rows(&ctx, &create_table("t", "", &topic, &[])).await;
    let columns = "_key VARCHAR, id VARCHAR, tags VARCHAR[], deep STRUCT<id VARCHAR>";
    rows(&ctx, &create_table("u", columns, &topic, &[])).await;
    for (query, expected) in [
        (
            "SELECT count(*) FROM (SELECT DISTINCT id, tags, deep FROM t)",
            "7",
        ),
        (
            "SELECT count(*) FROM (SELECT id, deep, tags, count(*) FROM t GROUP BY 1, 2, 3)",
            "7",
        ),
        ("SELECT min(id) FROM t", "\"1\""),
        (
            "SELECT array_length(array_agg(id ORDER BY _key)) FROM t",
            "7",
        ),
        ("SELECT first_value(deep ORDER BY _key)['id'] FROM t", "1"),
        (
            "SELECT count(*) FROM (SELECT unnest(tags) AS tag FROM t) WHERE tag = 'x1'",
            "1",
        ),
        (
            "SELECT count(*) FROM t a JOIN t b ON a.id = b.id AND a.deep = b.deep",
            "6",
        ),
        (
            "SELECT count(*) FROM (SELECT id, tags, deep FROM t UNION ALL SELECT id, tags, deep FROM u)",
            "14",
        ),
        (
            "SELECT count(*) FROM (SELECT id, tags, deep FROM t INTERSECT SELECT id, tags, deep FROM t)",
            "7",
        ),
        (
            "SELECT max(n) FROM (SELECT row_number() OVER (PARTITION BY id, deep ORDER BY _key) AS n FROM t)",
            "1",
        ),
        (
            "SELECT coalesce(deep, named_struct('id', 'x'))['id'] FROM t WHERE _key = 'b'",
            "x1",
        ),
        (
            "SELECT coalesce(id, 'none') FROM t WHERE _key = 'g'",
            "none",
        ),
        ("SELECT count(*) FROM t WHERE id IN (SELECT id FROM u)", "5"),
        (
            "SELECT array_has(tags, 'x1') FROM t WHERE _key = 'b'",
            "true",
        ),
        (
            "WITH RECURSIVE r AS (SELECT id, 1 AS n FROM t UNION ALL SELECT id, n + 1 FROM r WHERE n < 2) SELECT count(*) FROM r",
            "14",
        ),
        ("SELECT upper(id) FROM t WHERE _key = 'b'", "X1"),
    ] {
        assert_eq!(cells(&rows(&ctx, query).await), [[expected]], "{query}");
    }
    rows(&ctx, "CREATE TABLE kept AS SELECT * FROM t").await;
    rows(&ctx, "CREATE VIEW seen AS SELECT id, tags, deep FROM t").await;
    for table in ["kept", "seen"] {
        let query = format!("SELECT count(id), count(tags), count(deep) FROM {table}");
        assert_eq!(cells(&rows(&ctx, &query).await), [["6", "7", "7"]]);
    }
}
