//! Functions of JSON text, and maps.

use super::nothing;
use crate::broker::{self, Rec};
use crate::declared::Declared;
use crate::session::rows;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_json_text_is_taken_out_by_functions() {
    let Some(broker) = broker::required("functions::what_is_in_json_text") else {
        return;
    };
    let topic = broker.new_topic("json", 1, &[]);
    broker.produce(
        &topic,
        &[
            // Values of several kinds, which are text.
            Rec::new("a", r#"{"customer":"cus_1","n":{"$numberLong":"77"}}"#),
            Rec::new("b", r#"{"customer":{"id":"cus_2"},"n":5}"#),
            // JSON within a string.
            Rec::new("c", r#"{"attrs":"{\"color\":\"red\",\"sizes\":[1,2]}"}"#),
        ],
    );
    let table = Declared::new(broker, &topic, "", &[]).await;
    for (sql, expected) in [
        (
            "SELECT _key, coalesce(customer->>'id', customer) FROM t WHERE customer IS NOT NULL",
            &["a|cus_1", "b|cus_2"][..],
        ),
        (
            "SELECT coalesce(CAST(n->>'$numberLong' AS BIGINT), json_get_int(n), CAST(n AS BIGINT)) \
             FROM t WHERE n IS NOT NULL",
            &["5", "77"],
        ),
        (
            "SELECT attrs->>'color', attrs->'sizes'->>1, json_length(attrs->'sizes') FROM t \
             WHERE json_contains(attrs, 'color')",
            &["red|2|2"],
        ),
        (
            "SELECT json_get_str(attrs, 'color') FROM t WHERE _key = 'c'",
            &["red"],
        ),
    ] {
        assert_eq!(table.rows(sql).await, expected, "{sql}");
    }
    // A session without datafusion_kafka::sql has them as well.
    let ctx = nothing(broker);
    let frame = ctx
        .sql("SELECT json_get_int('{\"a\":[7]}', 'a', 0)")
        .await
        .unwrap();
    let cells = crate::session::cells(&frame.collect().await.unwrap());
    assert_eq!(cells, [["7"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_with_any_names_are_maps() {
    let Some(broker) = broker::required("functions::objects_with_any_names") else {
        return;
    };
    let topic = broker.new_topic("maps", 1, &[]);
    broker.produce(
        &topic,
        &[Rec::new(
            "a",
            r#"{"people":{"p1":{"age":1},"p2":{"age":2}},"by":{"x":[1,2]},"plain":{"k":1.5}}"#,
        )],
    );
    let columns = "_key VARCHAR, people MAP(VARCHAR, STRUCT<age INT>), \
                   by MAP(VARCHAR, BIGINT[]), plain MAP(VARCHAR, DOUBLE)";
    let table = Declared::new(broker, &topic, columns, &[]).await;
    let select = "SELECT people['p2']['age'], by['x'], plain['k'], map_keys(people) FROM";
    let expected = ["2|[1, 2]|1.5|[p1, p2]"];
    assert_eq!(table.rows(&format!("{select} t")).await, expected);
    table
        .rows("INSERT INTO t SELECT 'b', people, by, map(['k'], [2.5]) FROM t")
        .await;
    assert_eq!(
        table
            .rows("SELECT plain['k'] FROM t WHERE _key = 'b'")
            .await,
        ["2.5"]
    );
    let shown = table.rows("SHOW CREATE TABLE t").await.concat();
    assert!(
        shown.contains("MAP(VARCHAR, STRUCT<\"age\" INT>)"),
        "{shown}"
    );
    let create = shown
        .split_once("CREATE")
        .unwrap()
        .1
        .replace(" TABLE t ", " TABLE again ");
    table.rows(&format!("CREATE{create}")).await;
    let again = format!("{select} again WHERE _key = 'a'");
    assert_eq!(table.rows(&again).await, expected);

    let refused = Declared::try_new(broker, &topic, "m MAP(INT, INT)", &[])
        .await
        .err();
    let refused = refused.unwrap_or_default();
    assert!(
        refused.contains("MAP with keys other than VARCHAR"),
        "{refused}"
    );
    // Maps are types of all statements of the session.
    let ctx = nothing(broker);
    let cast = "SELECT CAST(NULL AS MAP(VARCHAR, MAP(VARCHAR, INT))) AS m";
    assert_eq!(rows(&ctx, cast).await.len(), 1);
}
