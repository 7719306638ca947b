//! MERGE: which rows its clauses change, and how.

use super::{Changing, sent};
use crate::broker::{self, Broker, Rec};
use crate::session::{error, rows};
use crate::writing::says;

async fn merging(broker: &'static Broker) -> Changing {
    let records = [
        Rec::new("a", r#"{"v":1,"keep":true}"#),
        Rec::new("b", r#"{"v":2}"#),
        Rec::new("c", r#"{"v":3}"#),
    ];
    let columns = "_key VARCHAR NOT NULL, v BIGINT DEFAULT 7, s VARCHAR";
    let t = Changing::new(broker, columns, &records).await;
    let source = "CREATE TABLE s AS SELECT column1 AS k, CAST(column2 AS BIGINT) AS v \
                  FROM (VALUES ('a', 10), ('b', 0), ('d', 40))";
    rows(&t.ctx, source).await;
    t
}

#[tokio::test]
async fn the_first_clause_that_applies_decides_about_a_row() {
    let Some(broker) = broker::required("the_first_clause_that_applies") else {
        return;
    };
    let mut t = merging(broker).await;
    let mut done = t
        .run(
            "MERGE INTO t USING s ON t._key = s.k \
             WHEN MATCHED AND s.v = 0 THEN DELETE \
             WHEN MATCHED THEN UPDATE SET v = t.v + s.v, s = 'up' \
             WHEN NOT MATCHED THEN INSERT (_key, s) VALUES (s.k, 'new ' || s.v) \
             WHEN NOT MATCHED BY SOURCE AND t.v > 100 THEN DELETE \
             WHEN NOT MATCHED BY SOURCE THEN UPDATE SET v = -t.v",
        )
        .await;
    done.sent.sort();
    let expected = [
        ("a", Some(r#"{"v":11,"keep":true,"s":"up"}"#)),
        ("b", None),
        ("c", Some(r#"{"v":-3}"#)),
        ("d", Some(r#"{"v":7,"s":"new 40"}"#)),
    ];
    assert_eq!((done.count, done.sent), (4, sent(&expected)));
}

#[tokio::test]
async fn rows_that_no_clause_is_for_are_left_alone() {
    let Some(broker) = broker::required("rows_that_no_clause_is_for") else {
        return;
    };
    for (clauses, expected) in [
        ("WHEN MATCHED THEN DELETE", &[("a", None), ("b", None)][..]),
        ("WHEN MATCHED AND false THEN DELETE", &[]),
        ("WHEN MATCHED AND NULL THEN DELETE", &[]),
        ("WHEN NOT MATCHED BY SOURCE THEN DELETE", &[("c", None)]),
        (
            "WHEN NOT MATCHED BY TARGET AND s.v > 10 THEN INSERT VALUES (s.k, s.v, NULL)",
            &[("d", Some(r#"{"v":40,"s":null}"#))],
        ),
        (
            "WHEN MATCHED AND s.v > t.v THEN UPDATE SET s = 'x'",
            &[("a", Some(r#"{"v":1,"keep":true,"s":"x"}"#))],
        ),
    ] {
        let mut t = merging(broker).await;
        let sql = format!("MERGE INTO t USING s ON t._key = s.k {clauses}");
        let mut done = t.run(&sql).await;
        done.sent.sort();
        assert_eq!(done.sent, sent(expected), "{clauses}");
        assert_eq!(done.count, expected.len() as u64);
        broker.delete_topic(&t.topic);
    }
}

#[tokio::test]
async fn a_record_that_two_source_rows_would_change_is_an_error() {
    let Some(broker) = broker::required("a_record_that_two_source_rows") else {
        return;
    };
    let t = merging(broker).await;
    rows(
        &t.ctx,
        "CREATE TABLE twice AS VALUES ('a', 1), ('a', 2), ('x', 1), ('x', 2)",
    )
    .await;
    for (sql, numbers) in [
        (
            "MERGE INTO t USING twice ON t._key = column1 WHEN MATCHED THEN UPDATE SET v = column2",
            ["row 0", "row 1"],
        ),
        (
            "MERGE INTO t USING twice ON t._key = column1 WHEN MATCHED THEN DELETE",
            ["row 0", "row 1"],
        ),
        (
            "MERGE INTO t USING twice ON t._key = column1 \
             WHEN NOT MATCHED THEN INSERT (_key, v) VALUES (column1, column2)",
            ["row 2", "row 3"],
        ),
        // A key that another row of the statement deletes.
        (
            "MERGE INTO t USING s ON t.v = s.v + 3 WHEN NOT MATCHED THEN INSERT (_key) VALUES (s.k) \
             WHEN NOT MATCHED BY SOURCE THEN DELETE",
            ["row", "a row"],
        ),
    ] {
        let message = error(&t.ctx, sql).await;
        says(
            &message,
            &[&t.topic, "has the `_key` of another", "nothing was written"],
        );
        let begins = numbers.map(|row| format!("External error: {row} "));
        assert!(
            begins.iter().any(|begin| message.starts_with(begin)),
            "{sql}: {message}"
        );
    }
    // If only one of the source rows changes the row, there is no conflict.
    let one = "MERGE INTO t USING twice ON t._key = column1 \
               WHEN MATCHED AND column2 = 2 THEN UPDATE SET v = column2";
    assert_eq!(crate::session::count(&t.ctx, one).await, 1);
    assert_eq!(t.broker.read_all(&t.topic).len(), 4);
}

#[tokio::test]
async fn sources_may_be_queries_other_topics_and_the_topic_itself() {
    let Some(broker) = broker::required("sources_may_be_queries") else {
        return;
    };
    let mut t = merging(broker).await;
    let done = t
        .run(
            "MERGE INTO t AS target USING (SELECT _key AS k, v * 100 AS v FROM t WHERE v > 1) AS q \
             ON target._key = q.k WHEN MATCHED THEN UPDATE SET v = q.v",
        )
        .await;
    assert_eq!(done.count, 2);
    assert_eq!(t.state()["c"], r#"{"v":300}"#);
    let done = t
        .run("MERGE INTO t USING t AS o ON t._key = o._key AND o.v = 1 WHEN MATCHED THEN DELETE")
        .await;
    assert_eq!(done.sent, sent(&[("a", None)]));
}

#[tokio::test]
async fn what_merge_cannot_do_is_refused() {
    let Some(broker) = broker::required("what_merge_cannot_do") else {
        return;
    };
    let t = merging(broker).await;
    for (clause, parts) in [
        ("WHEN MATCHED THEN UPDATE SET _key = 'x'", &["`_key`"][..]),
        (
            "WHEN NOT MATCHED THEN INSERT (v) VALUES (1)",
            &["`_key`", &t.topic],
        ),
        (
            "WHEN NOT MATCHED THEN INSERT (_key) VALUES (NULL)",
            &["`_key` is NULL"],
        ),
    ] {
        let sql = format!("MERGE INTO t USING s ON t._key = s.k {clause}");
        says(&error(&t.ctx, &sql).await, parts);
    }
    assert!(t.is_untouched());
}
