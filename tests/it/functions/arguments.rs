//! The arguments of the table functions, and the places where the functions may be called.

use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaConfig, KafkaTopics, SourceOptions, register_kafka};

use super::{FOREVER, lines, nothing, number};
use crate::broker::{self, Rec, topic_name};
use crate::declared::in_time;
use crate::session::{cells, count, error, rows, session, table};

// Resolving a name.

#[tokio::test]
async fn a_name_is_a_table_or_a_topic_of_a_pattern_or_any_topic() {
    let Some(broker) = broker::required("a_name_is_a_table_or_a_topic") else {
        return;
    };
    let by_table = broker.new_topic("by-table", 1, FOREVER);
    broker.produce(&by_table, &[number("a", 1, 0)]);
    let by_pattern = broker.new_topic("Pattern.Of-Topics", 1, FOREVER);
    broker.produce(&by_pattern, &[Rec::new("a", "no JSON")]);
    let by_topic = broker.new_topic("Any.Topic-Of_All", 1, FOREVER);
    broker.produce(&by_topic, &[number("x", 1, 0)]);

    let bytes = SourceOptions::new().with_option("kafka.value.format", "bytes");
    let ctx = session(broker, KafkaTopics::new().with_source("^Pattern", bytes));
    let create = "CREATE EXTERNAL TABLE renamed (_key VARCHAR, \"V\" DOUBLE) STORED AS KAFKA";
    rows(&ctx, &format!("{create} LOCATION '{by_table}'")).await;
    rows(&ctx, "CREATE SCHEMA other").await;
    rows(
        &ctx,
        &format!(
            "{} LOCATION '{by_table}'",
            create.replace("renamed", "other.one")
        ),
    )
    .await;
    for name in [
        "renamed",
        "other.one",
        "public.renamed",
        "datafusion.other.one",
    ] {
        let log = format!("SELECT _key, V, _topic FROM kafka_log('{name}')");
        assert_eq!(lines(&ctx, &log).await, [format!("a|1.0|{by_table}")]);
        let offsets = format!("SELECT high FROM kafka_offsets('{name}')");
        assert_eq!(lines(&ctx, &offsets).await, ["1"]);
        let plain = ctx.sql(&offsets).await.unwrap().collect();
        assert_eq!(cells(&in_time("plain", plain).await.unwrap()), [["1"]]);
    }
    let value = format!("SELECT _value FROM kafka_log('{by_pattern}')");
    // In a plain session the function only works once the topic is known.
    let said = ctx.sql(&value).await.unwrap_err().to_string();
    assert!(said.contains("`datafusion_kafka::sql`"), "{said}");
    assert!(said.contains("CREATE EXTERNAL TABLE"), "{said}");
    assert_eq!(lines(&ctx, &value).await, ["6e6f204a534f4e"]);
    let plain = ctx.sql(&value).await.unwrap().collect();
    assert_eq!(in_time("plain", plain).await.unwrap()[0].num_rows(), 1);

    let any = format!("SELECT _key, v FROM kafka_log('{by_topic}')");
    assert_eq!(lines(&ctx, &any).await, ["x|1"]);
    let said = ctx.sql(&any).await.unwrap_err().to_string();
    assert!(said.contains("kafka_log: the columns of"), "{said}");

    // A table that does not belong to Kafka does not hide the topic.
    let topic = broker.new_topic("hidden", 1, FOREVER);
    broker.produce(&topic, &[number("k", 7, 0)]);
    rows(
        &ctx,
        &format!("CREATE TABLE \"{topic}\" AS SELECT 1 AS one"),
    )
    .await;
    let hidden = format!("SELECT _key, v FROM kafka_log('{topic}')");
    assert_eq!(lines(&ctx, &hidden).await, ["k|7"]);
}

