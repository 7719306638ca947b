//! Keys that are numbers or UUIDs of a known length, as Kafka's own serializers write them.

use datafusion_kafka::{KafkaTopics, SinkOptions, SourceOptions};

use crate::broker::{self, Rec};
use crate::declared::Declared;
use crate::session::{cells, rows, session};

const ID: &str = "550e8400-e29b-41d4-a716-446655440000";
const OTHER_ID: &str = "550e8400-e29b-41d4-a716-446655440001";

fn uuid(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| *c != '-').collect();
    let bytes = digits.chunks(2).map(String::from_iter);
    bytes
        .map(|pair| u8::from_str_radix(&pair, 16).unwrap())
        .collect()
}

/// Two keys in a format: their bytes, and how SQL shows and names them.
struct Keys {
    format: &'static str,
    columns: &'static [&'static str],
    bytes: [Vec<u8>; 2],
    shown: [&'static str; 2],
    literals: [&'static str; 2],
}

fn formats() -> [Keys; 3] {
    [
        Keys {
            format: "int32",
            columns: &["", "_key INT, v BIGINT", "_key BIGINT, v BIGINT"],
            bytes: [
                7_i32.to_be_bytes().to_vec(),
                (-300_i32).to_be_bytes().to_vec(),
            ],
            shown: ["7", "-300"],
            literals: ["7", "-300"],
        },
        Keys {
            format: "int64",
            columns: &["", "_key BIGINT, v BIGINT"],
            bytes: [
                i64::MAX.to_be_bytes().to_vec(),
                (-1_i64).to_be_bytes().to_vec(),
            ],
            shown: ["9223372036854775807", "-1"],
            literals: ["9223372036854775807", "-1"],
        },
        Keys {
            format: "uuid",
            columns: &["", "_key VARCHAR, v BIGINT"],
            bytes: [uuid(ID), uuid(OTHER_ID)],
            shown: [ID, OTHER_ID],
            literals: [
                "'550e8400-e29b-41d4-a716-446655440000'",
                "'550e8400-e29b-41d4-a716-446655440001'",
            ],
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_keys_are_read_looked_up_and_written() {
    let Some(broker) = broker::required("key_formats::binary_keys_are_read") else {
        return;
    };
    for keys in formats() {
        for columns in keys.columns {
            let topic = broker.new_topic("keys", 2, &[]);
            let [a, b] = &keys.bytes;
            let records = [
                Rec::new(a, "{\"v\":1}"),
                Rec::new(b, "{\"v\":2}"),
                Rec::new(a, "{\"v\":3}"),
            ];
            broker.produce(&topic, &records);
            let options = [
                ("kafka.key.format", keys.format),
                ("kafka.partitioner", "murmur2"),
            ];
            let table = Declared::new(broker, &topic, columns, &options).await;
            let ([shown_a, shown_b], [a_is, b_is]) = (keys.shown, keys.literals);
            let mut both = [format!("{shown_a}|3"), format!("{shown_b}|2")];
            both.sort();
            let all = "SELECT _key, v FROM t";
            assert_eq!(table.rows(all).await, both, "{} {columns}", keys.format);
            let one = format!("{all} WHERE _key = {a_is}");
            assert_eq!(table.rows(&one).await, [format!("{shown_a}|3")]);
            // The partitioner says where the key is, so that only that partition is read.
            let plan = table.rows(&format!("EXPLAIN {one}")).await.join("\n");
            assert!(plan.contains("partitions=1 of 2"), "{plan}");
            let either = format!("{all} WHERE _key IN ({a_is}, {b_is})");
            assert_eq!(table.rows(&either).await, both);
            table
                .rows(&format!("UPDATE t SET v = 9 WHERE _key = {b_is}"))
                .await;
            table
                .rows(&format!("DELETE FROM t WHERE _key = {a_is}"))
                .await;
            assert_eq!(table.rows(all).await, [format!("{shown_b}|9")]);
            table
                .rows(&format!("INSERT INTO t (_key, v) VALUES ({a_is}, 5)"))
                .await;
            let source = format!("SELECT * FROM (VALUES ({a_is}, 6), ({b_is}, 9))");
            table.rows(&format!("INSERT OVERWRITE t {source}")).await;
            let mut both = [format!("{shown_a}|6"), format!("{shown_b}|9")];
            both.sort();
            assert_eq!(table.rows(all).await, both);
            for record in broker.read_all(&topic) {
                let key = record.key.as_ref().unwrap();
                assert!(keys.bytes.contains(key), "{key:?}");
            }
            // What is written is where the partitioner of other producers puts it.
            let places = broker.produce(&topic, &records);
            let of_key = |key: &Vec<u8>| {
                let own = broker.read_all(&topic).into_iter();
                own.filter(|record| record.key.as_ref() == Some(key))
                    .map(|record| record.partition)
                    .collect::<std::collections::BTreeSet<_>>()
            };
            assert_eq!(of_key(a), [places[0].0].into());
            assert_eq!(of_key(b), [places[1].0].into());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_do_not_fit_are_bad_records_and_wrong_types_are_refused() {
    let Some(broker) = broker::required("key_formats::keys_that_do_not_fit") else {
        return;
    };
    for keys in formats() {
        let topic = broker.new_topic("keys", 1, &[]);
        broker.produce(
            &topic,
            &[
                Rec::new(&keys.bytes[0], "{\"v\":1}"),
                Rec::new("a", "{\"v\":2}"),
            ],
        );
        let format = ("kafka.key.format", keys.format);
        let table = Declared::new(broker, &topic, "v BIGINT", &[format]).await;
        let error = table.error("SELECT * FROM t").await;
        for says in ["offset 1", "key", keys.format, "there are 1"] {
            assert!(error.contains(says), "{error}");
        }
        let skip = [format, ("kafka.on_bad_record", "skip")];
        let table = Declared::new(broker, &topic, "v BIGINT", &skip).await;
        assert_eq!(table.rows("SELECT v FROM t").await, ["1"]);
        let refused = Declared::try_new(broker, &topic, "_key DOUBLE, v BIGINT", &[format]).await;
        let error = refused.err().unwrap();
        assert!(
            error.contains(keys.format) && error.contains("needs a"),
            "{error}"
        );
    }
    let topic = broker.new_topic("keys", 1, &[]);
    let columns = "_key BIGINT, v BIGINT";
    let table = Declared::new(broker, &topic, columns, &[("kafka.key.format", "int32")]).await;
    let error = table
        .error("INSERT INTO t VALUES (1, 1), (3000000000, 2)")
        .await;
    assert!(error.contains("does not fit into the 4 bytes"), "{error}");
    let columns = "_key VARCHAR, v BIGINT";
    let table = Declared::new(broker, &topic, columns, &[("kafka.key.format", "uuid")]).await;
    let error = table.error("INSERT INTO t VALUES ('no', 1)").await;
    assert!(error.contains("is not a UUID"), "{error}");
    assert!(broker.read_all(&topic).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_not_text_are_bytes_where_nobody_says_what_they_are() {
    let Some(broker) = broker::required("key_formats::keys_that_are_not_text") else {
        return;
    };
    let topic = broker.new_topic("keys", 1, &[]);
    // A window of Kafka Streams: the key, and the start of the window in milliseconds.
    let windowed = [&b"user-1"[..], &1_700_000_000_000_i64.to_be_bytes()].concat();
    broker.produce(
        &topic,
        &[
            Rec::new(&windowed, "{\"v\":1}").header("attempt", Some(&[0, 3])),
            Rec::new(7_i32.to_be_bytes(), "{\"v\":2}"),
            Rec::new(uuid(ID), "{\"v\":3}"),
        ],
    );
    let table = Declared::new(broker, &topic, "", &[("kafka.metadata", "all")]).await;
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut expected = [&windowed[..], &7_i32.to_be_bytes(), &uuid(ID)].map(hex);
    expected.sort();
    assert_eq!(
        table.rows("SELECT encode(_key, 'hex') FROM t").await,
        expected
    );
    assert_eq!(
        table
            .rows("SELECT kafka_int(_key) FROM t WHERE v = 2")
            .await,
        ["7"]
    );
    assert_eq!(
        table
            .rows("SELECT kafka_uuid(_key) FROM t WHERE v = 3")
            .await,
        [ID]
    );
    let start = "to_timestamp_millis(kafka_int(decode(right(encode(_key, 'hex'), 16), 'hex')))";
    let window = format!("SELECT {start} FROM t WHERE v = 1");
    assert_eq!(table.rows(&window).await, ["2023-11-14T22:13:20"]);
    let header = "SELECT kafka_int(_headers[1]['value']) FROM t WHERE v = 1";
    assert_eq!(table.rows(header).await, ["3"]);
    assert_eq!(
        table.rows("SELECT kafka_int(NULL), kafka_int(X'ff')").await,
        ["NULL|-1"]
    );
    for call in ["kafka_int(X'010203')", "kafka_uuid(X'00')"] {
        let error = table.error(&format!("SELECT {call}")).await;
        assert!(error.contains("and there are"), "{error}");
    }
    // Where the format is given, it is kept.
    let text = [("kafka.key.format", "string")];
    let table = Declared::new(broker, &topic, "", &text).await;
    assert!(table.error("SELECT * FROM t").await.contains("key"));
    let text = broker.new_topic("keys", 1, &[]);
    broker.produce(&text, &[Rec::new("ä", "{\"v\":1}")]);
    let table = Declared::new(broker, &text, "", &[]).await;
    assert_eq!(table.rows("SELECT _key FROM t").await, ["ä"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_not_text_are_read_changed_and_declared_as_bytes() {
    let Some(broker) = broker::required("key_formats::keys_that_are_not_text_are_read_changed")
    else {
        return;
    };
    let topic = broker.new_topic("keys", 1, &[]);
    let [a, b, c] = [1_i32, 2, 3].map(i32::to_be_bytes);
    broker.produce(
        &topic,
        &[Rec::new(a, "{\"v\":1}"), Rec::new(b, "{\"v\":2}")],
    );
    // As the command line has every topic.
    let topics = KafkaTopics::new()
        .with_source(&topic, SourceOptions::new())
        .with_sink(&topic, SinkOptions::new());
    let table = Declared {
        ctx: session(broker, topics),
    };
    let all = format!("SELECT kafka_int(_key), v FROM \"{topic}\"");
    assert_eq!(table.rows(&all).await, ["1|1", "2|2"]);
    for change in [
        format!("UPDATE \"{topic}\" SET v = 20 WHERE v = 2"),
        format!("DELETE FROM \"{topic}\" WHERE kafka_int(_key) = 1"),
        format!("INSERT INTO \"{topic}\" (_key, v) VALUES (X'00000003', 3)"),
    ] {
        table.rows(&change).await;
    }
    assert_eq!(table.rows(&all).await, ["2|20", "3|3"]);
    let written: Vec<_> = broker.read_all(&topic).into_iter().map(|r| r.key).collect();
    assert_eq!(written, [a, b, b, a, c].map(|key| Some(key.to_vec())));

    // The statement that SHOW CREATE TABLE gives declares the same table.
    table.add("inferred", &topic, "", &[]).await.unwrap();
    let shown = rows(&table.ctx, "SHOW CREATE TABLE inferred").await;
    let create = cells(&shown)[0][3].replacen("inferred", "again", 1);
    assert!(create.contains("'kafka.key.format' 'bytes'"), "{create}");
    table.rows(&create).await;
    let again = "SELECT kafka_int(_key), v FROM again";
    assert_eq!(table.rows(again).await, ["2|20", "3|3"]);
}
