//! Formats and hooks that a user provides.

use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema};
use async_trait::async_trait;
use datafusion::prelude::SessionContext;
use datafusion_kafka::{
    Codec, CodecError, KafkaConfig, KafkaTable, KafkaTableBuilder, KafkaTopics, OutgoingRecord,
    SinkOptions, SourceOptions, WriteHook, register_kafka,
};

use crate::broker::{self, Broker, Rec};
use crate::dml::latest;
use crate::session::{cells, count, error, rows};
use crate::writing::says;

/// Numbers as `name=value;..`, by the names of the columns.
#[derive(Debug)]
struct Pairs;

impl Codec for Pairs {
    fn decode(
        &self,
        bytes: &BinaryViewArray,
        columns: &Fields,
    ) -> Result<Vec<ArrayRef>, CodecError> {
        let mut values = vec![Vec::new(); columns.len()];
        for (row, bytes) in bytes.iter().enumerate() {
            let text = bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
            if text.as_deref() == Some("bad") {
                return Err(CodecError::at(row, "these are no pairs"));
            }
            for (field, values) in columns.iter().zip(&mut values) {
                let mut pairs = text.iter().flat_map(|text| text.split(';'));
                let value = pairs.find_map(|pair| pair.strip_prefix(&format!("{}=", field.name())));
                values.push(value.map(|value| value.parse::<i64>().unwrap()));
            }
        }
        let arrays = values
            .into_iter()
            .map(|values| Arc::new(Int64Array::from(values)) as _);
        Ok(arrays.collect())
    }

    fn encode(&self, columns: &[ArrayRef], fields: &Fields) -> Result<BinaryViewArray, CodecError> {
        let rows = columns[0].len();
        let mut texts = Vec::with_capacity(rows);
        for row in 0..rows {
            let mut pairs = Vec::new();
            for (field, array) in fields.iter().zip(columns) {
                let array = array.as_primitive::<Int64Type>();
                if array.is_valid(row) {
                    if array.value(row) == 666 {
                        return Err(CodecError::at(row, "not that number"));
                    }
                    pairs.push(format!("{}={}", field.name(), array.value(row)));
                }
            }
            texts.push(Some(pairs.join(";").into_bytes()));
        }
        Ok(texts.iter().map(|text| text.as_deref()).collect())
    }
}

/// Keys with a prefix that rows do not show.
#[derive(Debug)]
struct Prefixed;

impl Codec for Prefixed {
    fn decode(&self, bytes: &BinaryViewArray, _: &Fields) -> Result<Vec<ArrayRef>, CodecError> {
        let keys = bytes.iter().enumerate().map(|(row, key)| match key {
            None => Ok(None),
            Some(key) => match key.strip_prefix(b"id:") {
                Some(key) => Ok(Some(String::from_utf8(key.to_vec()).unwrap())),
                None => Err(CodecError::at(row, "a key without its prefix")),
            },
        });
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        Ok(vec![Arc::new(StringArray::from(keys))])
    }

    fn encode(&self, columns: &[ArrayRef], _: &Fields) -> Result<BinaryViewArray, CodecError> {
        let keys = columns[0].as_string::<i32>().iter();
        let keys: Vec<_> = keys
            .map(|key| key.map(|key| format!("id:{key}").into_bytes()))
            .collect();
        Ok(keys.iter().map(|key| key.as_deref()).collect())
    }
}

fn columns(extra: Option<Field>) -> Schema {
    let mut fields = vec![
        Field::new("_key", DataType::Utf8, false),
        Field::new("v", DataType::Int64, true),
        Field::new("w", DataType::Int64, true),
    ];
    fields.extend(extra);
    Schema::new(fields)
}

fn builder(broker: &Broker, topic: &str) -> KafkaTableBuilder {
    KafkaTable::builder(topic).with_option("kafka.bootstrap.servers", &broker.servers)
}

async fn session_with(table: KafkaTableBuilder) -> SessionContext {
    let ctx = SessionContext::new();
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    let table = table.build().await.unwrap();
    ctx.register_table("t", Arc::new(table)).unwrap();
    ctx
}

