//! The id of a schema in front of JSON, as clients of a schema registry write it.

use crate::broker::{self, Broker, Rec, Stored};
use crate::declared::Declared;

/// A document behind a zero byte and an id of 4 bytes.
fn framed(id: u32, json: &str) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], json.as_bytes()].concat()
}

/// The last record of each key, in the order of the log.
fn latest(broker: &Broker, topic: &str) -> Vec<Stored> {
    let mut latest: Vec<Stored> = Vec::new();
    for record in broker.read_all(topic) {
        latest.retain(|earlier| earlier.key != record.key);
        latest.push(record);
    }
    latest
}

const JSON_KEY: (&str, &str) = ("kafka.key.format", "json");

#[tokio::test(flavor = "multi_thread")]
async fn json_behind_the_id_of_a_schema_is_read_declared_and_inferred() {
    let Some(broker) = broker::required("framing::json_behind_the_id_of_a_schema") else {
        return;
    };
    let topic = broker.new_topic("framed", 1, &[]);
    broker.produce(
        &topic,
        &[
            Rec::new(
                framed(7, "{\"id\":1}"),
                framed(100_000, "{\"v\":1,\"s\":\"a\"}"),
            ),
            // Another writer, without a registry.
            Rec::new("{\"id\":2}", "{\"v\":2,\"s\":\"b\"}"),
            Rec::new(framed(7, "{\"id\":3}"), framed(300, "{\"v\":3}")),
            Rec::new(
                framed(7, "{\"id\":3}"),
                framed(301, "{\"v\":4,\"s\":\"c\"}"),
            ),
            Rec::new(framed(7, "{\"id\":4}"), framed(300, "{\"v\":5}")),
            Rec::tombstone(framed(7, "{\"id\":4}")),
        ],
    );
    let expected = ["1|1|a", "2|2|b", "3|4|c"];
    for columns in ["_key STRUCT<id BIGINT>, v BIGINT, s VARCHAR", ""] {
        let table = Declared::new(broker, &topic, columns, &[JSON_KEY]).await;
        let all = "SELECT _key['id'], v, s FROM t";
        assert_eq!(table.rows(all).await, expected, "{columns}");
        assert_eq!(table.rows("SELECT v FROM t WHERE s = 'c'").await, ["4"]);
        assert_eq!(table.rows("SELECT count(*) FROM t").await, ["3"]);
        let one = "SELECT v FROM t WHERE _key['id'] = 3";
        assert_eq!(table.rows(one).await, ["4"], "{columns}");
    }
    // Keys that are scalars, which filters look up.
    let topic = broker.new_topic("framed", 1, &[]);
    broker.produce(
        &topic,
        &[
            Rec::new(framed(7, "\"a\""), framed(1, "{\"v\":1}")),
            Rec::new(framed(8, "\"b\""), framed(1, "{\"v\":2}")),
        ],
    );
    let table = Declared::new(broker, &topic, "", &[JSON_KEY]).await;
    assert_eq!(table.rows("SELECT v FROM t WHERE _key = 'b'").await, ["2"]);
    let texts = "_key VARCHAR, v BIGINT, _value VARCHAR";
    let table = Declared::new(broker, &topic, texts, &[JSON_KEY]).await;
    assert_eq!(
        table.rows("SELECT _value FROM t WHERE v = 1").await,
        ["{\"v\":1}"]
    );
    let bytes = "_key VARCHAR, v BIGINT, _value BYTEA";
    let table = Declared::new(broker, &topic, bytes, &[JSON_KEY]).await;
    let raw = "SELECT encode(_value, 'hex') FROM t WHERE v = 1";
    assert_eq!(table.rows(raw).await, ["00000000017b2276223a317d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_keeps_the_ids_of_its_schemas() {
    let Some(broker) = broker::required("framing::what_is_changed_keeps_the_ids") else {
        return;
    };
    let topic = broker.new_topic("framed", 1, &[]);
    let guid = b"\x01abcdefghijklmnop";
    let in_header =
        Rec::new("\"h\"", "{\"v\":3,\"more\":[1]}").header("__value_schema_id", Some(guid));
    broker.produce(
        &topic,
        &[
            Rec::new(framed(7, "\"a\""), framed(65_536, "{\"v\":1, \"more\":{}}")),
            Rec::new(framed(7, "\"b\""), framed(2, "{\"v\":2}")),
            in_header,
        ],
    );
    let table = Declared::new(broker, &topic, "_key VARCHAR, v BIGINT", &[JSON_KEY]).await;
    table.rows("UPDATE t SET v = v * 10 WHERE v <> 2").await;
    table.rows("DELETE FROM t WHERE _key = 'b'").await;
    let records = latest(broker, &topic);
    let of_key = |key: &[u8]| {
        let record = records.iter().find(|r| r.key.as_deref() == Some(key));
        record.unwrap()
    };
    let (a, h) = (of_key(&framed(7, "\"a\"")), of_key(b"\"h\""));
    assert_eq!(of_key(&framed(7, "\"b\"")).payload, None);
    assert_eq!(a.payload, Some(framed(65_536, "{\"v\":10,\"more\":{}}")));
    assert_eq!(h.payload.as_deref(), Some(&b"{\"v\":30,\"more\":[1]}"[..]));
    let header = ("__value_schema_id".to_owned(), Some(guid.to_vec()));
    assert_eq!(h.headers, [header]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_inserted_has_the_ids_that_options_give() {
    let Some(broker) = broker::required("framing::what_is_inserted_has_the_ids") else {
        return;
    };
    let columns = "_key VARCHAR, v BIGINT";
    for (framing, front) in [
        ("confluent", &[0, 0, 1, 0, 2][..]),
        ("apicurio", &[0, 0, 0, 0, 0, 0, 1, 0, 2]),
    ] {
        let topic = broker.new_topic("framed", 1, &[]);
        let options = [
            JSON_KEY,
            ("kafka.json.framing", framing),
            ("kafka.json.schema_id", "65538"),
            ("kafka.json.key_schema_id", "65538"),
        ];
        let table = Declared::new(broker, &topic, columns, &options).await;
        table.rows("INSERT INTO t VALUES ('a', 1), ('b', 2)").await;
        table.rows("UPDATE t SET v = 3 WHERE _key = 'b'").await;
        // The key of a row that is there stays as it is.
        table
            .rows("INSERT OVERWRITE t SELECT * FROM (VALUES ('b', 4), ('c', 5))")
            .await;
        assert_eq!(table.rows("SELECT * FROM t").await, ["b|4", "c|5"]);
        let behind = |json: &str| Some([front, json.as_bytes()].concat());
        for record in broker.read_all(&topic) {
            let keys = ["\"a\"", "\"b\"", "\"c\""].map(behind);
            assert!(keys.contains(&record.key), "{record:?}");
            let is_framed = |payload: &Vec<u8>| payload.starts_with(front);
            assert!(record.payload.is_none_or(|payload| is_framed(&payload)));
        }
        let last = latest(broker, &topic);
        let payloads: Vec<_> = last.into_iter().map(|record| record.payload).collect();
        assert!(payloads.contains(&behind("{\"v\":5}")), "{payloads:?}");
        assert!(payloads.contains(&behind("{\"v\":4}")), "{payloads:?}");
    }
    let topic = broker.new_topic("framed", 1, &[]);
    for (option, value, says) in [
        ("kafka.json.schema_id", "-1", "the id of a schema"),
        ("kafka.json.schema_id", "x", "the id of a schema"),
        (
            "kafka.json.key_schema_id",
            "2147483648",
            "`kafka.json.framing` = `apicurio`",
        ),
        ("kafka.json.framing", "glue", "confluent, apicurio"),
    ] {
        let refused =
            Declared::try_new(broker, &topic, columns, &[JSON_KEY, (option, value)]).await;
        let error = refused.err().unwrap();
        assert!(error.contains(option) && error.contains(says), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_behind_an_id_is_a_bad_record() {
    let Some(broker) = broker::required("framing::what_is_no_json_behind_an_id") else {
        return;
    };
    for (payload, position) in [
        // The beginning of an id.
        (&b"\0\0\0"[..], "byte 0"),
        // Nothing behind an id, and Avro.
        (b"\0\0\0\0\x07", "empty, not JSON at byte 5"),
        (b"\0\0\0\0\x07\x02\x10", "byte 5"),
        (b"\0\0\0\0\x07{\"v\":}", "byte 10"),
    ] {
        let topic = broker.new_topic("framed", 1, &[]);
        broker.produce(
            &topic,
            &[
                Rec::new("a", framed(7, "{\"v\":1}")),
                Rec::new("bad", payload),
                Rec::new("b", framed(7, "{\"v\":2}")),
            ],
        );
        let columns = "_key VARCHAR, v BIGINT";
        let table = Declared::new(broker, &topic, columns, &[]).await;
        let error = table.error("SELECT * FROM t").await;
        assert!(error.contains(position), "{error}");
        assert!(error.contains("offset 1"), "{error}");
        let skip = [("kafka.on_bad_record", "skip")];
        let table = Declared::new(broker, &topic, columns, &skip).await;
        assert_eq!(table.rows("SELECT * FROM t").await, ["a|1", "b|2"]);
    }
}
