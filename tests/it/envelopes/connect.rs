//! Kafka Connect's envelope, and rows that say that they are deleted.

use serde_json::{Value, json};

use crate::broker::{self, Rec};
use crate::declared::{APPEND, Declared};

const CONNECT: (&str, &str) = ("kafka.value.envelope", "connect");

/// A document as `JsonConverter` writes it.
fn connect(payload: Value) -> String {
    let schema = json!({"type": "struct", "fields": [], "optional": true});
    json!({"schema": schema, "payload": payload}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_kafka_connect_are_read_declared_and_inferred() {
    let Some(broker) = broker::required("envelopes::rows_of_kafka_connect") else {
        return;
    };
    let topic = broker.new_topic("connect", 2, &[]);
    let key = |id: i64| connect(json!({"id": id}));
    broker.produce(
        &topic,
        &[
            Rec::new(key(1), connect(json!({"name": "a", "n": 1}))),
            Rec::new(key(2), connect(json!({"name": "b", "n": 2}))),
            Rec::new(key(2), connect(json!({"name": "c", "n": 3}))),
            Rec::new(key(3), connect(json!({"name": "d", "n": 4}))),
            Rec::tombstone(key(3)),
            Rec::new(key(4), connect(json!({"name": "e", "n": 5}))),
            Rec::new(key(4), connect(Value::Null)),
        ],
    );
    let declared = [CONNECT, ("kafka.key.envelope", "connect")];
    let columns = "_key STRUCT<id BIGINT>, name VARCHAR, n BIGINT";
    for (columns, options) in [(columns, &declared[..]), ("", &[])] {
        let table = Declared::new(broker, &topic, columns, options).await;
        let rows = table.rows("SELECT _key['id'], name, n FROM t").await;
        assert_eq!(rows, ["1|a|1", "2|c|3"], "{columns}");
        assert_eq!(table.rows("SELECT count(*) FROM t").await, ["2"]);
        assert_eq!(
            table.rows("SELECT name FROM t WHERE _key['id'] = 2").await,
            ["c"]
        );
    }
    let columns = "name VARCHAR, _tombstone BOOLEAN";
    let table = Declared::new(broker, &topic, columns, &[CONNECT, APPEND]).await;
    let count = "SELECT _tombstone, count(*) FROM t GROUP BY 1";
    assert_eq!(table.rows(count).await, ["false|5", "true|2"]);
    let only_keys = [
        ("kafka.value.envelope", "none"),
        ("kafka.key.envelope", "connect"),
    ];
    let table = Declared::new(broker, &topic, "payload STRUCT<n INT>", &only_keys).await;
    let error = table.error("DELETE FROM t").await;
    assert!(
        error.contains("with `kafka.key.envelope` = `connect`"),
        "{error}"
    );
    assert_eq!(
        table.rows("SELECT payload['n'], _key FROM t").await,
        ["1|{\"id\":1}", "3|{\"id\":2}", "NULL|{\"id\":4}"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_can_say_that_the_row_is_deleted() {
    let Some(broker) = broker::required("envelopes::a_property_can_say") else {
        return;
    };
    let topic = broker.new_topic("deleted", 1, &[]);
    broker.produce(
        &topic,
        &[
            Rec::new("a", "{\"v\":1,\"__deleted\":\"false\"}"),
            Rec::new("b", "{\"v\":2}"),
            Rec::new("b", "{\"v\":2,\"__deleted\":\"true\"}"),
            Rec::new("c", "{\"v\":3,\"__deleted\":true}"),
            Rec::new("d", "{\"v\":4,\"__deleted\":\"true\"}"),
            Rec::new("d", "{\"v\":5,\"__deleted\":null}"),
            Rec::new("e", "{\"v\":6,\"more\":{\"__deleted\":true}}"),
        ],
    );
    let by = ("kafka.deleted_by", "__deleted");
    for columns in ["v BIGINT", ""] {
        let table = Declared::new(broker, &topic, columns, &[by]).await;
        assert_eq!(
            table.rows("SELECT _key, v FROM t").await,
            ["a|1", "d|5", "e|6"]
        );
        assert_eq!(table.rows("SELECT count(*) FROM t").await, ["3"]);
        assert_eq!(
            table.rows("SELECT v FROM t WHERE _key = 'b'").await,
            Vec::<String>::new()
        );
    }
    let table = Declared::new(
        broker,
        &topic,
        "v BIGINT, _tombstone BOOLEAN",
        &[by, APPEND],
    )
    .await;
    let gone = "SELECT _key, v FROM t WHERE _tombstone";
    assert_eq!(table.rows(gone).await, ["b|NULL", "c|NULL", "d|NULL"]);
    // Such a table is written as any other one.
    let table = Declared::new(broker, &topic, "v BIGINT", &[by]).await;
    table.rows("INSERT INTO t VALUES ('b', 7)").await;
    table.rows("UPDATE t SET v = 8 WHERE _key = 'a'").await;
    table.rows("DELETE FROM t WHERE _key = 'd'").await;
    assert_eq!(
        table.rows("SELECT _key, v FROM t").await,
        ["a|8", "b|7", "e|6"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_envelopes_that_cannot_work_are_refused() {
    let Some(broker) = broker::required("envelopes::options_of_envelopes") else {
        return;
    };
    let topic = broker.new_topic("connect", 1, &[]);
    let text = ("kafka.value.format", "string");
    for (options, reason) in [
        (&[CONNECT, text][..], "`kafka.value.envelope`"),
        (&[("kafka.deleted_by", "x"), text], "`kafka.deleted_by`"),
        (
            &[
                ("kafka.key.envelope", "connect"),
                ("kafka.key.format", "bytes"),
            ],
            "`kafka.key.envelope`",
        ),
        (
            &[("kafka.value.envelope", "avro")],
            "expected one of none, connect, debezium",
        ),
        (
            &[("kafka.key.envelope", "debezium")],
            "expected one of none, connect",
        ),
        (
            &[("kafka.deleted_by", "")],
            "expected the name of a property",
        ),
    ] {
        let refused = Declared::try_new(broker, &topic, "", options).await.err();
        let refused = refused.unwrap_or_default();
        assert!(refused.contains(reason), "{options:?}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_without_a_description_is_seen_beside_others() {
    let Some(broker) = broker::required("envelopes::an_envelope_without_a_description") else {
        return;
    };
    let topic = broker.new_topic("connect", 1, &[]);
    broker.produce(
        &topic,
        &[
            Rec::new("a", connect(json!({"n": 1}))),
            Rec::new("b", connect(json!({"n": 2}))),
            Rec::new("b", r#"{"schema":null,"payload":null}"#),
            Rec::new("c", r#"{"schema":null,"payload":{"n":3}}"#),
        ],
    );
    let table = Declared::new(broker, &topic, "", &[]).await;
    assert_eq!(table.rows("SELECT _key, n FROM t").await, ["a|1", "c|3"]);

    // Rows that only look like it, scalars, and keys of two shapes.
    let topic = broker.new_topic("connect", 1, &[]);
    let row = r#"{"schema":{"v":1},"payload":{"n":1},"id":7}"#;
    broker.produce(&topic, &[Rec::new("a", row)]);
    let table = Declared::new(broker, &topic, "", &[]).await;
    assert_eq!(table.rows("SELECT id, payload['n'] FROM t").await, ["7|1"]);
    let topic = broker.new_topic("connect", 1, &[]);
    let scalar = json!({"schema": {"type": "int32"}, "payload": 5}).to_string();
    broker.produce(&topic, &[Rec::new("a", scalar)]);
    let table = Declared::new(broker, &topic, "", &[]).await;
    assert_eq!(table.rows("SELECT payload FROM t").await, ["5"]);
    let topic = broker.new_topic("connect", 1, &[]);
    let key = json!({"schema": {"type": "int32"}, "payload": 5}).to_string();
    broker.produce(
        &topic,
        &[Rec::new(key, "{\"n\":1}"), Rec::new("7", "{\"n\":2}")],
    );
    let refused = Declared::try_new(broker, &topic, "", &[])
        .await
        .err()
        .unwrap_or_default();
    assert!(
        refused.contains("1 of 2 sampled keys") && refused.contains("`kafka.key.envelope`"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_property_of_deleted_rows_is_found_as_columns_are() {
    let Some(broker) = broker::required("envelopes::the_property_of_deleted_rows") else {
        return;
    };
    let topic = broker.new_topic("deleted", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"v":1,"__DELETED":"true"}"#)]);
    let by = ("kafka.deleted_by", "__deleted");
    let table = Declared::new(broker, &topic, "v BIGINT", &[by]).await;
    assert_eq!(table.rows("SELECT v FROM t").await, Vec::<String>::new());
    let exact = ("kafka.json.names", "exact");
    let table = Declared::new(broker, &topic, "v BIGINT", &[by, exact]).await;
    assert_eq!(table.rows("SELECT v FROM t").await, ["1"]);
}
