//! Table functions on a real broker: topics, offsets, the log, snapshots and changes.

use std::time::Duration;

use datafusion::prelude::SessionContext;
use datafusion_kafka::options::Bound;
use datafusion_kafka::{KafkaConfig, KafkaTable, KafkaTopics, SourceOptions, register_kafka};

use crate::broker::{self, Broker, COMPACTED, End, Rec, Stored, topic_name};
use crate::declared::{APPEND, Declared, in_time};
use crate::session::{cells, count, error, rows, session, table, within};

/// Records of long ago stay.
const FOREVER: &[(&str, &str)] = &[("retention.ms", "-1")];

const T0: i64 = 1_700_000_000_000; // 2023-11-14T22:13:20Z

fn number(key: &str, value: i64, seconds: i64) -> Rec {
    Rec::new(key, format!("{{\"v\":{value}}}")).timestamp(T0 + seconds * 1000)
}

fn nothing(broker: &Broker) -> SessionContext {
    session(broker, KafkaTopics::new())
}

/// The rows, their values parted by `|`, in the order of their text.
async fn lines(ctx: &SessionContext, sql: &str) -> Vec<String> {
    let cells = cells(&rows(ctx, sql).await);
    let mut lines: Vec<String> = cells.iter().map(|row| row.join("|")).collect();
    lines.sort_unstable();
    lines
}

// kafka_topics.

