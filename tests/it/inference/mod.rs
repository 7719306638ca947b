//! Columns and modes that are inferred from a sample of the topic.

mod numbers;
mod random;

use crate::broker::{self, Broker, Rec};
use crate::session::{cells, error, rows, session};
use datafusion::prelude::SessionContext;
use datafusion_kafka::KafkaTopics;

/// A session with the topic as table `t`, whose columns are inferred.
async fn inferred(broker: &Broker, topic: &str, options: &str) -> SessionContext {
    let ctx = session(broker, KafkaTopics::new());
    let options = match options {
        "" => String::new(),
        options => format!(" OPTIONS ({options})"),
    };
    let create = format!("CREATE EXTERNAL TABLE t STORED AS KAFKA LOCATION '{topic}'{options}");
    rows(&ctx, &create).await;
    ctx
}

fn keyless(payload: &str) -> Rec {
    Rec {
        payload: Some(payload.into()),
        ..Rec::default()
    }
}

async fn answers(ctx: &SessionContext, sql: &str) -> Vec<String> {
    let mut lines: Vec<String> = cells(&rows(ctx, sql).await)
        .iter()
        .map(|row| row.join(" "))
        .collect();
    lines.sort_unstable();
    lines
}

fn upserts() -> Vec<Rec> {
    vec![
        Rec::new("a", r#"{"v":1}"#),
        Rec::new("a", r#"{"v":2}"#),
        Rec::new("b", r#"{"v":5}"#),
        Rec::tombstone("b"),
    ]
}

#[tokio::test]
async fn one_record_without_a_key_leaves_a_topic_one_of_upserts() {
    let Some(broker) = broker::required("one_record_without_a_key") else {
        return;
    };
    let topic = broker.new_topic("keyless", 1, &[]);
    let mut records = upserts();
    records.push(keyless(r#"{"v":0}"#));
    broker.produce(&topic, &records);

    let ctx = inferred(broker, &topic, "").await;
    let message = error(&ctx, "SELECT * FROM t").await;
    for part in [
        "partition 0 offset 4: the record has no key",
        "`kafka.null_key` = `skip`",
        "`kafka.mode` = `append`",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let ctx = inferred(broker, &topic, "'kafka.null_key' 'skip'").await;
    assert_eq!(answers(&ctx, "SELECT * FROM t").await, ["a 2"]);
    let ctx = inferred(broker, &topic, "'kafka.mode' 'append'").await;
    let log = ["NULL 0", "a 1", "a 2", "b 5"];
    assert_eq!(answers(&ctx, "SELECT * FROM t").await, log);
}

#[tokio::test]
async fn a_session_option_decides_what_becomes_of_records_without_a_key() {
    let Some(broker) = broker::required("a_session_option_decides") else {
        return;
    };
    let topic = broker.new_topic("keyless", 1, &[]);
    let mut records = upserts();
    records.push(keyless(r#"{"v":0}"#));
    broker.produce(&topic, &records);
    let topics = KafkaTopics::new().with_source(format!("^{topic}$"), Default::default());
    let ctx = session(broker, topics);
    rows(&ctx, "SET kafka.null_key = 'skip'").await;
    let all = format!("SELECT * FROM \"{topic}\"");
    assert_eq!(answers(&ctx, &all).await, ["a 2"]);
}

#[tokio::test]
async fn a_topic_whose_sample_has_no_keys_is_a_log_until_a_key_is_met() {
    let Some(broker) = broker::required("a_topic_whose_sample_has_no_keys") else {
        return;
    };
    let topic = broker.new_topic("keyless", 1, &[]);
    let records: Vec<Rec> = (0..20)
        .map(|v| keyless(&format!("{{\"v\":{v}}}")))
        .collect();
    broker.produce(&topic, &records);
    let ctx = inferred(broker, &topic, "'kafka.infer.records' '5'").await;
    let count = "SELECT count(*) FROM t";
    assert_eq!(answers(&ctx, count).await, ["20"]);

    broker.produce(&topic, &[Rec::new("a", r#"{"v":1}"#)]);
    let message = error(&ctx, count).await;
    for part in [
        "partition 0 offset 20: the record has a key",
        "`kafka.mode` = `upsert`",
        "or `append`",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // The records are older than the sample.
    broker.produce(&topic, &records);
    let ctx = inferred(broker, &topic, "'kafka.infer.records' '5'").await;
    assert!(error(&ctx, count).await.contains("offset 20"));
    // The way on that the message names.
    let append = "'kafka.infer.records' '5', 'kafka.mode' 'append'";
    let ctx = inferred(broker, &topic, append).await;
    assert_eq!(answers(&ctx, count).await, ["41"]);
    let upsert = "'kafka.mode' 'upsert', 'kafka.null_key' 'skip'";
    let ctx = inferred(broker, &topic, upsert).await;
    assert_eq!(answers(&ctx, "SELECT * FROM t").await, ["a 1"]);
    // A log contains every record, whatever the mode of the table.
    let ctx = inferred(broker, &topic, "'kafka.infer.records' '5'").await;
    let log = format!("SELECT count(*) FROM kafka_log('{topic}')");
    assert_eq!(answers(&ctx, &log).await, ["41"]);
}

#[tokio::test]
async fn the_key_of_a_tombstone_shows_that_a_topic_is_one_of_upserts() {
    let Some(broker) = broker::required("the_key_of_a_tombstone") else {
        return;
    };
    let topic = broker.new_topic("keyless", 1, &[]);
    let records = [keyless(r#"{"v":1}"#), Rec::tombstone("a")];
    broker.produce(&topic, &records);
    let ctx = inferred(broker, &topic, "").await;
    assert!(error(&ctx, "SELECT * FROM t").await.contains("no key"));
}

#[tokio::test]
async fn a_property_with_the_name_of_a_column_of_records_is_no_column() {
    let Some(broker) = broker::required("a_property_with_the_name") else {
        return;
    };
    let topic = broker.new_topic("names", 1, &[]);
    let payload = r#"{"_key":"other","_offset":77,"_value":"x","v":1}"#;
    broker.produce(&topic, &[Rec::new("a", payload)]);
    let ctx = inferred(broker, &topic, "").await;
    assert_eq!(answers(&ctx, "SELECT * FROM t").await, ["a 1"]);
    // The way on that the note names.
    let create = format!(
        "CREATE EXTERNAL TABLE own (\"_Key\" VARCHAR, \"_Offset\" INT, \"_Value\" VARCHAR) \
         STORED AS KAFKA LOCATION '{topic}'"
    );
    rows(&ctx, &create).await;
    let own = answers(&ctx, "SELECT * FROM own").await;
    assert_eq!(own, ["a other 77 x"]);
}
