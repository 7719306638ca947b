//! Rights that a broker denies: each is named, and who is given what the errors name is let in.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use datafusion_kafka::{
    ContinuousOptions, ContinuousQuery, Error, KafkaConfig, QueryStatus, register_kafka,
};

use crate::broker::{self, Broker, Rec, Right, USER_PASSWORD, topic_name};
use crate::session::{counted, rows, try_rows, within};
use crate::writing::{create_table, says};

const COLUMNS: &str = "_key VARCHAR, v BIGINT";
const EXACTLY_ONCE: (&str, &str) = ("kafka.delivery", "exactly_once");
/// Longer than a test may take: what brokers deny is not waited for.
const PATIENT: (&str, &str) = ("kafka.timeout", "300s");

/// Somebody who has logged in, with the topics `in` and `out` and the group `group`.
struct User {
    broker: &'static Broker,
    name: String,
    input: String,
    output: String,
    group: String,
    ctx: SessionContext,
}

impl User {
    async fn new(broker: &'static Broker) -> Self {
        let input = broker.new_topic("rights-in", 1, &[]);
        let records = [Rec::new("a", r#"{"v":1}"#), Rec::new("b", r#"{"v":2}"#)];
        broker.produce(&input, &records);
        let name = broker.new_user();
        let ctx = SessionContext::new();
        let config = KafkaConfig::new()
            .with_option(
                "kafka.bootstrap.servers",
                broker.sasl_servers.as_deref().unwrap(),
            )
            .with_option("kafka.client.security.protocol", "SASL_PLAINTEXT")
            .with_option("kafka.client.sasl.mechanism", "PLAIN")
            .with_option("kafka.client.sasl.username", &name)
            .with_option("kafka.client.sasl.password", USER_PASSWORD);
        register_kafka(&ctx, config).unwrap();
        User {
            broker,
            name,
            input,
            output: topic_name("rights-out"),
            group: topic_name("rights-group"),
            ctx,
        }
    }

    async fn table(&self, name: &str, topic: &str, options: &[(&str, &str)]) {
        rows(&self.ctx, &create_table(name, COLUMNS, topic, options)).await;
    }

    async fn refused(&self, sql: &str) -> Error {
        match try_rows(&self.ctx, sql).await {
            Ok(rows) => panic!("{sql}: {rows:?}"),
            Err(error) => own(&error),
        }
    }

    fn allow(&self, right: &Right) {
        self.broker.allow(&self.name, right);
    }

    /// The error is that the right is missing; it says so, and how to grant it.
    #[track_caller]
    fn is_denied(&self, error: &Error, right: &Right) {
        assert_eq!(self.missing(error).as_ref(), Some(right), "{error}");
        let (operation, name) = (&right.operation, &right.name);
        let flag = right.resource.replace(' ', "-");
        let on = if right.prefixed {
            "s that begin with"
        } else {
            ""
        };
        let whom = format!("`User:{}`", self.name);
        let what = format!("the right {operation} on {}{on} `{name}`", right.resource);
        let how = format!("--operation {operation} --{flag} {name}");
        says(
            &error.to_string(),
            &["the brokers deny", &whom, &what, &how],
        );
    }

    /// The right that an error names.
    fn missing(&self, error: &Error) -> Option<Right> {
        match error {
            Error::Denied {
                operation,
                resource,
                name,
                prefixed,
                principal,
                ..
            } => {
                let user = format!("User:{}", self.name);
                assert_eq!(principal.as_deref(), Some(user.as_str()));
                Some(Right {
                    operation: (*operation).to_owned(),
                    resource: (*resource).to_owned(),
                    name: name.clone(),
                    prefixed: *prefixed,
                })
            }
            _ => None,
        }
    }

    /// What a cell of the guide's table asks for.
    fn rights(&self, cell: &str) -> BTreeSet<Right> {
        let mut rights = BTreeSet::new();
        for part in cell.split("; ") {
            let (operations, on) = part.split_once(" on ").unwrap();
            let topic = match &self.output {
                output if on.contains("writes") => output,
                _ => &self.input,
            };
            for operation in operations.split([' ', ',']) {
                if operation.is_empty() || operation.to_uppercase() != operation {
                    continue;
                }
                rights.insert(if on.contains("ids that begin") {
                    Right::on_prefix(operation, "transactional id", "datafusion-kafka-")
                } else if on.contains("transactional id") {
                    let id = format!("datafusion-kafka-{}", self.group);
                    Right::new(operation, "transactional id", &id)
                } else if on.contains("group") {
                    Right::new(operation, "group", &self.group)
                } else {
                    Right::new(operation, "topic", topic)
                });
            }
        }
        rights
    }

    /// Does what a line of the guide's table is about.
    async fn does(&self, line: usize) -> Result<(), Error> {
        match line {
            0 => {
                self.run(&format!("SELECT * FROM kafka_log('{}')", self.input))
                    .await?;
                self.run("SELECT v FROM t").await
            }
            1 => {
                let copy = "COPY (SELECT 'd' AS _key, 4 AS v) TO";
                self.run("INSERT INTO t VALUES ('c', 3)").await?;
                self.run(&format!("{copy} '{}' STORED AS KAFKA", self.input))
                    .await
            }
            2 => {
                let create = create_table("i", "", &self.input, &[]);
                self.run(&create.replace("TABLE", "TABLE IF NOT EXISTS"))
                    .await?;
                self.run("INSERT INTO i SELECT 'e' AS _key, 5 AS v").await
            }
            3 => {
                self.run("UPDATE t SET v = v + 1").await?;
                self.run("DELETE FROM t WHERE v = 2").await
            }
            4 | 5 => self.run("INSERT INTO t VALUES ('c', 3)").await,
            6 => self.run("SELECT v FROM t").await,
            _ => self.run_on().await,
        }
    }

    /// Declares the table `t` of a line.
    async fn prepare(&mut self, line: usize) {
        let group = self.group.clone();
        let create = [("kafka.create_topic", "true")];
        let from_group = [("kafka.start", "group"), ("kafka.group.id", &group)];
        let options: &[(&str, &str)] = match line {
            4 => &create,
            5 => &[EXACTLY_ONCE],
            6 => &from_group,
            _ => &[],
        };
        if line == 4 {
            self.input = topic_name("rights-new");
        }
        self.table("t", &self.input, options).await;
        if line >= 7 {
            self.broker.create_topic(&self.output, 1, &[]);
            let options: &[(&str, &str)] = if line == 8 { &[EXACTLY_ONCE] } else { &[] };
            self.table("out", &self.output, options).await;
        }
    }

    async fn run(&self, sql: &str) -> Result<(), Error> {
        let ran = try_rows(&self.ctx, sql).await;
        ran.map(drop).map_err(|error| own(&error))
    }

    /// Runs a continuous query until it has written something, or has ended.
    async fn run_on(&self) -> Result<(), Error> {
        let sql = "INSERT INTO out SELECT _key, v * 10 AS v FROM t";
        let options = ContinuousOptions::new().refresh_interval(Duration::from_millis(50));
        let query = ContinuousQuery::start(&self.ctx, &self.group, sql, options)
            .await
            .map_err(|error| own(&error))?;
        within("the query", async {
            loop {
                match query.status() {
                    QueryStatus::Failed(error) => return Err(error),
                    QueryStatus::Retrying { error, .. } => panic!("tried again: {error}"),
                    _ if query.progress().upserts > 1 => break,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
            query.stop().await
        })
        .await
    }
}

fn own(error: &DataFusionError) -> Error {
    match Error::find(error) {
        Some(own) => own.clone(),
        None => panic!("no error of Kafka's: {error}"),
    }
}

/// The guide's table: a statement, and what it needs.
fn guide() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/connecting.md");
    let page = fs::read_to_string(path).unwrap();
    let (_, table) = page.split_once("| Statement | Rights |").unwrap();
    let lines = table.lines().skip(2);
    lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let (statement, rights) = line.trim_matches('|').split_once('|').unwrap();
            (statement.trim().to_owned(), rights.trim().to_owned())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_grants_what_errors_name_grants_what_the_guide_says() {
    let Some(broker) = broker::required("who_grants_what_errors_name") else {
        return;
    };
    if broker.sasl_servers.is_none() {
        return;
    }
    let guide = guide();
    assert_eq!(guide.len(), 9, "a line of the guide's table has no test");
    for (line, (statement, cell)) in guide.iter().enumerate() {
        let mut user = User::new(broker).await;
        user.prepare(line).await;
        let also = format!("{}; {cell}", guide[line.saturating_sub(1)].1);
        let cell = if cell.starts_with("also") {
            &also
        } else {
            cell
        };
        let mut expected = user.rights(cell);
        let mut granted = BTreeSet::new();
        while let Err(error) = user.does(line).await {
            let right = user.missing(&error);
            let right = right.unwrap_or_else(|| panic!("{statement}: {error}"));
            user.is_denied(&error, &right);
            user.allow(&right);
            assert!(granted.insert(right), "{statement}: named twice: {error}");
        }
        // Others include it.
        granted.retain(|right| right.operation != "DESCRIBE");
        expected.retain(|right| right.operation != "DESCRIBE");
        assert_eq!(granted, expected, "{statement}");

        // Who has them from the start is not kept waiting for more.
        let mut user = User::new(broker).await;
        user.prepare(line).await;
        for right in user.rights(cell) {
            user.allow(&right);
        }
        if let Err(error) = user.does(line).await {
            panic!("{statement}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_without_the_right_to_write_names_it_and_not_the_cluster() {
    let Some(broker) = broker::required("an_insert_without_the_right_to_write") else {
        return;
    };
    if broker.sasl_servers.is_none() {
        return;
    }
    for options in [&[PATIENT][..], &[PATIENT, EXACTLY_ONCE][..]] {
        let user = User::new(broker).await;
        user.table("t", &user.input, options).await;
        let insert = "INSERT INTO t SELECT CAST(value AS VARCHAR) AS k, value AS v FROM generate_series(1, 5000)";
        let topic = |operation| Right::new(operation, "topic", &user.input);
        let error = user.refused(insert).await;
        user.is_denied(&error, &topic("DESCRIBE"));
        user.allow(&topic("DESCRIBE"));
        if options.contains(&EXACTLY_ONCE) {
            let ids = Right::on_prefix("WRITE", "transactional id", "datafusion-kafka-");
            let error = user.refused(insert).await;
            user.is_denied(&error, &ids);
            user.allow(&ids);
        }
        // First as the right to a producer's id, which is any topic's, then as the topic's own.
        let elsewhere = User::new(broker).await.input;
        for _ in 0..2 {
            let error = user.refused(insert).await;
            user.is_denied(&error, &topic("WRITE"));
            user.allow(&Right::new("WRITE", "topic", &elsewhere));
        }
        user.allow(&topic("WRITE"));
        assert_eq!(counted(&rows(&user.ctx, insert).await), 5000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_denied_is_named_and_not_waited_for() {
    let Some(broker) = broker::required("a_group_that_is_denied") else {
        return;
    };
    if broker.sasl_servers.is_none() {
        return;
    }
    let user = User::new(broker).await;
    user.allow(&Right::new("READ", "topic", &user.input));
    let from_group = ("kafka.start", "group");
    let options = [PATIENT, from_group, ("kafka.group.id", &user.group)];
    user.table("t", &user.input, &options).await;
    let error = user.refused("SELECT * FROM t").await;
    let right = Right::new("READ", "group", &user.group);
    user.is_denied(&error, &right);
    user.allow(&right);
    assert_eq!(rows(&user.ctx, "SELECT * FROM t").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_dead_letters_that_is_denied_is_named() {
    let Some(broker) = broker::required("a_topic_of_dead_letters_that_is_denied") else {
        return;
    };
    if broker.sasl_servers.is_none() {
        return;
    }
    for delivery in ["at_least_once", "exactly_once"] {
        let user = User::new(broker).await;
        broker.create_topic(&user.output, 1, &[]);
        let letters = broker.new_topic("rights-letters", 1, &[]);
        broker.produce(&user.input, &[Rec::new("bad", "no JSON")]);
        for right in [
            Right::new("READ", "topic", &user.input),
            Right::new("READ", "topic", &user.output),
            Right::new("WRITE", "topic", &user.output),
            Right::on_prefix("WRITE", "transactional id", "datafusion-kafka-"),
            Right::new("DESCRIBE", "topic", &letters),
        ] {
            user.allow(&right);
        }
        let options = [
            ("kafka.on_bad_record", "dead_letter"),
            ("kafka.dead_letter.topic", &letters),
        ];
        let table = create_table("feed", COLUMNS, &user.input, &options);
        rows(&user.ctx, &table.replace("CREATE", "CREATE UNBOUNDED")).await;
        let options = [("kafka.delivery", delivery)];
        user.table("out", &user.output, &options).await;
        let error = user
            .refused("INSERT INTO out SELECT _key, v FROM feed")
            .await;
        let denied = format!("the right WRITE on topic `{letters}`");
        says(&error.to_string(), &[&denied]);
    }
}
