//! Rights that a broker denies. The error names each missing right, and granting what the errors
//! name is enough.

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
/// Longer than a test may take, because a denied request is not retried.
const PATIENT: (&str, &str) = ("kafka.timeout", "300s");

/// A user who is logged in, with the topics `in` and `out` and the group `group`.
struct User {
    broker: &'static Broker,
    name: String,
    input: String,
    output: String,
    letters: String,
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
            letters: topic_name("rights-letters"),
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

    /// Checks that the error is about this missing right, names it, and says how to grant it.
    #[track_caller]
    fn is_denied(&self, error: &Error, right: &Right) {
        assert_eq!(self.missing(error).as_ref(), Some(right), "{error}");
        let code = error.code().map(|code| code.name());
        let code = code.unwrap_or_else(|| panic!("no code: {error}"));
        let codes: &[_] = match right.resource.as_str() {
            // Brokers name the cluster where no topic's WRITE gives a producer id.
            "topic" => &["TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"],
            "group" => &["GROUP_AUTHORIZATION_FAILED"],
            _ => &["TRANSACTIONAL_ID_AUTHORIZATION_FAILED"],
        };
        assert!(codes.contains(&code), "{code}: {error}");
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

    /// The rights that a cell of the guide's table names.
    fn rights(&self, cell: &str) -> BTreeSet<Right> {
        let mut rights = BTreeSet::new();
        for part in cell.split("; ") {
            let (operations, on) = part.split_once(" on ").unwrap();
            let topic = match &self.output {
                _ if on.contains("dead letters") => &self.letters,
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

    /// Runs the statement that a line of the guide's table describes.
    async fn does(&self, line: Line) -> Result<(), Error> {
        let input = &self.input;
        let statements = match line {
            Line::Select => vec![
                format!("SELECT * FROM kafka_log('{input}')"),
                format!("SELECT * FROM kafka_snapshot('{input}', now())"),
                format!("SELECT * FROM kafka_changes('{input}', now() - INTERVAL '1 day')"),
                format!("SELECT * FROM kafka_offsets('{input}')"),
                "SELECT v FROM t".to_owned(),
            ],
            Line::Offsets => vec![format!("SELECT low, high FROM kafka_offsets('{input}')")],
            Line::Insert => vec![
                "INSERT INTO t VALUES ('c', 3)".to_owned(),
                format!("COPY (SELECT 'd' AS _key, 4 AS v) TO '{input}' STORED AS KAFKA"),
            ],
            Line::InsertInferred => {
                let create = create_table("i", "", input, &[]);
                vec![
                    create.replace("TABLE", "TABLE IF NOT EXISTS"),
                    "INSERT INTO i SELECT 'e' AS _key, 5 AS v".to_owned(),
                ]
            }
            Line::Update | Line::UpdateExactlyOnce => [
                "UPDATE t SET v = v + 1",
                "DELETE FROM t WHERE v = 2",
                "MERGE INTO t USING (VALUES ('b', 9)) AS s (k, v) ON t._key = s.k \
                 WHEN MATCHED THEN UPDATE SET v = s.v",
                "INSERT OVERWRITE t VALUES ('f', 6)",
                "TRUNCATE TABLE t",
            ]
            .map(str::to_owned)
            .to_vec(),
            Line::Create | Line::InsertExactlyOnce => {
                vec!["INSERT INTO t VALUES ('c', 3)".to_owned()]
            }
            Line::FromGroup => vec!["SELECT v FROM t".to_owned()],
            Line::RecordByRecord | Line::QueryExactlyOnce | Line::DeadLetters => {
                return self.run_on("SELECT _key, v * 10 AS v FROM t").await;
            }
            Line::Compared => {
                self.run_on("SELECT _key, v * 10 AS v FROM t WHERE v < 100")
                    .await?;
                let sum = "SELECT CAST(sum(v) AS VARCHAR) AS _key, count(*) AS v FROM t";
                return self.run_on(sum).await;
            }
        };
        for statement in statements {
            self.run(&statement).await?;
        }
        Ok(())
    }

    /// Creates the tables for a line.
    async fn prepare(&mut self, line: Line) {
        let group = self.group.clone();
        let letters = self.letters.clone();
        let options: &[(&str, &str)] = match line {
            Line::Create => &[
                ("kafka.create_topic", "true"),
                ("kafka.topic.config.retention.ms", "100000"),
            ],
            Line::InsertExactlyOnce | Line::UpdateExactlyOnce => &[EXACTLY_ONCE],
            Line::FromGroup => &[("kafka.start", "group"), ("kafka.group.id", &group)],
            Line::DeadLetters => &[
                ("kafka.on_bad_record", "dead_letter"),
                ("kafka.dead_letter.topic", &letters),
            ],
            _ => &[],
        };
        match line {
            Line::Create => self.input = topic_name("rights-new"),
            Line::DeadLetters => {
                self.broker.create_topic(&letters, 1, &[]);
                let bad = [Rec::new("bad", "no JSON")];
                self.broker.produce(&self.input, &bad);
            }
            _ => {}
        }
        self.table("t", &self.input, options).await;
        if line >= Line::RecordByRecord {
            self.broker.create_topic(&self.output, 1, &[]);
            let options: &[(&str, &str)] = match line {
                Line::QueryExactlyOnce => &[EXACTLY_ONCE],
                _ => &[],
            };
            self.table("out", &self.output, options).await;
        }
    }

    async fn run(&self, sql: &str) -> Result<(), Error> {
        let ran = try_rows(&self.ctx, sql).await;
        ran.map(drop).map_err(|error| own(&error))
    }

    /// Runs a continuous query until it has committed or has ended.
    async fn run_on(&self, select: &str) -> Result<(), Error> {
        // A new record, so that the query has something to commit.
        let new = [Rec::new("new", r#"{"v":7}"#)];
        self.broker.produce(&self.input, &new);
        let sql = format!("INSERT INTO out {select}");
        let options = ContinuousOptions::new().with_refresh_interval(Duration::from_millis(50));
        let query = ContinuousQuery::start(&self.ctx, &self.group, &sql, options)
            .await
            .map_err(|error| own(&error))?;
        within(select, async {
            loop {
                match query.status() {
                    QueryStatus::Failed(error) => return Err(error),
                    QueryStatus::Retrying { error, .. } => panic!("tried again: {error}"),
                    _ if query.progress().commits > 0 => break,
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

/// The lines of the guide's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Select,
    Offsets,
    Insert,
    InsertInferred,
    Update,
    Create,
    InsertExactlyOnce,
    UpdateExactlyOnce,
    FromGroup,
    // The remaining lines are continuous queries.
    RecordByRecord,
    Compared,
    QueryExactlyOnce,
    DeadLetters,
}

const LINES: [Line; 13] = [
    Line::Select,
    Line::Offsets,
    Line::Insert,
    Line::InsertInferred,
    Line::Update,
    Line::Create,
    Line::InsertExactlyOnce,
    Line::UpdateExactlyOnce,
    Line::FromGroup,
    Line::RecordByRecord,
    Line::Compared,
    Line::QueryExactlyOnce,
    Line::DeadLetters,
];

/// The guide's table: each statement with the rights that it needs.
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
    assert_eq!(
        guide.len(),
        LINES.len(),
        "a line of the guide's table has no test"
    );
    let mut alone = String::new();
    for (line, (statement, cell)) in LINES.into_iter().zip(guide) {
        let cell = match cell.strip_prefix("also ") {
            Some(more) => format!("{alone}; {more}"),
            None => {
                alone.clone_from(&cell);
                cell
            }
        };
        let mut user = User::new(broker).await;
        user.prepare(line).await;
        let mut expected = user.rights(&cell);
        let mut granted = BTreeSet::new();
        while let Err(error) = user.does(line).await {
            let right = user.missing(&error);
            let right = right.unwrap_or_else(|| panic!("{statement}: {error}"));
            user.is_denied(&error, &right);
            user.allow(&right);
            assert!(granted.insert(right), "{statement}: named twice: {error}");
        }
        // The other rights include DESCRIBE.
        granted.retain(|right| right.operation != "DESCRIBE");
        expected.retain(|right| right.operation != "DESCRIBE");
        assert_eq!(granted, expected, "{statement}");

        // A user who has the rights from the start needs no others.
        let mut user = User::new(broker).await;
        user.prepare(line).await;
        for right in user.rights(&cell) {
            user.allow(&right);
        }
        if let Err(error) = user.does(line).await {
            panic!("{statement}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_may_not_be_seen_are_not_shown() {
    let Some(broker) = broker::required("topics_that_may_not_be_seen") else {
        return;
    };
    if broker.sasl_servers.is_none() {
        return;
    }
    let user = User::new(broker).await;
    let shown = format!(
        "SELECT topic FROM kafka_topics() WHERE topic = '{}'",
        user.input
    );
    let found = async || crate::session::cells(&rows(&user.ctx, &shown).await);
    assert!(found().await.is_empty());
    user.allow(&Right::new("DESCRIBE", "topic", &user.input));
    assert_eq!(found().await, [[user.input.clone()]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_write_is_told_to_declare_the_columns() {
    let Some(broker) = broker::required("who_may_only_write_is_told") else {
        return;
    };
    if broker.sasl_servers.is_none() {
        return;
    }
    let user = User::new(broker).await;
    user.allow(&Right::new("WRITE", "topic", &user.input));
    let error = user
        .refused(&create_table("inferred", "", &user.input, &[]))
        .await;
    user.is_denied(&error, &Right::new("READ", "topic", &user.input));
    says(
        &error.to_string(),
        &["declare them instead", "CREATE EXTERNAL TABLE"],
    );
    user.table("declared", &user.input, &[]).await;
    let insert = "INSERT INTO declared SELECT 'c' AS _key, 3 AS v";
    assert_eq!(counted(&rows(&user.ctx, insert).await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactional_ids_begin_as_an_option_says_and_are_named_so() {
    let Some(broker) = broker::required("transactional_ids_begin_as_an_option_says") else {
        return;
    };
    if broker.sasl_servers.is_none() {
        return;
    }
    let user = User::new(broker).await;
    broker.create_topic(&user.output, 1, &[]);
    user.allow(&Right::new("READ", "topic", &user.input));
    user.allow(&Right::new("READ", "group", &user.group));
    user.allow(&Right::new("WRITE", "topic", &user.output));
    let prefix = topic_name("org.team_");
    user.table("t", &user.input, &[]).await;
    let options = [
        EXACTLY_ONCE,
        ("kafka.transactional_id.prefix", prefix.as_str()),
    ];
    user.table("out", &user.output, &options).await;
    // The prefix of all statement ids, and the id of one continuous query.
    let insert = "INSERT INTO out VALUES ('c', 3)";
    let statements = Right::on_prefix("WRITE", "transactional id", &prefix);
    user.is_denied(&user.refused(insert).await, &statements);
    let select = "SELECT _key, v FROM t";
    let id = format!("{prefix}{}", user.group);
    let query = Right::new("WRITE", "transactional id", &id);
    user.is_denied(&user.run_on(select).await.unwrap_err(), &query);

    user.allow(&statements);
    assert_eq!(counted(&rows(&user.ctx, insert).await), 1);
    if let Err(error) = user.run_on(select).await {
        panic!("{error}");
    }
    user.table("other", &user.output, &[EXACTLY_ONCE]).await;
    let error = user.refused("INSERT INTO other VALUES ('c', 3)").await;
    let others = Right::on_prefix("WRITE", "transactional id", "datafusion-kafka-");
    user.is_denied(&error, &others);
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
        // The first error is about the right to get a producer id, which any topic's WRITE gives;
        // the second is about the topic itself.
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
    broker.create_topic(&user.output, 1, &[]);
    user.allow(&Right::new("WRITE", "topic", &user.output));
    user.table("q", &user.input, &[PATIENT]).await;
    user.table("out", &user.output, &[PATIENT]).await;
    let select = "SELECT _key, v FROM q";
    user.is_denied(&user.run_on(select).await.unwrap_err(), &right);
    user.allow(&right);
    assert_eq!(rows(&user.ctx, "SELECT * FROM t").await.len(), 1);
    user.run_on(select).await.unwrap();
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
