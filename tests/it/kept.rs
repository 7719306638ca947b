//! A session keeps the clients of its statements for the next ones: these need not connect.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use datafusion_kafka::{KafkaTopics, wait_for_clients};

use crate::broker::{self, Broker, PATIENCE, Rec, topic_name, wait_until};
use crate::declared::Declared;
use crate::dropping::{
    Held, alone_in, first_batch, large_topic, open, several_threads, thread_names,
};
use crate::session::{count, session, table, try_rows};

const COLUMNS: &str = "_key VARCHAR, v BIGINT";

/// The most clients that a session keeps.
const MOST: usize = 16;

fn alone(test: &str, work: impl AsyncFnOnce(&'static Broker)) {
    alone_in("kept", test, |broker| {
        several_threads().block_on(work(broker));
    });
}

/// The connections of this process to the broker, as the numbers of their sockets.
fn connections(broker: &Broker) -> BTreeSet<String> {
    let port: u16 = broker.servers.rsplit_once(':').unwrap().1.parse().unwrap();
    let port = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let established = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields[2].ends_with(&port) && fields[3] == "01").then(|| format!("socket:[{}]", fields[9]))
    });
    let established: BTreeSet<String> = established.collect();
    let files = fs::read_dir("/proc/self/fd").unwrap();
    let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    let own = links.map(|link| link.to_string_lossy().into_owned());
    own.filter(|socket| established.contains(socket)).collect()
}

/// The librdkafka clients of this process, as the ids of their main threads.
fn clients() -> BTreeSet<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let tasks = tasks.map(|task| task.unwrap());
    let is_main = |task: &fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm"));
        name.is_ok_and(|name| name.trim() == "rdk:main")
    };
    let main = tasks.filter(is_main);
    main.map(|task| task.file_name().to_string_lossy().into_owned())
        .collect()
}

async fn declared(broker: &Broker, options: &[(&str, &str)]) -> Declared {
    let topic = broker.new_topic("kept", 2, &[]);
    broker.produce(
        &topic,
        &[Rec::new("a", "{\"v\":1}"), Rec::new("b", "{\"v\":2}")],
    );
    Declared::new(broker, &topic, COLUMNS, options).await
}

#[test]
fn a_second_query_connects_no_more() {
    alone("a_second_query_connects_no_more", async |broker| {
        let table = declared(broker, &[]).await;
        let all = "SELECT * FROM t";
        assert_eq!(table.rows(all).await, ["a|1", "b|2"]);
        let kept = connections(broker);
        assert!(!kept.is_empty());
        for sql in [
            all,
            "SELECT v FROM t WHERE _key = 'b'",
            "SELECT count(*) FROM t",
            "EXPLAIN SELECT * FROM t",
            all,
        ] {
            table.rows(sql).await;
            assert_eq!(connections(broker), kept, "{sql}");
        }
        // Two scans at a time need two clients, and leave both.
        let join = "SELECT l.v FROM t AS l JOIN t AS r ON l.v < r.v";
        assert_eq!(table.rows(join).await, ["1"]);
        let both = connections(broker);
        assert!(both.is_superset(&kept));
        assert_eq!(table.rows(join).await, ["1"]);
        assert_eq!(table.rows(all).await, ["a|1", "b|2"]);
        assert_eq!(connections(broker), both);
    });
}

#[test]
fn a_second_call_of_a_function_and_a_second_inference_connect_no_more() {
    let test = "a_second_call_of_a_function_and_a_second_inference_connect_no_more";
    alone(test, async |broker| {
        let topic = broker.new_topic("kept", 1, &[]);
        broker.produce(&topic, &[Rec::new("a", "{\"v\":1}")]);
        let ctx = session(broker, KafkaTopics::new());
        for sql in [
            format!("SELECT high, newest_timestamp FROM kafka_offsets('{topic}')"),
            format!("SELECT partitions FROM kafka_topics() WHERE topic = '{topic}'"),
            format!("SELECT v FROM kafka_log('{topic}')"),
            format!("CREATE OR REPLACE EXTERNAL TABLE t STORED AS KAFKA LOCATION '{topic}'"),
        ] {
            let first = table(&ctx, &sql).await;
            let kept = clients();
            for _ in 0..3 {
                assert_eq!(table(&ctx, &sql).await, first);
                // One client may connect to a broker twice: first as a bootstrap server.
                assert_eq!(clients(), kept, "{sql}");
            }
        }
    });
}

