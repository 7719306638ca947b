//! The advice in error messages is followed, and must work.

use datafusion_kafka::{Error, KafkaTopics, SourceOptions};

use crate::broker::{self, Rec};
use crate::session::{cells, error, rows, session, table, try_rows};
use crate::writing::{create_table, says};

/// A session in which topics with names like this are tables.
fn patterns(name: &str) -> KafkaTopics {
    KafkaTopics::new().with_source(format!("^{name}"), SourceOptions::new())
}

#[tokio::test]
async fn a_metadata_column_of_another_type_is_told_the_type_to_write() {
    let Some(broker) = broker::required("a_metadata_column_of_another_type") else {
        return;
    };
    let topic = broker.new_topic("advice-types", 1, &[]);
    broker.produce(
        &topic,
        &[Rec::new("a", r#"{"v":1}"#).header("h", Some(b"x"))],
    );
    let ctx = session(broker, KafkaTopics::new());
    for (column, wrong, is, right) in [
        ("_topic", "INT", "INT", "VARCHAR"),
        ("_partition", "VARCHAR", "VARCHAR", "INT"),
        ("_offset", "INT", "INT", "BIGINT"),
        ("_timestamp", "BIGINT", "BIGINT", "TIMESTAMP"),
        (
            "_headers",
            "VARCHAR",
            "VARCHAR",
            r#"STRUCT<"key" VARCHAR, "value" BYTEA>[]"#,
        ),
        (
            "_headers",
            "STRUCT<key VARCHAR, value VARCHAR>[]",
            r#"STRUCT<"key" VARCHAR, "value" VARCHAR>[]"#,
            r#"STRUCT<"key" VARCHAR, "value" BYTEA>[]"#,
        ),
        ("_tombstone", "DOUBLE", "DOUBLE", "BOOLEAN"),
        ("_error", "DECIMAL(5, 2)", "DECIMAL(5, 2)", "VARCHAR"),
    ] {
        let create =
            |declared| create_table("t", &format!("v INT, {column} {declared}"), &topic, &[]);
        let why = error(&ctx, &create(wrong)).await;
        let said = format!("`{column}`: has the type {is}, which does not fit; declare it as ");
        let (_, advice) = why.split_once(&said).unwrap_or_else(|| panic!("{why}"));
        assert_eq!(advice, right);
        rows(&ctx, &create(advice)).await;
        assert_eq!(cells(&rows(&ctx, "SELECT v FROM t").await), [["1"]]);
        rows(&ctx, &format!("SELECT {column} FROM t")).await;
        rows(&ctx, "DROP TABLE t").await;
    }
    for (columns, option, advice) in [
        (
            "_key VARCHAR, v INT",
            ("kafka.key.format", "bytes"),
            "_key BYTEA, v INT",
        ),
        (
            "_key INT, v INT",
            ("kafka.key.format", "string"),
            "_key VARCHAR, v INT",
        ),
        (
            "_value VARCHAR",
            ("kafka.value.format", "bytes"),
            "_value BYTEA",
        ),
        (
            "_value BYTEA",
            ("kafka.value.format", "string"),
            "_value VARCHAR",
        ),
    ] {
        let why = error(&ctx, &create_table("t", columns, &topic, &[option])).await;
        let [column, declared] = advice.split([' ', ',']).collect::<Vec<_>>()[..2] else {
            panic!("{advice}");
        };
        says(&why, &[&format!("column `{column}`: is "), declared]);
        rows(&ctx, &create_table("t", advice, &topic, &[option])).await;
        assert_eq!(rows(&ctx, "SELECT * FROM t").await[0].num_rows(), 1);
        rows(&ctx, "DROP TABLE t").await;
    }
}

#[tokio::test]
async fn a_bad_key_is_told_the_format_that_reads_it() {
    let Some(broker) = broker::required("a_bad_key_is_told") else {
        return;
    };
    for (format, key, columns, advice, column) in [
        ("string", &b"\xff\x00"[..], "_key VARCHAR", "bytes", "BYTEA"),
        ("json", b"\xff\x00", "_key VARCHAR", "bytes", "BYTEA"),
        ("json", b"k-1", "_key VARCHAR", "string", "VARCHAR"),
        ("json", b"", "_key INT", "string", "VARCHAR"),
        ("json", b"{\"a\":1} ?", "_key INT", "string", "VARCHAR"),
    ] {
        let topic = broker.new_topic("advice-keys", 1, &[]);
        let mut record = Rec::new("", r#"{"v":1}"#);
        record.key = Some(key.to_vec());
        broker.produce(&topic, &[record]);
        let ctx = session(broker, KafkaTopics::new());
        let create = |name, columns: &str, option: (&str, &str)| {
            create_table(
                name,
                columns,
                &topic,
                &[("kafka.key.format", format), option],
            )
        };
        rows(
            &ctx,
            &create("t", &format!("{columns}, v INT"), ("kafka.timeout", "20s")),
        )
        .await;
        let why = error(&ctx, "SELECT * FROM t").await;
        let said = format!(
            "; set `kafka.key.format` = `{advice}`, with which a declared `_key` is {column}, or \
             set `kafka.on_bad_record` = `skip`"
        );
        assert!(why.ends_with(&said), "{why}");
        let followed = [("kafka.key.format", advice)];
        for columns in [format!("_key {column}, v INT"), String::new()] {
            rows(&ctx, &create_table("followed", &columns, &topic, &followed)).await;
            let found = rows(&ctx, "SELECT _key, v FROM followed").await;
            assert_eq!(found[0].num_rows(), 1, "{why}");
            rows(&ctx, "DROP TABLE followed").await;
        }
        let skip = ("kafka.on_bad_record", "skip");
        rows(
            &ctx,
            &create("skipping", &format!("{columns}, v INT"), skip),
        )
        .await;
        assert_eq!(
            cells(&rows(&ctx, "SELECT count(*) FROM skipping").await),
            [["0"]]
        );
        broker.delete_topic(&topic);
    }
}

#[tokio::test]
async fn a_column_beyond_the_sample_is_told_where_columns_come_from() {
    let Some(broker) = broker::required("a_column_beyond_the_sample") else {
        return;
    };
    let topic = broker.new_topic("beyond", 1, &[]);
    let mut records = vec![Rec::new("old", r#"{"v":0,"rare":7}"#)];
    records.extend((0..5).map(|v| Rec::new(format!("new-{v}"), format!(r#"{{"v":{v}}}"#))));
    broker.produce(&topic, &records);
    let ctx = session(broker, patterns("beyond"));
    rows(&ctx, "SET kafka.infer.records = '3'").await;
    rows(
        &ctx,
        &create_table("made", "", &topic, &[("kafka.infer.records", "2")]),
    )
    .await;
    rows(&ctx, &create_table("declared", "v INT", &topic, &[])).await;
    let advice = format!(
        "The columns of `{topic}` are those that a sample of the newest records shows; set \
         `kafka.infer.records` to sample more of them, or declare the columns"
    );
    for sql in [
        &format!("SELECT rare FROM \"{topic}\""),
        &format!("SELECT t.v FROM \"{topic}\" AS t WHERE t.rare > 1"),
        &format!("SELECT rare FROM kafka_log('{topic}')"),
        "SELECT v FROM declared WHERE EXISTS (SELECT rare FROM made)",
        "EXPLAIN SELECT rare FROM made",
    ] {
        let why = try_rows(&ctx, sql).await.unwrap_err();
        let text = why.to_string();
        says(&text, &["No field named", "rare", &advice]);
        match Error::find(&why) {
            Some(Error::UnknownColumn { column, topics, .. }) => {
                assert_eq!(
                    (column.as_str(), &topics[..]),
                    ("rare", &[topic.clone()][..])
                );
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
    // No hint where no sample decides the columns, or where every topic has the column.
    for sql in [
        "SELECT rare FROM declared",
        "SELECT rare FROM (VALUES (1))",
        "SELECT _offset FROM made",
    ] {
        let why = error(&ctx, sql).await;
        assert!(!why.contains("sample"), "{why}");
    }
    rows(&ctx, "SET kafka.infer.records = '100'").await;
    let followed = format!("SELECT rare FROM \"{topic}\" WHERE rare IS NOT NULL");
    assert_eq!(cells(&rows(&ctx, &followed).await), [["7"]]);
    rows(&ctx, "DROP TABLE declared").await;
    rows(&ctx, &create_table("declared", "rare INT", &topic, &[])).await;
    assert_eq!(
        cells(&rows(&ctx, "SELECT max(rare) FROM declared").await),
        [["7"]]
    );
}

#[tokio::test]
async fn numbers_of_a_column_of_text_are_told_the_cast() {
    let Some(broker) = broker::required("numbers_of_a_column_of_text") else {
        return;
    };
    let topic = broker.new_topic("mixed", 1, &[]);
    broker.produce(
        &topic,
        &[
            Rec::new("a", r#"{"v":1,"Mixed price":2.5}"#),
            Rec::new("b", r#"{"v":"two","Mixed price":"n/a"}"#),
            Rec::new("c", r#"{"v":4,"Mixed price":3}"#),
        ],
    );
    let ctx = session(broker, patterns("mixed"));
    rows(&ctx, &create_table("declared", "v VARCHAR", &topic, &[])).await;
    for (select, from, argument, sum) in [
        ("sum(v)", format!("\"{topic}\""), "v", "5.0"),
        ("SUM(t.v)", format!("\"{topic}\" AS t"), "t.v", "5.0"),
        (
            "sum(\"Mixed price\")",
            format!("\"{topic}\""),
            "\"Mixed price\"",
            "5.5",
        ),
        ("avg(v)", format!("kafka_log('{topic}')"), "v", "2.5"),
        ("median(v)", format!("\"{topic}\""), "v", "2.5"),
        ("stddev_pop(v)", format!("\"{topic}\""), "v", "1.5"),
        ("sum(v) OVER ()", format!("\"{topic}\""), "v", "5.0"),
        ("sum(v)", "declared".to_owned(), "v", "5.0"),
    ] {
        let sql = format!("SELECT {select} FROM {from}");
        let why = error(&ctx, &sql).await;
        let cast = format!("try_cast({argument} AS DOUBLE)");
        let (_, said) = why.split_once("External error: ").unwrap();
        let since = match from.as_str() {
            "declared" => "",
            _ => ", since not all sampled records have a number there",
        };
        let function = select.split_once('(').unwrap().0.to_lowercase();
        assert_eq!(
            said,
            format!(
                "{function} needs numbers, and `{argument}` is VARCHAR{since}; write {cast} in \
                 its place, which is NULL for what is no number"
            )
        );
        let followed = sql.replacen(&format!("({argument})"), &format!("({cast})"), 1);
        assert_eq!(cells(&rows(&ctx, &followed).await)[0], [sum], "{followed}");
    }
    // DataFusion's own error explains an argument that is not such a column.
    let why = error(&ctx, "SELECT sum(upper('a'))").await;
    assert!(!why.contains("try_cast("), "{why}");
    table(&ctx, &format!("SELECT max(v), count(v) FROM \"{topic}\"")).await;
}
