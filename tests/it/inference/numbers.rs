//! Inferred numbers keep their exact value: no statement confuses two different numbers.

use datafusion_kafka::KafkaTopics;

use super::random::value;
use super::{answers, inferred};
use crate::broker::{self, Rec};
use crate::session::{count, error, rows, session};

#[tokio::test]
async fn integers_beyond_bigint_are_told_apart() {
    let Some(broker) = broker::required("integers_beyond_bigint") else {
        return;
    };
    for (ids, data_type) in [
        (
            [
                "9223372036854775808",
                "9223372036854775809",
                "9223372036854775810",
            ],
            "UInt64",
        ),
        (
            [
                "18446744073709551616",
                "18446744073709551617",
                "18446744073709551618",
            ],
            "Decimal128(38, 0)",
        ),
        (
            [
                "-9223372036854775809",
                "-9223372036854775810",
                "-9223372036854775811",
            ],
            "Decimal128(38, 0)",
        ),
    ] {
        let topic = broker.new_topic("ids", 1, &[]);
        let records = ["a", "b", "c"]
            .iter()
            .zip(ids)
            .map(|(key, id)| Rec::new(key, format!("{{\"id\":{id}}}")));
        broker.produce(&topic, &records.collect::<Vec<_>>());
        let ctx = inferred(broker, &topic, "").await;
        let found = answers(&ctx, "SELECT DISTINCT arrow_typeof(id) FROM t").await;
        assert_eq!(found, [data_type]);
        let id = ids[1];
        let equal = format!("SELECT _key FROM t WHERE id = {id}");
        assert_eq!(answers(&ctx, &equal).await, ["b"], "{equal}");
        let listed = format!("SELECT _key FROM t WHERE id IN ({id}, 5.5)");
        assert_eq!(answers(&ctx, &listed).await, ["b"], "{listed}");
        let between = format!("SELECT _key FROM t WHERE id BETWEEN {id} AND {id}");
        assert_eq!(answers(&ctx, &between).await, ["b"], "{between}");
        let joined = "SELECT count(*) FROM t JOIN t o ON t.id = o.id";
        assert_eq!(answers(&ctx, joined).await, ["3"]);
        let delete = format!("DELETE FROM t WHERE id = {id}");
        assert_eq!(count(&ctx, &delete).await, 1, "{delete}");
        assert_eq!(answers(&ctx, "SELECT _key FROM t").await, ["a", "c"]);
        // Numbers are also written exactly.
        let update = format!("UPDATE t SET id = {id} WHERE _key = 'a'");
        assert_eq!(count(&ctx, &update).await, 1);
        let insert = format!("INSERT INTO t VALUES ('d', {id})");
        assert_eq!(count(&ctx, &insert).await, 1);
        assert_eq!(answers(&ctx, &equal).await, ["a", "d"]);
    }
}

