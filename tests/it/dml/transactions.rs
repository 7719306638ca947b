//! `kafka.delivery` = `exactly_once`: all records of a statement are in the topic, or none are.

use std::time::{Duration, Instant};

use datafusion_kafka::Error;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use RDKafkaRespErr as Code;

use super::{Changing, sent};
use crate::broker::{self, PATIENCE, Rec, wait_until};
use crate::session::{cells, count, error, rows, within};
use crate::writing::{LARGE_BATCHES, create_table, says};

const COLUMNS: &str = "_key VARCHAR NOT NULL, v BIGINT";
const EXACTLY_ONCE: [(&str, &str); 1] = [("kafka.delivery", "exactly_once")];

#[tokio::test]
async fn every_verb_is_one_committed_transaction() {
    let Some(broker) = broker::required("every_verb_is_one_committed") else {
        return;
    };
    let mut t = Changing::with(broker, 3, COLUMNS, &[Rec::new("a", "{}")], &EXACTLY_ONCE).await;
    rows(&t.ctx, "CREATE TABLE s AS VALUES ('m', 1)").await;
    for (sql, changed) in [
        ("INSERT INTO t VALUES ('b', 1), ('c', 2), ('d', 3)", 3),
        ("UPDATE t SET v = v + 1 WHERE v >= 2", 2),
        ("DELETE FROM t WHERE v IS NULL", 1),
        ("INSERT OVERWRITE t VALUES ('b', 1), ('e', 2)", 3),
        (
            "MERGE INTO t USING s ON t._key = s.column1 \
             WHEN NOT MATCHED THEN INSERT (_key, v) VALUES (s.column1, s.column2)",
            1,
        ),
        ("TRUNCATE TABLE t", 3),
        ("DELETE FROM t", 0),
    ] {
        // The count is returned after the commit, so a reader of committed records sees every
        // record.
        let (count, stored, report) = t.run_reported(sql).await;
        assert_eq!((count, stored.len()), (changed, changed as usize), "{sql}");
        let ends = report
            .partitions
            .values()
            .map(|written| written.last - written.first + 1);
        assert!(ends.sum::<i64>() >= changed as i64, "{sql}: {report:?}");
    }
}

#[tokio::test]
async fn a_statement_that_fails_leaves_nothing_and_holds_nobody_up() {
    let Some(broker) = broker::required("a_statement_that_fails_leaves_nothing") else {
        return;
    };
    let topic = broker.new_topic("small", 2, &[("max.message.bytes", "2000")]);
    let ctx = crate::session::session(broker, datafusion_kafka::KafkaTopics::new());
    let columns = "_key VARCHAR NOT NULL, s VARCHAR";
    // A batch that is too large is rejected as a whole.
    let options = [EXACTLY_ONCE[0], ("kafka.producer.batch.size", "1500")];
    rows(&ctx, &create_table("t", columns, &topic, &options)).await;
    let rows_of = |bad: &str| {
        format!("INSERT INTO t SELECT CAST(value AS VARCHAR), {bad} FROM generate_series(1, 3000)")
    };
    // The broker rejects a late record, after many records were acknowledged.
    let message = error(
        &ctx,
        &rows_of("CASE WHEN value = 2900 THEN repeat('x', 5000) END"),
    )
    .await;
    says(
        &message,
        &[&topic, "row 2899", "max.message.bytes", "not committed"],
    );
    // The query itself fails in the middle of the statement.
    let message = error(&ctx, &rows_of("CAST(10 / (2950 - value) AS VARCHAR)")).await;
    says(&message, &["zero"]);
    assert_eq!(count(&ctx, "INSERT INTO t VALUES ('later', 'x')").await, 1);
    // No aborted records and no open transaction come before it.
    wait_until(PATIENCE, "the transactions to be aborted", || {
        broker.read_all(&topic).len() == 1
    });
    assert_eq!(cells(&rows(&ctx, "SELECT _key FROM t").await), [["later"]]);
}

