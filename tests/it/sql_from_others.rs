//! A service that runs the SQL of its users: what that SQL can access, and what it cannot.

use std::io::{ErrorKind, Write as _};
use std::net::TcpListener;

use datafusion::prelude::SessionContext;
use datafusion_kafka::{
    EmbeddedKafka, KafkaConfig, KafkaDataFrame as _, KafkaTopics, Options, SourceOptions,
    register_kafka,
};
use tempfile::NamedTempFile;

use crate::broker::{self, Rec, SASL_PASSWORD, SASL_USER};
use crate::session::{cells, count, error, rows};
use crate::writing::create_table;

const REFUSED: &str = "the program can allow that with \
                       `KafkaConfig::allow_references_in_sql(true)`";

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn session(config: KafkaConfig) -> SessionContext {
    let ctx = SessionContext::new();
    register_kafka(&ctx, config).unwrap();
    ctx
}

/// All ways in which a statement can give an option.
fn statements(servers: &str, key: &str, value: &str) -> Vec<String> {
    let options = [(key, value)];
    let location = format!("kafka://{servers}/t");
    let mut statements = vec![
        create_table("t", "_key VARCHAR", &location, &options),
        create_table("t", "", &location, &options),
        format!(
            "COPY (SELECT 'a' AS _key) TO '{location}' STORED AS KAFKA OPTIONS ('{key}' '{value}')"
        ),
        format!(
            "EXPLAIN COPY (SELECT 'a' AS _key) TO '{location}' STORED AS KAFKA OPTIONS ('{key}' '{value}')"
        ),
    ];
    if key != "kafka.client.sasl.password" {
        statements.push(format!("SET {key} = '{value}'"));
    }
    statements
}

#[tokio::test]
async fn statements_refer_to_nothing_of_the_program() {
    let kafka = EmbeddedKafka::start().unwrap();
    kafka.create_topic("t", 1).unwrap();
    let servers = kafka.bootstrap_servers();
    let secret = file("hunter2");
    let of_file = format!("${{file:{}}}", secret.path().display());
    let path = secret.path().to_str().unwrap();
    let ctx = session(KafkaConfig::new());
    for (key, value) in [
        ("kafka.client.client.id", "${env:PATH}"),
        ("kafka.client.client.id", &of_file),
        ("kafka.client.sasl.password", &of_file),
        ("kafka.group.id", "${env:PATH}"),
        ("kafka.properties.file", path),
        ("kafka.client.ssl.ca.location", path),
        ("kafka.consumer.ssl.key.location", path),
        ("kafka.client.sasl.oauthbearer.assertion.file", path),
    ] {
        for sql in statements(&servers, key, value) {
            let why = error(&ctx, &sql).await;
            assert!(why.contains(&format!("option `{key}`: ")), "{sql}: {why}");
            assert!(why.ends_with(REFUSED), "{sql}: {why}");
            if sql.starts_with("EXPLAIN") {
                continue;
            }
            // Planned by DataFusion alone.
            let plan = ctx.sql(&sql).await;
            let why = match plan {
                Ok(frame) => frame.collect().await.unwrap_err(),
                Err(error) => error,
            };
            assert!(why.to_string().contains(REFUSED), "{sql}: {why}");
        }
    }
    // The owner of the service can allow references.
    let allowed = session(KafkaConfig::new().allow_references_in_sql(true));
    for sql in statements(&servers, "kafka.client.client.id", &of_file) {
        if !sql.contains("STORED AS KAFKA LOCATION 'kafka://") || sql.contains("_key VARCHAR") {
            rows(&allowed, &sql).await;
        }
    }
    let frame = ctx.sql("SELECT 'b' AS _key").await.unwrap();
    let options = Options::new().with_option("kafka.client.client.id", &of_file);
    let place = format!("kafka://{servers}/t");
    assert_eq!(frame.write_kafka(&place, options).await.unwrap().upserts, 1);
}

#[tokio::test]
async fn no_statement_brings_code_in() {
    let made = NamedTempFile::new().unwrap().into_temp_path();
    let path = made.to_str().unwrap().to_owned();
    made.close().unwrap();
    for allowed in [false, true] {
        let ctx = session(KafkaConfig::new().allow_references_in_sql(allowed));
        for (key, value) in [
            ("sasl.kerberos.kinit.cmd", format!("touch {path}")),
            ("sasl.kerberos.principal", format!("x; touch {path}")),
            ("ssl.engine.location", path.clone()),
            ("ssl.providers", path.clone()),
            ("plugin.library.paths", path.clone()),
            // librdkafka would create this path.
            ("offset.store.path", path.clone()),
        ] {
            let key = format!("kafka.client.{key}");
            for sql in statements("127.0.0.1:1", &key, &value) {
                let why = error(&ctx, &sql).await;
                assert!(why.contains(&format!("option `{key}`: ")), "{sql}: {why}");
                assert!(!why.contains("cannot reach"), "{sql}: {why}");
            }
        }
    }
    assert!(!std::fs::exists(&path).unwrap());
}

