//! Transactions that brokers end, because another instance has fenced them or because they were
//! open too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion_kafka::{ContinuousOptions, ContinuousQuery, Error, KafkaTable, QueryStatus};

use super::{EXACTLY_ONCE, caught_up, log, start, until, value, written};
use crate::broker::{self, End, topic_name};
use crate::declared::{Declared, in_time};

const COLUMNS: &str = "_key VARCHAR, v BIGINT";

/// A hook that holds the first records longer than a transaction may be open.
#[derive(Debug, Default)]
struct SlowOnce(AtomicBool);

#[async_trait::async_trait]
impl datafusion_kafka::WriteHook for SlowOnce {
    async fn before_send(
        &self,
        _: &str,
        records: Vec<datafusion_kafka::OutgoingRecord>,
    ) -> datafusion::error::Result<Vec<datafusion_kafka::OutgoingRecord>> {
        // Not among the first records of its transaction, so the transaction is open by then.
        let is_slow = records
            .iter()
            .any(|record| record.key.as_deref() == Some(b"slow"));
        if is_slow && !self.0.swap(true, Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_secs(8)).await;
        }
        Ok(records)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_open_too_long_is_tried_again() {
    let test = "continuous::a_transaction_that_was_open_too_long_is_tried_again";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for sql in [
        "INSERT INTO slow SELECT _key, v FROM t",
        "INSERT INTO slow SELECT _key, max(v) AS v FROM t GROUP BY _key",
    ] {
        let feed = broker.new_topic("feed", 1, &[]);
        let out = broker.new_topic("out", 1, &[]);
        let declared = Declared::new(broker, &feed, COLUMNS, &[]).await;
        let slow = KafkaTable::builder(&out)
            .with_schema(Schema::new(vec![Field::new("v", DataType::Int64, true)]))
            .with_option("kafka.bootstrap.servers", &broker.servers)
            .with_option("kafka.delivery", "exactly_once")
            .with_option("kafka.producer.transaction.timeout.ms", "2000")
            .with_option("kafka.commit.ms", "1500")
            .with_hook(Arc::new(SlowOnce::default()))
            .build()
            .await
            .unwrap();
        let slow = Arc::new(slow);
        declared.ctx.register_table("slow", slow).unwrap();
        let query = start(&declared, &topic_name("query"), sql).await;
        broker.produce(&feed, &[value("a", 1)]);
        written(broker, &out, 1).await;
        let mut records: Vec<_> = (0..20_000).map(|n| value(&format!("k{n}"), n)).collect();
        records.push(value("slow", 1));
        // In one transaction, so that one refresh reads all of them.
        broker.transaction(&feed, &records, End::Commit);
        let mut seen = None;
        until("the retry", &query, |_| match query.status() {
            QueryStatus::Retrying { error, .. } => {
                seen = Some(error);
                true
            }
            QueryStatus::Failed(error) => panic!("{sql}: {error}"),
            _ => false,
        })
        .await;
        until("all records", &query, |p| {
            p.lag() == 0 && p.inputs.len() == 1
        })
        .await;
        in_time("stopping", query.stop()).await.unwrap();
        let mut found = log(broker, &out);
        found.sort();
        let all = found.len();
        found.dedup();
        assert_eq!((all, found.len()), (20_002, 20_002), "{sql}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_were_taken_away_are_begun_again() {
    let test = "continuous::transactions_that_were_taken_away_are_begun_again";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for sql in [
        "INSERT INTO out SELECT _key, v FROM t",
        "INSERT INTO out SELECT _key, max(v) AS v FROM t GROUP BY _key",
    ] {
        let feed = broker.new_topic("feed", 1, &[]);
        let out = broker.new_topic("out", 1, &[]);
        let declared = Declared::new(broker, &feed, COLUMNS, &[]).await;
        declared
            .add("out", &out, COLUMNS, &[EXACTLY_ONCE])
            .await
            .unwrap();
        let name = topic_name("query");
        let query = start(&declared, &name, sql).await;
        broker.produce(&feed, &[value("a", 1)]);
        written(broker, &out, 1).await;
        caught_up(broker, &query, &[&feed]).await;
        broker.fence(&format!("datafusion-kafka-{name}"));
        broker.produce(&feed, &[value("b", 2)]);
        let found = written(broker, &out, 2).await;
        assert_eq!(found, [r#"a={"v":1}"#, r#"b={"v":2}"#], "{sql}");
        let status = query.status();
        assert!(!matches!(status, QueryStatus::Failed(_)), "{status:?}");
        in_time("stopping", query.stop()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_are_rarer_than_transactions_last_are_refused() {
    let test = "continuous::commits_that_are_rarer_than_transactions_last_are_refused";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    let sql = "INSERT INTO out SELECT _key, v FROM t";
    for (millis, time_out) in [("60000", None), ("3000", Some("3000"))] {
        let mut options = vec![EXACTLY_ONCE, ("kafka.commit.ms", millis)];
        options.extend(time_out.map(|time| ("kafka.producer.transaction.timeout.ms", time)));
        let declared = Declared::new(broker, &feed, COLUMNS, &[]).await;
        declared.add("out", &out, COLUMNS, &options).await.unwrap();
        let name = topic_name("query");
        let started = ContinuousQuery::start(&declared.ctx, &name, sql, ContinuousOptions::new());
        let error = started.await.unwrap_err();
        assert!(
            matches!(Error::find(&error), Some(Error::InvalidOption { .. })),
            "{error}"
        );
        let error = error.to_string();
        assert!(error.contains("kafka.commit.ms"), "{error}");
        assert!(error.contains("transaction.timeout.ms"), "{error}");
    }
    // Without transactions any time is valid.
    let declared = Declared::new(broker, &feed, COLUMNS, &[]).await;
    let options = [("kafka.commit.ms", "600000")];
    declared.add("out", &out, COLUMNS, &options).await.unwrap();
    let query = start(&declared, &topic_name("query"), sql).await;
    in_time("stopping", query.stop()).await.unwrap();
}
