//! Correct and wrong passwords, and all texts that must not contain them.

use std::io::Write as _;
use std::sync::{Mutex, OnceLock};

use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_kafka::{
    KafkaConfig, KafkaTable, KafkaTopics, SinkOptions, SourceOptions, register_kafka,
};

use crate::broker::{self, Broker, Rec, SASL_PASSWORD, SASL_USER, topic_name};
use crate::session::{cells, try_rows};
use crate::writing::create_table;

/// A text that occurs nowhere else in the output of a program.
const WRONG: &str = "wr0ng-hunter2-pw";

/// All output that is searched for passwords.
#[derive(Default)]
struct Said(Vec<String>);

impl Said {
    fn add(&mut self, text: impl Into<String>) {
        self.0.push(text.into());
    }

    /// The rows of a statement, or both forms of its error.
    async fn statement(&mut self, ctx: &SessionContext, sql: &str) -> bool {
        let result = try_rows(ctx, sql).await;
        let good = result.is_ok();
        match result {
            Ok(rows) => self.add(format!("{rows:?} {:?}", cells(&rows))),
            Err(error) => self.error(&error),
        }
        good
    }

    /// The same for a statement that DataFusion's own planner plans.
    async fn plain_statement(&mut self, ctx: &SessionContext, sql: &str) {
        let result = async { ctx.sql(sql).await?.collect().await };
        match result.await {
            Ok(rows) => self.add(format!("{rows:?} {:?}", cells(&rows))),
            Err(error) => self.error(&error),
        }
    }

    fn error(&mut self, error: &dyn std::error::Error) {
        self.add(format!("{error} {error:?} {error:#?}"));
        let mut source = error.source();
        while let Some(error) = source {
            self.add(format!("{error} {error:?}"));
            source = error.source();
        }
    }

    /// Everything that can be queried about a table and about the session.
    async fn everything_about(&mut self, ctx: &SessionContext, table: &str) {
        for sql in [
            "EXPLAIN SELECT * FROM $t WHERE v > 0",
            "EXPLAIN VERBOSE SELECT * FROM $t WHERE v > 0",
            "EXPLAIN ANALYZE SELECT * FROM $t",
            "EXPLAIN INSERT INTO $t VALUES ('a', 1)",
            "EXPLAIN VERBOSE INSERT INTO $t VALUES ('a', 1)",
            "EXPLAIN ANALYZE INSERT INTO $t VALUES ('a', 1)",
            "SELECT * FROM $t",
            "INSERT INTO $t VALUES ('b', 2)",
            "INSERT INTO $t VALUES (NULL, 2)",
            "DELETE FROM $t",
            "DESCRIBE $t",
            "SHOW CREATE TABLE $t",
            "SHOW ALL",
            "SHOW TABLES",
            "SELECT * FROM information_schema.df_settings",
            "SELECT * FROM information_schema.tables",
            "SELECT * FROM information_schema.views",
            "SELECT * FROM information_schema.columns",
        ] {
            self.statement(ctx, &sql.replace("$t", &format!("\"{table}\"")))
                .await;
        }
        if let Ok(provider) = ctx.table_provider(format!("\"{table}\"")).await {
            self.add(format!(
                "{provider:?} {:?}",
                provider.get_table_definition()
            ));
        }
        let query = format!("SELECT * FROM \"{table}\"");
        if let Ok(frame) = datafusion_kafka::sql(ctx, &query).await {
            self.add(format!("{frame:?} {:?}", frame.logical_plan()));
            if let Ok(plan) = frame.create_physical_plan().await {
                self.add(format!("{plan:?} {plan:#?}"));
            }
        }
        let state = ctx.state();
        self.add(format!("{:?} {:?}", state, state.config()));
        self.add(format!("{:?}", state.table_factories()));
        let catalog = ctx.catalog("datafusion").unwrap();
        self.add(format!("{:?}", catalog.schema("public").unwrap()));
    }

    #[track_caller]
    fn holds_no(&self, secret: &str) {
        for said in &self.0 {
            if let Some(at) = said.find(secret) {
                let start = said.floor_char_boundary(at.saturating_sub(300));
                panic!("a password is shown: ..{}", &said[start..at + secret.len()]);
            }
        }
        assert!(!self.0.is_empty());
    }
}

/// The program's log: the lines that contain a password, and the number of librdkafka's lines.
#[derive(Default)]
struct Log {
    leaks: Mutex<Vec<String>>,
    librdkafka: Mutex<usize>,
}

