//! `--demo`, which needs no broker. Most features of the program are tested on it.

use crate::program::{failure, printed, program};

/// The rows of a query over the demo, as CSV without the header.
fn rows(queries: &[&str]) -> Vec<String> {
    let mut program = program();
    program
        .args(["--demo", "-q", "--format", "csv", "-c"])
        .args(queries);
    printed(&mut program)
        .lines()
        .skip(1)
        .map(str::to_owned)
        .collect()
}

#[test]
fn it_has_customers_and_orders_with_their_history() {
    for (query, expected) in [
        ("SELECT count(*) FROM orders", "380"),
        ("SELECT count(*) FROM customers", "58"),
        (
            "SELECT count(*) FROM kafka_log('orders') WHERE _tombstone",
            "20",
        ),
        (
            "SELECT count(*) FROM kafka_log('customers') WHERE _tombstone",
            "2",
        ),
    ] {
        assert_eq!(rows(&[query]), [expected], "{query}");
    }
    let statuses = rows(&["SELECT DISTINCT status FROM orders ORDER BY 1"]);
    assert_eq!(statuses, ["paid", "placed", "shipped"]);
}

#[test]
fn what_it_says_to_try_works() {
    let text = include_str!("../../src/demo.rs");
    let tries = text
        .split_once("Try:")
        .unwrap()
        .1
        .split_once("\";")
        .unwrap()
        .0;
    assert_eq!(tries.matches(';').count(), 6);
    let answer = printed(program().arg("--demo").write_stdin(tries));
    for expected in ["| orders ", "placed_at", "| DE ", "shipped", "count"] {
        assert!(answer.contains(expected), "{expected}: {answer}");
    }
}

#[test]
fn every_statement_that_writes_works() {
    let left = rows(&[
        "INSERT INTO orders (_key, item, amount) VALUES ('o-1', 'tea', 1), ('o-2', 'mug', 2)",
        "UPDATE orders SET amount = 3 WHERE _key = 'o-2'",
        "DELETE FROM orders WHERE _key = 'o-1'",
        "MERGE INTO orders o USING (VALUES ('o-2')) AS s(k) ON o._key = s.k
         WHEN MATCHED THEN UPDATE SET item = 'rug'",
        "COPY (SELECT 'o-3' AS _key, 'lamp' AS item, 4.0 AS amount) TO 'orders' STORED AS KAFKA",
        "SELECT _key, item, amount FROM orders WHERE _key IN ('o-1', 'o-2', 'o-3') ORDER BY 1",
    ]);
    assert_eq!(left[left.len() - 2..], ["o-2,rug,3.0", "o-3,lamp,4.0"]);
}

