//! Brokers and topics that are not available.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_kafka::KafkaTable;
use futures::StreamExt;
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::{ALL, COLUMNS, number, topic_of};
use crate::broker::{self, End, Rate, Rec, SASL_PASSWORD, SASL_USER, topic_name};
use crate::declared::{Declared, in_time};

// Failures.

#[tokio::test]
async fn an_unreachable_broker_is_an_error_with_a_reason_and_soon() {
    let Some(broker) = broker::required("an_unreachable_broker") else {
        return;
    };
    let options = [
        ("kafka.bootstrap.servers", "127.0.0.1:1"),
        ("kafka.timeout", "2s"),
    ];
    let began = Instant::now();
    let table = Declared::new(broker, "any", COLUMNS, &options).await;
    let error = table.error(ALL).await;
    assert!(error.contains("127.0.0.1:1"), "{error}");
    assert!(error.contains("refused"), "{error}");
    let created = Declared::try_new(broker, "any", "", &options).await;
    let error = created.err().unwrap();
    assert!(error.contains("refused"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_missing_topic_is_an_error_that_names_it() {
    let Some(broker) = broker::required("a_missing_topic") else {
        return;
    };
    let topic = topic_name("missing");
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let error = table.error(ALL).await;
    let expected = format!("topic `{topic}` does not exist on {}", broker.servers);
    assert!(error.contains(&expected), "{error}");
    let created = Declared::try_new(broker, &topic, "", &[]).await;
    let error = created.err().unwrap();
    assert!(error.contains(&expected), "{error}");
}

#[tokio::test]
async fn a_refused_login_says_so_and_not_the_password() {
    let Some(broker) = broker::required("a_refused_login") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let topic = topic_of(broker, "login", &[number("a", 1)]);
    let options = |password: &'static str| {
        [
            ("kafka.bootstrap.servers", servers.as_str()),
            ("kafka.client.security.protocol", "SASL_PLAINTEXT"),
            ("kafka.client.sasl.mechanism", "PLAIN"),
            ("kafka.client.sasl.username", SASL_USER),
            ("kafka.client.sasl.password", password),
        ]
    };
    let refused = Declared::new(broker, &topic, COLUMNS, &options("not-it-at-all")).await;
    let error = refused.error(ALL).await;
    assert!(error.contains(servers.as_str()), "{error}");
    assert!(error.contains("uthentication"), "{error}");
    assert!(!error.contains("not-it-at-all"), "{error}");

    for columns in [COLUMNS, ""] {
        let table = Declared::new(broker, &topic, columns, &options(SASL_PASSWORD)).await;
        assert_eq!(table.rows(ALL).await, ["a|1"]);
    }
}

// Failures in the middle of a scan, and with little memory.

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_while_it_is_read_is_an_error_that_says_so() {
    let Some(broker) = broker::required("a_topic_that_is_deleted") else {
        return;
    };
    let topic = broker.new_topic("deleted", 1, &[]);
    // More records than a scan fetches ahead.
    let padding = "x".repeat(100_000);
    let payload = |n: i64| format!(r#"{{"v":{n},"padding":"{padding}"}}"#);
    for hundred in 0..12 {
        let keys = hundred * 100..(hundred + 1) * 100;
        let records: Vec<Rec> = keys
            .map(|n| Rec::new(format!("k{n}"), payload(n)))
            .collect();
        broker.produce(&topic, &records);
    }
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let frame = table.ctx.sql("SELECT v FROM t").await.unwrap();
    let mut stream = frame.execute_stream().await.unwrap();
    assert!(in_time("a batch", stream.next()).await.unwrap().is_ok());
    broker.delete_topic(&topic);
    let end = async {
        while let Some(batch) = stream.next().await {
            if let Err(error) = batch {
                return error.to_string();
            }
        }
        "the scan ended as if it had read everything".to_owned()
    };
    let error = in_time("the scan", end).await;
    assert!(error.contains("was deleted while it was read"), "{error}");
    assert!(error.contains(&topic), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_in_mid_scan_is_an_error_after_the_retry_timeout() {
    // A mock, since the shared broker must stay available for other tests.
    let kafka = MockCluster::new(1).unwrap();
    kafka.create_topic("away", 1, 1).unwrap();
    let servers = kafka.bootstrap_servers();
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &servers)
        .create()
        .unwrap();
    let payload = format!(r#"{{"v":1,"padding":"{}"}}"#, "x".repeat(1_000));
    let keys: Vec<String> = (0..3_000).map(|n| format!("k{n}")).collect();
    let sent = keys.iter().map(|key| {
        let record = FutureRecord::to("away").key(key).payload(&payload);
        producer.send(record, Duration::from_secs(30))
    });
    assert!(
        futures::future::join_all(sent)
            .await
            .iter()
            .all(Result::is_ok)
    );

    let table = KafkaTable::builder("away")
        .with_schema(Schema::new(vec![Field::new("v", DataType::Int64, true)]))
        .with_option("kafka.bootstrap.servers", &servers)
        .with_option("kafka.retry_timeout", "3s")
        // The scan fetches only a little ahead.
        .with_option("kafka.consumer.queued.max.messages.kbytes", "64")
        .with_option("kafka.consumer.fetch.message.max.bytes", "10000")
        .build()
        .await
        .unwrap();
    let config = SessionConfig::new().with_batch_size(10);
    let ctx = SessionContext::new_with_config(config);
    ctx.register_table("t", Arc::new(table)).unwrap();
    let frame = ctx.sql("SELECT v FROM t").await.unwrap();
    let mut stream = frame.execute_stream().await.unwrap();
    assert!(in_time("a batch", stream.next()).await.unwrap().is_ok());
    kafka.broker_down(1).unwrap();
    let end = async {
        while let Some(batch) = stream.next().await {
            if let Err(error) = batch {
                return error.to_string();
            }
        }
        "the scan ended as if it had read everything".to_owned()
    };
    let error = in_time("the scan", end).await;
    assert!(
        error.contains("topic `away` partition 0 failed at offset"),
        "{error}"
    );
    assert!(error.contains("`kafka.retry_timeout`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_records_are_read_past_however_long_that_takes() {
    let Some(broker) = broker::required("aborted_records_are_read_past") else {
        return;
    };
    let topic = broker.new_topic("aborted", 1, &[]);
    let records: Vec<_> = (0..330)
        .map(|n| Rec::new(format!("k{n}"), "x".repeat(10_000)))
        .collect();
    broker.transaction(&topic, &records, End::Abort);
    broker.produce(&topic, &[Rec::new("a", r#"{"v":1}"#)]);
    // First two megabytes, and then for six seconds nothing but aborted records.
    let client = topic_name("slow-client");
    broker.limit(&client, Rate::Consumer, 200_000);
    let options = [
        ("kafka.client.client.id", client.as_str()),
        ("kafka.retry_timeout", "1s"),
        ("kafka.mode", "append"),
    ];
    let begun = Instant::now();
    let table = Declared::new(broker, &topic, "_key VARCHAR, v BIGINT", &options).await;
    assert_eq!(table.rows("SELECT * FROM t").await, ["a|1"]);
    assert!(begun.elapsed() > Duration::from_secs(1), "not slowed down");
}