impl Log {
    fn collect() -> &'static Log {
        static LOG: OnceLock<Log> = OnceLock::new();
        let log = LOG.get_or_init(Log::default);
        if log::set_logger(log).is_ok() {
            log::set_max_level(log::LevelFilter::Trace);
        }
        log
    }

    #[track_caller]
    fn holds_no_password(&self) {
        let leaks = self.leaks.lock().unwrap();
        assert!(leaks.is_empty(), "{leaks:?}");
        assert!(
            *self.librdkafka.lock().unwrap() > 0,
            "librdkafka says nothing"
        );
    }
}

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // DataFusion's parser logs statements as they are given, including passwords.
        if record.target().starts_with("sqlparser") || record.target().starts_with("datafusion_sql")
        {
            return;
        }
        if record.target().contains("rdkafka") {
            *self.librdkafka.lock().unwrap() += 1;
        }
        let line = format!("{} {}", record.target(), record.args());
        if line.contains(WRONG) || line.contains(SASL_PASSWORD) {
            self.leaks.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}

fn information() -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_information_schema(true))
}

/// The topic has a record, so that queries have a result.
fn topic(broker: &Broker) -> String {
    let topic = broker.new_topic("secret", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"v":1}"#)]);
    topic
}

fn login<'a>(servers: &'a str, password: &'a str) -> [(&'a str, &'a str); 7] {
    [
        ("kafka.bootstrap.servers", servers),
        ("kafka.client.security.protocol", "SASL_PLAINTEXT"),
        ("kafka.client.sasl.mechanism", "PLAIN"),
        ("kafka.client.sasl.username", SASL_USER),
        ("kafka.client.sasl.password", password),
        ("kafka.client.debug", "all"),
        ("kafka.timeout", "5s"),
    ]
}

const COLUMNS: &str = "_key VARCHAR, v INT";

#[tokio::test]
async fn options_of_a_table_keep_their_password() {
    let Some(broker) = broker::required("options_of_a_table_keep_their_password") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let log = Log::collect();
    let topic = topic(broker);
    for (password, good) in [(SASL_PASSWORD, true), (WRONG, false)] {
        let mut said = Said::default();
        let ctx = information();
        register_kafka(&ctx, KafkaConfig::new()).unwrap();
        let login = login(servers, password);
        let created = said
            .statement(&ctx, &create_table("t", COLUMNS, &topic, &login))
            .await;
        assert!(created, "{:?}", said.0);
        assert_eq!(
            said.statement(&ctx, "SELECT * FROM t").await,
            good,
            "{:?}",
            said.0
        );
        said.everything_about(&ctx, "t").await;
        let inferred = said
            .statement(&ctx, &create_table("i", "", &topic, &login))
            .await;
        assert_eq!(inferred, good);
        let missing = topic_name("missing");
        said.statement(&ctx, &create_table("m", "", &missing, &login))
            .await;
        said.statement(&ctx, &create_table("m", COLUMNS, &missing, &login))
            .await;
        said.everything_about(&ctx, "m").await;
        said.holds_no(password);
    }
    log.holds_no_password();
}

