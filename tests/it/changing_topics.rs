//! Topics that change while they are read: they are deleted, created again or shortened, their
//! leaders change, or they get more partitions. The answer is right, or an error says what
//! happened. It is never silently incomplete.

use std::time::Duration;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt as _;
use futures::future::join_all;
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::broker::{self, Broker, Rec};
use crate::declared::{APPEND, Declared, in_time};

const COLUMNS: &str = "_key VARCHAR, v BIGINT";

/// Far more records than a scan fetches ahead with [`LITTLE_AHEAD`].
const RECORDS: i64 = 20_000;

/// With these options a scan that is not polled fetches little more than it has returned.
const LITTLE_AHEAD: [(&str, &str); 3] = [
    ("kafka.consumer.queued.max.messages.kbytes", "64"),
    ("kafka.consumer.fetch.message.max.bytes", "10000"),
    ("kafka.retry_timeout", "10s"),
];

/// Records of about one kilobyte, with different keys.
fn records(values: impl Iterator<Item = i64>) -> Vec<Rec> {
    let padding = "x".repeat(1_000);
    let payload = |v: i64| format!(r#"{{"v":{v},"padding":"{padding}"}}"#);
    values
        .map(|v| Rec::new(format!("k{v}"), payload(v)).partition(0))
        .collect()
}

/// A query in the middle of its scan: it has returned a batch and waits to be polled again.
struct MidScan {
    stream: SendableRecordBatchStream,
    values: Vec<i64>,
}

impl MidScan {
    async fn of(topic: &str, mode: &str, servers: &str) -> Self {
        Self::of_query("SELECT v FROM t", topic, mode, servers).await
    }

    async fn of_query(sql: &str, topic: &str, mode: &str, servers: &str) -> Self {
        let nobody = Broker::elsewhere(servers);
        let options = [&LITTLE_AHEAD[..], &[("kafka.mode", mode)]].concat();
        let table = Declared::new(&nobody, topic, COLUMNS, &options).await;
        table
            .rows("SET datafusion.execution.batch_size = 100")
            .await;
        let frame = table.ctx.sql(sql).await.unwrap();
        let mut scan = MidScan {
            stream: frame.execute_stream().await.unwrap(),
            values: Vec::new(),
        };
        assert!(scan.next().await.unwrap());
        scan
    }

    /// Reads one batch; `false` at the end.
    async fn next(&mut self) -> Result<bool, String> {
        match in_time("a batch", self.stream.next()).await {
            None => Ok(false),
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(batch)) => {
                let values = batch.column(0).as_primitive::<Int64Type>();
                self.values.extend(values.values());
                Ok(true)
            }
        }
    }

    /// Reads to the end. Returns all values in order, or the error.
    async fn rest(mut self) -> Result<Vec<i64>, String> {
        while self.next().await? {}
        self.values.sort_unstable();
        Ok(self.values)
    }
}

/// Checks that the answer is that of the unchanged topic, or an error with one of these phrases.
fn is_right_or_says(what: &str, answer: Result<Vec<i64>, String>, phrases: &[&str]) {
    match answer {
        Ok(values) => {
            let wrong = values.iter().zip(0..).find(|(value, n)| *value != n);
            let count = values.len();
            let right = wrong.is_none() && count == usize::try_from(RECORDS).unwrap();
            assert!(
                right,
                "{what}: {count} rows of {RECORDS}, wrong at {wrong:?}"
            );
        }
        Err(error) => assert!(
            phrases.iter().any(|phrase| error.contains(phrase)),
            "{what}: {error}"
        ),
    }
}

const GONE: &[&str] = &["was deleted while it was read", "the topic was recreated"];

