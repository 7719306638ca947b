//! Topics that are tables by their names, and logins.

use std::io::Write as _;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion_kafka::{KafkaConfig, KafkaTopics, SinkOptions, SourceOptions, register_kafka};

use crate::broker::{self, Broker, Rec, SASL_PASSWORD, SASL_USER, topic_name};
use crate::session::{cells, count, counted, error, rows, session, table, within};
use crate::writing::{child, create_table, record, records, says};

fn source(pattern: &str) -> KafkaTopics {
    KafkaTopics::new().with_source(pattern, SourceOptions::new())
}

fn creating() -> SinkOptions {
    SinkOptions::new().with_option("kafka.create_topic", "true")
}

#[tokio::test]
async fn one_pattern_serves_topics_with_different_columns() {
    let Some(broker) = broker::required("one_pattern_serves_topics") else {
        return;
    };
    let prefix = topic_name("join");
    let (orders, people) = (format!("{prefix}.orders"), format!("{prefix}.people"));
    broker.create_topic(&orders, 2, &[]);
    broker.create_topic(&people, 1, &[]);
    let order = |key: &str, amount: i32, person: &str| {
        Rec::new(
            key,
            format!(r#"{{"amount":{amount},"personId":"{person}"}}"#),
        )
    };
    broker.produce(
        &orders,
        &[order("1", 10, "a"), order("2", 5, "b"), order("3", 2, "a")],
    );
    broker.produce(
        &people,
        &[
            Rec::new("a", r#"{"name":"Ada"}"#),
            Rec::new("b", r#"{"name":"Bob"}"#),
        ],
    );
    let ctx = session(broker, source(&format!("^{prefix}")));
    let sql = format!(
        "SELECT p.name, sum(o.amount) FROM \"{orders}\" o JOIN \"{people}\" p ON o.personId = p._key \
         GROUP BY p.name ORDER BY 1"
    );
    assert_eq!(
        cells(&rows(&ctx, &sql).await),
        [["Ada", "12"], ["Bob", "5"]]
    );
}

#[tokio::test]
async fn a_name_that_matches_two_patterns_is_refused_and_both_are_named() {
    let Some(broker) = broker::required("a_name_that_matches_two_patterns") else {
        return;
    };
    let topics = source("^ord")
        .with_source("ers$", SourceOptions::new())
        .with_sink("^out", SinkOptions::new())
        .with_sink("put$", SinkOptions::new());
    let ctx = session(broker, topics);
    let why = error(&ctx, "SELECT * FROM orders").await;
    says(&why, &["`orders`", "source", "`^ord`", "`ers$`"]);
    let why = error(&ctx, "INSERT INTO output SELECT 'a' AS _key").await;
    says(&why, &["`output`", "sink", "`^out`", "`put$`"]);
    let why = error(&ctx, "SELECT * FROM customers").await;
    says(&why, &["customers", "not found"]);
}

#[tokio::test]
async fn a_pattern_must_be_a_regular_expression_with_valid_options() {
    let refused = |topics| {
        let config = KafkaConfig::new().with_topics(topics);
        register_kafka(&SessionContext::new(), config)
            .unwrap_err()
            .to_string()
    };
    says(&refused(source("(")), &["`(`", "regular expression"]);
    says(
        &refused(source("*.orders")),
        &["`*.orders`", "regular expression"],
    );
    let wrong = SinkOptions::new().with_option("kafka.json.null", "omit");
    says(
        &refused(KafkaTopics::new().with_sink("*", wrong)),
        &["`kafka.json.nulls`"],
    );
}

#[tokio::test]
async fn a_star_is_every_topic() {
    let Some(broker) = broker::required("a_star_is_every_topic") else {
        return;
    };
    let topic = broker.new_topic("star", 1, &[]);
    let ctx = session(broker, source("*").with_sink("*", SinkOptions::new()));
    let insert = format!("INSERT INTO \"{topic}\" SELECT 'a' AS _key, 1 AS v");
    assert_eq!(count(&ctx, &insert).await, 1);
    let found = rows(&ctx, &format!("SELECT * FROM \"{topic}\"")).await;
    assert_eq!(cells(&found), [["a", "1"]]);
    let missing = topic_name("missing");
    let why = error(&ctx, &format!("SELECT * FROM \"{missing}\"")).await;
    says(&why, &[&missing]);
}

#[tokio::test]
async fn a_source_is_not_written_and_a_sink_is_not_read() {
    let Some(broker) = broker::required("a_source_is_not_written") else {
        return;
    };
    let topic = broker.new_topic("oneway", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"v":1}"#)]);
    let ctx = session(broker, source("^oneway"));
    let why = error(&ctx, &format!("INSERT INTO \"{topic}\" VALUES ('b', 2)")).await;
    says(&why, &[&topic, "source pattern", "add a sink pattern"]);

    let ctx = session(
        broker,
        KafkaTopics::new().with_sink("^oneway", SinkOptions::new()),
    );
    let why = error(&ctx, &format!("SELECT * FROM \"{topic}\"")).await;
    says(&why, &[&topic, "sink pattern", "add a source pattern"]);
    assert_eq!(records(broker, &topic), [record("a", r#"{"v":1}"#)]);
}

#[tokio::test]
async fn source_and_sink_of_one_name_have_their_own_settings() {
    let Some(broker) = broker::required("source_and_sink_of_one_name") else {
        return;
    };
    let topic = broker.new_topic("both", 1, &[]);
    broker.produce(&topic, &[Rec::new("\"a\"", r#"{"v":1,"w":2}"#)]);
    let sink = SinkOptions::new()
        .with_option("kafka.json.nulls", "omit")
        .with_option("kafka.key.format", "json");
    let ctx = session(broker, source("^both").with_sink("^both", sink));
    let insert = format!("INSERT INTO \"{topic}\" (_key, w) VALUES ('b', 3)");
    assert_eq!(count(&ctx, &insert).await, 1);
    assert_eq!(
        records(broker, &topic),
        [
            record("\"a\"", r#"{"v":1,"w":2}"#),
            record("\"b\"", r#"{"w":3}"#)
        ]
    );
    let found = rows(
        &ctx,
        &format!("SELECT _key, v, w FROM \"{topic}\" ORDER BY _key"),
    )
    .await;
    assert_eq!(cells(&found), [["\"a\"", "1", "2"], ["\"b\"", "NULL", "3"]]);
}

#[tokio::test]
async fn declared_columns_of_a_sink_serve_plain_sql() {
    let Some(broker) = broker::required("declared_columns_of_a_sink") else {
        return;
    };
    let topic = topic_name("declared");
    let schema = Schema::new(vec![
        Field::new("_key", DataType::Utf8, false),
        Field::new("v", DataType::Int32, true),
    ]);
    let ctx = session(
        broker,
        KafkaTopics::new().with_sink("^declared", creating().with_schema(schema)),
    );
    let insert = format!("INSERT INTO \"{topic}\" (v, _key) VALUES (1, 'a')");
    let written = within(&insert, async { ctx.sql(&insert).await?.collect().await }).await;
    written.unwrap();
    assert_eq!(records(broker, &topic), [record("a", r#"{"v":1}"#)]);
}

#[tokio::test]
async fn an_undeclared_sink_takes_the_columns_of_the_query() {
    let Some(broker) = broker::required("an_undeclared_sink_takes") else {
        return;
    };
    let ctx = session(
        broker,
        KafkaTopics::new().with_sink("^undeclared", creating()),
    );
    let missing = topic_name("undeclared");
    let empty = broker.new_topic("undeclared", 1, &[]);
    let filled = broker.new_topic("undeclared", 1, &[]);
    broker.produce(&filled, &[Rec::new("z", r#"{"other":true}"#)]);
    for topic in [&missing, &empty, &filled] {
        let insert = format!("INSERT INTO \"{topic}\" SELECT 'a' AS _key, 1 AS camelCase");
        let plain = async { ctx.sql(&insert).await?.collect().await };
        if topic != &filled {
            let why = within(&insert, plain).await.unwrap_err().to_string();
            says(
                &why,
                &[
                    topic.as_str(),
                    "`datafusion_kafka::sql`",
                    "`SinkOptions::with_schema`",
                ],
            );
        }
        assert_eq!(count(&ctx, &insert).await, 1);
        let last = records(broker, topic).pop().unwrap();
        assert_eq!(last, record("a", r#"{"camelCase":1}"#));
    }
    let why = error(&ctx, &format!("INSERT INTO \"{empty}\" SELECT 1 AS v")).await;
    says(&why, &[&empty, "`_key`"]);
    let why = error(
        &ctx,
        &format!("INSERT INTO \"{empty}\" (_key, v) SELECT 'a'"),
    )
    .await;
    says(&why, &["2 columns", "1"]);
    assert_eq!(records(broker, &empty).len(), 1);
}

#[tokio::test]
async fn the_columns_of_a_query_hold_the_values_of_all_its_parts() {
    let Some(broker) = broker::required("the_columns_of_a_query") else {
        return;
    };
    let topic = topic_name("parts");
    let ctx = session(broker, KafkaTopics::new().with_sink("^parts", creating()));
    let insert =
        format!("INSERT INTO \"{topic}\" SELECT 'a' AS _key, 1 AS v UNION ALL SELECT 'b', 2.5");
    assert_eq!(count(&ctx, &insert).await, 2);
    let mut written = records(broker, &topic);
    written.sort();
    assert_eq!(
        written,
        [record("a", r#"{"v":1.0}"#), record("b", r#"{"v":2.5}"#)]
    );
}

#[tokio::test]
async fn a_parameter_makes_a_column_only_where_its_type_is_known() {
    let Some(broker) = broker::required("a_parameter_makes_a_column") else {
        return;
    };
    let topic = topic_name("parameter");
    let ctx = session(
        broker,
        KafkaTopics::new().with_sink("^parameter", creating()),
    );
    let values = || vec![ScalarValue::from("k"), ScalarValue::from(4_i32)];
    for statement in [
        format!("INSERT INTO \"{topic}\" SELECT $1 AS _key, $2 AS v"),
        format!("COPY (SELECT $1 AS _key, $2 AS v) TO '{topic}' STORED AS KAFKA"),
    ] {
        let typed = statement
            .replace("$1", "CAST($1 AS VARCHAR)")
            .replace("$2", "CAST($2 AS INT)");
        let typed = datafusion_kafka::sql(&ctx, &typed).await.unwrap();
        let typed = typed.with_param_values(values()).unwrap();
        assert_eq!(counted(&typed.collect().await.unwrap()), 1);
        for untyped in [statement.clone(), statement.replace("$1", "'k'")] {
            let error = datafusion_kafka::sql(&ctx, &untyped).await.unwrap_err();
            says(&error.to_string(), &["parameter", "CAST($1 AS"]);
        }
    }
    let expected = record("k", r#"{"v":4}"#);
    assert_eq!(records(broker, &topic), [expected.clone(), expected]);
}

#[tokio::test]
async fn a_table_may_have_a_name_that_a_pattern_matches() {
    let Some(broker) = broker::required("a_table_may_have_a_name") else {
        return;
    };
    let ctx = session(broker, source("*").with_sink("*", SinkOptions::new()));
    let topic = broker.new_topic("named", 1, &[]);
    for name in [topic.as_str(), "people", "People"] {
        rows(
            &ctx,
            &create_table(name, "_key VARCHAR, v INT", &topic, &[]),
        )
        .await;
        let insert = format!("INSERT INTO \"{name}\" VALUES ('a', 1)");
        assert_eq!(count(&ctx, &insert).await, 1);
        let found = rows(&ctx, &format!("SELECT v FROM \"{name}\"")).await;
        assert_eq!(cells(&found), [["1"]]);
        rows(&ctx, &format!("DROP TABLE \"{name}\"")).await;
    }
    let qualified = create_table("x", "_key VARCHAR, v INT", &topic, &[])
        .replace("\"x\"", &format!("public.\"{topic}\""));
    rows(&ctx, &qualified).await;
}

#[tokio::test]
async fn what_reads_no_topic_waits_for_no_broker() {
    let ctx = SessionContext::new();
    let config = KafkaConfig::new()
        .with_option("kafka.bootstrap.servers", "127.0.0.1:1")
        .with_option("kafka.timeout", "1s")
        .with_topics(source("*"));
    register_kafka(&ctx, config).unwrap();
    let made = "CREATE TABLE made AS SELECT * FROM generate_series(1, 3)";
    rows(&ctx, made).await;
    let sql = "SELECT count(*) FROM made JOIN range(2, 9) AS r ON made.value = r.value";
    assert_eq!(cells(&rows(&ctx, sql).await), [["2"]]);
    let why = error(&ctx, "SELECT * FROM range").await;
    says(&why, &["cannot reach Kafka at 127.0.0.1:1"]);
}

// Logins.

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Writes a row and reads it with these options.
async fn written_and_read(broker: &Broker, options: &[(&str, &str)]) {
    let topic = broker.new_topic("login", 1, &[]);
    let ctx = SessionContext::new();
    register_kafka(&ctx, KafkaConfig::new().allow_references_in_sql(true)).unwrap();
    rows(
        &ctx,
        &create_table("t", "_key VARCHAR, v INT", &topic, options),
    )
    .await;
    assert_eq!(count(&ctx, "INSERT INTO t VALUES ('a', 1)").await, 1);
    assert_eq!(records(broker, &topic), [record("a", r#"{"v":1}"#)]);
    assert_eq!(cells(&rows(&ctx, "SELECT * FROM t").await), [["a", "1"]]);
}

#[tokio::test]
async fn a_properties_file_logs_in() {
    let Some(broker) = broker::required("a_properties_file_logs_in") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let librdkafka = file(&format!(
        "# a comment\nbootstrap.servers={servers}\nsecurity.protocol=sasl_plaintext\n\
         sasl.mechanisms=PLAIN\nsasl.username={SASL_USER}\nsasl.password={SASL_PASSWORD}\n"
    ));
    let java = file(&format!(
        "bootstrap.servers = {servers}\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n\
         key.serializer=org.apache.kafka.common.serialization.StringSerializer\nacks=1\n\
         sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n  \
         username=\"{SASL_USER}\" password=\"{SASL_PASSWORD}\";\n"
    ));
    for file in [librdkafka, java] {
        let path = file.path().to_str().unwrap();
        written_and_read(broker, &[("kafka.properties.file", path)]).await;
    }
}

fn login<'a>(servers: &'a str, password: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("kafka.bootstrap.servers", servers),
        ("kafka.client.security.protocol", "SASL_PLAINTEXT"),
        ("kafka.client.sasl.mechanism", "PLAIN"),
        ("kafka.client.sasl.username", SASL_USER),
        ("kafka.client.sasl.password", password),
    ]
}

#[tokio::test]
async fn a_password_may_stand_in_a_file() {
    let Some(broker) = broker::required("a_password_may_stand_in_a_file") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let file = file(&format!("{SASL_PASSWORD}\n"));
    let reference = format!("${{file:{}}}", file.path().display());
    written_and_read(broker, &login(servers, &reference)).await;
}

#[tokio::test]
async fn a_password_may_stand_in_the_environment() {
    let Some(broker) = broker::required("a_password_may_stand_in_the_environment") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    // A process may change its environment only while it has a single thread.
    let environment = [
        ("KAFKA_BOOTSTRAP_SERVERS", broker.servers.as_str()),
        ("TEST_SASL_SERVERS", servers),
        ("TEST_SASL_PASSWORD", SASL_PASSWORD),
    ];
    let test = "patterns::child_logs_in";
    within(test, child(test, &environment)).await;
}

#[tokio::test]
#[ignore = "run by `a_password_may_stand_in_the_environment`"]
async fn child_logs_in() {
    let broker = broker::required("child_logs_in").unwrap();
    let servers = std::env::var("TEST_SASL_SERVERS").unwrap();
    let options = login(&servers, "${env:TEST_SASL_PASSWORD}");
    written_and_read(broker, &options).await;
}

#[tokio::test]
async fn a_refused_login_is_not_waited_for() {
    let Some(broker) = broker::required("a_refused_login_is_not_waited_for") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let topic = broker.new_topic("login", 1, &[]);
    let ctx = SessionContext::new();
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    // The timeout is longer than a test may take, and the error must be found among many log lines.
    let mut options = vec![("kafka.timeout", "10m"), ("kafka.client.debug", "all")];
    options.extend(login(servers, "guessed"));
    rows(&ctx, &create_table("t", "_key VARCHAR", &topic, &options)).await;
    for statement in ["SELECT * FROM t", "INSERT INTO t VALUES ('a')"] {
        let why = error(&ctx, statement).await;
        says(&why, &[servers, "Authentication failed"]);
    }
}

#[tokio::test]
async fn a_quoted_column_list_names_the_properties_without_the_quotes() {
    let Some(broker) = broker::required("a_quoted_column_list") else {
        return;
    };
    let out = topic_name("quoted");
    let ctx = session(broker, KafkaTopics::new().with_sink("^quoted", creating()));
    let insert = format!("INSERT INTO \"{out}\" (\"_key\", \"first name\") VALUES ('a', 'Ada')");
    let plan = table(&ctx, &format!("EXPLAIN {insert}")).await;
    says(&plan, &[&out, "KafkaSink", "columns=[_key, first name]"]);
    assert_eq!(count(&ctx, &insert).await, 1);
    let expected = [record("a", r#"{"first name":"Ada"}"#)];
    assert_eq!(records(broker, &out), expected);
}

#[tokio::test]
async fn set_applies_to_topics_that_were_used_before() {
    let Some(broker) = broker::required("set_applies_to_topics") else {
        return;
    };
    let topic = broker.new_topic("set", 1, &[]);
    let versions = [1, 2, 3].map(|v| Rec::new("a", format!(r#"{{"v":{v}}}"#)));
    broker.produce(&topic, &versions);
    let ctx = session(broker, source("^set"));
    let rows_in = format!("SELECT count(*) FROM \"{topic}\"");
    for (mode, expected) in [("upsert", 1), ("append", 3), ("upsert", 1)] {
        rows(&ctx, &format!("SET kafka.mode = '{mode}'")).await;
        assert_eq!(count(&ctx, &rows_in).await, expected, "{mode}");
    }
    // Columns do not depend on where reading starts, and a setting can be reset.
    rows(&ctx, "SET kafka.start = 'latest'").await;
    assert_eq!(count(&ctx, &rows_in).await, 0);
    rows(&ctx, "SET kafka.start = ''").await;
    assert_eq!(count(&ctx, &rows_in).await, 1);
}

#[tokio::test]
async fn literals_do_not_make_the_columns_of_a_new_topic_not_null() {
    let Some(broker) = broker::required("literals_do_not_make") else {
        return;
    };
    let out = topic_name("literals");
    let ctx = session(
        broker,
        KafkaTopics::new().with_sink("^literals", creating()),
    );
    rows(&ctx, "SET kafka.mode = 'append'").await;
    let insert = format!("INSERT INTO \"{out}\" SELECT 'a' AS _key, true AS _tombstone, 'x' AS v");
    assert_eq!(count(&ctx, &insert).await, 1);
    rows(&ctx, "SET kafka.mode = ''").await;
    let no_key = format!("INSERT INTO \"{out}\" SELECT NULL AS _key, 1 AS n");
    let why = error(&ctx, &no_key).await;
    says(&why, &["`_key` is NULL, and every record needs a key"]);
}
