//! `kafka_topics` and `kafka_offsets`.

use std::time::Duration;

use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaConfig, register_kafka};

use super::{FOREVER, T0, lines, nothing, number};
use crate::broker::{self, COMPACTED, End, Rec};
use crate::declared::in_time;
use crate::session::{error, rows, table};

// kafka_topics.

#[tokio::test]
async fn topics_are_listed_with_partitions_and_replicas() {
    let Some(broker) = broker::required("topics_are_listed") else {
        return;
    };
    let three = broker.new_topic("Listed.three", 3, &[]);
    let one = broker.new_topic("Listed.one", 1, &[]);
    // The first transaction creates Kafka's internal topic for transactions.
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
    // In any session, through any entry point.
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
    // Partition 0: empty. Partition 1: a tombstone is last, with an older timestamp than the record
    // before.
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
    // Partition 2: a commit marker is last. Partition 3: aborted records and their marker are last.
    broker.transaction(&topic, &[number("b", 1, 30).partition(2)], End::Commit);
    broker.produce(&topic, &[number("c", 1, 40).partition(3)]);
    let aborted: Vec<Rec> = (0..50).map(|v| number("c", v, 50).partition(3)).collect();
    broker.transaction(&topic, &aborted, End::Abort);
    // Partition 4: the low watermark has moved.
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

    // The remaining records of partition 4 are deleted.
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
    // The marker is written after the abort has been acknowledged.
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
