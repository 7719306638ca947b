//! Queries that would read their own output.

use datafusion_kafka::{ContinuousOptions, ContinuousQuery};

use super::{log, value};
use crate::broker::{self, Rec, topic_name};
use crate::declared::{APPEND, Declared};

const COLUMNS: &str = "_key VARCHAR, v BIGINT";

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_not_written_from_its_own_end() {
    let test = "continuous::a_topic_is_not_written_from_its_own_end";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    broker.produce(&feed, &[value("a", 5)]);
    for options in [&[][..], &[APPEND]] {
        let declared = Declared::new(broker, &feed, COLUMNS, options).await;
        declared
            .add_unbounded("changes", &feed, COLUMNS, options)
            .await
            .unwrap();
        let location = format!("kafka://{}/{feed}", broker.servers);
        for sql in [
            "INSERT INTO t SELECT _key, v FROM changes".to_owned(),
            "INSERT INTO t SELECT _key, v + 1 FROM changes WHERE v > 0".to_owned(),
            "INSERT INTO t SELECT _key, v FROM (SELECT * FROM changes) c WHERE v IN (SELECT v FROM t)"
                .to_owned(),
            format!("COPY (SELECT _key, v FROM changes) TO '{location}'"),
        ] {
            let error = declared.error(&sql).await;
            assert!(error.contains(&feed), "{sql}: {error}");
            assert!(error.contains("write to another topic"), "{sql}: {error}");
        }
        // A bounded read of the same topic is not a loop.
        declared
            .rows("INSERT INTO t SELECT 'b', v FROM t WHERE _key = 'a'")
            .await;
    }
    assert_eq!(log(broker, &feed).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_have_a_topic_of_their_own() {
    let test = "continuous::dead_letters_have_a_topic_of_their_own";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    broker.produce(&feed, &[Rec::new("a", "no json")]);
    let sql = "INSERT INTO out SELECT _key, v FROM t";
    for (dead_letters, says) in [(&feed, "is read"), (&out, "is written")] {
        let options = [
            ("kafka.on_bad_record", "dead_letter"),
            ("kafka.dead_letter.topic", dead_letters.as_str()),
        ];
        let declared = Declared::new(broker, &feed, COLUMNS, &options).await;
        declared.add("out", &out, COLUMNS, &[]).await.unwrap();
        let name = topic_name("query");
        let started = ContinuousQuery::start(&declared.ctx, &name, sql, ContinuousOptions::new());
        let of_query = started.await.unwrap_err().to_string();
        declared
            .add_unbounded("t", &feed, COLUMNS, &options)
            .await
            .unwrap();
        let of_statement = declared.error(sql).await;
        for error in [of_query, of_statement] {
            assert!(error.contains("kafka.dead_letter.topic"), "{error}");
            assert!(error.contains(says), "{error}");
        }
    }
    assert_eq!(log(broker, &feed).len(), 1);
    assert_eq!(log(broker, &out).len(), 0);
}