#[tokio::test]
async fn a_number_beyond_double_precision_among_fractions_is_told_apart() {
    let Some(broker) = broker::required("a_number_beyond_double_precision") else {
        return;
    };
    let topic = broker.new_topic("numbers", 1, &[]);
    broker.produce(
        &topic,
        &[
            Rec::new("a", r#"{"n":0.5,"s":{"n":0.5},"l":[0.5]}"#),
            Rec::new(
                "b",
                r#"{"n":9007199254740992,"s":{"n":9007199254740992},"l":[9007199254740992]}"#,
            ),
            Rec::new(
                "c",
                r#"{"n":9007199254740993,"s":{"n":9007199254740993},"l":[9007199254740993]}"#,
            ),
        ],
    );
    let ctx = inferred(broker, &topic, "").await;
    for (number, key) in [
        ("0.5", "a"),
        ("9007199254740992", "b"),
        ("9007199254740993", "c"),
        ("9007199254740993.0", "c"),
        ("9.007199254740993e15", "c"),
    ] {
        for query in [
            format!("SELECT _key FROM t WHERE n = {number}"),
            format!("SELECT _key FROM t WHERE get_field(s, 'n') = {number}"),
            format!("SELECT _key FROM (SELECT _key, unnest(l) AS n FROM t) WHERE n = {number}"),
        ] {
            assert_eq!(answers(&ctx, &query).await, [key], "{query}");
        }
    }
}

#[tokio::test]
async fn a_number_that_an_inferred_double_would_round_is_a_bad_record() {
    let Some(broker) = broker::required("a_number_that_an_inferred_double") else {
        return;
    };
    let topic = broker.new_topic("numbers", 1, &[]);
    let mut records = vec![Rec::new("old", r#"{"n":9007199254740993}"#)];
    let measured = (0..10).map(|n| Rec::new(format!("k{n}"), format!("{{\"n\":{n}.25}}")));
    records.extend(measured);
    broker.produce(&topic, &records);
    let sampled = "'kafka.infer.records' '5'";
    let ctx = inferred(broker, &topic, sampled).await;
    let message = error(&ctx, "SELECT count(n) FROM t").await;
    for part in [
        "partition 0 offset 0: bad payload",
        "expected DOUBLE but found a number that it would round in `n`",
        "declare the columns, this one as DECIMAL or VARCHAR to keep such numbers",
        "or as DOUBLE to have them rounded",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // The way on that the message names.
    for (data_type, old) in [
        ("DECIMAL(38, 2)", "9007199254740993.00"),
        ("VARCHAR", "9007199254740993"),
        ("DOUBLE", "9007199254740992.0"),
    ] {
        let create = format!(
            "CREATE OR REPLACE EXTERNAL TABLE t (n {data_type}) STORED AS KAFKA LOCATION '{topic}'"
        );
        rows(&ctx, &create).await;
        let select = "SELECT n FROM t WHERE _key = 'old'";
        assert_eq!(answers(&ctx, select).await, [old]);
    }
}

#[tokio::test]
async fn keys_that_are_numbers_are_told_apart() {
    let Some(broker) = broker::required("keys_that_are_numbers") else {
        return;
    };
    let topic = broker.new_topic("keys", 1, &[]);
    broker.produce(
        &topic,
        &[
            Rec::new("18446744073709551616", r#"{"v":1}"#),
            Rec::new("18446744073709551617", r#"{"v":2}"#),
            Rec::new("0.5", r#"{"v":3}"#),
        ],
    );
    let ctx = inferred(broker, &topic, "'kafka.key.format' 'json'").await;
    let select = "SELECT v FROM t WHERE _key = 18446744073709551617";
    assert_eq!(answers(&ctx, select).await, ["2"]);
    let delete = "DELETE FROM t WHERE _key = 18446744073709551617";
    assert_eq!(count(&ctx, delete).await, 1);
    assert_eq!(answers(&ctx, "SELECT v FROM t").await, ["1", "3"]);
}

#[tokio::test]
async fn a_number_that_was_rounded_before_planning_changes_no_rows() {
    let Some(broker) = broker::required("a_number_that_was_rounded") else {
        return;
    };
    let topic = broker.new_topic("ids", 1, &[]);
    broker.produce(
        &topic,
        &[
            Rec::new("a", r#"{"id":18446744073709551616}"#),
            Rec::new("b", r#"{"id":18446744073709551617}"#),
        ],
    );
    let ctx = inferred(broker, &topic, "").await;
    for statement in [
        "DELETE FROM t WHERE id = 18446744073709551617",
        "DELETE FROM t WHERE id IN (1, 18446744073709551617)",
        "UPDATE t SET id = 1 WHERE id = 18446744073709551617",
        "DELETE FROM t WHERE _key IN (SELECT _key FROM t WHERE id = 18446744073709551617)",
        "DELETE FROM t WHERE id IN (SELECT 18446744073709551617)",
    ] {
        // DataFusion's own planner reads the literal as a DOUBLE.
        let refused = match ctx.sql(statement).await {
            Ok(frame) => frame.collect().await.unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(refused.contains("read as a DOUBLE"), "{refused}");
        assert!(refused.contains("in apostrophes"), "{refused}");
    }
    // This library's planner also reads it as a DOUBLE, if the literal is not compared directly.
    let indirect = "DELETE FROM t WHERE id IN (SELECT 18446744073709551617.0)";
    let refused = error(&ctx, indirect).await;
    assert!(refused.contains("read as a DOUBLE"), "{refused}");
    let delete = "DELETE FROM t WHERE id = '18446744073709551617'";
    ctx.sql(delete).await.unwrap().collect().await.unwrap();
    assert_eq!(answers(&ctx, "SELECT _key FROM t").await, ["a"]);
}

#[tokio::test]
async fn text_is_not_compared_with_a_number_that_would_be_rounded() {
    let Some(broker) = broker::required("text_is_not_compared") else {
        return;
    };
    let topic = broker.new_topic("mixed", 1, &[]);
    let long = "123456789012345678901234567890123456789012";
    broker.produce(
        &topic,
        &[
            Rec::new("a", format!("{{\"n\":{long}}}")),
            Rec::new("b", format!("{{\"n\":{}}}", long.replace("012", "013"))),
        ],
    );
    let ctx = inferred(broker, &topic, "").await;
    let message = error(&ctx, &format!("SELECT * FROM t WHERE n = {long}")).await;
    assert!(message.contains("`t.n` is text"), "{message}");
    let select = format!("SELECT _key FROM t WHERE n = '{long}'");
    assert!(message.contains(&format!("as text: '{long}'")), "{message}");
    assert_eq!(answers(&ctx, &select).await, ["a"]);
}

#[tokio::test]
async fn what_is_written_into_decimals_is_the_number_itself() {
    let Some(broker) = broker::required("what_is_written_into_decimals") else {
        return;
    };
    let topic = broker.new_topic("decimals", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"n":0.1234567890123456789}"#)]);
    let ctx = inferred(broker, &topic, "").await;
    let insert = "INSERT INTO t VALUES ('b', 1234567.8), ('c', -0.5), ('d', 1e3)";
    assert_eq!(count(&ctx, insert).await, 3);
    let update = "UPDATE t SET n = 1234567890123456789.1 WHERE _key = 'a'";
    assert_eq!(count(&ctx, update).await, 1);
    for (number, key) in [
        ("1234567.8", "b"),
        ("+1234567.8", "b"),
        ("-0.5", "c"),
        ("1000.0", "d"),
        ("1234567890123456789.1", "a"),
    ] {
        let query = format!("SELECT _key FROM t WHERE n = {number}");
        assert_eq!(answers(&ctx, &query).await, [key], "{query}");
    }
    // A literal with more digits than the column can hold is not an error.
    let small = "SELECT _key FROM t WHERE n > 1e-30 AND n < 1e21";
    assert_eq!(answers(&ctx, small).await, ["a", "b", "d"]);
}

#[tokio::test]
async fn doubles_are_written_and_compared_as_before() {
    let Some(broker) = broker::required("doubles_are_written_and_compared") else {
        return;
    };
    let topic = broker.new_topic("doubles", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"n":0.1}"#)]);
    let ctx = inferred(broker, &topic, "").await;
    let insert = "INSERT INTO t VALUES ('b', 0.30000000000000004), ('c', 1e300), ('d', 2)";
    assert_eq!(count(&ctx, insert).await, 3);
    for (predicate, keys) in [
        ("n = 0.1", &["a"][..]),
        ("n = 0.30000000000000004", &["b"]),
        ("n > 3.14159265358979323846264338327950288", &["c"]),
        ("n IN (0.1, 1e300, 5)", &["a", "c"]),
        ("n BETWEEN 0.2 AND 2.5", &["b", "d"]),
    ] {
        let query = format!("SELECT _key FROM t WHERE {predicate}");
        assert_eq!(answers(&ctx, &query).await, keys, "{query}");
    }
}

#[tokio::test]
async fn numbers_of_all_sizes_are_written_to_a_topic_without_columns() {
    let Some(broker) = broker::required("numbers_of_all_sizes_are_written") else {
        return;
    };
    for (values, written) in [
        ("('a', 2.5), ('b', 1e300)", ["2.5", "1e300"]),
        (
            "('a', 0.1 + 0.2), ('b', 2.5)",
            ["0.30000000000000004", "2.5"],
        ),
        (
            "('a', 18446744073709551617), ('b', 0.123456789012345678)",
            ["18446744073709551617", "0.123456789012345678"],
        ),
    ] {
        let topic = broker.new_topic("sizes", 1, &[]);
        let topics = KafkaTopics::new()
            .with_source(format!("^{topic}$"), Default::default())
            .with_sink(format!("^{topic}$"), Default::default());
        let ctx = session(broker, topics);
        let insert = format!("INSERT INTO \"{topic}\" (_key, n) VALUES {values}");
        assert_eq!(count(&ctx, &insert).await, 2, "{insert}");
        let stored = broker.read_all(&topic);
        for (stored, number) in stored.iter().zip(written) {
            let payload = String::from_utf8(stored.payload.clone().unwrap()).unwrap();
            let found = payload.trim_start_matches("{\"n\":").trim_end_matches('}');
            assert_eq!(value(found), value(number), "{payload}");
        }
    }
}
