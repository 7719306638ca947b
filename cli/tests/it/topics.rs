//! Topics on a real broker.

use crate::broker::{self, Broker, Rec};
use crate::program::{failure, printed, program, said};

/// The rows of queries on the broker, as CSV.
fn answer(broker: &Broker, arguments: &[&str]) -> String {
    let mut program = program();
    program
        .args(["-b", &broker.servers, "-q", "--format", "csv"])
        .args(arguments);
    printed(&mut program)
}

/// A topic of three people. One record was overwritten, and one was deleted.
fn people(broker: &Broker) -> String {
    let topic = broker.new_topic("people", 1, &[]);
    let records = [
        Rec::new("p1", r#"{"firstName":"Ada","team":1}"#),
        Rec::new("p2", r#"{"firstName":"Bob","team":2}"#),
        Rec::new("p3", r#"{"firstName":"Eve","team":2}"#),
        Rec::new("p1", r#"{"firstName":"Ada Lovelace","team":1}"#),
        Rec::tombstone("p3"),
    ];
    broker.produce(&topic, &records);
    topic
}

#[test]
fn every_topic_is_a_table() {
    let Some(broker) = broker::required("every_topic_is_a_table") else {
        return;
    };
    let topic = people(broker);
    let query = format!("SELECT _key, firstName FROM \"{topic}\" ORDER BY _key");
    let expected = "_key,firstName\np1,Ada Lovelace\np2,Bob\n";
    assert_eq!(answer(broker, &["-c", &query]), expected);
    assert_eq!(
        answer(broker, &["--topics", "^people", "-c", &query]),
        expected
    );
    let by_environment = printed(
        program()
            .env("KAFKA_BOOTSTRAP_SERVERS", &broker.servers)
            .args(["-q", "--format", "csv", "-c", &query]),
    );
    assert_eq!(by_environment, expected);
    assert!(answer(broker, &["-c", "SHOW TABLES"]).contains(&topic));
    let others = answer(
        broker,
        &["--topics", "^no such topic$", "-c", "SHOW TABLES"],
    );
    assert!(!others.contains(&topic), "{others}");
    let error = failure(program().args([
        "-b",
        &broker.servers,
        "-c",
        &query.replace("people", "peopel"),
    ]));
    assert!(error.contains(&topic), "{error}");
}

#[test]
fn properties_and_options_are_given_with_x() {
    let Some(broker) = broker::required("properties_and_options_are_given_with_x") else {
        return;
    };
    let topic = people(broker);
    let query = format!("SELECT count(*) AS n FROM \"{topic}\"");
    let all = answer(
        broker,
        &[
            "-X",
            "kafka.mode=append",
            "-X",
            "fetch.max.wait.ms=20",
            "-c",
            &query,
        ],
    );
    assert_eq!(all, "n\n4\n");
    let by_property = format!("bootstrap.servers={}", broker.servers);
    let live = printed(program().args(["-X", &by_property, "-q", "--format", "csv", "-c", &query]));
    assert_eq!(live, "n\n2\n");
}

#[test]
fn a_topic_is_named_by_its_place() {
    let Some(broker) = broker::required("a_topic_is_named_by_its_place") else {
        return;
    };
    let topic = people(broker);
    let place = format!("kafka://{}/{topic}", broker.servers);
    let rows = printed(program().args([
        "-q", "--format", "csv", "-c",
        &format!("COPY (SELECT 'p4' AS _key, 'Dan' AS firstName, 3 AS team) TO '{place}'"),
        &format!("CREATE EXTERNAL TABLE p (_key VARCHAR, team INT) STORED AS KAFKA LOCATION '{place}' OPTIONS ('kafka.mode' 'append')"),
        "SELECT count(*) AS n FROM p",
        &format!("SELECT firstName FROM '{place}' WHERE team = 3"),
    ]));
    assert_eq!(rows, "count\n1\nn\n5\nfirstName\nDan\n");
}

#[test]
fn a_topic_is_joined_with_a_parquet_file() {
    let Some(broker) = broker::required("a_topic_is_joined_with_a_parquet_file") else {
        return;
    };
    let topic = people(broker);
    let directory = tempfile::tempdir().unwrap();
    let teams = directory.path().join("teams.parquet");
    let teams = teams.to_str().unwrap();
    let joined = answer(
        broker,
        &[
            "-c",
            &format!("COPY (VALUES (1, 'engines'), (2, 'ciphers')) TO '{teams}'"),
            &format!(
                "SELECT p.firstName, t.column2 AS team FROM \"{topic}\" p JOIN '{teams}' t ON p.team = t.column1 ORDER BY 1"
            ),
        ],
    );
    assert_eq!(
        joined,
        "count\n2\nfirstName,team\nAda Lovelace,engines\nBob,ciphers\n"
    );
}

#[test]
fn an_insert_takes_its_columns_from_the_query() {
    let Some(broker) = broker::required("an_insert_takes_its_columns_from_the_query") else {
        return;
    };
    let topic = people(broker);
    let totals = broker::topic_name("totals");
    let count = answer(
        broker,
        &[
            "-X",
            "kafka.create_topic=true",
            "-c",
            &format!(
                "INSERT INTO \"{totals}\" SELECT CAST(team AS VARCHAR) AS _key, count(*) AS people FROM \"{topic}\" GROUP BY team"
            ),
        ],
    );
    assert_eq!(count, "count\n2\n");
    let mut written: Vec<_> = broker
        .read_all(&totals)
        .into_iter()
        .map(|record| record.payload)
        .collect();
    written.sort();
    assert_eq!(
        written,
        [
            Some(br#"{"people":1}"#.to_vec()),
            Some(br#"{"people":1}"#.to_vec())
        ]
    );
}

#[test]
fn servers_that_are_not_there_are_an_error() {
    let error = failure(program().args([
        "-b",
        "127.0.0.1:1",
        "-X",
        "kafka.timeout=1s",
        "-c",
        "SELECT * FROM orders",
    ]));
    assert!(
        error.contains("cannot reach Kafka at 127.0.0.1:1"),
        "{error}"
    );
}

#[test]
fn a_name_that_needs_quotes_is_shown_with_them() {
    let Some(broker) = broker::required("a_name_that_needs_quotes_is_shown_with_them") else {
        return;
    };
    let dashed = people(broker);
    let dotted = broker::topic_name("my.dotted").replace('-', ".");
    broker.create_topic(&dotted, 1, &[]);
    for topic in [&dashed, &dotted] {
        for query in [
            format!("SELECT * FROM {topic}"),
            format!("SELECT firstName FROM {topic} WHERE team = 1"),
            format!("INSERT INTO {topic} SELECT 'a' AS _key"),
        ] {
            let error = failure(program().args(["-b", &broker.servers, "-c", &query]));
            assert!(
                error.contains(&format!(
                    "in quotes, since it has characters other than letters, digits and `_`: \"{topic}\""
                )),
                "{query}: {error}"
            );
        }
    }
    for query in [
        "SELECT * FROM no-topic".to_owned(),
        format!("SELECT 'not {dashed} here' FORM x"),
        format!("SELECT 1 /* of {dashed} */ FORM x"),
    ] {
        let error = failure(program().args(["-b", &broker.servers, "-c", &query]));
        assert!(!error.contains("quotes"), "{query}: {error}");
    }
}

/// Topic names with dots, as change-data-capture tools name the topics of a database's tables.
#[test]
fn a_name_of_four_and_more_parts_is_shown_in_quotes() {
    let Some(broker) = broker::required("a_name_of_four_and_more_parts_is_shown_in_quotes") else {
        return;
    };
    let id = broker::topic_name("srv").replace('-', "_");
    for topic in [format!("{id}.db.dbo.x"), format!("{id}.a.db.dbo.x")] {
        broker.create_topic(&topic, 1, &[]);
        for query in [
            format!("SELECT * FROM {topic}"),
            format!("INSERT INTO {topic} SELECT 'a' AS _key"),
            format!("DELETE FROM {topic} WHERE _key = 'a'"),
        ] {
            let error = failure(program().args(["-b", &broker.servers, "-c", &query]));
            let expected = format!(
                "in quotes, since it has characters other than letters, digits and `_`: \"{topic}\""
            );
            assert!(error.contains(&expected), "{query}: {error}");
        }
    }
    // The hint also appears when the topic does not exist and no broker is known.
    let no_topic = program()
        .args([
            "-b",
            &broker.servers,
            "-c",
            "SELECT * FROM no.such.topic.here",
        ])
        .output();
    let no_servers = program()
        .args(["-c", "SELECT * FROM no.such.topic.here"])
        .output();
    for output in [no_topic, no_servers] {
        let error = said(&output.unwrap());
        assert!(
            error.ends_with(
                "; write a topic's name that has dots in quotes: \"no.such.topic.here\"\n"
            ),
            "{error}"
        );
    }
}

/// Hints for a name that was not found concern the whole name.
#[test]
fn a_missing_name_may_have_dots() {
    let Some(broker) = broker::required("a_missing_name_may_have_dots") else {
        return;
    };
    let topic = broker::topic_name("my.orders").replace('-', ".");
    broker.create_topic(&topic, 1, &[]);
    let query = format!("SELECT * FROM \"{}\"", topic.replace("orders", "ordesr"));
    let error = failure(program().args(["-b", &broker.servers, "-c", &query]));
    let expected = format!("did you mean `{topic}`?");
    assert!(error.contains(&expected), "{query}: {error}");
    let query = format!("SELECT * FROM \"{topic}\"");
    let error =
        failure(program().args(["-b", &broker.servers, "--topics", "^other", "-c", &query]));
    let expected = format!("there is a topic `{topic}`, which --topics leaves out");
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn a_topic_that_is_left_out_is_said_to_be() {
    let Some(broker) = broker::required("a_topic_that_is_left_out_is_said_to_be") else {
        return;
    };
    let topic = people(broker);
    let query = format!("SELECT * FROM \"{topic}\"");
    let error =
        failure(program().args(["-b", &broker.servers, "--topics", "^other", "-c", &query]));
    let expected = format!("there is a topic `{topic}`, which --topics leaves out");
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn what_reads_no_topic_waits_for_no_broker() {
    let answer = printed(program().args([
        "-b",
        "127.0.0.1:1",
        "-X",
        "kafka.timeout=1s",
        "-q",
        "--format",
        "csv",
        "-c",
        "SELECT sum(value) AS total FROM generate_series(1, 3)",
        "SELECT 'information_schema.tables' AS text",
        "CREATE TABLE t AS SELECT 1 AS n",
        "SHOW COLUMNS FROM t",
    ]));
    assert_eq!(
        answer,
        "total\n6\ntext\ninformation_schema.tables\n\
         table_catalog,table_schema,table_name,column_name,data_type,is_nullable\n\
         datafusion,public,t,n,Int64,NO\n"
    );
}

/// A script that waits reports that early, on standard error.
#[test]
fn servers_that_are_waited_for_are_named_meanwhile() {
    let output = program()
        .env_remove("RUST_LOG")
        .args(["-b", "127.0.0.1:1", "-X", "kafka.timeout=4s"])
        .args(["-c", "SELECT * FROM orders"])
        .output()
        .unwrap();
    let said = said(&output);
    let mut lines = said.lines();
    let note = lines.next().unwrap();
    assert!(
        note.starts_with("note: waiting for Kafka at 127.0.0.1:1, up to 4s"),
        "{said}"
    );
    let error = lines.next().unwrap();
    assert!(
        error.starts_with("Error: cannot reach Kafka at 127.0.0.1:1 within 4s"),
        "{said}"
    );
    assert_eq!(lines.next(), None, "{said}");
}

#[test]
fn an_invalid_port_is_refused() {
    let error = failure(program().args(["-b", "localhost:99999", "-c", "SELECT 1"]));
    assert!(error.contains("the port of `localhost:99999`"), "{error}");
    let place = "SELECT * FROM 'kafka://localhost:99999/orders'";
    let error = failure(program().args(["-c", place]));
    assert!(error.contains("the port of `localhost:99999`"), "{error}");
}