#[tokio::test]
async fn topics_are_listed_with_partitions_and_replicas() {
    let Some(broker) = broker::required("topics_are_listed") else {
        return;
    };
    let three = broker.new_topic("Listed.three", 3, &[]);
    let one = broker.new_topic("Listed.one", 1, &[]);
    // A transaction makes Kafka's own topic for them.
    broker.transaction(&one, &[number("a", 1, 0)], End::Commit);
    let ctx = nothing(broker);
    let listed = format!("SELECT * FROM kafka_topics() WHERE topic IN ('{one}', '{three}')");
    let mut expected = [format!("{one}|1|1|false"), format!("{three}|3|1|false")];
    expected.sort_unstable();
    assert_eq!(lines(&ctx, &listed).await, expected);

    let internal = "SELECT topic FROM KAFKA_TOPICS() WHERE internal";
    let internal = lines(&ctx, internal).await;
    assert!(
        internal.contains(&"__transaction_state".to_owned()),
        "{internal:?}"
    );
    assert!(
        internal.iter().all(|topic| topic.starts_with("__")),
        "{internal:?}"
    );

    let limited = "SELECT partitions AS p FROM kafka_topics() WHERE topic LIKE 'Listed.%' LIMIT 1";
    assert_eq!(lines(&ctx, limited).await.len(), 1);
    let counted = format!("SELECT count(*) FROM kafka_topics() WHERE topic = '{three}'");
    assert_eq!(lines(&ctx, &counted).await, ["1"]);
    assert_ne!(
        lines(&ctx, "SELECT count(*) FROM kafka_topics()").await,
        ["0"]
    );
    // In any session, through any entry.
    let frame = ctx
        .sql("SELECT count(*) FROM Kafka_Topics()")
        .await
        .unwrap();
    assert_eq!(
        in_time("kafka_topics", frame.collect())
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn nothing_is_asked_of_the_brokers_before_the_plan_runs() {
    let ctx = SessionContext::new();
    let config = KafkaConfig::new()
        .with_option("kafka.bootstrap.servers", "127.0.0.1:1")
        .with_option("kafka.timeout", "1s");
    register_kafka(&ctx, config).unwrap();
    for call in ["kafka_topics()", "kafka_offsets('orders')"] {
        let select = format!("SELECT * FROM {call}");
        let started = std::time::Instant::now();
        let planned = table(&ctx, &format!("EXPLAIN {select}")).await;
        assert!(planned.contains("StreamingTableExec"), "{planned}");
        let planning = started.elapsed();
        assert!(
            planning < std::time::Duration::from_millis(900),
            "{planning:?}"
        );
        let said = error(&ctx, &select).await;
        assert!(said.contains("cannot reach Kafka at 127.0.0.1:1"), "{said}");
    }
    let said = error(&ctx, "SELECT * FROM kafka_log('orders')").await;
    assert!(said.contains("cannot reach Kafka at 127.0.0.1:1"), "{said}");
}

#[tokio::test]
async fn without_servers_a_call_says_so() {
    let ctx = SessionContext::new();
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    for call in ["kafka_topics()", "kafka_offsets('t')", "kafka_log('t')"] {
        let said = error(&ctx, &format!("SELECT * FROM {call}")).await;
        assert!(said.contains("kafka.bootstrap.servers"), "{said}");
    }
}

// kafka_offsets.

#[tokio::test]
async fn offsets_of_every_partition_with_its_newest_timestamp() {
    let Some(broker) = broker::required("offsets_of_every_partition") else {
        return;
    };
    let topic = broker.new_topic("offsets", 5, FOREVER);
    // 0: empty. 1: a tombstone last, and an older timestamp than before it.
    broker.produce(
        &topic,
        &[
            number("a", 1, 20).partition(1),
            Rec::tombstone("a").partition(1).timestamp(T0 + 10_000),
            number("e", 1, 1).partition(4),
            number("e", 2, 2).partition(4),
            number("e", 3, 3).partition(4),
        ],
    );
    // 2: a commit marker last. 3: aborted records and their marker last.
    broker.transaction(&topic, &[number("b", 1, 30).partition(2)], End::Commit);
    broker.produce(&topic, &[number("c", 1, 40).partition(3)]);
    let aborted: Vec<Rec> = (0..50).map(|v| number("c", v, 50).partition(3)).collect();
    broker.transaction(&topic, &aborted, End::Abort);
    // 4: the low watermark moved.
    broker.delete_records(&topic, 4, 2);

    let ctx = nothing(broker);
    let offsets = format!("SELECT * FROM kafka_offsets('{topic}')");
    let expected = [
        "0|0|0|0|NULL",
        "1|0|2|2|2023-11-14T22:13:30Z",
        "2|0|2|2|2023-11-14T22:13:50Z",
        "3|0|52|52|2023-11-14T22:14:00Z",
        "4|2|3|1|2023-11-14T22:13:23Z",
    ];
    assert_eq!(lines(&ctx, &offsets).await, expected);
    let some = format!(
        "SELECT high, newest_timestamp FROM kafka_offsets('{topic}') WHERE partition = 2 LIMIT 3"
    );
    assert_eq!(lines(&ctx, &some).await, ["2|2023-11-14T22:13:50Z"]);
    let sum = format!("SELECT sum(records), count(*) FROM kafka_offsets('{topic}')");
    assert_eq!(lines(&ctx, &sum).await, ["57|5"]);

    // All that is left of partition 4 goes.
    broker.delete_records(&topic, 4, 3);
    let emptied = format!("{offsets} WHERE partition = 4");
    assert_eq!(lines(&ctx, &emptied).await, ["4|3|3|0|NULL"]);
}

#[tokio::test]
async fn offsets_end_where_a_query_of_the_isolation_does() {
    let Some(broker) = broker::required("offsets_end_where_a_query_does") else {
        return;
    };
    let topic = broker.new_topic("open", 1, FOREVER);
    broker.produce(&topic, &[number("a", 1, 0)]);
    let open = broker.begin(&topic, &[number("b", 2, 60)]);
    let ctx = nothing(broker);
    let offsets = format!("SELECT * FROM kafka_offsets('{topic}')");
    assert_eq!(
        lines(&ctx, &offsets).await,
        ["0|0|1|1|2023-11-14T22:13:20Z"]
    );
    rows(&ctx, "SET kafka.isolation = 'read_uncommitted'").await;
    assert_eq!(
        lines(&ctx, &offsets).await,
        ["0|0|2|2|2023-11-14T22:14:20Z"]
    );
    open.abort();
    // The marker comes once the abort has been promised.
    in_time("the marker", async {
        while lines(&ctx, &offsets).await != ["0|0|3|3|2023-11-14T22:14:20Z"] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    rows(&ctx, "SET kafka.isolation = ''").await;
    assert_eq!(
        lines(&ctx, &offsets).await,
        ["0|0|3|3|2023-11-14T22:13:20Z"]
    );
}

#[tokio::test]
async fn the_newest_timestamp_is_found_behind_holes_of_compaction() {
    let Some(broker) = broker::required("newest_timestamp_behind_holes") else {
        return;
    };
    let topic = broker.new_topic("compacted-offsets", 1, COMPACTED);
    broker.produce(&topic, &[number("kept", 1, 0)]);
    let gone: Vec<Rec> = (0..40).map(|v| number("twice", v, v)).collect();
    let places = broker.produce(&topic, &gone);
    broker.wait_compacted(&topic, &places[..39]);
    let stored = broker.read_all(&topic);
    let newest = stored.last().unwrap().timestamp.unwrap();
    let ctx = nothing(broker);
    let cast = "CAST(CAST(newest_timestamp AS TIMESTAMP(3)) AS BIGINT)";
    let newest_of = format!("SELECT {cast} FROM kafka_offsets('{topic}')");
    assert_eq!(lines(&ctx, &newest_of).await, [newest.to_string()]);
}

// kafka_log, kafka_snapshot, kafka_changes.

/// Everything that can be in a log, on three partitions of which one is empty.
fn history(broker: &Broker, prefix: &str) -> String {
    let topic = broker.new_topic(prefix, 3, FOREVER);
    broker.produce(
        &topic,
        &[
            number("a", 1, 0).partition(0),
            number("b", 2, 1).partition(1),
            number("a", 3, 2).partition(0).header("h", Some(b"x")),
        ],
    );
    broker.transaction(&topic, &[number("c", 4, 3).partition(1)], End::Commit);
    broker.transaction(&topic, &[number("c", 99, 4).partition(1)], End::Abort);
    broker.produce(
        &topic,
        &[
            Rec::tombstone("b").partition(1).timestamp(T0 + 5000),
            Rec {
                key: None,
                ..number("", 5, 6).partition(0)
            },
            number("a", 6, 7).partition(0),
        ],
    );
    topic
}

/// What Kafka's own consumer reads, as the lines of [`LOG`].
fn stored_lines<'a>(stored: impl IntoIterator<Item = &'a Stored>) -> Vec<String> {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        None => "NULL".to_owned(),
    };
    let value = |record: &Stored| match text(&record.payload).as_str() {
        "NULL" => "NULL".to_owned(),
        json => json.replace("{\"v\":", "").replace('}', ""),
    };
    let line = |record: &Stored| {
        format!(
            "{}|{}|{}|{}|{}|{}",
            record.partition,
            record.offset,
            record.timestamp.unwrap(),
            text(&record.key),
            value(record),
            record.payload.is_none(),
        )
    };
    let mut lines: Vec<String> = stored.into_iter().map(line).collect();
    lines.sort_unstable();
    lines
}

const LOG: &str =
    "_partition, _offset, CAST(CAST(_timestamp AS TIMESTAMP(3)) AS BIGINT), _key, v, _tombstone";

#[tokio::test]
async fn the_log_is_every_record_with_all_metadata() {
    let Some(broker) = broker::required("the_log_is_every_record") else {
        return;
    };
    let topic = history(broker, "log");
    let ctx = nothing(broker);
    let log = format!("SELECT {LOG} FROM kafka_log('{topic}')");
    let stored = broker.read_all(&topic);
    assert_eq!(stored.len(), 7);
    assert_eq!(lines(&ctx, &log).await, stored_lines(&stored));

    let columns = "_key|v|_topic|_partition|_offset|_timestamp|_headers|_tombstone|_error";
    let all = format!("SELECT * FROM kafka_log('{topic}')");
    let frame = datafusion_kafka::sql(&ctx, &all).await.unwrap();
    let fields = frame.schema().fields();
    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names.join("|"), columns);
    assert!(fields.iter().all(|field| field.is_nullable()));

    let one = format!("{all} WHERE _headers IS NOT NULL AND _partition = 0 AND _offset = 1");
    assert_eq!(
        lines(&ctx, &one).await,
        [format!(
            "a|3|{topic}|0|1|2023-11-14T22:13:22Z|[{{key: h, value: 78}}]|false|NULL"
        )]
    );
    let keyless = format!("SELECT v FROM kafka_log('{topic}') WHERE _key IS NULL");
    assert_eq!(lines(&ctx, &keyless).await, ["5"]);
}

#[tokio::test]
async fn the_log_of_a_table_has_its_columns_also_those_that_were_not_null() {
    let Some(broker) = broker::required("the_log_of_a_table") else {
        return;
    };
    let topic = history(broker, "declared-log");
    let columns = "_key VARCHAR NOT NULL, v SMALLINT NOT NULL, _timestamp TIMESTAMP(0)";
    let declared = Declared::new(broker, &topic, columns, &[]).await;
    let log = declared
        .rows("SELECT _key, v, _timestamp FROM kafka_log('t')")
        .await;
    assert_eq!(log.len(), 7);
    assert_eq!(log[6], "c|4|2023-11-14T22:13:23");
    assert!(
        log.contains(&"b|NULL|2023-11-14T22:13:25".to_owned()),
        "{log:?}"
    );
    let plain = declared
        .ctx
        .sql("SELECT * FROM kafka_log('t') WHERE v = 6")
        .await
        .unwrap();
    assert_eq!(
        plain
            .schema()
            .field_with_name(None, "v")
            .unwrap()
            .data_type()
            .to_string(),
        "Int16"
    );
    assert_eq!(
        in_time("plain", plain.collect()).await.unwrap()[0].num_rows(),
        1
    );
}

#[tokio::test]
async fn a_snapshot_is_the_table_as_of_a_time_or_of_offsets() {
    let Some(broker) = broker::required("a_snapshot_is_the_table") else {
        return;
    };
    let topic = broker.new_topic("snapshot", 2, FOREVER);
    broker.produce(
        &topic,
        &[
            number("a", 1, 0).partition(0),
            number("b", 2, 10).partition(1),
            number("a", 3, 20).partition(0),
            Rec::tombstone("b").partition(1).timestamp(T0 + 30_000),
            number("c", 4, 40).partition(1),
        ],
    );
    let ctx = nothing(broker);
    let ms = |seconds: i64| (T0 + seconds * 1000).to_string();
    let at = [
        ("'earliest'".to_owned(), ""),
        ("'latest'".to_owned(), "a|3 c|4"),
        (format!("'timestamp:{}'", ms(20)), "a|1 b|2"),
        ("'timestamp:2023-11-14T22:13:40.001Z'".to_owned(), "a|3 b|2"),
        ("'2023-11-14T22:13:40Z'".to_owned(), "a|1 b|2"),
        ("'2023-11-14T23:13:50.001+01:00'".to_owned(), "a|3"),
        ("TIMESTAMP '2023-11-14T22:13:30'".to_owned(), "a|1"),
        (
            "TIMESTAMP '2023-11-14T22:13:30.0000001'".to_owned(),
            "a|1 b|2",
        ),
        (
            "TIMESTAMP '2023-11-14 22:13:20' + INTERVAL '15 seconds'".to_owned(),
            "a|1 b|2",
        ),
        (
            "arrow_cast('2023-11-14T22:13:30Z', 'Timestamp(Second, Some(\"+01:00\"))')".to_owned(),
            "a|1",
        ),
        ("DATE '2023-11-14'".to_owned(), ""),
        ("DATE '2023-11-15'".to_owned(), "a|3 c|4"),
        ("now()".to_owned(), "a|3 c|4"),
        ("now() - INTERVAL '1 hour'".to_owned(), "a|3 c|4"),
        (ms(40), "a|3"),
        (format!("{} + 1", ms(40)), "a|3 c|4"),
        ("'{\"0\":1,\"1\":1}'".to_owned(), "a|1 b|2"),
        ("'offsets:{\"0\":2,\"1\":2}'".to_owned(), "a|3"),
        ("'{\"1\":0}'".to_owned(), "a|3"),
        ("'{\"0\":' || '0}'".to_owned(), "c|4"),
    ];
    for (at, expected) in at {
        let sql = format!("SELECT _key, v FROM kafka_snapshot('{topic}', {at})");
        assert_eq!(lines(&ctx, &sql).await.join(" "), expected, "{at}");
    }
}

#[tokio::test]
async fn changes_are_what_was_produced_between_two_points() {
    let Some(broker) = broker::required("changes_are_what_was_produced") else {
        return;
    };
    let topic = history(broker, "changes");
    let ctx = nothing(broker);
    let first = broker.read_all(&topic);
    let ends = lines(
        &ctx,
        &format!(
            "SELECT 'offsets:{{' || string_agg('\"' || partition || '\":' || high, ',') || '}}' \
             FROM kafka_offsets('{topic}')"
        ),
    )
    .await;
    let [before] = ends.as_slice() else {
        panic!("{ends:?}")
    };
    broker.produce(
        &topic,
        &[
            number("a", 7, 8).partition(0),
            number("z", 8, 9).partition(2),
        ],
    );
    broker.transaction(&topic, &[number("b", 9, 10).partition(1)], End::Commit);
    let between = broker.read_all(&topic);
    let table = KafkaTable::builder(&topic)
        .with_option("kafka.bootstrap.servers", &broker.servers)
        .build();
    let table = within("build", table).await.unwrap();
    let after = within("end_offsets", table.end_offsets()).await.unwrap();
    assert!(
        matches!(&after, Bound::Offsets(offsets) if offsets.len() == 3),
        "{after}"
    );
    broker.produce(&topic, &[number("a", 10, 11).partition(0)]);

    let changes =
        |arguments: &str| format!("SELECT {LOG} FROM kafka_changes('{topic}', {arguments})");
    let new = stored_lines(between.iter().filter(|record| !first.contains(record)));
    assert_eq!(new.len(), 3);
    assert_eq!(
        lines(&ctx, &changes(&format!("'{before}', '{after}'"))).await,
        new
    );
    let everything = broker.read_all(&topic);
    let newer = stored_lines(everything.iter().filter(|record| !first.contains(record)));
    assert_eq!(lines(&ctx, &changes(&format!("'{before}'"))).await, newer);
    assert_eq!(
        lines(&ctx, &changes(&format!("'{before}', 'latest'"))).await,
        newer
    );
    let oldest = stored_lines(&first);
    assert_eq!(
        lines(&ctx, &changes(&format!("'earliest', '{before}'"))).await,
        oldest
    );
    assert!(
        lines(&ctx, &changes(&format!("'{after}', '{before}'")))
            .await
            .is_empty()
    );
    let times = format!("{}, TIMESTAMP '2023-11-14 22:13:25'", T0 + 2000);
    let timed = everything
        .iter()
        .filter(|r| (T0 + 2000..T0 + 5000).contains(&r.timestamp.unwrap()));
    assert_eq!(lines(&ctx, &changes(&times)).await, stored_lines(timed));

    // The table at a point, and the changes since, give the table now.
    let replayed = format!(
        "SELECT _key, v FROM kafka_snapshot('{topic}', '{before}') \
         WHERE _key NOT IN (SELECT _key FROM kafka_changes('{topic}', '{before}')) \
         UNION ALL \
         SELECT _key, v FROM (SELECT _key, v, _tombstone, \
           row_number() OVER (PARTITION BY _key ORDER BY _offset DESC) AS nth \
           FROM kafka_changes('{topic}', '{before}')) WHERE nth = 1 AND NOT _tombstone"
    );
    let skip = "SET kafka.null_key = 'skip'";
    rows(&ctx, skip).await;
    let now = format!("SELECT _key, v FROM kafka_snapshot('{topic}', 'latest')");
    assert_eq!(lines(&ctx, &replayed).await, lines(&ctx, &now).await);
    assert_eq!(lines(&ctx, &now).await, ["a|10", "b|9", "c|4", "z|8"]);

    // The same text is an option too.
    rows(&ctx, &format!("SET kafka.end = '{before}'")).await;
    let declared = format!(
        "CREATE EXTERNAL TABLE past STORED AS KAFKA LOCATION '{topic}' \
         OPTIONS ('kafka.mode' 'upsert')"
    );
    rows(&ctx, &declared).await;
    assert_eq!(
        lines(&ctx, "SELECT _key, v FROM past").await,
        ["a|6", "c|4"]
    );
    let bounded = format!("SELECT {LOG} FROM kafka_log('{topic}')");
    assert_eq!(lines(&ctx, &bounded).await, oldest);
}

#[tokio::test]
async fn a_snapshot_of_an_append_table_is_an_upsert_table() {
    let Some(broker) = broker::required("a_snapshot_of_an_append_table") else {
        return;
    };
    let topic = broker.new_topic("append-snapshot", 1, FOREVER);
    broker.produce(
        &topic,
        &[number("a", 1, 0), number("a", 2, 1), number("b", 3, 2)],
    );
    let declared = Declared::new(broker, &topic, "_key VARCHAR, v BIGINT", &[APPEND]).await;
    assert_eq!(declared.rows("SELECT * FROM t").await.len(), 3);
    let at = "SELECT * FROM kafka_snapshot('t', '{\"0\":2}')";
    assert_eq!(declared.rows(at).await, ["a|2"]);
}

// What a name stands for.

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
    let ctx = session(broker, KafkaTopics::new().source("^Pattern", bytes));
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
    // In a plain session only once the topic is known.
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

    // A table that is none of Kafka's does not hide the topic.
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
    // Every name is a topic's here, also those of functions.
    let ctx = session(broker, KafkaTopics::new().source("*", SourceOptions::new()));
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
        // Two subqueries are two, though they call one function.
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
    // The README's.
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
    let ctx = session(broker, KafkaTopics::new().sink("*", sink));
    let insert = format!("INSERT INTO \"{out}\" SELECT _key, v FROM kafka_log('{left}')");
    assert_eq!(count(&ctx, &insert).await, 2);
    assert_eq!(
        lines(&ctx, &format!("SELECT v FROM kafka_log('{out}')")).await,
        ["1", "2"]
    );
}