/// If the crate is built with TLS, which SCRAM needs.
#[tokio::test]
async fn a_login_over_tls_keeps_its_password() {
    let Some(broker) = broker::required("a_login_over_tls_keeps_its_password") else {
        return;
    };
    let built = cfg!(any(feature = "ssl", feature = "ssl-vendored"));
    let Some(tls) = broker.tls.as_ref().filter(|_| built) else {
        return;
    };
    let topic = broker.new_topic("tls", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"v":1}"#)]);
    for (password, good) in [(SASL_PASSWORD, true), (WRONG, false)] {
        let table = KafkaTable::builder(&topic)
            .with_option("kafka.bootstrap.servers", &tls.servers)
            .with_option("kafka.client.security.protocol", "SASL_SSL")
            .with_option("kafka.client.sasl.mechanism", "SCRAM-SHA-512")
            .with_option("kafka.client.sasl.username", SASL_USER)
            .with_option("kafka.client.sasl.password", password)
            .with_option("kafka.client.ssl.ca.location", tls.ca.to_str().unwrap());
        match table.build().await {
            Ok(_) => assert!(good),
            Err(error) => {
                let error = error.to_string();
                assert!(!good && error.contains("cannot log in"), "{error}");
                assert!(!error.contains(WRONG), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn options_that_are_refused_keep_their_password() {
    let log = Log::collect();
    let mut said = Said::default();
    let ctx = information();
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    let jaas = format!("some.Module required username=\"a\" password=\"{WRONG}\"");
    let with_user = format!("alice:{WRONG}@127.0.0.1:1");
    for (key, value) in [
        ("kafka.client.sasl.passwort", WRONG),
        ("kafka.client.ssl.key.pem", WRONG),
        ("kafka.sasl.password", WRONG),
        ("sasl.password", WRONG),
        ("password", WRONG),
        ("kafka.client.sasl.jaas.config", &jaas),
        ("kafka.client.sasl.oauthbearer.config", WRONG),
        ("kafka.consumer.sasl.password", WRONG),
        ("kafka.bootstrap.servers", &with_user),
        ("kafka.client.bootstrap.servers", &with_user),
        ("kafka.client.ssl.ca.pem", WRONG),
    ] {
        let options = [("kafka.timeout", "1ms"), (key, value)];
        let create = create_table("t", COLUMNS, "kafka://127.0.0.1:1/topic", &options);
        if said.statement(&ctx, &create).await {
            said.everything_about(&ctx, "t").await;
            said.statement(&ctx, "DROP TABLE t").await;
        }
        let table = KafkaTable::builder("t")
            .with_option("kafka.bootstrap.servers", "127.0.0.1:1")
            .with_option(key, value);
        said.add(format!("{table:?}"));
        match table
            .with_schema(arrow::datatypes::Schema::empty())
            .build()
            .await
        {
            Ok(table) => said.add(format!("{table:?}")),
            Err(error) => said.error(&error),
        }
        let config = KafkaConfig::new().with_option(key, value);
        said.add(format!("{config:?}"));
        if let Err(error) = register_kafka(&information(), config) {
            said.error(&error);
        }
    }
    // A reference to a variable that does not exist, next to a password.
    let half = format!("{WRONG}${{env:NO_SUCH_VARIABLE}}");
    let options = [("kafka.client.sasl.password", half.as_str())];
    assert!(
        !said
            .statement(&ctx, &create_table("t", COLUMNS, "t", &options))
            .await
    );
    said.holds_no(WRONG);
    log.holds_no_password();
}

#[tokio::test]
async fn a_session_takes_no_password() {
    let mut said = Said::default();
    let ctx = information();
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    for key in [
        "kafka.client.sasl.password",
        "kafka.sasl.password",
        "kafka.consumer.ssl.key.pem",
        "kafka.password",
    ] {
        assert!(
            !said
                .statement(&ctx, &format!("SET {key} = '{WRONG}'"))
                .await
        );
    }
    let servers = format!("SET kafka.bootstrap.servers = 'alice:{WRONG}@127.0.0.1:1'");
    assert!(!said.statement(&ctx, &servers).await);
    said.statement(&ctx, "SHOW ALL").await;
    said.statement(&ctx, "SELECT * FROM information_schema.df_settings")
        .await;
    said.add(format!("{:?}", ctx.state().config_options()));
    said.holds_no(WRONG);
}

#[tokio::test]
async fn a_location_with_a_password_is_refused_and_not_repeated() {
    let mut said = Said::default();
    let ctx = information();
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    for location in [
        format!("kafka://alice:{WRONG}@127.0.0.1:1/t"),
        format!("KAFKA://alice:{WRONG}@127.0.0.1:1/t"),
        format!("alice:{WRONG}@127.0.0.1:1/t"),
        format!("kafka://127.0.0.1:1/t?sasl.password={WRONG}"),
        format!("sasl://alice:{WRONG}@127.0.0.1:1/t"),
    ] {
        assert!(
            !said
                .statement(&ctx, &create_table("t", COLUMNS, &location, &[]))
                .await
        );
    }
    said.holds_no(WRONG);
}

#[tokio::test]
async fn a_copy_keeps_its_password() {
    let Some(broker) = broker::required("a_copy_keeps_its_password") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let log = Log::collect();
    let topic = topic(broker);
    let location = format!("kafka://{servers}/{topic}");
    for (password, good) in [(SASL_PASSWORD, true), (WRONG, false)] {
        let mut said = Said::default();
        let ctx = information();
        register_kafka(&ctx, KafkaConfig::new()).unwrap();
        let options = login(servers, password).map(|(key, value)| format!("'{key}' '{value}'"));
        let options = options.join(", ");
        let login = format!("alice:{password}@{servers}");
        let copy = |query: &str, location: &str, format: &str, more: &str| {
            format!("COPY ({query}) TO '{location}'{format} OPTIONS ({options}{more})")
        };
        let (query, kafka) = ("SELECT 'a' AS _key, 1 AS v", " STORED AS KAFKA");
        let works = copy(query, &location, kafka, "");
        assert_eq!(said.statement(&ctx, &works).await, good, "{:?}", said.0);
        for statement in [
            works,
            copy(query, &location, "", ""),
            copy(query, &location, " STORED AS CSV", ""),
            copy(query, &format!("{location}.json"), "", ""),
            copy(query, &format!("kafka://{login}/{topic}"), kafka, ""),
            copy(query, &format!("{login}/{topic}"), kafka, ""),
            copy(query, &location, kafka, ", 'kafka.mod' 'append'"),
            copy("SELECT 1 AS v", &location, kafka, ""),
            copy(
                "SELECT NULL AS _key UNION SELECT NULL",
                &location,
                kafka,
                "",
            ),
            copy(query, &location, &format!("{kafka} PARTITIONED BY (v)"), ""),
        ] {
            for explain in ["", "EXPLAIN ", "EXPLAIN VERBOSE ", "EXPLAIN ANALYZE "] {
                let statement = format!("{explain}{statement}");
                said.statement(&ctx, &statement).await;
                said.plain_statement(&ctx, &statement).await;
            }
            if let Ok(frame) = datafusion_kafka::sql(&ctx, &statement).await
                && !statement.contains("CSV")
            {
                said.add(format!("{frame:?} {:?}", frame.logical_plan()));
                if let Ok(plan) = frame.create_physical_plan().await {
                    said.add(format!("{plan:?} {plan:#?}"));
                }
            }
        }
        said.add(format!("{:?}", ctx.state()));
        said.holds_no(password);
    }
    log.holds_no_password();
}

#[tokio::test]
async fn patterns_and_the_session_keep_their_password() {
    let Some(broker) = broker::required("patterns_and_the_session_keep") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let log = Log::collect();
    let topic = topic(broker);
    for (password, good) in [(SASL_PASSWORD, true), (WRONG, false)] {
        let mut said = Said::default();
        let mut source = SourceOptions::new();
        let mut sink = SinkOptions::new();
        let mut whole = KafkaConfig::new();
        for (key, value) in login(servers, password) {
            source = source.with_option(key, value);
            sink = sink.with_option(key, value);
            whole = whole.with_option(key, value);
        }
        let topics = KafkaTopics::new()
            .with_source("^secret", source)
            .with_sink("^secret", sink);
        let all = KafkaTopics::new().with_source("*", SourceOptions::new());
        for config in [
            KafkaConfig::new().with_topics(topics),
            whole.with_topics(all),
        ] {
            said.add(format!("{config:?} {config:#?}"));
            let ctx = information();
            register_kafka(&ctx, config).unwrap();
            let select = format!("SELECT * FROM \"{topic}\"");
            assert_eq!(said.statement(&ctx, &select).await, good, "{:?}", said.0);
            said.everything_about(&ctx, &topic).await;
        }
        said.holds_no(password);
    }
    log.holds_no_password();
}

#[tokio::test]
async fn a_properties_file_keeps_its_password() {
    let Some(broker) = broker::required("a_properties_file_keeps_its_password") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let log = Log::collect();
    let topic = topic(broker);
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    for (password, good) in [(SASL_PASSWORD, true), (WRONG, false)] {
        let start = format!("bootstrap.servers={servers}\nsecurity.protocol=SASL_PLAINTEXT\n");
        let plain = format!("sasl.mechanism=PLAIN\nsasl.username={SASL_USER}\n");
        let jaas = format!("sasl.mechanism=PLAIN\nsasl.jaas.config={module}");
        for (text, good) in [
            (format!("{start}{plain}sasl.password={password}\n"), good),
            (
                format!("{start}{jaas} username=\"{SASL_USER}\" password=\"{password}\";\n"),
                good,
            ),
            // Errors in such a file.
            (
                format!("{start}{jaas} username=\"{SASL_USER}\" password=\"{password};\n"),
                false,
            ),
            (format!("{start}{jaas} \\\n\n {password}\n"), false),
            (format!("{start}{plain}sasl.pasword={password}\n"), false),
            (format!("{start}{plain}sasl.password=\n{password}\n"), false),
            (format!("{start}{plain}{password}\n"), false),
            (
                format!("{start}{plain}sasl.password={password}\\uZZZZ\n"),
                false,
            ),
        ] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let path = file.path().to_str().unwrap();
            let mut said = Said::default();
            let ctx = information();
            register_kafka(&ctx, KafkaConfig::new().allow_references_in_sql(true)).unwrap();
            let options = [("kafka.properties.file", path), ("kafka.timeout", "5s")];
            let created = said
                .statement(&ctx, &create_table("t", COLUMNS, &topic, &options))
                .await;
            let works = created && said.statement(&ctx, "SELECT * FROM t").await;
            assert_eq!(works, good, "{text}: {:?}", said.0);
            if created {
                said.everything_about(&ctx, "t").await;
            }
            said.holds_no(password);
        }
    }
    log.holds_no_password();
}