const MODES: [&str; 2] = ["append", "upsert"];

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_is_an_error_in_every_mode() {
    let Some(broker) = broker::required("a_deleted_topic_is_an_error") else {
        return;
    };
    for mode in MODES {
        let topic = broker.new_topic("deleted", 1, &[]);
        broker.produce(&topic, &records(0..RECORDS));
        let scan = MidScan::of(&topic, mode, &broker.servers).await;
        broker.delete_topic(&topic);
        let error = scan.rest().await.unwrap_err();
        assert!(error.contains("was deleted while it was read"), "{error}");
        assert!(error.contains(&topic), "{mode}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_shorter_after_it_was_created_again_is_not_mixed_with_the_old() {
    let Some(broker) = broker::required("a_topic_that_is_shorter") else {
        return;
    };
    for mode in MODES {
        let topic = broker.new_topic("recreated", 1, &[]);
        broker.produce(&topic, &records(0..RECORDS));
        let scan = MidScan::of(&topic, mode, &broker.servers).await;
        broker.delete_topic(&topic);
        broker.create_topic(&topic, 1, &[]);
        broker.produce(&topic, &records((0..500).map(|n| -1 - n)));
        is_right_or_says(mode, scan.rest().await, GONE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_longer_after_it_was_created_again_is_not_mixed_with_the_old() {
    let Some(broker) = broker::required("a_topic_that_is_longer") else {
        return;
    };
    for mode in MODES {
        // The second query has all its rows before any partition has been read to its end.
        for sql in ["SELECT v FROM t", "SELECT v FROM t LIMIT 15000"] {
            let topic = broker.new_topic("recreated", 1, &[]);
            broker.produce(&topic, &records(0..RECORDS));
            let scan = MidScan::of_query(sql, &topic, mode, &broker.servers).await;
            broker.delete_topic(&topic);
            broker.create_topic(&topic, 1, &[]);
            broker.produce(&topic, &records((0..RECORDS + 500).map(|n| -1 - n)));
            let error = scan.rest().await.unwrap_err();
            let says_so = error.contains("the topic was recreated while it was read");
            assert!(says_so, "{mode}, {sql}: {error}");
            assert!(error.contains(&topic), "{mode}, {sql}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_deleted_before_they_are_read_are_an_error() {
    let Some(broker) = broker::required("records_that_are_deleted") else {
        return;
    };
    let offset_gone = ["the broker no longer holds this offset"];
    for mode in MODES {
        // Deletes a part of the records that were not read yet, or all of them.
        for before in [RECORDS / 2, RECORDS] {
            let topic = broker.new_topic("shortened", 1, &[]);
            broker.produce(&topic, &records(0..RECORDS));
            let scan = MidScan::of(&topic, mode, &broker.servers).await;
            broker.delete_records(&topic, 0, before);
            let what = format!("{mode}, deleted up to {before}");
            is_right_or_says(&what, scan.rest().await, &offset_gone);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_record_that_is_deleted_before_it_is_read_is_an_error() {
    let Some(broker) = broker::required("a_single_record_that_is_deleted") else {
        return;
    };
    let topic = broker.new_topic("shortened", 1, &[]);
    broker.produce(&topic, &records(0..RECORDS));
    // In upsert mode the oldest record is read last.
    let scan = MidScan::of(&topic, "upsert", &broker.servers).await;
    broker.delete_records(&topic, 0, 1);
    let offset_gone = ["the broker no longer holds this offset"];
    is_right_or_says("upsert", scan.rest().await, &offset_gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_and_superseded_meanwhile_is_not_read() {
    let Some(broker) = broker::required("what_is_written_meanwhile") else {
        return;
    };
    for mode in MODES {
        let topic = broker.new_topic("written", 1, &[]);
        broker.produce(&topic, &records(0..RECORDS));
        let scan = MidScan::of(&topic, mode, &broker.servers).await;
        let tombstone = |n| Rec::tombstone(format!("k{n}")).partition(0);
        broker.produce(&topic, &(0..RECORDS).map(tombstone).collect::<Vec<_>>());
        is_right_or_says(mode, scan.rest().await, &[]);
    }
}

// More partitions.

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_were_added_are_read_by_the_next_query() {
    let Some(broker) = broker::required("partitions_that_were_added") else {
        return;
    };
    for mode in [&[][..], &[APPEND]] {
        let topic = broker.new_topic("grown", 1, &[]);
        broker.produce(&topic, &records(0..10));
        let table = Declared::new(broker, &topic, COLUMNS, mode).await;
        let sums = "SELECT count(*), sum(v) FROM t";
        assert_eq!(table.rows(sums).await, ["10|45"]);
        broker.add_partitions(&topic, 3);
        let more: Vec<Rec> = records(10..20)
            .into_iter()
            .map(|r| r.partition(2))
            .collect();
        broker.produce(&topic, &more);
        assert_eq!(table.rows(sums).await, ["20|190"]);
        let keys = table
            .rows("SELECT v FROM t WHERE _key IN ('k0', 'k15')")
            .await;
        assert_eq!(keys, ["0", "15"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_in_mid_scan_change_nothing() {
    let Some(broker) = broker::required("partitions_added_in_mid_scan") else {
        return;
    };
    for mode in MODES {
        let topic = broker.new_topic("growing", 1, &[]);
        broker.produce(&topic, &records(0..RECORDS));
        let scan = MidScan::of(&topic, mode, &broker.servers).await;
        broker.add_partitions(&topic, 3);
        is_right_or_says(mode, scan.rest().await, &[]);
    }
}

// Failing brokers. The shared broker cannot be made to fail, so a mock is used.

type Mock = MockCluster<'static, DefaultProducerContext>;

/// The mock keeps five megabytes per partition.
const MOCK_RECORDS: i64 = 4_000;

fn all() -> Result<Vec<i64>, String> {
    Ok((0..MOCK_RECORDS).collect())
}

/// A cluster of two brokers with a topic of [`MOCK_RECORDS`] records, led by the first broker.
async fn mock_of_two() -> Mock {
    let kafka = MockCluster::new(2).unwrap();
    kafka.create_topic("moving", 1, 2).unwrap();
    kafka.partition_leader("moving", 0, Some(1)).unwrap();
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap_servers())
        .create()
        .unwrap();
    let records = records(0..MOCK_RECORDS);
    for records in records.chunks(1_000) {
        let sent = records.iter().map(|record| {
            let (key, payload) = (record.key.as_deref(), record.payload.as_deref());
            let record = FutureRecord::to("moving").key(key.unwrap());
            producer.send(record.payload(payload.unwrap()), Duration::from_secs(30))
        });
        assert!(join_all(sent).await.iter().all(Result::is_ok));
    }
    kafka
}

#[tokio::test(flavor = "multi_thread")]
async fn another_broker_that_leads_is_followed() {
    let kafka = mock_of_two().await;
    for mode in MODES {
        kafka.partition_leader("moving", 0, Some(1)).unwrap();
        let scan = MidScan::of("moving", mode, &kafka.bootstrap_servers()).await;
        kafka.partition_leader("moving", 0, Some(2)).unwrap();
        assert_eq!(scan.rest().await, all(), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_goes_away_for_good_is_replaced() {
    let kafka = mock_of_two().await;
    let scan = MidScan::of("moving", "upsert", &kafka.bootstrap_servers()).await;
    kafka.broker_down(1).unwrap();
    kafka.partition_leader("moving", 0, Some(2)).unwrap();
    assert_eq!(scan.rest().await, all());
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_that_are_refused_for_a_while_are_repeated() {
    let kafka = mock_of_two().await;
    for mode in MODES {
        for refusal in [
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        ] {
            let scan = MidScan::of("moving", mode, &kafka.bootstrap_servers()).await;
            kafka.request_errors(RDKafkaApiKey::Fetch, &[refusal; 3]);
            assert_eq!(scan.rest().await, all(), "{mode} {refusal:?}");
            kafka.clear_request_errors(RDKafkaApiKey::Fetch);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_and_comes_back_is_waited_for() {
    let kafka = mock_of_two().await;
    for mode in MODES {
        let mut scan = MidScan::of("moving", mode, &kafka.bootstrap_servers()).await;
        for broker in [1, 2] {
            kafka.broker_down(broker).unwrap();
        }
        while let Ok(next) = tokio::time::timeout(Duration::from_secs(1), scan.next()).await {
            assert!(next.unwrap(), "{mode}: the end without brokers");
        }
        for broker in [1, 2] {
            kafka.broker_up(broker).unwrap();
        }
        assert_eq!(scan.rest().await, all(), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_without_ids_are_read() {
    let kafka = mock_of_two().await;
    // The last version of the Metadata response without topic ids.
    kafka
        .apiversion(RDKafkaApiKey::Metadata, Some(0), Some(9))
        .unwrap();
    for mode in MODES {
        let scan = MidScan::of("moving", mode, &kafka.bootstrap_servers()).await;
        assert_eq!(scan.rest().await, all(), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_after_planning_are_named() {
    let Some(broker) = broker::required("partitions_added_after_planning") else {
        return;
    };
    for mode in [&[][..], &[APPEND]] {
        let topic = broker.new_topic("planned", 1, &[]);
        broker.produce(&topic, &records(0..10));
        let table = Declared::new(broker, &topic, COLUMNS, mode).await;
        let frame = table.ctx.sql("SELECT sum(v) FROM t").await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        broker.add_partitions(&topic, 2);
        let more: Vec<Rec> = records(10..20)
            .into_iter()
            .map(|r| r.partition(1))
            .collect();
        broker.produce(&topic, &more);
        let work = datafusion::physical_plan::collect(plan, table.ctx.task_ctx());
        let error = in_time("a planned query", work).await.unwrap_err();
        assert!(error.to_string().contains("plan it again"), "{error}");
    }
}
