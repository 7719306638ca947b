//! Records that are bad as a whole.

use datafusion_kafka::EmbeddedKafka;

use super::{LENIENT, NONE, NULL, TEXT, answer, declare, session};

/// A record that does not suit a table.
struct Record {
    key: &'static [u8],
    payload: &'static [u8],
    /// The columns and options of a table that rejects the record.
    declared: (&'static str, &'static str),
    /// The error message, after the record's position.
    said: &'static str,
    /// Each remedy: columns, options, a query, and its answer.
    followed: &'static [(&'static str, &'static str, &'static str, &'static str)],
}

const V: &str = "_key VARCHAR, v VARCHAR";
const JUDGED: &str = "_key VARCHAR, v VARCHAR, _error VARCHAR";
const SKIP: &str = "'kafka.on_bad_record' 'skip'";
const JSON_KEY: &str = "'kafka.key.format' 'json'";

const RECORDS: &[Record] = &[
    Record {
        key: b"a",
        payload: b"[{\"id\":1}]",
        declared: (V, NONE),
        said: "bad payload: expected a JSON object but found an array at byte 0; set `kafka.value.format` = `string` to read it as text, or set `kafka.on_bad_record` = `null` or `skip`",
        followed: &[
            (
                "_key VARCHAR, _value VARCHAR",
                TEXT,
                "_value",
                "[{\"id\":1}]",
            ),
            (V, NULL, "v", "NULL"),
            (V, SKIP, "count(*)", "0"),
        ],
    },
    Record {
        key: b"a",
        payload: b"ping",
        declared: (V, NONE),
        said: "bad payload: not JSON: expected a value at byte 0; set `kafka.value.format` = `string` to read it as text, or set `kafka.on_bad_record` = `null` or `skip`",
        followed: &[("_key VARCHAR, _value VARCHAR", TEXT, "_value", "ping")],
    },
    Record {
        key: b"a",
        payload: b"{\"v\":\"M\xfcller\"}",
        declared: (V, NONE),
        said: "bad payload: not UTF-8 in `v` at byte 7; set `kafka.value.format` = `bytes` to read the raw bytes, or set `kafka.on_bad_record` = `null` or `skip`",
        followed: &[(
            "_key VARCHAR, _value BYTEA",
            "'kafka.value.format' 'bytes'",
            "_value",
            "7b2276223a224dfc6c6c6572227d",
        )],
    },
    Record {
        key: b"a",
        payload: b"",
        declared: (V, NONE),
        said: "bad payload: empty, not JSON at byte 0; set `kafka.on_bad_record` = `null` and, where it means a delete, select rows WHERE _error IS NULL",
        followed: &[(JUDGED, NULL, "count(*) FILTER (WHERE _error IS NULL)", "0")],
    },
    Record {
        key: b"a",
        payload: b"null",
        declared: (V, NONE),
        said: "bad payload: expected a JSON object but found null at byte 0; set `kafka.on_bad_record` = `null` and, where it means a delete, select rows WHERE _error IS NULL",
        followed: &[(JUDGED, NULL, "count(*) FILTER (WHERE _error IS NULL)", "0")],
    },
    Record {
        key: b"a",
        payload: b"{}",
        declared: ("_key VARCHAR, v VARCHAR NOT NULL", NONE),
        said: "bad payload: expected VARCHAR but the value is missing or null in `v` at byte 0; declare it without NOT NULL, or set `kafka.on_bad_record` = `skip`",
        followed: &[
            (V, NONE, "v", "NULL"),
            ("_key VARCHAR, v VARCHAR NOT NULL", SKIP, "count(*)", "0"),
        ],
    },
    Record {
        key: b"a",
        payload: b"{\"t\":NaN,\"v\":\"roof\"}",
        declared: (V, NONE),
        said: "bad payload: not JSON: NaN and Infinity are no JSON numbers in `t` at byte 5; set `kafka.json.lenient` = `true`, or set `kafka.on_bad_record` = `null` or `skip`",
        followed: &[
            (V, LENIENT, "v", "roof"),
            ("_key VARCHAR, t DOUBLE", LENIENT, "t", "NaN"),
            ("_key VARCHAR, t VARCHAR", LENIENT, "t", "NaN"),
        ],
    },
    Record {
        key: b"a",
        payload: b"{\"id\":1,\"v\":\"hi \\ud83d\"}",
        declared: ("_key VARCHAR, id INT", NONE),
        said: "bad payload: not JSON: half of a surrogate pair is missing in `v` at byte 22; set `kafka.json.lenient` = `true`, or set `kafka.on_bad_record` = `null` or `skip`",
        followed: &[(V, LENIENT, "v", "hi \u{fffd}")],
    },
    Record {
        key: b"a",
        payload: b"{\"id\":1,\"v\":\"a\tb\"}",
        declared: ("_key VARCHAR, id INT", NONE),
        said: "bad payload: not JSON: a control character is in a string in `v` at byte 14; set `kafka.json.lenient` = `true`, or set `kafka.on_bad_record` = `null` or `skip`",
        followed: &[(V, LENIENT, "v", "a\tb")],
    },
    Record {
        key: b"a",
        payload: b"{\"id\":01,\"v\":\"x\"}",
        declared: (V, NONE),
        said: "bad payload: not JSON: a number has a leading zero in `id` at byte 7; set `kafka.on_bad_record` = `null` or `skip`",
        followed: &[(V, NULL, "v", "NULL")],
    },
    Record {
        key: b"NaN",
        payload: b"{}",
        declared: ("_key DOUBLE", JSON_KEY),
        said: "bad key: not JSON: NaN and Infinity are no JSON numbers at byte 0; set `kafka.json.lenient` = `true`, or set `kafka.on_bad_record` = `skip`",
        followed: &[(
            "_key DOUBLE",
            "'kafka.key.format' 'json', 'kafka.json.lenient' 'true'",
            "_key",
            "NaN",
        )],
    },
    Record {
        key: b"\"x\"",
        payload: b"{}",
        declared: ("_key BIGINT", JSON_KEY),
        said: "bad key: expected BIGINT but found a string that is not a number in `_key` at byte 0; declare VARCHAR and use try_cast, or set `kafka.on_bad_record` = `skip`",
        followed: &[
            ("_key VARCHAR", JSON_KEY, "try_cast(_key AS BIGINT)", "NULL"),
            (
                "_key BIGINT",
                "'kafka.key.format' 'json', 'kafka.on_bad_record' 'skip'",
                "count(*)",
                "0",
            ),
        ],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_message_says_to_do_about_a_record_gives_its_row() {
    let kafka = EmbeddedKafka::start().unwrap();
    let ctx = session(&kafka);
    let mut failures = Vec::new();
    for (index, record) in RECORDS.iter().enumerate() {
        let topic = format!("record-{index}");
        kafka.create_topic(&topic, 1).unwrap();
        let bytes = "'kafka.key.format' 'bytes', 'kafka.value.format' 'bytes'";
        declare(&ctx, &topic, "_key BYTEA, _value BYTEA", bytes).await;
        let [key, payload] = [record.key, record.payload].map(|bytes| {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            format!("X'{}'", digits.collect::<String>())
        });
        let insert = format!("INSERT INTO t VALUES ({key}, {payload})");
        answer(&ctx, &insert).await.unwrap();
        let (columns, options) = record.declared;
        declare(&ctx, &topic, columns, options).await;
        let said = answer(&ctx, "SELECT * FROM t").await.unwrap_err();
        let place = format!("External error: topic `{topic}` partition 0 offset 0: ");
        if said.strip_prefix(&place) != Some(record.said) {
            failures.push(format!("{said}\n  not {}", record.said));
        }
        for (columns, options, what, expected) in record.followed {
            declare(&ctx, &topic, columns, options).await;
            let answer = answer(&ctx, &format!("SELECT {what} FROM t")).await;
            if answer.as_deref() != Ok(*expected) {
                failures.push(format!("{columns} {what}: {answer:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
