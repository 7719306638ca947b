//! TLS and SASL: a broker with a certificate and users, and the files that name them.

use std::path::Path;

use assert_cmd::Command;

use crate::broker::{self, Rec, SASL_PASSWORD, SASL_USER, Tls, topic_name};
use crate::exit::runs;
use crate::program::{failure, file, printed, program};

/// The properties that Confluent Cloud gives to Java clients, with another login.
fn confluent(servers: &str, user: &str, password: &str) -> String {
    format!(
        "# Required connection configs for Kafka producer, consumer, and admin
bootstrap.servers={servers}
security.protocol=SASL_SSL
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username='{user}' password='{password}';
sasl.mechanism=PLAIN
# Required for correctness in Apache Kafka clients prior to 2.6
client.dns.lookup=use_all_dns_ips

# Best practice for higher availability in Apache Kafka clients prior to 3.0
session.timeout.ms=45000

# Best practice for Kafka producer to prevent data loss
acks=all

# Required connection configs for Confluent Cloud Schema Registry
schema.registry.url=https://psrc-xxxxx.us-east-2.aws.confluent.cloud
basic.auth.credentials.source=USER_INFO
basic.auth.user.info=KEY:SECRET
"
    )
}

/// A query on the secured listener, as the SCRAM user with this password.
fn scram(tls: &Tls, ca: &Path, password: &str, query: &str) -> Command {
    let mut program = program();
    program.args(["-b", &tls.servers, "-q", "--format", "csv", "-c", query]);
    for property in [
        "kafka.timeout=20s".to_owned(),
        "security.protocol=SASL_SSL".to_owned(),
        "sasl.mechanism=SCRAM-SHA-512".to_owned(),
        format!("sasl.username={SASL_USER}"),
        format!("sasl.password={password}"),
        format!("ssl.ca.location={}", ca.display()),
    ] {
        program.args(["-X", &property]);
    }
    program
}

#[test]
fn tls_and_scram_connect_and_say_what_is_wrong() {
    let Some(broker) = broker::required("tls_and_scram_connect_and_say_what_is_wrong") else {
        return;
    };
    let Some(tls) = &broker.tls else { return };
    let topic = broker.new_topic("secured", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"n":1}"#)]);
    let query = format!("SELECT n FROM \"{topic}\"");
    assert_eq!(
        printed(&mut scram(tls, &tls.ca, SASL_PASSWORD, &query)),
        "n\n1\n"
    );

    let error = failure(&mut scram(tls, &tls.ca, "wr0ng-pw", &query));
    assert!(error.contains("cannot log in to Kafka"), "{error}");
    assert!(error.contains("uthentication"), "{error}");
    assert!(!error.contains("wr0ng-pw"), "{error}");

    let directory = tempfile::tempdir().unwrap();
    let other = broker::certificate(directory.path()).unwrap();
    let error = failure(&mut scram(tls, &other, SASL_PASSWORD, &query));
    assert!(error.contains("cannot log in to Kafka"), "{error}");
    assert!(error.contains("certificate verify failed"), "{error}");
}

#[test]
fn a_file_of_confluent_cloud_is_taken_word_for_word() {
    let Some(broker) = broker::required("a_file_of_confluent_cloud_is_taken_word_for_word") else {
        return;
    };
    let Some(tls) = &broker.tls else { return };
    let topic = broker.new_topic("cloud", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"n":1}"#)]);
    let properties = file(
        ".properties",
        &confluent(&tls.servers, SASL_USER, SASL_PASSWORD),
    );
    let ca = format!("ssl.ca.location={}", tls.ca.display());
    let answer = printed(
        program()
            .arg("-F")
            .arg(properties.path())
            // The only property that the cloud's certificate does not need.
            .args(["-X", &ca, "-q", "--format", "csv", "-c"])
            .arg(format!("SELECT n FROM \"{topic}\"")),
    );
    assert_eq!(answer, "n\n1\n");
}

#[test]
fn every_login_is_built_in() {
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER"] {
        let mechanism = format!("sasl.mechanism={mechanism}");
        let answer = printed(program().args([
            "-b",
            "localhost:1",
            "-X",
            "security.protocol=SASL_SSL",
            "-X",
            &mechanism,
            "-q",
            "--format",
            "csv",
            "-c",
            "SELECT 1 AS one",
        ]));
        assert_eq!(answer, "one\n1\n");
    }
}

/// The listener breaks the connection of a client that does not log in. librdkafka reports that in
/// words that also describe a closed standard output.
#[test]
fn a_listener_that_wants_a_login_is_an_error_and_no_end() {
    const NAME: &str = "login::a_listener_that_wants_a_login_is_an_error_and_no_end";
    let Some(broker) = broker::required(NAME) else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let topic = broker.new_topic("secured", 1, &[]);
    let create =
        format!("CREATE EXTERNAL TABLE t (_key VARCHAR, n INT) STORED AS KAFKA LOCATION '{topic}'");
    let insert = "INSERT INTO t VALUES ('a', 1)";
    // The columns of the input are inferred from its records.
    let query = format!("{create}; INSERT INTO t SELECT _key, n FROM \"in-{topic}\"");
    let statements = file(".sql", &query);
    let path = statements.path().to_str().unwrap();
    let program = || {
        let mut program = program();
        program.args(["-b", servers, "-q", "-X", "kafka.timeout=1s"]);
        program
    };
    for _ in 0..runs(3) {
        let name = topic_name("query");
        for program in [
            program().args(["-c", &create, "-c", insert, "-c", "SELECT 1"]),
            program().args(["-c", &format!("SELECT * FROM \"{topic}\"")]),
            program().args(["-c", "SHOW TABLES"]),
            program().args(["run", path, "--name", &name]),
        ] {
            let error = failure(program);
            assert!(error.contains("Kafka"), "{error}");
        }
    }
    assert!(broker.read_all(&topic).is_empty());
}
