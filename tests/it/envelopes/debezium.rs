//! Debezium's change events.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::events::{Variant, customer};
use crate::broker::{self, Rec};
use crate::declared::{APPEND, Declared};
use crate::random::Random;

const DEBEZIUM: (&str, &str) = ("kafka.value.envelope", "debezium");
const JSON_KEY: (&str, &str) = ("kafka.key.format", "json");
const CONNECT_KEY: (&str, &str) = ("kafka.key.envelope", "connect");
const COLUMNS: &str = "id INT, name VARCHAR, spent DOUBLE";

/// A change history, and what it comes to.
struct History {
    records: Vec<Rec>,
    /// The rows by id, as `id|name|spent`.
    rows: BTreeMap<i64, String>,
    /// All events, as `op|id|name|at`.
    events: Vec<String>,
}

/// A random history: a snapshot, inserts, updates, deletes, rows that come back, primary keys that
/// change, and messages that have no row.
fn history(variant: Variant, seed: u64, changes: usize) -> History {
    let mut random = Random(seed);
    let mut rows: BTreeMap<i64, Value> = BTreeMap::new();
    let (mut records, mut events) = (Vec::new(), Vec::new());
    let mut add = |op: &str, id: i64, before: &Value, after: &Value, step: usize| {
        let at = 1_700_000_000_000 + step as i64;
        let name = after["name"].as_str().unwrap_or("NULL");
        let shown = if after.is_null() {
            "NULL".to_owned()
        } else {
            id.to_string()
        };
        events.push(format!("{op}|{shown}|{name}|{at}"));
        variant.change(op, id, before.clone(), after.clone(), at)
    };
    for step in 0..changes {
        let id = random.below(12) as i64;
        let after = customer(id, &format!("name \"{step}\" ü"), step as f64 / 4.0);
        match (rows.get(&id).cloned(), random.below(8)) {
            (None, _) => {
                let op = if step < changes / 4 { "r" } else { "c" };
                records.extend(add(op, id, &Value::Null, &after, step));
                rows.insert(id, after);
            }
            (Some(before), 0..=1) => {
                records.extend(add("d", id, &before, &Value::Null, step));
                rows.remove(&id);
            }
            (Some(before), 2) => {
                // A primary key that changes is a delete and a create.
                let other = 100 + id;
                let after = customer(other, "moved", 1.5);
                records.extend(add("d", id, &before, &Value::Null, step));
                records.extend(add("c", other, &Value::Null, &after, step));
                rows.remove(&id);
                rows.insert(other, after);
            }
            (Some(_), 3) => {
                // Of a key, but not about its row.
                let message = json!({"op": "m", "ts_ms": 1, "source": {"ts_ms": 1}});
                records.push(Rec::new(variant.key(id), variant.other(message)));
                let heartbeat = json!({"ts_ms": 1_700_000_000_000_i64});
                records.push(Rec::new(variant.key(id), variant.other(heartbeat)));
            }
            (Some(before), _) => {
                records.extend(add("u", id, &before, &after, step));
                rows.insert(id, after);
            }
        }
    }
    let text = |row: &Value| {
        let name = row["name"].as_str().unwrap();
        format!("{}|{name}|{:?}", row["id"], row["spent"].as_f64().unwrap())
    };
    History {
        records,
        rows: rows.iter().map(|(id, row)| (*id, text(row))).collect(),
        events,
    }
}

