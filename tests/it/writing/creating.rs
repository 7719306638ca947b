//! Topics that do not exist yet.

use super::{Writable, partitions, says, topic_configs};
use crate::broker::{self, topic_name};
use crate::session::error;

#[tokio::test]
async fn a_missing_topic_is_created_only_where_that_is_asked_for() {
    let Some(broker) = broker::required("a_missing_topic_is_created") else {
        return;
    };
    let columns = "_key VARCHAR, v INT";
    let t = Writable::on(broker, topic_name("missing"), columns, &[]).await;
    let why = t.refused("VALUES ('a', 1)").await;
    says(
        &why,
        &[
            &t.topic,
            &broker.servers,
            "does not exist",
            "`kafka.create_topic` = `true`",
        ],
    );
    // A client with auto-creation would have created the topic when asked for it by name.
    let why = error(&t.ctx, "SELECT * FROM t").await;
    says(&why, &[&t.topic, "does not exist"]);

    let options = [
        ("kafka.create_topic", "true"),
        ("kafka.topic.partitions", "3"),
        ("kafka.topic.config.retention.ms", "123456"),
    ];
    let t = Writable::on(broker, topic_name("created"), columns, &options).await;
    assert_eq!(t.insert("VALUES ('a', 1)").await, 1);
    assert_eq!(t.insert("VALUES ('b', 2)").await, 1);
    assert_eq!(t.records().len(), 2);
    let configs = topic_configs(broker, &t.topic).await;
    let config = |name: &str| {
        let found = configs.iter().find(|(config, _)| config == name);
        found.and_then(|(_, value)| value.clone())
    };
    assert_eq!(config("cleanup.policy").as_deref(), Some("compact"));
    assert_eq!(config("retention.ms").as_deref(), Some("123456"));
    assert_eq!(partitions(broker, &t.topic), 3);

    let options = [
        ("kafka.create_topic", "true"),
        ("kafka.topic.config.cleanup.policy", "delete"),
    ];
    let t = Writable::on(broker, topic_name("created"), columns, &options).await;
    t.insert("VALUES ('a', 1)").await;
    let configs = topic_configs(broker, &t.topic).await;
    assert!(configs.contains(&("cleanup.policy".to_owned(), Some("delete".to_owned()))));
}

#[tokio::test]
async fn a_topic_that_the_broker_refuses_to_create_says_why_in_its_words() {
    let Some(broker) = broker::required("a_topic_that_the_broker_refuses") else {
        return;
    };
    for (option, value, why) in [
        ("kafka.topic.replication", "3", "replication factor of 3"),
        (
            "kafka.topic.config.clean.policy",
            "compact",
            "Unknown topic config name: clean.policy",
        ),
        (
            "kafka.topic.config.retention.ms",
            "a week",
            "Invalid value a week for configuration retention.ms",
        ),
    ] {
        let options = [("kafka.create_topic", "true"), (option, value)];
        let columns = "_key VARCHAR, v INT";
        let t = Writable::on(broker, topic_name("refused"), columns, &options).await;
        let error = t.refused("VALUES ('a', 1)").await;
        says(&error, &["cannot create topic", &t.topic, why]);
    }
}

#[tokio::test]
async fn a_topic_that_others_create_at_the_same_time_is_no_failure() {
    let Some(broker) = broker::required("a_topic_that_others_create") else {
        return;
    };
    let topic = topic_name("together");
    let options = [("kafka.create_topic", "true")];
    let insert = |_| async {
        let columns = "_key VARCHAR, v INT";
        let t = Writable::on(broker, topic.clone(), columns, &options).await;
        t.insert("VALUES ('a', 1)").await
    };
    let counts = futures::future::join_all((0..4).map(insert)).await;
    assert_eq!(counts, [1; 4]);
}
