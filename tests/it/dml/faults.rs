//! Processes and brokers that are killed while a statement runs.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use datafusion_kafka::Error;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::broker::{self, Broker, PATIENCE, Rec, wait_until};
use crate::session::{count, rows, session};
use crate::writing::{create_table, says};

const COLUMNS: &str = "_key VARCHAR NOT NULL, v BIGINT";
/// How many rows a process writes that is killed.
const ROWS: usize = 20_000;

#[tokio::test]
async fn of_a_process_that_is_killed_a_transaction_is_whole_or_nothing() {
    let Some(broker) = broker::required("of_a_process_that_is_killed") else {
        return;
    };
    let mut outcomes = BTreeSet::new();
    for n in 0..20 {
        let topic = broker.new_topic("killed", 1, &[]);
        let child = child_inserts(broker, &topic);
        // The kill comes after a number of records, from the first to the last, or during the
        // commit.
        let records = match n {
            0..15 => 1 + n * ROWS / 15,
            15..18 => ROWS,
            _ => ROWS + 1,
        };
        tokio::task::spawn_blocking({
            let topic = topic.clone();
            move || {
                let (consumer, mut child) = (uncommitted(broker), child);
                wait_until(PATIENCE, "records of the process", || {
                    let marks = consumer.fetch_watermarks(&topic, 0, PATIENCE);
                    marks.is_ok_and(|(_, high)| high >= i64::try_from(records).unwrap())
                });
                child.kill().unwrap();
                child.wait().unwrap();
            }
        })
        .await
        .unwrap();
        let seen = broker.read_all(&topic).len();
        assert!([0, ROWS].contains(&seen), "{seen} records");
        // Later records can be read once the brokers have ended the transaction.
        broker.produce(&topic, &[Rec::new("later", "{}")]);
        wait_until(PATIENCE, "the transaction to time out", || {
            broker.read_all(&topic).len() != seen
        });
        let after = broker.read_all(&topic).len();
        assert!([1, ROWS + 1].contains(&after), "{after} records");
        outcomes.insert(after);
        broker.delete_topic(&topic);
    }
    assert_eq!(outcomes.len(), 2, "both outcomes were seen");
}

/// Starts a process that inserts [`ROWS`] rows in one transaction.
fn child_inserts(broker: &Broker, topic: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "dml::faults::child_inserts_until_it_is_killed",
            "--ignored",
        ])
        .env("KAFKA_BOOTSTRAP_SERVERS", &broker.servers)
        .env("KILLED_TOPIC", topic)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
#[ignore = "run by of_a_process_that_is_killed_a_transaction_is_whole_or_nothing"]
async fn child_inserts_until_it_is_killed() {
    let topic = std::env::var("KILLED_TOPIC").unwrap();
    let broker = Broker::elsewhere(&std::env::var("KAFKA_BOOTSTRAP_SERVERS").unwrap());
    let ctx = session(&broker, datafusion_kafka::KafkaTopics::new());
    let options = [
        ("kafka.delivery", "exactly_once"),
        ("kafka.producer.transaction.timeout.ms", "3000"),
        // Many small requests, so that the kill can come between two of them.
        ("kafka.producer.batch.size", "10000"),
    ];
    rows(&ctx, &create_table("t", COLUMNS, &topic, &options)).await;
    let insert =
        format!("INSERT INTO t SELECT 'k' || value, value FROM generate_series(1, {ROWS})");
    count(&ctx, &insert).await;
    // The kill may also come after the statement has ended.
    std::thread::sleep(PATIENCE);
}

fn uncommitted(broker: &Broker) -> BaseConsumer {
    let mut config = broker.config();
    let config = config.set("isolation.level", "read_uncommitted");
    config.create().unwrap()
}

#[tokio::test]
async fn every_row_arrives_though_the_broker_is_killed_and_started_again() {
    if broker::required("every_row_arrives_though").is_none() {
        return;
    }
    let Ok(mut broker) = broker::own() else {
        return; // The others use one that is not to be killed.
    };
    const MANY: usize = 400_000;
    let topic = broker.new_topic("restarted", 2, &[]);
    let ctx = session(&broker, datafusion_kafka::KafkaTopics::new());
    rows(&ctx, &create_table("t", COLUMNS, &topic, &[])).await;
    let insert = tokio::spawn(async move {
        let insert =
            format!("INSERT INTO t SELECT 'k' || value, value FROM generate_series(1, {MANY})");
        count(&ctx, &insert).await
    });
    let broker = tokio::task::spawn_blocking({
        let topic = topic.clone();
        move || {
            let consumer = uncommitted(&broker);
            wait_until(PATIENCE, "some records", || {
                let marks = consumer.fetch_watermarks(&topic, 0, PATIENCE);
                marks.is_ok_and(|(_, high)| high > 1_000)
            });
            broker.restart();
            broker
        }
    })
    .await
    .unwrap();
    assert!(!insert.is_finished(), "killed in mid-statement");
    assert_eq!(insert.await.unwrap(), MANY as u64);
    let stored = broker.read_all(&topic);
    let keys: BTreeSet<_> = stored.iter().map(|stored| stored.key.clone()).collect();
    assert_eq!(keys.len(), MANY);
}

#[tokio::test]
async fn a_refused_record_names_its_row_and_how_many_were_acknowledged() {
    let Some(broker) = broker::required("a_refused_record_names_its_row") else {
        return;
    };
    let topic = broker.new_topic("refused", 1, &[("max.message.bytes", "2000")]);
    let ctx = session(broker, datafusion_kafka::KafkaTopics::new());
    // A batch that is too large is rejected as a whole.
    let options = [("kafka.producer.batch.size", "1500")];
    let columns = "_key VARCHAR NOT NULL, s VARCHAR";
    rows(&ctx, &create_table("t", columns, &topic, &options)).await;
    let insert = "INSERT INTO t SELECT 'k' || value, CASE WHEN value = 2900 THEN repeat('x', 5000) \
                  END FROM generate_series(1, 3000)";
    let error = crate::session::try_rows(&ctx, insert).await.unwrap_err();
    let text = error.to_string();
    let Some(Error::Produce {
        row, acknowledged, ..
    }) = Error::find(&error)
    else {
        panic!("{text}");
    };
    assert_eq!(*row, 2899);
    says(
        &text,
        &[
            &topic,
            "row 2899",
            "max.message.bytes",
            &format!("{acknowledged} records had"),
        ],
    );
    // The records before it in its partition are stored. The error does not claim more than that.
    let stored = broker.read_all(&topic);
    assert!((1_000..=2_999).contains(acknowledged), "{acknowledged}");
    assert!(
        stored.len() as u64 >= *acknowledged,
        "{} records",
        stored.len()
    );
    assert!(
        stored
            .iter()
            .all(|stored| stored.key.as_deref() != Some(b"k2900"))
    );
}
