//! Payloads that are one column as a whole, whatever JSON they are.

use crate::broker::{self, Rec};
use crate::declared::{APPEND, Declared};

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_of_any_kind_is_one_column_of_its_type() {
    let Some(broker) = broker::required("envelopes::a_payload_of_any_kind") else {
        return;
    };
    for (columns, payload, select, expected, insert, written) in [
        (
            "_value STRUCT<id BIGINT, n VARCHAR>[]",
            r#"[{"id":1,"n":"a"},{"id":2,"n":"b"}]"#,
            "SELECT r['id'], r['n'] FROM (SELECT unnest(_value) AS r FROM t)",
            &["1|a", "2|b"][..],
            "[named_struct('id', 3, 'n', 'c')]",
            r#"[{"id":3,"n":"c"}]"#,
        ),
        (
            "_value MAP(VARCHAR, DOUBLE)",
            r#"{"sensor-1":1.5,"sensor-2":null}"#,
            "SELECT _value['sensor-1'], _value['sensor-2'] FROM t",
            &["1.5|NULL"],
            "map(['x'], [2.5])",
            r#"{"x":2.5}"#,
        ),
        (
            "_value BIGINT",
            "42",
            "SELECT _value + 1 FROM t",
            &["43"],
            "7",
            "7",
        ),
        (
            "_value DATE",
            "19723",
            "SELECT _value FROM t",
            &["2024-01-01"],
            "DATE '1970-01-02'",
            "1",
        ),
    ] {
        let topic = broker.new_topic("documents", 1, &[]);
        broker.produce(
            &topic,
            &[
                Rec::new("a", payload),
                Rec::new("b", payload),
                Rec::tombstone("b"),
            ],
        );
        let days = ("kafka.column._value.unit", "days");
        let options: &[_] = if columns.ends_with("DATE") {
            &[days]
        } else {
            &[]
        };
        let table = Declared::new(broker, &topic, columns, options).await;
        assert_eq!(table.rows(select).await, expected, "{columns}");
        table
            .rows(&format!("INSERT INTO t VALUES ('c', {insert})"))
            .await;
        let last = broker.read_all(&topic).pop().unwrap();
        assert_eq!(String::from_utf8(last.payload.unwrap()).unwrap(), written);
        table
            .rows(&format!("UPDATE t SET _value = {insert} WHERE _key = 'a'"))
            .await;
        let last = broker.read_all(&topic).pop().unwrap();
        assert_eq!(String::from_utf8(last.payload.unwrap()).unwrap(), written);
        table.rows("DELETE FROM t WHERE _key = 'a'").await;
        assert_eq!(table.rows("SELECT _key FROM t").await, ["c"], "{columns}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_documents_of_a_payload_are_a_list() {
    let Some(broker) = broker::required("envelopes::several_documents") else {
        return;
    };
    let topic = broker.new_topic("documents", 1, &[]);
    broker.produce(
        &topic,
        &[
            Rec::new("a", "{\"id\":1}\n{\"id\":2}\n"),
            Rec::new("b", "{\"id\":3}"),
            Rec::new("c", ""),
        ],
    );
    let many = ("kafka.json.documents", "many");
    let columns = "_value STRUCT<id BIGINT>[]";
    let table = Declared::new(broker, &topic, columns, &[many]).await;
    let ids = "SELECT _key, r['id'] FROM (SELECT _key, unnest(_value) AS r FROM t)";
    assert_eq!(table.rows(ids).await, ["a|1", "a|2", "b|3"]);
    table
        .rows("INSERT INTO t VALUES ('d', [named_struct('id', 4), named_struct('id', 5)])")
        .await;
    let last = broker.read_all(&topic).pop().unwrap();
    assert_eq!(last.payload.unwrap(), b"{\"id\":4}\n{\"id\":5}\n");
    assert_eq!(table.rows(ids).await, ["a|1", "a|2", "b|3", "d|4", "d|5"]);

    broker.produce(&topic, &[Rec::new("e", "{\"id\":6}\n{")]);
    let error = table.error("SELECT * FROM t").await;
    assert!(
        error.contains("offset 4") && error.contains("it ends too early"),
        "{error}"
    );
    let skip = ("kafka.on_bad_record", "skip");
    let table = Declared::new(broker, &topic, columns, &[many, skip]).await;
    assert_eq!(table.rows("SELECT count(*) FROM t").await, ["4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_for_the_whole_payload_stands_alone() {
    let Some(broker) = broker::required("envelopes::a_column_for_the_whole_payload") else {
        return;
    };
    let topic = broker.new_topic("documents", 1, &[]);
    let many = ("kafka.json.documents", "many");
    let debezium = ("kafka.value.envelope", "debezium");
    for (columns, option, reason) in [
        ("_value BIGINT, v BIGINT", APPEND, "nothing is left for `v`"),
        (
            "_value BIGINT",
            many,
            "needs a column `_value` that is a list",
        ),
        ("v BIGINT", many, "needs a column `_value` that is a list"),
        (
            "_value BIGINT",
            debezium,
            "takes whole payloads: leave out `kafka.value.envelope`",
        ),
    ] {
        let refused = Declared::try_new(broker, &topic, columns, &[option])
            .await
            .err();
        let refused = refused.unwrap_or_default();
        assert!(refused.contains(reason), "{columns}: {refused}");
    }
    // Beside metadata, and in a log.
    broker.produce(&topic, &[Rec::new("a", "[1,2]"), Rec::tombstone("a")]);
    let columns = "_value BIGINT[], _offset BIGINT, _tombstone BOOLEAN";
    let table = Declared::new(broker, &topic, columns, &[APPEND]).await;
    let all = "SELECT _offset, _value, _tombstone FROM t";
    assert_eq!(table.rows(all).await, ["0|[1, 2]|false", "1|NULL|true"]);
}
