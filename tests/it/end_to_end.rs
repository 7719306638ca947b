//! The main use: a topic that other programs write is a table, and the rows of a query become
//! records.

use datafusion_kafka::{KafkaTopics, SinkOptions, SourceOptions};

use crate::broker::{self, topic_name};
use crate::session::{session, table};

#[tokio::test]
async fn kcat_writes_a_topic_and_the_table_is_the_last_record_of_each_key() {
    let Some(broker) = broker::required("kcat_writes_a_topic") else {
        return;
    };
    let people = broker.new_topic("people", 3, &[]);
    for record in [
        r#"a|{"firstName":"Ada","lastName":"Byron"}"#,
        r#"b|{"firstName":"Bob","lastName":"Brown"}"#,
        r#"a|{"firstName":"Ada","lastName":"Lovelace"}"#,
        "b|",
    ] {
        let kcat = broker.kcat(&["-P", "-t", &people, "-K", "|", "-Z"], record);
        if kcat.is_none() {
            return;
        }
    }
    let ctx = session(
        broker,
        KafkaTopics::new().with_source("^people", SourceOptions::new()),
    );

    let all = table(&ctx, &format!("SELECT * FROM \"{people}\" ORDER BY _key")).await;
    assert_eq!(
        all,
        "\
+------+-----------+----------+
| _key | firstName | lastName |
+------+-----------+----------+
| a    | Ada       | Lovelace |
+------+-----------+----------+"
    );
    let unquoted = format!("SELECT _key, firstName, lastName FROM \"{people}\"");
    assert_eq!(table(&ctx, &unquoted).await, all);
}

#[tokio::test]
async fn an_insert_into_an_empty_topic_takes_its_columns_from_the_query() {
    let Some(broker) = broker::required("an_insert_into_an_empty_topic") else {
        return;
    };
    let people = topic_name("people");
    let out = topic_name("out");
    let sink = SinkOptions::new().with_option("kafka.create_topic", "true");
    let topics = KafkaTopics::new()
        .with_source("^people", SourceOptions::new())
        .with_sink("^(out|people)", sink);
    let ctx = session(broker, topics);
    let insert = format!(
        "INSERT INTO \"{people}\" (_key, firstName, lastName) VALUES ('a', 'Ada', NULL), ('b', 'Bob', 'B')"
    );
    let count = table(&ctx, &insert).await;
    assert!(count.contains("| 2     |"), "{count}");

    let insert =
        format!("INSERT INTO \"{out}\" SELECT _key, firstName, lastName FROM \"{people}\"");
    let count = table(&ctx, &insert).await;
    assert!(count.contains("| 2     |"), "{count}");
    let Some(records) = broker.kcat(&["-C", "-t", &out, "-e", "-q", "-f", "%k %s\n"], "") else {
        return;
    };
    let mut records: Vec<_> = records.lines().collect();
    records.sort_unstable();
    assert_eq!(
        records,
        [
            r#"a {"firstName":"Ada","lastName":null}"#,
            r#"b {"firstName":"Bob","lastName":"B"}"#
        ]
    );
}
