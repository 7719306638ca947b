//! The name of a query, which is also the name of a consumer group.

use datafusion_kafka::{ContinuousQuery, Error};
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::{EXACTLY_ONCE, log, start, value, written};
use crate::broker::{self, Broker, PATIENCE, topic_name};
use crate::declared::{Declared, in_time};

const COPY: &str = "INSERT INTO out SELECT _key, v FROM t";
const SUM: &str = "INSERT INTO out SELECT _key, sum(v) AS v FROM t GROUP BY _key";
const COLUMNS: &str = "_key VARCHAR, v BIGINT";

async fn declared(broker: &Broker, feed: &str, out: &str, delivery: &str) -> Declared {
    let declared = Declared::new(broker, feed, COLUMNS, &[]).await;
    let options = [("kafka.delivery", delivery)];
    declared.add("out", out, COLUMNS, &options).await.unwrap();
    declared
}

async fn refused(query: &ContinuousQuery) -> String {
    let error = in_time("the refusal", query.wait()).await.unwrap_err();
    assert!(matches!(&error, Error::ContinuousQuery { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_offsets_of_another_program_is_left_alone() {
    let test = "continuous::a_group_with_offsets_of_another_program_is_left_alone";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for (delivery, sql) in [
        ("at_least_once", COPY),
        ("exactly_once", COPY),
        ("at_least_once", SUM),
    ] {
        let feed = broker.new_topic("feed", 1, &[]);
        let out = broker.new_topic("out", 1, &[]);
        broker.produce(&feed, &[value("a", 5), value("b", 6)]);
        let declared = declared(broker, &feed, &out, delivery).await;
        // The other program may read the same topic or another one.
        for read in [&feed, &out] {
            let name = topic_name("program");
            broker.produce(&out, &[value("x", 1), value("y", 1)]);
            broker.commit(&name, read, 0, 2);
            let before = log(broker, &out);
            let query = start(&declared, &name, sql).await;
            let error = refused(&query).await;
            assert!(error.contains("another program's"), "{error}");
            assert!(error.contains(read.as_str()), "{error}");
            assert_eq!(broker.committed(&name, read), [(0, 2)], "{delivery}");
            assert_eq!(log(broker, &out), before);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_members_is_left_alone() {
    let Some(broker) = broker::required("continuous::a_group_with_members_is_left_alone") else {
        return;
    };
    for delivery in ["at_least_once", "exactly_once"] {
        let feed = broker.new_topic("feed", 1, &[]);
        let out = broker.new_topic("out", 1, &[]);
        broker.produce(&feed, &[value("a", 5)]);
        let name = topic_name("program");
        let mut config = broker.config();
        config.set("group.id", &name);
        config.set("enable.auto.commit", "false");
        let member: BaseConsumer = config.create().unwrap();
        member.subscribe(&[&feed]).unwrap();
        broker::wait_until(PATIENCE, "the member's partition", || {
            member.poll(std::time::Duration::from_millis(100));
            member.assignment().unwrap().count() == 1
        });
        let declared = declared(broker, &feed, &out, delivery).await;
        let query = start(&declared, &name, COPY).await;
        let error = refused(&query).await;
        assert!(error.contains("it has members"), "{error}");
        assert_eq!(broker.committed(&name, &feed), []);
        assert_eq!(log(broker, &out), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_created_again_is_read_from_its_beginning() {
    let test = "continuous::a_topic_that_was_created_again_is_read_from_its_beginning";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for sql in [COPY, SUM] {
        let feed = broker.new_topic("feed", 1, &[]);
        let out = broker.new_topic("out", 1, &[]);
        let name = topic_name("query");
        broker.produce(&feed, &[value("a", 5)]);
        let declared = declared(broker, &feed, &out, "exactly_once").await;
        let query = start(&declared, &name, sql).await;
        written(broker, &out, 1).await;
        query.stop().await.unwrap();
        broker.delete_topic(&feed);
        broker.create_topic(&feed, 1, &[]);
        broker.produce(&feed, &[value("b", 6), value("c", 7)]);
        let query = start(&declared, &name, sql).await;
        broker::wait_until(PATIENCE, "both records", || {
            let found = log(broker, &out);
            found.iter().any(|r| r.starts_with("b=")) && found.iter().any(|r| r.starts_with("c="))
        });
        query.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_was_created_again_is_not_taken_for_the_one_before() {
    let test = "continuous::an_output_that_was_created_again_is_not_taken_for_the_one_before";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for (is_running, sql, rewrites) in [
        (false, COPY, false),
        (true, COPY, false),
        (false, COPY, true),
        (true, COPY, true),
        (false, SUM, false),
        (true, SUM, false),
    ] {
        let what = format!("running {is_running}, {sql}, rewrite {rewrites}");
        let feed = broker.new_topic("feed", 1, &[]);
        let out = broker.new_topic("out", 1, &[]);
        let name = topic_name("query");
        broker.produce(&feed, &[value("a", 5), value("b", 6)]);
        let declared = Declared::new(broker, &feed, COLUMNS, &[]).await;
        let policy = if rewrites { "rewrite" } else { "fail" };
        let options = [EXACTLY_ONCE, ("kafka.on_recreated_output", policy)];
        declared.add("out", &out, COLUMNS, &options).await.unwrap();
        let mut query = start(&declared, &name, sql).await;
        written(broker, &out, 2).await;
        super::caught_up(broker, &query, &[&feed]).await;
        if !is_running {
            query.stop().await.unwrap();
        }
        broker.delete_topic(&out);
        broker.create_topic(&out, 1, &[]);
        if !is_running {
            query = start(&declared, &name, sql).await;
        }
        if sql == COPY && !rewrites {
            let error = refused(&query).await;
            assert!(
                error.contains("deleted and created again"),
                "{what}: {error}"
            );
            assert!(
                error.contains("kafka.on_recreated_output"),
                "{what}: {error}"
            );
            continue;
        }
        let mut found = written(broker, &out, 2).await;
        found.sort();
        assert_eq!(found, [r#"a={"v":5}"#, r#"b={"v":6}"#], "{what}");
        query.stop().await.unwrap();
    }
}
