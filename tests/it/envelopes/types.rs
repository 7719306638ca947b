//! The types that Kafka Connect's description of a payload names.

use serde_json::{Value, json};

use crate::broker::{self, Rec};
use crate::declared::Declared;

const LOGICAL: &str = "org.apache.kafka.connect.data";

/// The fields of the table `orders`, as Debezium describes them.
fn fields() -> Value {
    json!([
        {"field": "id", "type": "int64", "optional": false},
        {"field": "price", "type": "bytes", "name": format!("{LOGICAL}.Decimal"), "optional": true,
         "parameters": {"scale": "2", "connect.decimal.precision": "10"}},
        {"field": "day", "type": "int32", "name": "io.debezium.time.Date", "optional": true},
        {"field": "at", "type": "int64", "name": "io.debezium.time.MicroTimestamp", "optional": true},
        {"field": "opens", "type": "int32", "name": format!("{LOGICAL}.Time"), "optional": true},
        {"field": "photo", "type": "bytes", "optional": true},
        {"field": "small", "type": "int16", "optional": true},
        {"field": "rate", "type": "float", "optional": true},
        {"field": "tags", "type": "array", "items": {"type": "string", "optional": true}, "optional": true},
        {"field": "address", "type": "struct", "optional": true, "fields": [
            {"field": "city", "type": "string", "optional": true},
            {"field": "since", "type": "int64", "name": format!("{LOGICAL}.Timestamp"), "optional": true},
        ]},
        {"field": "extra", "type": "map", "keys": {"type": "string"}, "values": {"type": "int32"}},
    ])
}

fn order(id: i64) -> Value {
    json!({
        "id": id,
        "price": "Ae8=",
        "day": 19_723,
        "at": 1_700_000_000_123_456_i64,
        "opens": 32_400_000,
        "photo": "AP8=",
        "small": 7,
        "rate": 0.5,
        "tags": ["a", null],
        "address": {"city": "Bern", "since": 1_700_000_000_000_i64},
        "extra": {"x": 1},
    })
}

/// What the table has, and what its rows are.
const COLUMNS: &[&str] = &[
    "address|Struct(\"city\": Utf8View, \"since\": Timestamp(ms), metadata: {\"json.unit\": \"ms\"})",
    "at|Timestamp(µs)",
    "day|Date32",
    "extra|Map(\"entries\": non-null Struct(\"keys\": non-null Utf8, \"values\": Int32), unsorted)",
    "id|Int64",
    "opens|Time64(ns)",
    "photo|Binary",
    "price|Decimal128(10, 2)",
    "rate|Float32",
    "small|Int16",
    "tags|List(Utf8View)",
];
const ROW: &str = "1|4.95|2024-01-01|2023-11-14T22:13:20.123456|09:00:00|00ff|7|0.5|[a, NULL]|Bern|2023-11-14T22:13:20|1";
const SELECT: &str = "SELECT id, price, day, at, opens, encode(photo, 'hex'), small, rate, tags, \
                      address['city'], address['since'], extra['x'] FROM";