// What goes wrong.

#[tokio::test]
async fn a_topic_that_is_not_there_is_an_error() {
    let Some(broker) = broker::required("a_topic_that_is_not_there") else {
        return;
    };
    let missing = topic_name("missing");
    for topics in [
        KafkaTopics::new(),
        KafkaTopics::new().source("*", SourceOptions::new()),
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

// Columns that change over time: inference looks at the newest records of all partitions.

/// The columns that inference finds, and the rows read with them.
async fn evolved(broker: &Broker, prefix: &str, payloads: &[&str]) -> (String, Vec<String>) {
    let topic = broker.new_topic(prefix, 2, FOREVER);
    let record = |(nth, payload): (usize, &&str)| {
        let partition = i32::try_from(nth % 2).unwrap();
        Rec::new(format!("k{nth}"), payload).partition(partition)
    };
    broker.produce(
        &topic,
        &payloads.iter().enumerate().map(record).collect::<Vec<_>>(),
    );
    let inferred = Declared::new(broker, &topic, "", &[]).await;
    let table = inferred.ctx.table("t").await.unwrap();
    let columns: Vec<String> = table
        .schema()
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    let mut rows = inferred.rows("SELECT * FROM t").await;
    rows.sort_unstable();
    (columns.join(", "), rows)
}

#[tokio::test]
async fn inferred_columns_cover_what_the_sample_shows_old_and_new() {
    let Some(broker) = broker::required("inferred_columns_cover_the_sample") else {
        return;
    };
    for (prefix, payloads, columns, expected) in [
        (
            "added",
            &[r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3,"b":"new"}"#][..],
            "a Int64, b Utf8View",
            &["k0|1|NULL", "k1|2|NULL", "k2|3|new"][..],
        ),
        (
            "removed",
            &[r#"{"a":1,"b":true}"#, r#"{"a":2,"b":false}"#, r#"{"a":3}"#],
            "a Int64, b Boolean",
            &["k0|1|true", "k1|2|false", "k2|3|NULL"],
        ),
        (
            "widened",
            &[r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":2.5}"#],
            "a Float64",
            &["k0|1.0", "k1|2.0", "k2|2.5"],
        ),
        (
            "retyped",
            &[r#"{"a":1}"#, r#"{"a":true}"#, r#"{"a":"three"}"#],
            "a Utf8View",
            &["k0|1", "k1|true", "k2|three"],
        ),
        (
            "null-first",
            &[r#"{"a":null}"#, r#"{"a":null,"b":null}"#, r#"{"a":7}"#],
            "a Int64, b Utf8View",
            &["k0|NULL|NULL", "k1|NULL|NULL", "k2|7|NULL"],
        ),
        (
            "nested",
            &[
                r#"{"o":{"x":1}}"#,
                r#"{"o":null}"#,
                r#"{"o":{"x":2,"y":["z"]}}"#,
            ],
            "o Struct(\"x\": Int64, \"y\": List(Utf8View))",
            &["k0|{x: 1, y: NULL}", "k1|NULL", "k2|{x: 2, y: [z]}"],
        ),
    ] {
        let (found, rows) = evolved(broker, prefix, payloads).await;
        assert_eq!(
            found.replacen("_key Utf8View, ", "", 1),
            columns,
            "{prefix}"
        );
        assert_eq!(rows, expected, "{prefix}");
    }
}

#[tokio::test]
async fn declared_columns_outlive_the_changes_of_a_topic() {
    let Some(broker) = broker::required("declared_columns_outlive_changes") else {
        return;
    };
    let topic = broker.new_topic("evolving", 1, FOREVER);
    let columns = "_key VARCHAR, a BIGINT, b VARCHAR, o STRUCT<x BIGINT>";
    let declared = Declared::new(broker, &topic, columns, &[]).await;
    broker.produce(
        &topic,
        &[
            Rec::new("k0", r#"{"a":1,"b":"text","o":{"x":1}}"#),
            Rec::new("k1", r#"{"b":2,"extra":[1],"o":{"x":2,"y":3}}"#),
        ],
    );
    assert_eq!(
        declared.rows("SELECT * FROM t").await,
        ["k0|1|text|{x: 1}", "k1|NULL|2|{x: 2}"]
    );
    // A type that no longer fits is an error, not a silent NULL; other columns go on.
    broker.produce(&topic, &[Rec::new("k2", r#"{"a":"three","b":"x"}"#)]);
    let said = declared.error("SELECT a FROM t").await;
    assert!(
        said.contains("expected Int64 but found a string in `a`"),
        "{said}"
    );
    assert_eq!(declared.rows("SELECT b FROM t").await, ["2", "text", "x"]);
    // Columns are inferred where a table is made; what is newer needs a new table.
    declared.add("inferred", &topic, "", &[]).await.unwrap();
    assert_eq!(
        declared
            .rows("SELECT _key, a, b, extra, o FROM inferred")
            .await,
        [
            "k0|1|text|NULL|{x: 1, y: NULL}",
            "k1|NULL|2|[1]|{x: 2, y: 3}",
            "k2|three|x|NULL|NULL"
        ]
    );
    broker.produce(&topic, &[Rec::new("k3", r#"{"a":"4","late":true}"#)]);
    let said = declared.error("SELECT late FROM inferred").await;
    assert!(said.contains("late"), "{said}");
    // A topic that is no table is looked at anew by every statement.
    let late = format!("SELECT late FROM kafka_log('{topic}') WHERE _key = 'k3'");
    assert_eq!(declared.rows(&late).await, ["true"]);
}