#[tokio::test]
async fn a_codec_reads_and_writes_keys_and_payloads_of_all_statements() {
    let Some(broker) = broker::required("a_codec_reads_and_writes") else {
        return;
    };
    let topic = broker.new_topic("codec", 2, &[]);
    broker.produce(
        &topic,
        &[Rec::new("id:a", "w=10;v=1"), Rec::new("id:b", "v=2")],
    );
    let tombstone = Field::new("_tombstone", DataType::Boolean, true);
    let table = builder(broker, &topic)
        .with_schema(columns(Some(tombstone)))
        .with_key_codec(Arc::new(Prefixed))
        .with_value_codec(Arc::new(Pairs));
    let ctx = session_with(table).await;
    let all = "SELECT _key, v, w FROM t ORDER BY _key";
    assert_eq!(
        cells(&rows(&ctx, all).await),
        [["a", "1", "10"], ["b", "2", "NULL"]]
    );
    let one = "SELECT w FROM t WHERE _key = 'a' AND v > 0";
    assert_eq!(cells(&rows(&ctx, one).await), [["10"]]);
    for (sql, changed) in [
        (
            "INSERT INTO t VALUES ('c', 3, NULL, NULL), ('b', NULL, NULL, true), ('d', 4, 4, false)",
            3,
        ),
        ("UPDATE t SET v = v + 1 WHERE w > 5", 1),
        ("DELETE FROM t WHERE v = 3", 1),
        (
            "MERGE INTO t USING (VALUES ('a', 7), ('e', 8)) AS s(k, n) ON t._key = s.k \
             WHEN MATCHED THEN UPDATE SET v = s.n \
             WHEN NOT MATCHED THEN INSERT (_key, v) VALUES (s.k, s.n)",
            2,
        ),
        ("INSERT OVERWRITE t SELECT _key, v, w, false FROM t", 0),
    ] {
        assert_eq!(count(&ctx, sql).await, changed, "{sql}");
    }
    let state = latest(broker.read_all(&topic)).into_iter();
    let state: Vec<_> = state
        .map(|(key, payload)| format!("{key} {payload}"))
        .collect();
    assert_eq!(state, ["id:a v=7;w=10", "id:d v=4;w=4", "id:e v=8"]);
    let before = broker.read_all(&topic).len();
    let insert =
        "INSERT INTO t VALUES ('x', 1, 1, NULL), ('z', NULL, NULL, true), ('y', 666, 1, NULL)";
    says(
        &error(&ctx, insert).await,
        &["row 2", &topic, "not that number"],
    );
    assert_eq!(broker.read_all(&topic).len(), before);
}

#[tokio::test]
async fn what_a_codec_cannot_decode_is_a_bad_record() {
    let Some(broker) = broker::required("what_a_codec_cannot_decode") else {
        return;
    };
    let topic = broker.new_topic("codec-bad", 1, &[]);
    let records = [
        Rec::new("a", "v=1"),
        Rec::new("b", "v=2"),
        Rec::new("a", "bad"),
        Rec::new("c", "v=3"),
    ];
    broker.produce(&topic, &records);
    let error_column = Field::new("_error", DataType::Utf8, true);
    for (policy, expected) in [
        (
            "skip",
            vec![["a", "1", "NULL"], ["b", "2", "NULL"], ["c", "3", "NULL"]],
        ),
        (
            "null",
            vec![
                ["a", "NULL", "these are no pairs"],
                ["b", "2", "NULL"],
                ["c", "3", "NULL"],
            ],
        ),
    ] {
        let table = builder(broker, &topic)
            .with_schema(columns(Some(error_column.clone())))
            .with_option("kafka.on_bad_record", policy)
            .with_value_codec(Arc::new(Pairs));
        let ctx = session_with(table).await;
        let found = rows(&ctx, "SELECT _key, v, _error FROM t ORDER BY _key").await;
        assert_eq!(cells(&found), expected, "{policy}");
    }
    let table = builder(broker, &topic)
        .with_schema(columns(None))
        .with_value_codec(Arc::new(Pairs));
    let ctx = session_with(table).await;
    says(
        &error(&ctx, "SELECT v FROM t").await,
        &[
            &topic,
            "partition 0 offset 2",
            "payload",
            "these are no pairs",
        ],
    );
    assert_eq!(cells(&rows(&ctx, "SELECT count(*) FROM t").await), [["3"]]);
    let table = builder(broker, &topic).with_value_codec(Arc::new(Pairs));
    says(
        &table.build().await.unwrap_err().to_string(),
        &[&topic, "declare the columns"],
    );
}