#[tokio::test(flavor = "multi_thread")]
async fn a_description_in_the_records_gives_the_types() {
    let Some(broker) = broker::required("envelopes::a_description_in_the_records") else {
        return;
    };
    let row =
        |name: &str| json!({"type": "struct", "fields": fields(), "optional": true, "field": name});
    let debezium = |id: i64| {
        let schema = json!({"type": "struct", "fields": [row("before"), row("after")]});
        let event = json!({"before": null, "after": order(id), "source": {"ts_ms": 1}, "op": "c"});
        json!({"schema": schema, "payload": event}).to_string()
    };
    let connect = |id: i64| {
        let schema = json!({"type": "struct", "fields": fields(), "optional": true});
        json!({"schema": schema, "payload": order(id)}).to_string()
    };
    let key = json!({"schema": {"type": "int32", "optional": false}, "payload": 1}).to_string();
    for (payload, envelope) in [(debezium(1), "debezium"), (connect(1), "connect")] {
        let topic = broker.new_topic("typed", 1, &[]);
        broker.produce(&topic, &[Rec::new(key.clone(), payload)]);
        let table = Declared::new(broker, &topic, "", &[]).await;
        assert_eq!(
            table.rows(&format!("{SELECT} t")).await,
            [ROW],
            "{envelope}"
        );
        let columns = table
            .rows("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 't' AND column_name <> '_key'")
            .await;
        assert_eq!(columns, COLUMNS, "{envelope}");
        assert_eq!(
            table
                .rows("SELECT id FROM t WHERE _key = 1 AND price > 4")
                .await,
            ["1"]
        );
        assert_eq!(
            table.rows("SELECT arrow_typeof(_key) FROM t").await,
            ["Int32"]
        );
        // The statement that is shown makes the same table.
        let shown = table.rows("SHOW CREATE TABLE t").await.concat();
        for option in [
            "'kafka.column.price.encoding' 'base64_decimal'",
            "'kafka.column.day.unit' 'days'",
            "'kafka.column.at.unit' 'us'",
            "'kafka.column.address.since.unit' 'ms'",
            &format!("'kafka.value.envelope' '{envelope}'"),
        ] {
            assert!(shown.contains(option), "{option}: {shown}");
        }
        let create = shown
            .split_once("CREATE")
            .unwrap()
            .1
            .replace(" TABLE t ", " TABLE again ");
        table.rows(&format!("CREATE{create}")).await;
        assert_eq!(
            table.rows(&format!("{SELECT} again")).await,
            [ROW],
            "{envelope}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_written_in_the_form_that_they_are_read_in() {
    let Some(broker) = broker::required("envelopes::columns_are_written_in_the_form") else {
        return;
    };
    let topic = broker.new_topic("forms", 1, &[]);
    let columns = "_key VARCHAR, day DATE, at TIMESTAMP(3), price DECIMAL(10, 2), photo BYTEA, \
                   inner STRUCT<a BIGINT, d DATE>, n BIGINT";
    let options = [
        ("kafka.column.day.unit", "days"),
        ("kafka.column.at.unit", "ms"),
        ("kafka.column.price.encoding", "base64_decimal"),
        ("kafka.column.photo.encoding", "hex"),
        ("kafka.column.inner.encoding", "json"),
        ("kafka.column.inner.d.unit", "days"),
        ("kafka.column.n.encoding", "json"),
    ];
    let table = Declared::new(broker, &topic, columns, &options).await;
    let insert = "INSERT INTO t SELECT 'a', DATE '2024-01-01', TIMESTAMP '2023-11-14T22:13:20.5', 4.95, \
                  decode('00ff', 'hex'), named_struct('a', 1, 'd', DATE '1970-01-02'), 5";
    table.rows(insert).await;
    let payload = |broker: &broker::Broker| {
        let last = broker.read_all(&topic).pop().unwrap();
        String::from_utf8(last.payload.unwrap()).unwrap()
    };
    assert_eq!(
        payload(broker),
        r#"{"day":19723,"at":1700000000500,"price":"Ae8=","photo":"00ff","inner":"{\"a\":1,\"d\":1}","n":"5"}"#
    );
    let all = "SELECT day, at, price, encode(photo, 'hex'), inner['a'], inner['d'], n FROM t";
    let row = "2024-01-01|2023-11-14T22:13:20.500|4.95|00ff|1|1970-01-02|5";
    assert_eq!(table.rows(all).await, [row]);
    table
        .rows("UPDATE t SET day = DATE '1970-01-01', price = -0.01, n = 6")
        .await;
    assert_eq!(
        payload(broker),
        r#"{"day":0,"at":1700000000500,"price":"/w==","photo":"00ff","inner":"{\"a\":1,\"d\":1}","n":"6"}"#
    );
    for (option, reason) in [
        (
            ("kafka.column.n.unit", "days"),
            "`days` is a unit of dates, and this is BIGINT",
        ),
        (
            ("kafka.column.n.encoding", "hex"),
            "`hex` is an encoding of BYTEA, and this is BIGINT",
        ),
        (
            ("kafka.column.day.unit", "weeks"),
            "expected one of days, s, ms, us, ns",
        ),
    ] {
        let refused = Declared::try_new(broker, &topic, columns, &[option])
            .await
            .err();
        let refused = refused.unwrap_or_default();
        assert!(refused.contains(reason), "{refused}");
    }
}

/// An event of one row with a price and a time, of these types.
fn priced(id: i64, scale: &str, time: &str, at: i64) -> Rec {
    let row = |name: &str| {
        json!({"type": "struct", "field": name, "fields": [
            {"field": "id", "type": "int64"},
            {"field": "price", "type": "bytes", "name": format!("{LOGICAL}.Decimal"),
             "parameters": {"scale": scale, "connect.decimal.precision": "10"}},
            {"field": "at", "type": "int64", "name": time},
        ]})
    };
    let schema = json!({"type": "struct", "fields": [row("before"), row("after")]});
    let event = json!({"before": null, "after": {"id": id, "price": "Ae8=", "at": at},
                       "source": {"ts_ms": 1}, "op": "c"});
    Rec::new(
        id.to_string(),
        json!({"schema": schema, "payload": event}).to_string(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_describes_its_numbers_otherwise_is_a_bad_record() {
    let Some(broker) = broker::required("envelopes::a_record_that_describes") else {
        return;
    };
    let (millis, micros) = (
        "io.debezium.time.Timestamp",
        "io.debezium.time.MicroTimestamp",
    );
    let sample = ("kafka.infer.records", "1");
    for (older, reason) in [
        (
            priced(1, "2", micros, 1_700_000_000_000_000),
            "the record describes `price` with 2 decimal places, and the column has 4",
        ),
        (
            priced(1, "4", millis, 1_700_000_000_000),
            "the record describes `at` as a number of `ms`, and the column takes `us`",
        ),
    ] {
        let topic = broker.new_topic("typed", 1, &[]);
        broker.produce(
            &topic,
            &[older, priced(2, "4", micros, 1_700_000_000_000_000)],
        );
        let table = Declared::new(broker, &topic, "", &[sample]).await;
        let error = table.error("SELECT price, at FROM t").await;
        assert!(
            error.contains("offset 0") && error.contains(reason),
            "{error}"
        );
        assert_eq!(table.rows("SELECT id FROM t").await, ["1", "2"]);
        let skip = ("kafka.on_bad_record", "skip");
        let table = Declared::new(broker, &topic, "", &[sample, skip]).await;
        let rows = table.rows("SELECT id, price, at FROM t").await;
        assert_eq!(rows, ["2|0.0495|2023-11-14T22:13:20"]);
    }
    // The unit of a record goes before that of the session.
    let topic = broker.new_topic("typed", 1, &[]);
    broker.produce(&topic, &[priced(1, "2", micros, 1_700_000_000_000_000)]);
    let unit = ("kafka.json.timestamp_unit", "ms");
    let table = Declared::new(broker, &topic, "", &[unit]).await;
    assert_eq!(
        table.rows("SELECT at FROM t").await,
        ["2023-11-14T22:13:20"]
    );
    let shown = table.rows("SHOW CREATE TABLE t").await.concat();
    assert!(shown.contains("'kafka.column.at.unit' 'us'"), "{shown}");
}
