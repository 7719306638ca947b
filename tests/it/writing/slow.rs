//! Statements that take long. That is not a failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::datasource::sink::DataSinkExec;
use datafusion::physical_plan::{ExecutionPlan, collect};

use datafusion_kafka::{Error, KafkaTopics};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;

use super::{create_table, records, says};
use crate::broker::{self, Broker, PATIENCE, Rate, topic_name, wait_until};
use crate::session::{count, counted, rows, session, try_rows, within};

const COLUMNS: &str = "_key VARCHAR NOT NULL, s VARCHAR";

/// A metric of the plan that writes.
fn metric(plan: &Arc<dyn ExecutionPlan>, name: &str) -> usize {
    let metrics = plan.downcast_ref::<DataSinkExec>().unwrap().metrics();
    metrics.unwrap().sum_by_name(name).unwrap().as_usize()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_quota_slows_down_is_written() {
    let Some(broker) = broker::required("what_a_quota_slows_down") else {
        return;
    };
    for delivery in ["at_least_once", "exactly_once"] {
        let topic = broker.new_topic("slow", 1, &[]);
        let client = topic_name("slow-client");
        broker.limit(&client, Rate::Producer, 200_000);
        let ctx = session(broker, KafkaTopics::new());
        let options = [
            ("kafka.delivery", delivery),
            ("kafka.client.client.id", client.as_str()),
            // After the first requests, each megabyte delays the next one by five seconds.
            ("kafka.retry_timeout", "2s"),
        ];
        rows(&ctx, &create_table("t", COLUMNS, &topic, &options)).await;
        let insert = "INSERT INTO t SELECT 'k' || value, repeat('x', 1000) \
                      FROM generate_series(1, 4200)";
        let begun = Instant::now();
        let plan = datafusion_kafka::sql(&ctx, insert).await.unwrap();
        let plan = plan.create_physical_plan().await.unwrap();
        let running = collect(Arc::clone(&plan), ctx.task_ctx());
        let written = within(delivery, running).await;
        assert_eq!(counted(&written.unwrap()), 4200, "{delivery}");
        assert!(begun.elapsed() > Duration::from_secs(2), "not slowed down");
        assert_eq!(broker.read_all(&topic).len(), 4200, "{delivery}");
        // In nanoseconds.
        let throttled = Duration::from_nanos(metric(&plan, "throttle_time") as u64);
        assert!(throttled > Duration::from_secs(2), "{throttled:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_acknowledge_nothing_any_more_are_an_error_and_get_nothing_more() {
    let more = ("kafka.retry_timeout", "2s");
    let patient = ("kafka.retry_timeout", "300s");
    let no_record = "no record was acknowledged for 2s (`kafka.retry_timeout`): cannot connect to";
    for (options, said) in [
        (vec![more], no_record),
        (vec![more, ("kafka.delivery", "exactly_once")], no_record),
        // An explicit timeout of librdkafka applies.
        (
            vec![patient, ("kafka.producer.message.timeout.ms", "2000")],
            "MessageTimedOut",
        ),
    ] {
        let kafka = MockCluster::new(1).unwrap();
        kafka.create_topic("orders", 1, 1).unwrap();
        let broker = Broker::elsewhere(&kafka.bootstrap_servers());
        let ctx = session(&broker, KafkaTopics::new());
        rows(&ctx, &create_table("t", COLUMNS, "orders", &options)).await;
        let endless = "INSERT INTO t SELECT 'k' || value, 's' FROM generate_series(1, 1000000000)";
        let running = tokio::spawn({
            let ctx = ctx.clone();
            async move { try_rows(&ctx, endless).await.map(drop) }
        });
        let written = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = broker.config().create().unwrap();
            wait_until(PATIENCE, "records in the topic", || {
                let marks = consumer.fetch_watermarks("orders", 0, Duration::from_secs(10));
                marks.is_ok_and(|(_, high)| high > 0)
            });
        });
        written.await.unwrap();
        kafka.broker_down(1).unwrap();
        let error = running.await.unwrap().unwrap_err();
        let text = error.to_string();
        says(&text, &["orders", said, "Connection refused"]);
        match Error::find(&error).unwrap() {
            Error::TransactionFailed { .. } => assert!(options.len() == 2, "{text}"),
            Error::Produce {
                row, acknowledged, ..
            } => {
                assert!(*acknowledged > 0 && row >= acknowledged, "{text}");
            }
            _ => panic!("{text}"),
        }
        kafka.broker_up(1).unwrap();
        assert_eq!(count(&ctx, "INSERT INTO t VALUES ('later', 's')").await, 1);
        let broker = Broker::elsewhere(&kafka.bootstrap_servers());
        let stored = tokio::task::spawn_blocking(move || records(&broker, "orders"));
        let stored = stored.await.unwrap();
        assert_eq!(stored.last().unwrap().0, "later");
    }
}

#[tokio::test]
async fn records_that_wait_for_others_to_be_sent_with_are_not_missed() {
    let Some(broker) = broker::required("records_that_wait_for_others") else {
        return;
    };
    let topic = broker.new_topic("lingering", 1, &[]);
    let ctx = session(broker, KafkaTopics::new());
    let options = [
        ("kafka.retry_timeout", "500ms"),
        ("kafka.producer.linger.ms", "3000"),
    ];
    rows(&ctx, &create_table("t", COLUMNS, &topic, &options)).await;
    assert_eq!(count(&ctx, "INSERT INTO t VALUES ('a', 's')").await, 1);
}