#[test]
fn a_second_insert_connects_no_more_and_counts_its_own_records() {
    let test = "a_second_insert_connects_no_more_and_counts_its_own_records";
    alone(test, async |broker| {
        let table = declared(broker, &[]).await;
        table.rows("INSERT INTO t VALUES ('c', 3)").await;
        let kept = connections(broker);
        for v in 4..8 {
            let insert = format!("INSERT INTO t VALUES ('c', {v}), ('d', {v})");
            assert_eq!(count(&table.ctx, &insert).await, 2);
            assert_eq!(connections(broker), kept, "{insert}");
        }
        let explain = "EXPLAIN ANALYZE INSERT INTO t VALUES ('e', 1)";
        let shown = table.rows(explain).await.join("\n");
        assert!(shown.contains("records_acknowledged=1"), "{shown}");
        assert_eq!(connections(broker), kept);
        let all = ["a|1", "b|2", "c|7", "d|7", "e|1"];
        assert_eq!(table.rows("SELECT * FROM t").await, all);
    });
}

#[test]
fn a_transaction_has_a_producer_of_its_own() {
    alone("a_transaction_has_a_producer_of_its_own", async |broker| {
        let table = declared(broker, &[("kafka.delivery", "exactly_once")]).await;
        let before = clients();
        table.rows("INSERT INTO t VALUES ('c', 3)").await;
        wait_until(PATIENCE, "the producer has ended", || {
            !thread_names().contains("producer polli")
        });
        assert!(
            clients().len() > before.len(),
            "the client that looks topics up is kept"
        );
    });
}

#[test]
fn tables_with_other_properties_do_not_share_clients() {
    let test = "tables_with_other_properties_do_not_share_clients";
    alone(test, async |broker| {
        let topic = broker.new_topic("kept", 1, &[]);
        let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
        table.rows("SELECT * FROM t").await;
        let first = connections(broker);
        for (name, options) in [
            ("u", ("kafka.client.client.id", "another")),
            ("v", ("kafka.consumer.fetch.wait.max.ms", "11")),
            ("w", ("kafka.isolation", "read_uncommitted")),
        ] {
            table.add(name, &topic, COLUMNS, &[options]).await.unwrap();
            let before = connections(broker);
            table.rows(&format!("SELECT * FROM {name}")).await;
            let after = connections(broker);
            assert!(after.is_superset(&before) && after != before, "{name}");
        }
        let all = connections(broker);
        table.rows("SELECT * FROM t").await;
        assert_eq!(connections(broker), all);
        assert!(all.is_superset(&first));
        // Another session does not share them either.
        let other = Declared::new(broker, &topic, COLUMNS, &[]).await;
        other.rows("SELECT * FROM t").await;
        assert!(connections(broker).len() > all.len());
    });
}

#[test]
fn idle_clients_are_closed_in_time() {
    alone("idle_clients_are_closed_in_time", async |broker| {
        let before = Held::now();
        let table = declared(broker, &[("kafka.keep_clients", "100ms")]).await;
        table.rows("INSERT INTO t VALUES ('c', 3)").await;
        table.rows("SELECT * FROM t").await;
        // No statement comes after these.
        wait_until(PATIENCE, "no connection", || connections(broker).is_empty());
        before.is_restored("idle clients").await;
        drop(table);
    });
}

#[test]
fn a_dropped_session_leaves_no_client() {
    alone("a_dropped_session_leaves_no_client", async |broker| {
        let before = Held::now();
        let table = declared(broker, &[]).await;
        table.rows("INSERT INTO t VALUES ('c', 3)").await;
        table.rows("SELECT * FROM t").await;
        let query = table.ctx.sql("SELECT * FROM t").await.unwrap();
        let plan = query.create_physical_plan().await.unwrap();
        // A DataFrame has the session's state.
        drop(query);
        before.wait_exceeded();
        assert!(!wait_for_clients(Duration::from_millis(20)).await);
        drop(table);
        drop(plan);
        let have_ended = wait_for_clients(PATIENCE).await;
        assert!(have_ended, "{}", thread_names());
        before.is_restored("the session").await;
    });
}

#[test]
fn a_session_with_many_topics_keeps_few_clients() {
    let test = "a_session_with_many_topics_keeps_few_clients";
    alone(test, async |broker| {
        let before = Held::now();
        let ctx = session(broker, KafkaTopics::new());
        for number in 0..50 {
            let topic = broker.new_topic("kept", 1, &[]);
            broker.produce(&topic, &[Rec::new("a", format!("{{\"v\":{number}}}"))]);
            let log = format!("SELECT v FROM kafka_log('{topic}')");
            try_rows(&ctx, &log).await.unwrap();
            wait_until(PATIENCE, "few clients", || clients().len() <= MOST);
        }
        assert_eq!(clients().len(), MOST);
        drop(ctx);
        before.is_restored("the session").await;
    });
}

