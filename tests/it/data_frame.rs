//! `write_kafka`: the rows of a DataFrame as records, checked by another client.

use std::time::Duration;

use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_kafka::{
    Error, KafkaConfig, KafkaDataFrame as _, Options, WriteReport, register_kafka,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::broker::{self, PATIENCE, topic_name, wait_until};
use crate::session::{rows, within};
use crate::writing::{record, records, says};

async fn write(ctx: &SessionContext, query: &str, topic: &str, options: Options) -> WriteReport {
    let frame = datafusion_kafka::sql(ctx, query).await.unwrap();
    let written = within(query, frame.write_kafka(topic, options)).await;
    written.unwrap_or_else(|error| panic!("{query}: {error}"))
}

#[tokio::test]
async fn a_data_frame_is_written_with_its_columns() {
    let Some(broker) = broker::required("a_data_frame_is_written") else {
        return;
    };
    let topic = topic_name("Frame.V1");
    // A session without any Kafka configuration.
    let ctx = SessionContext::new();
    let options = Options::new()
        .with_option("kafka.bootstrap.servers", &broker.servers)
        .with_option("kafka.create_topic", "true")
        .with_option("kafka.topic.partitions", "1")
        .with_option("kafka.delivery", "exactly_once");
    let query = "SELECT 'a' AS _key, 1 AS v, false AS _tombstone \
                 UNION ALL SELECT 'b', NULL, true ORDER BY 1";
    let report = write(&ctx, query, &topic, options).await;
    assert_eq!((report.rows, report.upserts, report.tombstones), (2, 1, 1));
    assert_eq!(report.partitions[&0].first, 0);
    let expected = [record("a", r#"{"v":1}"#), ("b".to_owned(), None)];
    assert_eq!(records(broker, &topic), expected);
    let located = format!("kafka://{}/{topic}", broker.servers);
    let none = "SELECT 'a' AS _key WHERE false";
    let report = write(&ctx, none, &located, Options::new()).await;
    assert_eq!(report, WriteReport::default());
}

#[tokio::test]
async fn a_data_frame_that_cannot_be_written_says_why() {
    let Some(broker) = broker::required("a_data_frame_that_cannot_be_written") else {
        return;
    };
    let topic = broker.new_topic("frame", 1, &[]);
    let config = SessionConfig::new().with_target_partitions(2);
    let ctx = SessionContext::new_with_config(config);
    let servers = Options::new().with_option("kafka.bootstrap.servers", &broker.servers);
    let refused = async |query: &str, topic: &str, options: &Options| {
        let frame = ctx.sql(query).await.unwrap();
        let written = within(query, frame.write_kafka(topic, options.clone())).await;
        written.unwrap_err()
    };
    let good = "SELECT 'a' AS _key";
    let key = refused("SELECT 1 AS v", &topic, &servers).await;
    let needs_key = format!("write_kafka to topic `{topic}` needs a column `_key`");
    says(&key.to_string(), &[&needs_key]);
    let unknown = servers.clone().with_option("kafka.mod", "append");
    let unknown = refused(good, &topic, &unknown).await;
    assert!(
        matches!(Error::find(&unknown), Some(Error::UnknownOption { key, .. }) if key == "kafka.mod"),
        "{unknown}"
    );
    let nowhere = refused(good, &topic, &Options::new()).await;
    says(&nowhere.to_string(), &["kafka.bootstrap.servers"]);
    let name = refused(good, "two words", &servers).await;
    assert!(
        matches!(Error::find(&name), Some(Error::InvalidLocation { .. })),
        "{name}"
    );
    let missing = topic_name("missing");
    let missing = refused(good, &missing, &servers).await;
    assert!(
        matches!(Error::find(&missing), Some(Error::TopicNotFound { .. })),
        "{missing}"
    );
    let fails = refused(
        "SELECT 'a' AS _key, 1 / CAST(value AS INT) AS v FROM generate_series(0, 1)",
        &topic,
        &servers,
    )
    .await;
    says(&fails.to_string(), &["Divide by zero"]);
    assert!(broker.read_uncommitted(&topic).is_empty());
}

#[tokio::test]
async fn options_are_over_those_of_the_session() {
    let Some(broker) = broker::required("options_are_over_those_of_the_session") else {
        return;
    };
    let topic = broker.new_topic("session", 1, &[]);
    let ctx = SessionContext::new();
    let config = KafkaConfig::new()
        .with_option("kafka.bootstrap.servers", &broker.servers)
        .with_option("kafka.json.nulls", "omit");
    register_kafka(&ctx, config).unwrap();
    rows(&ctx, "SET kafka.json.decimals = 'string'").await;
    let query = "SELECT 'a' AS _key, CAST(NULL AS INT) AS v, CAST(1.5 AS DECIMAL(4, 2)) AS d";
    write(&ctx, query, &topic, Options::new()).await;
    let own = Options::new().with_option("kafka.json.nulls", "write");
    write(&ctx, query, &topic, own).await;
    let expected = [
        record("a", r#"{"d":"1.50"}"#),
        record("a", r#"{"v":null,"d":"1.50"}"#),
    ];
    assert_eq!(records(broker, &topic), expected);
}

#[tokio::test]
async fn columns_hold_the_values_of_all_parts_of_a_query() {
    let Some(broker) = broker::required("columns_hold_the_values_of_all") else {
        return;
    };
    let topic = broker.new_topic("parts", 1, &[]);
    let union = "SELECT 'a' AS _key, 1 AS v UNION ALL SELECT 'b', 2.5";
    let servers = Options::new().with_option("kafka.bootstrap.servers", &broker.servers);
    write(&SessionContext::new(), union, &topic, servers).await;
    let mut records = records(broker, &topic);
    records.sort();
    let expected = [record("a", r#"{"v":1.0}"#), record("b", r#"{"v":2.5}"#)];
    assert_eq!(records, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_dropped_stops() {
    let Some(broker) = broker::required("a_write_that_is_dropped") else {
        return;
    };
    let topic = broker.new_topic("stopped", 1, &[]);
    let endless = "SELECT CAST(value AS VARCHAR) AS _key, value AS v \
                   FROM generate_series(1, 100000000000)";
    let frame = SessionContext::new().sql(endless).await.unwrap();
    let options = Options::new().with_option("kafka.bootstrap.servers", &broker.servers);
    let running = {
        let topic = topic.clone();
        tokio::spawn(async move { frame.write_kafka(&topic, options).await })
    };
    let end = {
        let topic = topic.clone();
        let consumer: BaseConsumer = broker.config().create().unwrap();
        move || {
            let marks = consumer.fetch_watermarks(&topic, 0, Duration::from_secs(10));
            marks.unwrap().1
        }
    };
    wait_until(PATIENCE, "records in the topic", || end() > 0);
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    // Records in flight may still arrive; then nothing more is written.
    wait_until(PATIENCE, "no more records", || {
        let before = end();
        std::thread::sleep(Duration::from_millis(300));
        end() == before
    });
}