#[tokio::test]
async fn calls_stand_wherever_a_table_may() {
    let Some(broker) = broker::required("calls_stand_wherever_a_table_may") else {
        return;
    };
    let left = broker.new_topic("left", 1, FOREVER);
    let right = broker.new_topic("right", 2, FOREVER);
    broker.produce(&left, &[number("a", 1, 0), number("a", 2, 1)]);
    broker.produce(&right, &[number("a", 10, 0), number("b", 20, 0)]);
    // The pattern matches every name, including the names of functions.
    let ctx = session(
        broker,
        KafkaTopics::new().with_source("*", SourceOptions::new()),
    );
    for (sql, expected) in [
        (
            format!(
                "SELECT l.v, r.v FROM kafka_log('{left}') l JOIN kafka_snapshot('{right}', 'latest') r ON l._key = r._key"
            ),
            "1|10 2|10",
        ),
        (
            format!("WITH l AS (SELECT * FROM Kafka_Log('{left}')) SELECT v FROM l WHERE v > 1"),
            "2",
        ),
        (
            format!(
                "SELECT v FROM kafka_log('{right}') WHERE _key IN (SELECT _key FROM kafka_log('{left}'))"
            ),
            "10",
        ),
        (
            format!("SELECT (SELECT max(v) FROM kafka_changes('{left}', 0)) AS m"),
            "2",
        ),
        // Two subqueries that call the same function are planned separately.
        (
            format!(
                "SELECT (SELECT sum(v) FROM kafka_log('{left}')) AS l, (SELECT sum(v) FROM kafka_log('{right}')) AS r"
            ),
            "3|30",
        ),
        (
            format!(
                "SELECT count(*) FROM \"kafka_log\"('{}' || '{}')",
                &left[..3],
                &left[3..]
            ),
            "2",
        ),
        (
            format!("SELECT count(*) FROM KAFKA_LOG('{left}'), KAFKA_OFFSETS('{right}')"),
            "4",
        ),
        (
            format!(
                "SELECT v FROM kafka_log('{left}') UNION ALL SELECT v FROM kafka_log('{right}')"
            ),
            "1 10 2 20",
        ),
        (
            format!(
                "SELECT a.v FROM kafka_log('{left}') a JOIN kafka_log('{left}') b ON a._offset = b._offset"
            ),
            "1 2",
        ),
    ] {
        assert_eq!(lines(&ctx, &sql).await.join(" "), expected, "{sql}");
    }
    // The query from the guide.
    let since = format!(
        "SELECT _key, now.v, old.v FROM kafka_log('{left}') now \
         JOIN kafka_snapshot('{left}', now() - INTERVAL '1 day') old USING (_key) \
         WHERE now.v <> old.v"
    );
    assert_eq!(lines(&ctx, &since).await, ["a|1|2"]);
    let explained = table(
        &ctx,
        &format!("EXPLAIN SELECT v FROM kafka_log('{left}') WHERE v = 1"),
    )
    .await;
    assert!(explained.contains("KafkaScanExec"), "{explained}");
    assert!(explained.contains("mode=append"), "{explained}");

    let copy = broker.new_topic("copy", 1, FOREVER);
    rows(
        &ctx,
        &format!(
            "CREATE EXTERNAL TABLE copy (_key VARCHAR, v BIGINT) STORED AS KAFKA LOCATION '{copy}'"
        ),
    )
    .await;
    let insert = format!("INSERT INTO copy SELECT _key, v FROM kafka_log('{left}')");
    assert_eq!(count(&ctx, &insert).await, 2);
    assert_eq!(
        lines(&ctx, "SELECT v FROM kafka_log('copy')").await,
        ["1", "2"]
    );
    rows(
        &ctx,
        &format!("CREATE VIEW past AS SELECT v FROM kafka_snapshot('{left}', '{{\"0\":1}}')"),
    )
    .await;
    assert_eq!(lines(&ctx, "SELECT * FROM past").await, ["1"]);

    // An INSERT whose columns come from the query.
    let out = topic_name("out");
    let sink = datafusion_kafka::SinkOptions::new().with_option("kafka.create_topic", "true");
    let ctx = session(broker, KafkaTopics::new().with_sink("*", sink));
    let insert = format!("INSERT INTO \"{out}\" SELECT _key, v FROM kafka_log('{left}')");
    assert_eq!(count(&ctx, &insert).await, 2);
    assert_eq!(
        lines(&ctx, &format!("SELECT v FROM kafka_log('{out}')")).await,
        ["1", "2"]
    );
}

// Errors.

#[tokio::test]
async fn a_topic_that_is_not_there_is_an_error() {
    let Some(broker) = broker::required("a_topic_that_is_not_there") else {
        return;
    };
    let missing = topic_name("missing");
    for topics in [
        KafkaTopics::new(),
        KafkaTopics::new().with_source("*", SourceOptions::new()),
    ] {
        let ctx = session(broker, topics);
        for call in [
            "kafka_offsets('T')",
            "kafka_log('T')",
            "kafka_snapshot('T', 'latest')",
            "kafka_changes('T', 0)",
        ] {
            let said = error(
                &ctx,
                &format!("SELECT * FROM {}", call.replace('T', &missing)),
            )
            .await;
            assert!(
                said.contains(&format!("topic `{missing}` does not exist")),
                "{said}"
            );
        }
    }
    let ctx = nothing(broker);
    for name in ["", "two words", "a/b"] {
        for function in ["kafka_offsets", "kafka_log"] {
            let said = error(&ctx, &format!("SELECT * FROM {function}('{name}')")).await;
            assert!(said.contains("nor a topic's name"), "{said}");
        }
    }
    let empty = broker.new_topic("empty", 1, &[]);
    let said = error(&ctx, &format!("SELECT * FROM kafka_log('{empty}')")).await;
    assert!(said.contains("declare the columns"), "{said}");
}