/// The program's login, with references, in each place where options can be set.
#[tokio::test]
async fn the_program_logs_in_for_the_statements_of_others() {
    let Some(broker) = broker::required("the_program_logs_in_for_the_statements_of_others") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let topic = broker.new_topic("service", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"v":1}"#)]);
    let secret = file(SASL_PASSWORD);
    let password = format!("${{file:{}}}", secret.path().display());
    let properties = file(&format!(
        "bootstrap.servers={servers}\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n\
         sasl.username={SASL_USER}\nsasl.password={SASL_PASSWORD}\n"
    ));
    let login = [
        ("kafka.bootstrap.servers", servers.as_str()),
        ("kafka.client.security.protocol", "SASL_PLAINTEXT"),
        ("kafka.client.sasl.mechanism", "PLAIN"),
        ("kafka.client.sasl.username", SASL_USER),
        ("kafka.client.sasl.password", &password),
    ];
    let mut in_code = KafkaConfig::new();
    let mut pattern = SourceOptions::new();
    for (key, value) in login {
        in_code = in_code.with_option(key, value);
        pattern = pattern.with_option(key, value);
    }
    let in_file = [("kafka.properties.file", properties.path().to_str().unwrap())];
    let in_file = KafkaConfig::new().with_option(in_file[0].0, in_file[0].1);
    let of_servers = format!("kafka://{servers}/{topic}");
    for (config, location) in [
        (&in_code, &topic),
        (&in_code, &of_servers),
        (&in_file, &topic),
        (&in_file, &of_servers),
    ] {
        let ctx = session(config.clone());
        rows(&ctx, &create_table("t", "", location, &[])).await;
        assert_eq!(
            cells(&rows(&ctx, "SELECT _key, v FROM t").await),
            [["a", "1"]]
        );
        let copy = format!("COPY (SELECT 'a' AS _key, 1 AS v) TO '{location}' STORED AS KAFKA");
        assert_eq!(count(&ctx, &copy).await, 1);
        rows(&ctx, "SET kafka.timeout = '20s'").await;
        let log = format!("SELECT DISTINCT v FROM kafka_log('{topic}')");
        assert_eq!(cells(&rows(&ctx, &log).await), [["1"]]);
    }
    let topics = KafkaTopics::new().with_source("^service", pattern);
    let ctx = session(KafkaConfig::new().with_topics(topics));
    let select = format!("SELECT v FROM \"{topic}\"");
    assert_eq!(cells(&rows(&ctx, &select).await), [["1"]]);
}

#[tokio::test]
async fn a_login_of_the_program_is_not_sent_to_where_a_statement_says() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let elsewhere = listener.local_addr().unwrap();
    let login = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=me\n\
                 sasl.password=hunter2\n";
    let in_file = file(&format!("bootstrap.servers=127.0.0.1:1\n{login}"));
    let in_file = KafkaConfig::new()
        .with_option("kafka.properties.file", in_file.path().to_str().unwrap())
        .with_option("kafka.timeout", "1s");
    let mut in_code = KafkaConfig::new().with_option("kafka.bootstrap.servers", "127.0.0.1:1");
    for line in login.lines() {
        let (name, value) = line.split_once('=').unwrap();
        in_code = in_code.with_option(format!("kafka.client.{name}"), value);
    }
    let location = format!("kafka://{elsewhere}/t");
    let servers = elsewhere.to_string();
    for config in [in_file, in_code.with_option("kafka.timeout", "1s")] {
        let ctx = session(config);
        for sql in [
            create_table("t", "", &location, &[]),
            create_table("t", "", "t", &[("kafka.bootstrap.servers", &servers)]),
            create_table(
                "t",
                "",
                "t",
                &[("kafka.client.metadata.broker.list", &servers)],
            ),
            format!("COPY (SELECT 'a' AS _key) TO '{location}' STORED AS KAFKA"),
        ] {
            let why = error(&ctx, &sql).await;
            assert!(
                why.contains("(`sasl.password`) is not sent"),
                "{sql}: {why}"
            );
            assert!(!why.contains("hunter2"), "{why}");
        }
        let accepted = listener.accept().unwrap_err();
        assert_eq!(accepted.kind(), ErrorKind::WouldBlock);
        // A login of the statement's own, which is the way on that the message names.
        let own = [
            ("kafka.client.sasl.username", "you"),
            ("kafka.client.sasl.password", "yours"),
        ];
        rows(&ctx, &create_table("t", "_key VARCHAR", &location, &own)).await;
    }
}

#[tokio::test]
async fn what_a_variable_holds_is_not_shown_as_servers() {
    let path = std::env::var("PATH").unwrap();
    let ctx = session(KafkaConfig::new().allow_references_in_sql(true));
    for sql in statements("127.0.0.1:1", "kafka.bootstrap.servers", "${env:PATH}") {
        let why = error(&ctx, &sql).await;
        assert!(!why.contains(&path), "{sql}: {why}");
    }
    let location = create_table("t", "", "kafka://${env:PATH}/t", &[]);
    let why = error(&ctx, &location).await;
    assert!(why.contains("is not looked up in servers"), "{why}");
}