#[tokio::test]
async fn batches_that_are_too_large_are_the_reason_and_not_what_was_thrown_away_then() {
    let Some(broker) = broker::required("batches_that_are_too_large") else {
        return;
    };
    let topic = broker.new_topic("small", 1, &[("max.message.bytes", "32768")]);
    let ctx = crate::session::session(broker, datafusion_kafka::KafkaTopics::new());
    let options = [EXACTLY_ONCE[0], LARGE_BATCHES];
    rows(&ctx, &create_table("t", COLUMNS, &topic, &options)).await;
    let insert = "INSERT INTO t SELECT 'k' || value, value FROM generate_series(1, 20000)";
    // Which of the errors is noticed first depends on timing.
    for _ in 0..4 {
        let message = error(&ctx, insert).await;
        says(
            &message,
            &[
                &topic,
                "Message size too large",
                "`max.message.bytes`",
                "`kafka.producer.batch.size`",
                "not committed",
            ],
        );
    }
    let options = [EXACTLY_ONCE[0], ("kafka.producer.batch.size", "30000")];
    rows(&ctx, &create_table("fits", COLUMNS, &topic, &options)).await;
    assert_eq!(
        count(&ctx, &insert.replace("INTO t", "INTO fits")).await,
        20_000
    );
}

#[tokio::test]
async fn a_statement_that_is_dropped_is_aborted() {
    let Some(broker) = broker::required("a_statement_that_is_dropped") else {
        return;
    };
    let topic = broker.new_topic("dropped", 1, &[]);
    let ctx = crate::session::session(broker, datafusion_kafka::KafkaTopics::new());
    rows(&ctx, &create_table("t", COLUMNS, &topic, &EXACTLY_ONCE)).await;
    let insert = "INSERT INTO t SELECT CAST(value AS VARCHAR), -value \
                  FROM generate_series(1, 1000000000)";
    let insert = datafusion_kafka::sql(&ctx, insert).await.unwrap();
    let running = tokio::spawn(insert.collect());
    let sent = {
        let topic = topic.clone();
        tokio::task::spawn_blocking(move || {
            let mut config = broker.config();
            let config = config.set("isolation.level", "read_uncommitted");
            let consumer: BaseConsumer = config.create().unwrap();
            wait_until(PATIENCE, "records in the topic", || {
                let marks = consumer.fetch_watermarks(&topic, 0, Duration::from_secs(10));
                marks.is_ok_and(|(_, high)| high > 0)
            });
        })
    };
    sent.await.unwrap();
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    // Later records come after the transaction, and can be read once it has ended.
    broker.produce(&topic, &[Rec::new("later", r#"{"v":1}"#)]);
    let found = tokio::task::spawn_blocking(move || {
        wait_until(PATIENCE, "the transaction to be aborted", || {
            broker.read_all(&topic).len() == 1
        });
    });
    found.await.unwrap();
    assert_eq!(cells(&rows(&ctx, "SELECT _key FROM t").await), [["later"]]);
}

#[tokio::test]
async fn statements_at_the_same_time_do_not_disturb_each_other() {
    let Some(broker) = broker::required("statements_at_the_same_time") else {
        return;
    };
    let topic = broker.new_topic("together", 3, &[]);
    let ctx = crate::session::session(broker, datafusion_kafka::KafkaTopics::new());
    rows(&ctx, &create_table("t", COLUMNS, &topic, &EXACTLY_ONCE)).await;
    let statements = (0..8).map(|n| {
        let ctx = ctx.clone();
        tokio::spawn(async move {
            let insert =
                format!("INSERT INTO t SELECT '{n}-' || value, {n} FROM generate_series(1, 500)");
            count(&ctx, &insert).await
        })
    });
    for statement in statements.collect::<Vec<_>>() {
        assert_eq!(statement.await.unwrap(), 500);
    }
    let found = rows(&ctx, "SELECT v, count(*) FROM t GROUP BY v ORDER BY v").await;
    let expected: Vec<_> = (0..8).map(|n| [n.to_string(), "500".to_owned()]).collect();
    assert_eq!(cells(&found), expected);
}

#[tokio::test]
async fn a_transaction_that_the_brokers_ended_says_so() {
    let Some(broker) = broker::required("a_transaction_that_the_brokers_ended") else {
        return;
    };
    let topic = broker.new_topic("timed-out", 1, &[]);
    let ctx = crate::session::session(broker, datafusion_kafka::KafkaTopics::new());
    let options = [
        ("kafka.delivery", "exactly_once"),
        ("kafka.producer.transaction.timeout.ms", "1000"),
    ];
    rows(&ctx, &create_table("t", COLUMNS, &topic, &options)).await;
    // More than a second of rows. The broker checks for expired transactions every ten seconds.
    let insert = "INSERT INTO t SELECT CAST(value AS VARCHAR), -value \
                  FROM generate_series(1, 1000000000)";
    let started = Instant::now();
    let message = within(insert, async {
        let insert = datafusion_kafka::sql(&ctx, insert).await.unwrap();
        insert.collect().await.unwrap_err().to_string()
    })
    .await;
    says(
        &message,
        &[&topic, "transaction.timeout.ms", "not committed"],
    );
    assert!(started.elapsed() > Duration::from_secs(1));
    assert_eq!(broker.read_all(&topic).len(), 0);
}

#[tokio::test]
async fn a_query_can_wait_for_what_a_statement_wrote() {
    let Some(broker) = broker::required("a_query_can_wait_for") else {
        return;
    };
    let mut t = Changing::with(broker, 2, COLUMNS, &[], &EXACTLY_ONCE).await;
    // An open transaction of another producer blocks readers of committed records.
    let held = broker.begin(
        &t.topic,
        &[
            Rec::new("held", "{}").partition(0),
            Rec::new("h", "{}").partition(1),
        ],
    );
    let insert = "INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3), ('d', 4)";
    let report = {
        let plan = datafusion_kafka::sql(&t.ctx, insert).await.unwrap();
        let plan = plan.create_physical_plan().await.unwrap();
        let running = datafusion::physical_plan::collect(plan.clone(), t.ctx.task_ctx());
        within(insert, running).await.unwrap();
        datafusion_kafka::WriteReport::of(&plan).unwrap()
    };
    assert_eq!(
        cells(&rows(&t.ctx, "SELECT count(*) FROM t").await),
        [["0"]]
    );
    let wait_for = report.end_offsets().to_string();
    let options = [
        ("kafka.wait_for", wait_for.as_str()),
        ("kafka.timeout", "1s"),
    ];
    rows(&t.ctx, &create_table("now", COLUMNS, &t.topic, &options)).await;
    says(
        &error(&t.ctx, "SELECT count(*) FROM now").await,
        &[&t.topic, "kafka.wait_for", "open transaction"],
    );
    let options = [
        ("kafka.wait_for", wait_for.as_str()),
        ("kafka.timeout", "30s"),
    ];
    rows(&t.ctx, &create_table("then", COLUMNS, &t.topic, &options)).await;
    let query = {
        let ctx = t.ctx.clone();
        tokio::spawn(async move { cells(&rows(&ctx, "SELECT count(*) FROM \"then\"").await) })
    };
    tokio::task::spawn_blocking(move || held.abort())
        .await
        .unwrap();
    assert_eq!(query.await.unwrap(), [["4"]]);
    let done = t.run("DELETE FROM t WHERE v > 3").await;
    assert_eq!(done.sent, sent(&[("d", None)]));
}

/// Errors with which a mock's coordinator answers transaction requests, and the statement's error.
async fn with_errors(
    api: RDKafkaApiKey,
    errors: &[RDKafkaRespErr],
    more: &[(&str, &str)],
) -> Result<u64, Error> {
    let kafka = MockCluster::new(1).unwrap();
    kafka.create_topic("orders", 1, 1).unwrap();
    kafka.request_errors(api, errors);
    let ctx = crate::session::session(
        &broker::Broker::elsewhere(&kafka.bootstrap_servers()),
        datafusion_kafka::KafkaTopics::new(),
    );
    let options = [&EXACTLY_ONCE[..], more].concat();
    rows(&ctx, &create_table("t", COLUMNS, "orders", &options)).await;
    let insert = "INSERT INTO t VALUES ('a', 1), ('b', 2)";
    match crate::session::try_rows(&ctx, insert).await {
        Ok(rows) => Ok(crate::session::counted(&rows)),
        Err(error) => Err(Error::find(&error).unwrap().clone()),
    }
}

#[tokio::test]
async fn what_may_be_asked_for_again_is() {
    let busy = [
        Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
    ];
    for api in [RDKafkaApiKey::InitProducerId, RDKafkaApiKey::EndTxn] {
        assert_eq!(with_errors(api, &busy, &[]).await.unwrap(), 2, "{api:?}");
    }
    let moved = [Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 2];
    assert_eq!(
        with_errors(RDKafkaApiKey::Produce, &moved, &[])
            .await
            .unwrap(),
        2
    );
}

#[tokio::test]
async fn a_transaction_that_must_not_begin_says_why() {
    let refused = [Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED];
    let error = with_errors(RDKafkaApiKey::InitProducerId, &refused, &[])
        .await
        .unwrap_err();
    assert_denied(&error, "transactional id", "datafusion-kafka-");
    // First the longest timeout, which is the default, and then the usual one.
    let refused = [Code::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT; 2];
    let error = with_errors(RDKafkaApiKey::InitProducerId, &refused, &[])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::BeginTransaction { .. }), "{error:?}");
    says(&error.to_string(), &["orders", "timeout"]);
}

#[tokio::test]
async fn a_transaction_that_is_fenced_or_refused_is_not_committed() {
    for (code, part) in [
        (
            Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
            "transaction.timeout.ms",
        ),
        (
            Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
            "transaction.timeout.ms",
        ),
        (Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, "state"),
    ] {
        let error = with_errors(RDKafkaApiKey::EndTxn, &[code], &[])
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::TransactionFailed { .. }),
            "{error:?}"
        );
        says(&error.to_string(), &["orders", "not committed", part]);
    }
    let refused = [Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED];
    let error = with_errors(RDKafkaApiKey::EndTxn, &refused, &[])
        .await
        .unwrap_err();
    assert_denied(&error, "transactional id", "datafusion-kafka-");
    let refused = [Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED];
    let error = with_errors(RDKafkaApiKey::Produce, &refused, &[])
        .await
        .unwrap_err();
    assert_denied(&error, "topic", "orders");
    let refused = [Code::RD_KAFKA_RESP_ERR_INVALID_RECORD];
    let error = with_errors(RDKafkaApiKey::Produce, &refused, &[])
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::TransactionFailed { .. }),
        "{error:?}"
    );
    says(
        &error.to_string(),
        &["row 0", "InvalidRecord", "not committed"],
    );
}

#[track_caller]
fn assert_denied(error: &Error, on: &str, of_name: &str) {
    let Error::Denied {
        operation: "WRITE",
        resource,
        name,
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*resource, name.as_str()), (on, of_name));
}

#[tokio::test]
async fn a_commit_that_nobody_answers_is_not_known() {
    let lost = [Code::RD_KAFKA_RESP_ERR__TRANSPORT; 1000];
    let short = [("kafka.timeout", "1s"), ("kafka.retry_timeout", "2s")];
    let error = with_errors(RDKafkaApiKey::EndTxn, &lost, &short)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::CommitUnknown { .. }), "{error:?}");
    says(
        &error.to_string(),
        &["orders", "not known", "look into the topic"],
    );
}