#[tokio::test]
async fn offsets_out_of_range_name_the_range() {
    let Some(broker) = broker::required("offsets_out_of_range_name_the_range") else {
        return;
    };
    let topic = broker.new_topic("range", 1, FOREVER);
    broker.produce(
        &topic,
        &[number("a", 1, 0), number("b", 2, 0), number("c", 3, 0)],
    );
    broker.delete_records(&topic, 0, 1);
    let ctx = nothing(broker);
    for (call, offset) in [
        ("kafka_snapshot('T', '{\"0\":4}')", 4),
        ("kafka_changes('T', '{\"0\":0}')", 0),
        ("kafka_changes('T', '{\"0\":1}', 'offsets:{\"0\":9}')", 9),
    ] {
        let said = error(
            &ctx,
            &format!("SELECT * FROM {}", call.replace('T', &topic)),
        )
        .await;
        let range = format!("offset {offset} of topic `{topic}` partition 0 is out of range");
        assert!(said.contains(&range), "{said}");
        assert!(
            said.contains("the partition holds offsets 1 to 3"),
            "{said}"
        );
    }
    let call = format!("SELECT * FROM kafka_snapshot('{topic}', '{{\"7\":0}}')");
    let said = error(&ctx, &call).await;
    assert!(said.contains("has no partition 7"), "{said}");
}

#[tokio::test]
async fn a_wrong_argument_is_named_with_what_is_allowed() {
    let ctx = SessionContext::new();
    let config = KafkaConfig::new().with_option("kafka.bootstrap.servers", "127.0.0.1:1");
    register_kafka(&ctx, config).unwrap();
    for (call, parts) in [
        (
            "kafka_topics('x')",
            ["kafka_topics() was called with 1 arguments", ""],
        ),
        (
            "kafka_offsets()",
            ["kafka_offsets(topic) was called with 0 arguments", ""],
        ),
        (
            "kafka_log('a', 'b')",
            ["kafka_log(topic) was called with 2 arguments", ""],
        ),
        (
            "kafka_snapshot('a')",
            ["kafka_snapshot(topic, at) was called with 1", ""],
        ),
        (
            "kafka_changes('a')",
            ["kafka_changes(topic, from[, to]) was called with 1", ""],
        ),
        (
            "kafka_log(NULL)",
            [
                "kafka_log(topic): argument `topic` is NULL",
                "such as 'orders'",
            ],
        ),
        (
            "kafka_log(12)",
            ["argument `topic` is 12", "the name of a topic"],
        ),
        ("kafka_log(orders)", ["orders", ""]),
        (
            "kafka_snapshot('a', NULL)",
            [
                "kafka_snapshot(topic, at): argument `at` is NULL",
                "'earliest'",
            ],
        ),
        (
            "kafka_snapshot('a', CAST(NULL AS TIMESTAMP))",
            ["argument `at` is NULL", "a TIMESTAMP"],
        ),
        (
            "kafka_snapshot('a', 'yesterday')",
            ["argument `at` is 'yesterday'", "'latest'"],
        ),
        (
            "kafka_snapshot('a', '2026-01-01')",
            ["argument `at` is '2026-01-01'", "RFC 3339"],
        ),
        (
            "kafka_snapshot('a', '{}')",
            ["argument `at` is '{}'", "{\"0\":12,\"1\":40}"],
        ),
        (
            "kafka_snapshot('a', true)",
            ["argument `at` is true", "expected 'earliest'"],
        ),
        (
            "kafka_snapshot('a', 1.5)",
            ["argument `at` is 1.5", "milliseconds"],
        ),
        (
            "kafka_snapshot('a', -1)",
            ["argument `at` is -1", "start in 1970"],
        ),
        (
            "kafka_snapshot('a', TIMESTAMP '1969-01-01')",
            ["argument `at`", "start in 1970"],
        ),
        (
            "kafka_changes('a', 'latest', NULL)",
            ["argument `to` is NULL", "'offsets:"],
        ),
        (
            "kafka_changes('a', NULL, 'latest')",
            ["argument `from` is NULL", "'timestamp:..'"],
        ),
        (
            "kafka_changes('a', (SELECT 1))",
            ["argument `from`", "expected a constant"],
        ),
    ] {
        for plain in [false, true] {
            let sql = format!("SELECT * FROM {call}");
            let said = match plain {
                false => error(&ctx, &sql).await,
                true => ctx.sql(&sql).await.unwrap_err().to_string(),
            };
            for part in parts {
                assert!(said.contains(part), "{call}: {said}");
            }
            assert!(!said.contains('\n'), "{call}: {said}");
        }
    }
}
