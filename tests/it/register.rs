//! `register_kafka`, called more than once on one session.

use datafusion::prelude::SessionContext;
use datafusion_kafka::{
    EmbeddedKafka, KafkaConfig, KafkaTopics, SinkOptions, SourceOptions, register_kafka,
};

use crate::session::{cells, count, rows};

/// The names of all rules of a session.
fn rules(ctx: &SessionContext) -> Vec<String> {
    let state = ctx.state();
    let analyzer = state.analyzer().rules.iter().map(|rule| rule.name());
    let physical = state.physical_optimizers().iter().map(|rule| rule.name());
    analyzer.chain(physical).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_registered_twice_is_as_one_that_is_registered_once() {
    let kafka = EmbeddedKafka::start().unwrap();
    kafka.create_topic("orders", 1).unwrap();
    let topics = |pattern: &str| {
        KafkaTopics::new()
            .with_source(pattern, SourceOptions::new())
            .with_sink(pattern, SinkOptions::new())
    };
    let config = |pattern: &str| {
        KafkaConfig::new()
            .with_option("kafka.bootstrap.servers", kafka.bootstrap_servers())
            .with_topics(topics(pattern))
    };
    let ctx = SessionContext::new();
    register_kafka(&ctx, config("^payments$")).unwrap();
    rows(&ctx, "CREATE TABLE local AS VALUES (1)").await;
    rows(&ctx, "SET kafka.timeout = '7s'").await;
    let once = rules(&ctx);

    register_kafka(&ctx, config("^orders$")).unwrap();
    assert_eq!(rules(&ctx), once);
    // The topics are those of the last call; what the session has beside them stays.
    let insert = "INSERT INTO orders SELECT 'a' AS _key, 1 AS v UNION ALL SELECT 'b', 2";
    assert_eq!(count(&ctx, insert).await, 2);
    assert_eq!(count(&ctx, "DELETE FROM orders WHERE v = 1").await, 1);
    let found = rows(&ctx, "SELECT _key, v FROM orders").await;
    assert_eq!(cells(&found), [["b", "2"]]);
    assert!(
        datafusion_kafka::sql(&ctx, "SELECT * FROM payments")
            .await
            .is_err()
    );
    assert_eq!(cells(&rows(&ctx, "SELECT * FROM local").await), [["1"]]);
    let options = ctx.state().config_options().entries();
    let timeout = options.iter().find(|entry| entry.key == "kafka.timeout");
    assert_eq!(timeout.unwrap().value.as_deref(), Some("7s"));
}