fn sorted(rows: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut rows: Vec<String> = rows.into_iter().collect();
    rows.sort_unstable();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_history_reads_as_the_table_that_it_comes_to() {
    let Some(broker) = broker::required("envelopes::a_change_history") else {
        return;
    };
    for (seed, variant) in Variant::ALL.into_iter().enumerate() {
        let partitions = 1 + seed as i32;
        let topic = broker.new_topic("debezium", partitions, &[]);
        let history = history(variant, seed as u64, 400);
        broker.produce(&topic, &history.records);
        let rows = sorted(history.rows.values().cloned());
        let key = match variant.schemas {
            true => vec![DEBEZIUM, JSON_KEY, CONNECT_KEY],
            false => vec![DEBEZIUM, JSON_KEY],
        };
        let declared = format!("_key STRUCT<id INT>, {COLUMNS}");
        for (columns, options) in [(declared.as_str(), key.as_slice()), ("", &[])] {
            let what = format!("{variant:?} `{columns}`");
            let table = Declared::new(broker, &topic, columns, options).await;
            assert_eq!(
                table.rows("SELECT id, name, spent FROM t").await,
                rows,
                "{what}"
            );
            let count = table.rows("SELECT count(*) FROM t").await;
            assert_eq!(count, [rows.len().to_string()], "{what}");
            let some = table
                .rows("SELECT id, name, spent FROM t WHERE id >= 100")
                .await;
            let expected = history.rows.range(100..).map(|(_, row)| row.clone());
            assert_eq!(some, sorted(expected), "{what}");
        }
        let table = Declared::new(broker, &topic, &declared, &key).await;
        let keys = table.rows("SELECT _key['id'] FROM t").await;
        assert_eq!(keys, sorted(history.rows.keys().map(i64::to_string)));
        let one = table
            .rows("SELECT count(*) FROM t WHERE _key['id'] = 3")
            .await;
        assert_eq!(one, [i32::from(history.rows.contains_key(&3)).to_string()]);

        let columns = format!("{COLUMNS}, _op VARCHAR, _source_timestamp TIMESTAMP");
        let table = Declared::new(broker, &topic, &columns, &[DEBEZIUM, APPEND]).await;
        let events = table
            .rows("SELECT _op, id, name, CAST(_source_timestamp AS BIGINT) / 1000000 FROM t")
            .await;
        assert_eq!(
            events,
            sorted(history.events.iter().cloned()),
            "{variant:?}"
        );
        let table = Declared::new(broker, &topic, COLUMNS, &[DEBEZIUM, APPEND]).await;
        let count = table.rows("SELECT count(*) FROM t").await;
        let rows = history
            .events
            .iter()
            .filter(|event| !event.starts_with('d'));
        assert_eq!(count, [rows.count().to_string()], "{variant:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_says_besides_its_row_is_in_columns() {
    let Some(broker) = broker::required("envelopes::what_an_event_says") else {
        return;
    };
    let variant = Variant::ALL[3];
    let topic = broker.new_topic("debezium", 1, &[]);
    let (old, new) = (customer(1, "Ada", 1.0), customer(1, "Ada", 2.0));
    let changes = [
        variant.change("r", 1, Value::Null, old.clone(), 1_000),
        variant.change("u", 1, old, new.clone(), 2_000),
        variant.change("d", 1, new, Value::Null, 3_000),
    ];
    broker.produce(&topic, &changes.concat());
    let columns = "_key VARCHAR, spent DOUBLE, _op VARCHAR, _before VARCHAR, _tombstone BOOLEAN, \
                   _offset BIGINT, _value VARCHAR";
    let options = [DEBEZIUM, APPEND, CONNECT_KEY];
    let table = Declared::new(broker, &topic, columns, &options).await;
    assert_eq!(
        table
            .rows("SELECT _offset, _op, spent, _before, _tombstone, _key FROM t")
            .await,
        [
            "0|r|1.0|NULL|false|{\"id\":1}",
            "1|u|2.0|{\"id\":1,\"name\":\"Ada\",\"spent\":1.0}|false|{\"id\":1}",
            "2|d|NULL|{\"id\":1,\"name\":\"Ada\",\"spent\":2.0}|true|{\"id\":1}",
            "3|NULL|NULL|NULL|true|{\"id\":1}",
        ]
    );
    // The payload itself stays as it is.
    let whole = "SELECT count(*) FROM t WHERE starts_with(_value, '{\"payload\":')";
    assert_eq!(table.rows(whole).await, ["3"]);
    let all = [DEBEZIUM, ("kafka.metadata", "all")];
    let table = Declared::new(broker, &topic, "id INT", &all).await;
    let none = "SELECT _op, _source_timestamp, _before, _offset FROM t";
    assert_eq!(table.rows(none).await, Vec::<String>::new());
    // Without the option the names belong to properties.
    let table = Declared::new(broker, &topic, "_op BIGINT", &[APPEND]).await;
    assert_eq!(table.rows("SELECT DISTINCT _op FROM t").await, ["NULL"]);

    let not_null = "id INT NOT NULL, _op VARCHAR";
    let refused = Declared::try_new(broker, &topic, not_null, &[DEBEZIUM, APPEND]).await;
    let refused = refused.err().unwrap();
    assert!(refused.contains("with `_op` deletes are rows"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_another_shape_are_bad_records() {
    let Some(broker) = broker::required("envelopes::events_of_another_shape") else {
        return;
    };
    let good = |id| Variant::ALL[0].change("c", id, Value::Null, customer(id, "x", 0.5), 1);
    for (bad, reason) in [
        ("{\"id\":2}", "there is no `op`, as Debezium writes it"),
        ("{\"op\":\"x\"}", "`op` is not c, u, r, d, t or m"),
        ("{\"op\":7}", "`op` is not c, u, r, d, t or m"),
        ("{\"op\":\"c\"}", "`after` is not an object"),
        ("{\"op\":\"u\",\"after\":null}", "`after` is not an object"),
        (
            "{\"op\":\"u\",\"after\":\"{}\"}",
            "`after` is not an object",
        ),
        (
            "{\"op\":\"c\",\"after\":{\"id\":true}}",
            "in `id` at byte 24",
        ),
        ("{\"payload\":7}", "expected an object"),
        ("{\"op\":\"c\",\"after\":{", "it ends too early"),
        ("7", "expected an object"),
    ] {
        let topic = broker.new_topic("debezium", 1, &[]);
        let key = Variant::ALL[0].key(2);
        let older = Variant::ALL[0].change("c", 2, Value::Null, customer(2, "older", 0.5), 1);
        let records = [good(1), older, vec![Rec::new(key, bad)], good(3)].concat();
        broker.produce(&topic, &records);
        let of = async |policy: &str, columns: &str| {
            let options = [DEBEZIUM, ("kafka.on_bad_record", policy)];
            Declared::new(broker, &topic, columns, &options).await
        };
        let error = of("fail", COLUMNS).await.error("SELECT * FROM t").await;
        let place = format!("topic `{topic}` partition 0 offset 2");
        assert!(
            error.contains(reason) && error.contains(&place),
            "{bad}: {error}"
        );
        let skipped = of("skip", COLUMNS).await;
        assert_eq!(
            skipped.rows("SELECT id FROM t").await,
            ["1", "2", "3"],
            "{bad}"
        );
        assert_eq!(skipped.rows("SELECT count(*) FROM t").await, ["3"], "{bad}");
        let null = of("null", &format!("{COLUMNS}, _error VARCHAR")).await;
        let rows = null.rows("SELECT id FROM t WHERE _error IS NOT NULL").await;
        assert_eq!(rows, ["NULL"], "{bad}");
        assert_eq!(null.rows("SELECT count(*) FROM t").await, ["3"], "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_several_shapes_asks_for_the_option() {
    let Some(broker) = broker::required("envelopes::a_sample_of_several_shapes") else {
        return;
    };
    let topic = broker.new_topic("debezium", 1, &[]);
    let event = Variant::ALL[2].change("c", 1, Value::Null, customer(1, "x", 0.5), 1);
    let plain = Rec::new(Variant::ALL[2].key(2), "{\"id\":2}");
    let records = [event, vec![plain]].concat();
    broker.produce(&topic, &records);
    let refused = Declared::try_new(broker, &topic, "", &[])
        .await
        .err()
        .unwrap();
    assert!(
        refused.contains("1 of 2 sampled payloads have the envelope of Debezium")
            && refused.contains("set `kafka.value.envelope` = `debezium`, or `none`"),
        "{refused}"
    );
    let skip = ("kafka.on_bad_record", "skip");
    let table = Declared::new(broker, &topic, "", &[DEBEZIUM, skip]).await;
    assert_eq!(table.rows("SELECT id FROM t").await, ["1"]);
    let none = ("kafka.value.envelope", "none");
    let table = Declared::new(broker, &topic, "", &[none]).await;
    assert_eq!(
        table.rows("SELECT id, payload['op'] FROM t").await,
        ["2|NULL", "NULL|c"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_is_shown_and_statements_that_write_are_refused() {
    let Some(broker) = broker::required("envelopes::what_was_found_is_shown") else {
        return;
    };
    let topic = broker.new_topic("debezium", 1, &[]);
    let event = Variant::ALL[2].change("c", 1, Value::Null, customer(1, "x", 0.5), 1);
    broker.produce(&topic, &event);
    let table = Declared::new(broker, &topic, "", &[]).await;
    let shown = table.rows("SHOW CREATE TABLE t").await.concat();
    for option in [
        "'kafka.value.envelope' 'debezium'",
        "'kafka.key.envelope' 'connect'",
        "'kafka.key.format' 'json'",
    ] {
        assert!(shown.contains(option), "{shown}");
    }
    let again = shown
        .split_once("CREATE")
        .unwrap()
        .1
        .replace(" t ", " again ");
    table.rows(&format!("CREATE{again}")).await;
    assert_eq!(table.rows("SELECT id, name FROM again").await, ["1|x"]);
    let key = "arrow_cast(named_struct('id', 1), 'Struct(\"id\": Int64)')";
    for statement in [
        format!("INSERT INTO t (_key, id) VALUES ({key}, 1)"),
        format!("INSERT OVERWRITE t (_key, id) VALUES ({key}, 1)"),
        "UPDATE t SET name = 'y'".to_owned(),
        "DELETE FROM t".to_owned(),
        "MERGE INTO t USING (SELECT 1 AS i) s ON t.id = s.i WHEN MATCHED THEN DELETE".to_owned(),
    ] {
        let error = table.error(&statement).await;
        let reason =
            format!("topic `{topic}` cannot be written with `kafka.value.envelope` = `debezium`");
        assert!(error.contains(&reason), "{statement}: {error}");
    }
    assert_eq!(broker.read_all(&topic).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_without_a_row_need_no_key_and_rows_are_no_messages() {
    let Some(broker) = broker::required("envelopes::messages_without_a_row") else {
        return;
    };
    let variant = Variant::ALL[0];
    let topic = broker.new_topic("debezium", 1, &[]);
    let event = variant.change("c", 1, Value::Null, customer(1, "x", 0.5), 1);
    let truncate = json!({"op": "t", "source": {"ts_ms": 1}, "ts_ms": 1});
    let keyless = [truncate, json!({"ts_ms": 1, "ts_us": 1000})];
    let keyless = keyless.map(|message| Rec {
        key: None,
        ..Rec::new("", variant.other(message))
    });
    broker.produce(&topic, &[event, keyless.to_vec()].concat());
    let columns = format!("{COLUMNS}, _tombstone BOOLEAN");
    for columns in [columns.as_str(), ""] {
        let options: &[_] = if columns.is_empty() { &[] } else { &[DEBEZIUM] };
        let table = Declared::new(broker, &topic, columns, options).await;
        assert_eq!(table.rows("SELECT id, name FROM t").await, ["1|x"]);
        assert_eq!(table.rows("SELECT count(*) FROM t").await, ["1"]);
        let one = format!("SELECT name FROM t WHERE _key = '{}'", variant.key(1));
        assert_eq!(table.rows(&one).await, ["x"]);
    }
    let table = Declared::new(broker, &topic, COLUMNS, &[DEBEZIUM]).await;
    let sink = broker.new_topic("plain", 1, &[]);
    table.add("out", &sink, COLUMNS, &[]).await.unwrap();
    table.rows("INSERT INTO out SELECT * FROM t").await;
    assert_eq!(table.rows("SELECT id FROM out").await, ["1"]);

    // A row that has a time is no heartbeat.
    let topic = broker.new_topic("debezium", 1, &[]);
    let rows =
        (2..5).map(|id| Rec::new(variant.key(id), json!({"id": id, "ts_ms": 5}).to_string()));
    let event = variant.change("c", 1, Value::Null, customer(1, "x", 0.5), 1);
    broker.produce(&topic, &rows.chain(event).collect::<Vec<_>>());
    let refused = Declared::try_new(broker, &topic, "", &[])
        .await
        .err()
        .unwrap();
    assert!(refused.contains("1 of 4 sampled payloads"), "{refused}");
    let table = Declared::new(broker, &topic, COLUMNS, &[DEBEZIUM]).await;
    let error = table.error("SELECT count(*) FROM t").await;
    assert!(
        error.contains("offset 2") && error.contains("there is no `op`"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_json_is_reported_by_reading_and_not_by_the_sample() {
    let Some(broker) = broker::required("envelopes::what_is_not_json_is_reported") else {
        return;
    };
    let topic = broker.new_topic("debezium", 1, &[]);
    let good = |id| Variant::ALL[2].change("c", id, Value::Null, customer(id, "x", 0.5), 1);
    let bad = vec![Rec::new(Variant::ALL[2].key(2), "{\"op\":")];
    broker.produce(&topic, &[good(1), bad, good(3)].concat());
    let table = Declared::new(broker, &topic, "", &[]).await;
    let error = table.error("SELECT * FROM t").await;
    assert!(error.contains("partition 0 offset 1"), "{error}");
    let skip = ("kafka.on_bad_record", "skip");
    let table = Declared::new(broker, &topic, "", &[skip]).await;
    assert_eq!(table.rows("SELECT id FROM t").await, ["1", "3"]);

    // An envelope that was asked for is not given up.
    let topic = broker.new_topic("debezium", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", "{\"id\":1}")]);
    let refused = Declared::try_new(broker, &topic, "", &[DEBEZIUM])
        .await
        .err();
    let refused = refused.unwrap_or_default();
    assert!(
        refused.contains("none of the sampled payloads has the envelope of Debezium"),
        "{refused}"
    );
}
