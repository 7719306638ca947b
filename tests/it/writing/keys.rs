//! Keys, and the partitions in which they are placed.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use datafusion_kafka::KafkaTopics;

use super::{Writable, create_table, object, record, register, says};
use crate::broker::{self, Rec};
use crate::session::{cells, error, rows, session};

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
    says(&why, &["`_key`", "BIGINT", "`kafka.key.format` = `json`"]);
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
    // DataFusion rejects the NULL, as for each column that is declared NOT NULL.
    let why = t.refused("VALUES ('c', 1), (NULL, 2)").await;
    says(&why, &["non-nullable"]);
    // Records in flight when the first statement failed may have arrived since.
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
    // The hashes are those of Kafka's own tests.
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
