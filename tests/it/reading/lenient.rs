//! Payloads and keys that not every JSON parser accepts.

use super::{ALL, NULL, topic_of};
use crate::broker::{self, Rec};
use crate::declared::{APPEND, Declared};
use crate::dml::{Changing, sent};

const LENIENT: (&str, &str) = ("kafka.json.lenient", "true");

const MARK: &str = "\u{feff}";

#[tokio::test]
async fn a_byte_order_mark_is_passed_over() {
    let Some(broker) = broker::required("a_byte_order_mark_is_passed_over") else {
        return;
    };
    let records = [
        Rec::new("a", format!(r#"{MARK}{{"v":1,"w":"é"}}"#)),
        Rec::new("b", r#"{"v":2}"#),
        Rec::new("c", format!("{MARK} \r\n{{\"v\":3}}")),
    ];
    let topic = topic_of(broker, "mark", &records);
    for columns in ["_key VARCHAR, v BIGINT, w VARCHAR", ""] {
        let table = Declared::new(broker, &topic, columns, &[]).await;
        assert_eq!(table.rows(ALL).await, ["a|1|é", "b|2|NULL", "c|3|NULL"]);
    }
    // A topic in which every record has a byte order mark.
    let topic = topic_of(broker, "marks", &records[..1]);
    let table = Declared::new(broker, &topic, "", &[]).await;
    assert_eq!(table.rows(ALL).await, ["a|1|é"]);

    let records = [
        Rec::new("a", format!("{MARK}{{\"v\":true}}")),
        Rec::new("b", MARK),
    ];
    let topic = topic_of(broker, "marked-bad", &records);
    let columns = "_key VARCHAR, v INT, _error VARCHAR";
    let table = Declared::new(broker, &topic, columns, &[NULL]).await;
    assert_eq!(
        table.rows("SELECT _key, _error FROM t").await,
        [
            "a|expected INT but found a boolean in `v` at byte 8",
            "b|not JSON: it ends too early at byte 3",
        ]
    );
}

#[tokio::test]
async fn a_byte_order_mark_before_a_json_key_is_passed_over() {
    let Some(broker) = broker::required("a_byte_order_mark_before_a_json_key") else {
        return;
    };
    let json = ("kafka.key.format", "json");
    let records = [
        Rec::new(format!("{MARK}7"), r#"{"v":1}"#),
        Rec::new("8", r#"{"v":2}"#),
    ];
    let topic = topic_of(broker, "marked-key", &records);
    for columns in ["_key BIGINT, v BIGINT", ""] {
        let table = Declared::new(broker, &topic, columns, &[json]).await;
        assert_eq!(table.rows(ALL).await, ["7|1", "8|2"]);
        let asked = table.rows("SELECT v FROM t WHERE _key = 7").await;
        assert_eq!(asked, ["1"]);
    }
    let records = [
        Rec::new(format!("{MARK}\"x\""), r#"{"v":1}"#),
        Rec::new(format!("{MARK}null"), r#"{"v":2}"#),
    ];
    let topic = topic_of(broker, "marked-text-key", &records);
    let table = Declared::new(broker, &topic, "", &[json]).await;
    assert_eq!(table.rows(ALL).await, ["NULL|2", "x|1"]);
    let asked = table.rows("SELECT v FROM t WHERE _key = 'x'").await;
    assert_eq!(asked, ["1"]);
}

/// Payloads as Python and other languages write them, each as a record of its own.
fn records() -> [Rec; 5] {
    [
        Rec::new("a", r#"{"t":NaN,"name":"roof","l":[1.5,-Infinity]}"#),
        Rec::new("b", r#"{"t":-Infinity,"name":"hi \ud83d"}"#),
        Rec::new("c", "{\"t\":1.5,\"name\":\"a\tb\nc\"}"),
        Rec::new("d", r#"{"t":Infinity,"name":{"x":NaN}}"#),
        Rec::new("e", r#"{"t":2,"name":"plain"}"#),
    ]
}

#[tokio::test]
async fn what_is_not_quite_json_is_read_where_that_is_asked_for() {
    let Some(broker) = broker::required("what_is_not_quite_json_is_read") else {
        return;
    };
    let topic = topic_of(broker, "lenient", &records());
    let expected = [
        "a|NaN|roof|[1.5, -inf]",
        "b|-inf|hi \u{fffd}|NULL",
        "c|1.5|a\tb\nc|NULL",
        "d|inf|{\"x\":NaN}|NULL",
        "e|2.0|plain|NULL",
    ];
    let columns = "_key VARCHAR, t DOUBLE, name VARCHAR, l DOUBLE[]";
    for columns in [columns, ""] {
        for options in [&[LENIENT][..], &[LENIENT, APPEND]] {
            let table = Declared::new(broker, &topic, columns, options).await;
            assert_eq!(table.rows(ALL).await, expected, "{columns}");
            let kind = "SELECT DISTINCT arrow_typeof(t) FROM t";
            assert_eq!(table.rows(kind).await, ["Float64"]);
        }
    }
    // NaN is not a number of any other type, and not the text of a number.
    let columns = "_key VARCHAR, t DECIMAL(10, 1), _error VARCHAR";
    let table = Declared::new(broker, &topic, columns, &[LENIENT, NULL]).await;
    let expected = [
        "a|NULL|expected DECIMAL(10, 1) but found NaN or an infinity in `t` at byte 5",
        "c|1.5|NULL",
    ];
    let rows = table.rows("SELECT * FROM t WHERE _key IN ('a', 'c')").await;
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn what_is_not_quite_json_is_bad_by_default_and_the_property_is_named() {
    let Some(broker) = broker::required("what_is_not_quite_json_is_bad_by_default") else {
        return;
    };
    let topic = topic_of(broker, "strict", &records());
    let columns = "_key VARCHAR, w BIGINT, _error VARCHAR";
    let table = Declared::new(broker, &topic, columns, &[NULL]).await;
    assert_eq!(
        table.rows("SELECT _key, _error FROM t").await,
        [
            "a|not JSON: NaN and Infinity are no JSON numbers in `t` at byte 5",
            "b|not JSON: NaN and Infinity are no JSON numbers in `t` at byte 5",
            "c|not JSON: a control character is in a string in `name` at byte 18",
            "d|not JSON: NaN and Infinity are no JSON numbers in `t` at byte 5",
            "e|NULL",
        ]
    );
    let table = Declared::new(broker, &topic, "_key VARCHAR, w BIGINT", &[]).await;
    let error = table.error("SELECT w FROM t WHERE _key = 'c'").await;
    let expected = "bad payload: not JSON: a control character is in a string in `name` at byte \
                    18; set `kafka.json.lenient` = `true`, or set `kafka.on_bad_record` = `null` \
                    or `skip`";
    assert!(error.ends_with(expected), "{error}");
}

#[tokio::test]
async fn a_topic_of_which_nothing_is_quite_json_says_what_would_read_it() {
    let Some(broker) = broker::required("a_topic_of_which_nothing_is_quite_json") else {
        return;
    };
    let topic = topic_of(broker, "all-lenient", &records()[..1]);
    let json = ("kafka.value.format", "json");
    let Err(error) = Declared::try_new(broker, &topic, "", &[json]).await else {
        panic!("columns of what is not JSON");
    };
    let expected = "none of the sampled payloads is a JSON object; not JSON: NaN and Infinity are \
                    no JSON numbers at byte 5: `kafka.json.lenient` = `true` reads that; declare \
                    the columns";
    assert!(error.ends_with(expected), "{error}");
    let table = Declared::new(broker, &topic, "", &[json, LENIENT]).await;
    assert_eq!(table.rows("SELECT name FROM t").await, ["roof"]);
}

#[tokio::test]
async fn update_keeps_what_is_not_quite_json() {
    let Some(broker) = broker::required("update_keeps_what_is_not_quite_json") else {
        return;
    };
    let columns = "_key VARCHAR NOT NULL, v INT";
    let records = [
        Rec::new(
            "a",
            "{\"t\":[NaN, -Infinity],\"v\":1,\"s\":\"a\tb\\ud83d\"}",
        ),
        Rec::new("b", format!(r#"{MARK}{{"t":1,"v":2}}"#)),
    ];
    let mut t = Changing::with(broker, 1, columns, &records, &[LENIENT]).await;
    let mut done = t.run("UPDATE t SET v = v + 10").await;
    done.sent.sort();
    let expected = [
        (
            "a",
            Some("{\"t\":[NaN, -Infinity],\"v\":11,\"s\":\"a\tb\\ud83d\"}"),
        ),
        ("b", Some(r#"{"t":1,"v":12}"#)),
    ];
    assert_eq!(done.sent, sent(&expected));
}

#[tokio::test]
async fn keys_that_are_not_quite_json_are_read_where_that_is_asked_for() {
    let Some(broker) = broker::required("keys_that_are_not_quite_json") else {
        return;
    };
    let json = ("kafka.key.format", "json");
    let records = [Rec::new("NaN", r#"{"v":1}"#), Rec::new("1.5", r#"{"v":2}"#)];
    let topic = topic_of(broker, "lenient-key", &records);
    for columns in ["_key DOUBLE, v BIGINT", ""] {
        let table = Declared::new(broker, &topic, columns, &[json, LENIENT]).await;
        assert_eq!(table.rows(ALL).await, ["1.5|2", "NaN|1"], "{columns}");
    }
    let strict = Declared::new(broker, &topic, "_key DOUBLE, v BIGINT", &[json]).await;
    let error = strict.error(ALL).await;
    let expected = "bad key: not JSON: NaN and Infinity are no JSON numbers at byte 0; set \
                    `kafka.json.lenient` = `true`, or set `kafka.on_bad_record` = `skip`";
    assert!(error.ends_with(expected), "{error}");

    let records = [
        Rec::new("\"a\tb\"", r#"{"v":1}"#),
        Rec::new(r#""\udc00""#, r#"{"v":2}"#),
    ];
    let topic = topic_of(broker, "lenient-text-key", &records);
    let table = Declared::new(broker, &topic, "", &[json, LENIENT]).await;
    assert_eq!(table.rows(ALL).await, ["a\tb|1", "\u{fffd}|2"]);
    let asked = table.rows("SELECT v FROM t WHERE _key = 'a\tb'").await;
    assert_eq!(asked, ["1"]);
}