#[test]
fn every_format_is_printed_whole() {
    let query = "SELECT _key, pieces FROM orders ORDER BY _key";
    for (format, first, lines) in [
        ("csv", "_key,pieces", 381),
        ("tsv", "_key\tpieces", 381),
        ("ndjson", r#"{"_key":"o-1001","pieces":2}"#, 380),
        ("json", r#"[{"_key":"o-1001","pieces":2}"#, 1),
        ("table", "+--------+--------+", 40 + 4 + 3),
        ("automatic", "+--------+--------+", 40 + 4 + 3),
    ] {
        let answer = printed(program().args(["--demo", "-q", "--format", format, "-c", query]));
        assert!(answer.starts_with(first), "{format}: {answer}");
        assert_eq!(answer.lines().count(), lines, "{format}");
    }
    let rows = printed(program().args(["--demo", "-q", "--format", "json", "-c", query]));
    assert_eq!(rows.matches("_key").count(), 380);
    assert!(rows.ends_with("}]\n"), "{rows}");
}

#[test]
fn tables_and_columns_are_listed() {
    let tables = rows(&["SHOW TABLES"]);
    let topics: Vec<_> = tables
        .iter()
        .filter(|table| table.contains(",public,"))
        .collect();
    assert_eq!(
        topics,
        [
            "datafusion,public,customers,BASE TABLE",
            "datafusion,public,orders,BASE TABLE"
        ]
    );
    let columns = rows(&["DESCRIBE customers"]);
    assert_eq!(
        columns,
        [
            "_key,Utf8View,NO",
            "name,Utf8View,YES",
            "country,Utf8View,YES",
            "newsletter,Boolean,YES"
        ]
    );
    assert_eq!(rows(&["SHOW COLUMNS FROM customers"]).len(), 4);
    let listed = printed(
        program()
            .args(["--demo", "--format", "csv"])
            .write_stdin("\\d\n\\d customers\n\\q\nno SQL;"),
    );
    assert_eq!(
        listed.matches("datafusion,public,customers").count(),
        1 + 4,
        "{listed}"
    );
}

#[test]
fn an_error_names_what_was_meant() {
    for (query, expected) in [
        ("SELECT * FROM ordrs", "did you mean `orders`?"),
        (
            "SELECT * FROM kafka_log('custmers')",
            "did you mean `customers`?",
        ),
        ("SELECT * FROM kafka_log(orders)", "write 'orders'"),
        ("SELECT amuont FROM orders", "amount"),
        ("SELECT _offset FROM orders", "SET kafka.metadata = 'all'"),
        ("SELECT * FROM orders WHERE", "Expected: an expression"),
        (
            "CREATE EXTERNAL TABLE t STORED AS KAFKA LOCATION 'orders' OPTIONS ('kafka.mod' 'append')",
            "did you mean `kafka.mode`?",
        ),
        ("SET kafka.timeuot = '5s'", "did you mean `kafka.timeout`?"),
        ("SET kafka.mdoe = 'append'", "did you mean `kafka.mode`?"),
    ] {
        let error = failure(program().args(["--demo", "-c", query]));
        assert!(error.contains(expected), "{query}: {error}");
    }
}

#[test]
fn a_topic_that_is_missing_is_not_its_own_hint() {
    let create = "CREATE EXTERNAL TABLE later (_key VARCHAR) STORED AS KAFKA LOCATION 'later'";
    let insert = "INSERT INTO later VALUES ('a')";
    let error = failure(program().args(["--demo", "-c", create, insert]));
    assert!(error.contains("topic `later` does not exist"), "{error}");
    assert!(!error.contains("did you mean"), "{error}");
}

#[test]
fn what_needs_all_rows_of_an_unbounded_table_is_refused_in_one_line() {
    let create = "CREATE UNBOUNDED EXTERNAL TABLE changes (_key VARCHAR, _tombstone BOOLEAN)
                  STORED AS KAFKA LOCATION 'orders'";
    for query in [
        "SELECT * FROM changes ORDER BY _key",
        "SELECT count(*) FROM changes",
    ] {
        let error = failure(program().args(["--demo", "-c", create, query]));
        assert!(error.contains("an unbounded source never ends"), "{error}");
        assert!(error.len() < 250, "{error}");
    }
    let collect = "CREATE TABLE collected AS SELECT * FROM changes";
    let error = failure(program().args(["--demo", "-c", create, collect]));
    assert!(error.contains("use CREATE VIEW"), "{error}");
}

#[test]
fn lists_and_structs_are_json_in_csv_and_tsv() {
    let query = "SELECT _headers, make_array(1, 2) AS list,
        named_struct('text', 'a\"b', 'bytes', X'00ff') AS pair, CAST(NULL AS INT[]) AS none
        FROM kafka_log('customers') LIMIT 1";
    for (format, expected) in [
        (
            "csv",
            "_headers,list,pair,none\n[],\"[1,2]\",\"{\"\"text\"\":\"\"a\\\"\"b\"\",\"\"bytes\"\":\"\"00ff\"\"}\",\n",
        ),
        (
            "tsv",
            "_headers\tlist\tpair\tnone\n[]\t[1,2]\t\"{\"\"text\"\":\"\"a\\\"\"b\"\",\"\"bytes\"\":\"\"00ff\"\"}\"\t\n",
        ),
    ] {
        let answer = printed(program().args(["--demo", "-q", "--format", format, "-c", query]));
        assert_eq!(answer, expected);
    }
    let log = "SELECT * FROM kafka_log('customers')";
    let answer = printed(program().args(["--demo", "-q", "--format", "csv", "-c", log]));
    assert_eq!(answer.lines().count(), 66, "{answer}");
}

#[test]
fn what_the_command_line_says_is_shown_and_changed_by_set() {
    let servers = rows(&["SHOW kafka.bootstrap.servers"]);
    assert!(
        servers[0].starts_with("kafka.bootstrap.servers,127.0.0.1:"),
        "{servers:?}"
    );
    let answer = printed(program().args([
        "--demo",
        "-q",
        "--format",
        "csv",
        "-X",
        "kafka.mode=append",
        "-c",
        "SHOW kafka.mode",
        "SELECT count(*) AS n FROM customers",
        "SET kafka.mode = 'upsert'",
        "SELECT count(*) AS n FROM customers",
    ]));
    assert_eq!(answer, "name,value\nkafka.mode,append\nn\n63\nn\n58\n");
    let refused = failure(program().args([
        "--demo",
        "-X",
        "sasl.password=s3cret",
        "-c",
        "SET kafka.client.sasl.password = 'other'",
    ]));
    assert!(!refused.contains("s3cret"), "{refused}");
    let shown = printed(program().args([
        "--demo",
        "-q",
        "-X",
        "sasl.password=s3cret",
        "-c",
        "SHOW ALL",
    ]));
    assert!(!shown.contains("s3cret"), "{shown}");
}