#[tokio::test]
async fn a_codec_is_not_asked_for_what_a_statement_does_not_need() {
    let Some(broker) = broker::required("a_codec_is_not_asked") else {
        return;
    };
    #[derive(Debug)]
    struct NoNulls;
    impl Codec for NoNulls {
        fn decode(
            &self,
            bytes: &BinaryViewArray,
            fields: &Fields,
        ) -> Result<Vec<ArrayRef>, CodecError> {
            Prefixed.decode(bytes, fields)
        }
        fn encode(
            &self,
            columns: &[ArrayRef],
            fields: &Fields,
        ) -> Result<BinaryViewArray, CodecError> {
            match columns[0].null_count() {
                0 => Prefixed.encode(columns, fields),
                _ => Err(CodecError::at(0, "NULL is no key")),
            }
        }
    }
    let topic = broker.new_topic("codec-keys", 1, &[]);
    broker.produce(
        &topic,
        &[
            Rec::new("id:a", r#"{"v":1}"#),
            Rec::new("id:b", r#"{"v":2}"#),
        ],
    );
    let table = builder(broker, &topic)
        .with_schema(columns(None))
        .with_key_codec(Arc::new(NoNulls));
    let ctx = session_with(table).await;
    let merge = "MERGE INTO t USING (VALUES ('a', 5), ('z', 6)) AS s(k, n) ON t._key = s.k \
                 WHEN MATCHED THEN UPDATE SET v = s.n \
                 WHEN NOT MATCHED THEN INSERT (_key, v) VALUES (s.k, s.n)";
    assert_eq!(count(&ctx, merge).await, 2);
    assert_eq!(
        count(
            &ctx,
            "INSERT OVERWRITE t VALUES ('a', 5, NULL), ('y', 1, 1)"
        )
        .await,
        3
    );
    let keys: Vec<_> = latest(broker.read_all(&topic)).into_keys().collect();
    assert_eq!(keys, ["id:a", "id:y"]);
    says(
        &error(
            &ctx,
            "INSERT INTO t SELECT CASE WHEN v > 1 THEN NULL ELSE 'x' END, v, w FROM t",
        )
        .await,
        &["`_key` is NULL"],
    );
}

#[tokio::test]
async fn a_codec_that_gives_null_where_none_may_be_is_a_bad_record() {
    let Some(broker) = broker::required("a_codec_that_gives_null") else {
        return;
    };
    let topic = broker.new_topic("codec-nulls", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", "v=1"), Rec::new("b", "w=2")]);
    let schema = || Schema::new(vec![Field::new("v", DataType::Int64, false)]);
    let table = builder(broker, &topic)
        .with_schema(schema())
        .with_value_codec(Arc::new(Pairs));
    let ctx = session_with(table.clone()).await;
    says(
        &error(&ctx, "SELECT v FROM t").await,
        &[&topic, "partition 0 offset 1", "`v` is NULL", "NOT NULL"],
    );
    let ctx = session_with(table.with_option("kafka.on_bad_record", "skip")).await;
    assert_eq!(cells(&rows(&ctx, "SELECT v FROM t").await), [["1"]]);
    assert_eq!(cells(&rows(&ctx, "SELECT count(*) FROM t").await), [["1"]]);
    // A payload that cannot be read is a NULL, not the part of it that could be read.
    let table = builder(broker, &topic)
        .with_schema(columns(None))
        .with_option("kafka.on_bad_record", "null")
        .with_value_codec(Arc::new(Pairs));
    let ctx = session_with(table).await;
    says(
        &error(&ctx, "UPDATE t SET v = 1").await,
        &[&topic, "kafka.on_bad_record"],
    );
}

/// A hook that logs what it saw, drops one key, adds a record, and changes a payload.
#[derive(Debug, Default)]
struct Editor {
    seen: Mutex<Vec<(String, OutgoingRecord)>>,
}

#[async_trait]
impl WriteHook for Editor {
    async fn before_send(
        &self,
        topic: &str,
        records: Vec<OutgoingRecord>,
    ) -> datafusion::error::Result<Vec<OutgoingRecord>> {
        tokio::task::yield_now().await;
        let seen = records
            .iter()
            .map(|record| (topic.to_owned(), record.clone()));
        self.seen.lock().unwrap().extend(seen);
        let mut edited = Vec::new();
        for mut record in records {
            match record.key.as_deref().unwrap_or_default() {
                b"drop" => continue,
                b"early" => record.timestamp = Some(-7),
                b"fail" => return datafusion::common::exec_err!("the hook does not want this"),
                b"twice" => {
                    let (key, payload) = (b"added".to_vec(), b"{}".to_vec());
                    edited.push(OutgoingRecord::new(Some(key), Some(payload)));
                }
                _ => record.headers.push(("edited".to_owned(), None)),
            }
            edited.push(record);
        }
        Ok(edited)
    }
}

#[tokio::test]
async fn a_hook_sees_changes_drops_and_adds_records() {
    let Some(broker) = broker::required("a_hook_sees_changes") else {
        return;
    };
    let topic = broker.new_topic("hook", 1, &[]);
    let editor = Arc::new(Editor::default());
    let table = builder(broker, &topic)
        .with_schema(columns(None))
        .with_option("kafka.delivery", "exactly_once")
        .with_hook(Arc::clone(&editor) as Arc<dyn WriteHook>);
    let ctx = session_with(table).await;
    let insert = "INSERT INTO t VALUES ('a', 1, 1), ('drop', 2, 2), ('twice', 3, 3)";
    assert_eq!(count(&ctx, insert).await, 3);
    // A broker acknowledges a transaction before its records can be read.
    broker::wait_until(broker::PATIENCE, "the committed records", || {
        !broker.read_all(&topic).is_empty()
    });
    let stored = broker.read_all(&topic);
    let keys: Vec<_> = stored
        .iter()
        .map(|s| String::from_utf8(s.key.clone().unwrap()).unwrap())
        .collect();
    assert_eq!(keys, ["a", "added", "twice"]);
    assert_eq!(stored[0].headers, [("edited".to_owned(), None)]);
    assert_eq!(editor.seen.lock().unwrap().len(), 3);
    assert_eq!(count(&ctx, "DELETE FROM t WHERE v = 1").await, 1);
    {
        let seen = editor.seen.lock().unwrap();
        let (of, last) = seen.last().unwrap();
        assert_eq!(
            (of, last.key.as_deref(), &last.payload),
            (&topic, Some(&b"a"[..]), &None)
        );
    }
    let early = error(&ctx, "INSERT INTO t VALUES ('b', 1, 1), ('early', 2, 2)").await;
    says(&early, &[&topic, "the hook's record", "`_timestamp`"]);
    let insert = "INSERT INTO t VALUES ('b', 1, 1), ('fail', 2, 2)";
    says(&error(&ctx, insert).await, &["the hook does not want this"]);
    assert_eq!(
        latest(broker.read_all(&topic))
            .into_keys()
            .collect::<Vec<_>>(),
        ["added", "twice"]
    );
    // The count includes every row, whatever the hook did with its record.
    assert_eq!(
        count(&ctx, "INSERT OVERWRITE t VALUES ('drop', 1, 1)").await,
        3
    );
}

#[tokio::test]
async fn patterns_have_codecs_and_hooks_too() {
    let Some(broker) = broker::required("patterns_have_codecs") else {
        return;
    };
    let topic = broker.new_topic("pattern-codec", 1, &[]);
    let editor = Arc::new(Editor::default());
    let topics = KafkaTopics::new()
        .with_source(
            "^pattern-codec",
            SourceOptions::new()
                .with_schema(columns(None))
                .with_key_codec(Arc::new(Prefixed))
                .with_value_codec(Arc::new(Pairs)),
        )
        .with_sink(
            "^pattern-codec",
            SinkOptions::new()
                .with_schema(columns(None))
                .with_key_codec(Arc::new(Prefixed))
                .with_value_codec(Arc::new(Pairs))
                .with_hook(Arc::clone(&editor) as Arc<dyn WriteHook>),
        );
    let ctx = crate::session::session(broker, topics);
    assert_eq!(
        count(&ctx, &format!("INSERT INTO \"{topic}\" VALUES ('a', 1, 2)")).await,
        1
    );
    assert_eq!(
        count(&ctx, &format!("UPDATE \"{topic}\" SET w = 5")).await,
        1
    );
    let found = rows(&ctx, &format!("SELECT * FROM \"{topic}\"")).await;
    assert_eq!(cells(&found), [["a", "1", "5"]]);
    assert_eq!(editor.seen.lock().unwrap().len(), 2);
}
