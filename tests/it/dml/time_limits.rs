//! How long a statement's transaction may stay open, and the prefix of its transactional id.

use std::time::Duration;

use datafusion_kafka::KafkaTopics;

use crate::broker::{self, Broker, PATIENCE, Rec, Right, USER_PASSWORD, topic_name, wait_until};
use crate::session::{count, error, rows, session, try_rows};
use crate::writing::{create_table, says};

const COLUMNS: &str = "_key VARCHAR NOT NULL, v BIGINT";
const EXACTLY_ONCE: (&str, &str) = ("kafka.delivery", "exactly_once");
const PREFIX: &str = "kafka.transactional_id.prefix";

/// Writes a row in a transaction. Returns the timeouts of the ids that start with a prefix.
async fn limits(broker: &Broker, prefix: &str, options: &[(&str, &str)]) -> Vec<Duration> {
    let topic = broker.new_topic("limits", 1, &[]);
    limits_on(broker, &topic, prefix, options).await
}

async fn limits_on(
    broker: &Broker,
    topic: &str,
    prefix: &str,
    options: &[(&str, &str)],
) -> Vec<Duration> {
    let options = [&[EXACTLY_ONCE, (PREFIX, prefix)], options].concat();
    let ctx = session(broker, KafkaTopics::new());
    rows(&ctx, &create_table("t", COLUMNS, topic, &options)).await;
    assert_eq!(count(&ctx, "INSERT INTO t VALUES ('a', 1)").await, 1);
    let ids = broker.transactional_ids(prefix);
    ids.into_iter().map(|(_, limit)| limit).collect()
}

#[tokio::test]
async fn a_statement_has_the_longest_limit_of_the_brokers_or_the_one_given() {
    let Some(broker) = broker::required("a_statement_has_the_longest_limit") else {
        return;
    };
    let [longest, given] = [15 * 60, 5].map(Duration::from_secs);
    let prefix = topic_name("org.team_");
    assert_eq!(limits(broker, &prefix, &[]).await, [longest]);
    let prefix = topic_name("org.team_");
    let option = ("kafka.producer.transaction.timeout.ms", "5000");
    assert_eq!(limits(broker, &prefix, &[option]).await, [given]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_ends_has_the_usual_limit() {
    let Some(broker) = broker::required("what_never_ends_has_the_usual_limit") else {
        return;
    };
    let [feed, out] = ["limits-feed", "limits-out"].map(|name| broker.new_topic(name, 1, &[]));
    broker.produce(&feed, &[Rec::new("a", r#"{"v":1}"#)]);
    let prefix = topic_name("org.team_");
    let ctx = session(broker, KafkaTopics::new());
    let feed = create_table("feed", COLUMNS, &feed, &[]).replace("CREATE", "CREATE UNBOUNDED");
    rows(&ctx, &feed).await;
    let options = [EXACTLY_ONCE, (PREFIX, prefix.as_str())];
    rows(&ctx, &create_table("out", COLUMNS, &out, &options)).await;
    let endless = "INSERT INTO out SELECT _key, v FROM feed";
    let running = tokio::spawn(async move { try_rows(&ctx, endless).await.map(drop) });
    let committed = move || broker.read_all(&out).len() == 1;
    let waited = tokio::task::spawn_blocking(move || {
        wait_until(PATIENCE, "a committed record", committed);
    });
    waited.await.unwrap();
    running.abort();
    let ids = broker.transactional_ids(&prefix);
    let limits: Vec<_> = ids.into_iter().map(|(_, limit)| limit).collect();
    assert_eq!(limits, [Duration::from_secs(60)]);
}

#[tokio::test]
async fn who_may_not_ask_for_the_longest_limit_has_that_of_brokers_by_default() {
    let Some(broker) = broker::required("who_may_not_ask_for_the_longest_limit") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let topic = broker.new_topic("limits", 1, &[]);
    let (user, prefix) = (broker.new_user(), topic_name("org.team_"));
    broker.allow(&user, &Right::new("WRITE", "topic", &topic));
    let ids = Right::on_prefix("WRITE", "transactional id", &prefix);
    broker.allow(&user, &ids);
    let login = [
        ("kafka.bootstrap.servers", servers.as_str()),
        ("kafka.client.security.protocol", "SASL_PLAINTEXT"),
        ("kafka.client.sasl.mechanism", "PLAIN"),
        ("kafka.client.sasl.username", &user),
        ("kafka.client.sasl.password", USER_PASSWORD),
    ];
    let limits = limits_on(broker, &topic, &prefix, &login).await;
    assert_eq!(limits, [Duration::from_secs(15 * 60)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_longer_than_the_brokers_allow_says_what_to_raise() {
    if broker::required("a_statement_that_takes_longer_than").is_none() {
        return;
    }
    let Ok(broker) = broker::own_with("transaction.max.timeout.ms=2000\n") else {
        return; // The others use one that is not the tests' own.
    };
    let limit = Duration::from_secs(2);
    assert_eq!(limits(&broker, "org.", &[]).await, [limit]);
    let topic = broker.new_topic("limits", 1, &[]);
    let ctx = session(&broker, KafkaTopics::new());
    rows(&ctx, &create_table("t", COLUMNS, &topic, &[EXACTLY_ONCE])).await;
    let endless = "INSERT INTO t SELECT 'k' || value, value FROM generate_series(1, 1000000000)";
    says(
        &error(&ctx, endless).await,
        &[
            &topic,
            "longer than 2s, the most that they allow",
            "raise the brokers' `transaction.max.timeout.ms`",
            "`kafka.delivery` = `at_least_once`",
            "not committed",
        ],
    );
    assert_eq!(broker.read_all(&topic).len(), 0);
}