#[test]
fn clients_of_failed_and_cancelled_statements_are_not_kept() {
    let test = "clients_of_failed_and_cancelled_statements_are_not_kept";
    alone(test, async |broker| {
        let before = Held::now();
        let missing = topic_name("missing");
        let table = Declared::new(broker, &missing, COLUMNS, &[]).await;
        table.error("SELECT * FROM t").await;
        table.error("INSERT INTO t VALUES ('a', 1)").await;
        before.is_restored("a topic that is missing").await;

        let topic = large_topic(broker);
        table.add("large", &topic, COLUMNS, &[]).await.unwrap();
        let mut stream = open(&table, "SELECT * FROM large").await;
        first_batch(&mut stream).await;
        drop(stream);
        before.is_restored("a query in the middle").await;

        // The broker refuses the record. The client that looked up the topic had no failure.
        let small = broker.new_topic("small", 1, &[("max.message.bytes", "200")]);
        table
            .add("small", &small, "_key VARCHAR, s VARCHAR", &[])
            .await
            .unwrap();
        let refused = "INSERT INTO small VALUES ('a', repeat('x', 1000))";
        for _ in 0..3 {
            table.error(refused).await;
            wait_until(PATIENCE, "no producer", || clients().len() == 1);
        }
    });
}

/// The partition of each of ten keys that a session has inserted.
async fn partitions(table: &Declared, name: &str) -> Vec<String> {
    let values: Vec<String> = (0..10).map(|n| format!("('k{n}', {n})")).collect();
    let insert = format!("INSERT INTO {name} (_key, v) VALUES {}", values.join(", "));
    assert_eq!(count(&table.ctx, &insert).await, 10);
    let placed = format!("SELECT _key, v, _partition FROM {name}");
    table.rows(&placed).await
}

const PLACED: &str = "_key VARCHAR, v BIGINT, _partition INT";

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_is_read_and_written_as_by_a_new_session() {
    let Some(broker) = broker::required("a_recreated_topic_is_read_and_written") else {
        return;
    };
    let like = broker.new_topic("like", 3, &[]);
    let fresh = Declared::new(broker, &like, PLACED, &[]).await;
    let expected = partitions(&fresh, "t").await;
    for before in [1, 5] {
        let topic = broker.new_topic("kept", before, &[]);
        let table = Declared::new(broker, &topic, PLACED, &[]).await;
        for _ in 0..2 {
            table
                .rows("INSERT INTO t (_key, v) VALUES ('old', 1), ('older', 2)")
                .await;
            assert_eq!(table.rows("SELECT count(*) FROM t").await, ["2"]);
        }
        broker.delete_topic(&topic);
        broker.create_topic(&topic, 3, &[]);
        assert_eq!(table.rows("SELECT * FROM t").await, [""; 0]);
        assert_eq!(
            partitions(&table, "t").await,
            expected,
            "{before} partitions before"
        );

        // Without a query in between, which would tell of the new topic.
        broker.delete_topic(&topic);
        broker.create_topic(&topic, 3, &[]);
        assert_eq!(
            partitions(&table, "t").await,
            expected,
            "{before} partitions before"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn added_partitions_are_written_as_by_a_new_session() {
    let Some(broker) = broker::required("added_partitions_are_written") else {
        return;
    };
    let like = broker.new_topic("like", 3, &[]);
    let fresh = Declared::new(broker, &like, PLACED, &[]).await;
    let expected = partitions(&fresh, "t").await;
    let topic = broker.new_topic("kept", 1, &[]);
    let table = Declared::new(broker, &topic, PLACED, &[("kafka.mode", "append")]).await;
    table
        .rows("INSERT INTO t (_key, v) VALUES ('old', 1)")
        .await;
    broker.add_partitions(&topic, 3);
    let rows = partitions(&table, "t").await;
    let rows: Vec<_> = rows
        .into_iter()
        .filter(|row| !row.starts_with("old"))
        .collect();
    assert_eq!(rows, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_broker_is_read_and_written_as_by_a_new_session() {
    let mut own = match broker::own() {
        Ok(own) => own,
        Err(why) => return broker::say(&format!("left out: a restarted broker ({why})")),
    };
    let topic = own.new_topic("kept", 1, &[]);
    let table = Declared::new(&own, &topic, COLUMNS, &[]).await;
    for v in 0..3 {
        let insert = format!("INSERT INTO t VALUES ('a', {v})");
        assert_eq!(count(&table.ctx, &insert).await, 1);
        assert_eq!(table.rows("SELECT * FROM t").await, [format!("a|{v}")]);
        own.restart();
        wait_until(PATIENCE, "the broker", || own.is_there());
    }
    assert_eq!(table.rows("SELECT * FROM t").await, ["a|2"]);
}
