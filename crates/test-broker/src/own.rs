//! A separate broker for a test, with every kind of listener.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;

use crate::broker::{Broker, Tls};
use crate::certificate::{KEYSTORE_PASSWORD, certificate};
use crate::jars::jars;
use crate::ports::free_ports;
use crate::process::{Process, cluster_id};
use crate::users::{SASL_PASSWORD, SASL_USER, USER_PASSWORD, USERS};
use crate::wait::PATIENCE;

/// Starts a broker for one test, which may kill, freeze or restart it.
///
/// # Errors
///
/// The reason why no broker can be started here, such as a missing Java.
pub fn own() -> Result<Broker, String> {
    own_with("")
}

/// As [`own`], with further lines of `server.properties`, which override the default lines.
///
/// # Errors
///
/// As [`own`].
pub fn own_with(properties: &str) -> Result<Broker, String> {
    let jars = jars()?;
    // Another process may take a port after the port was chosen and before Kafka opens it.
    start(&jars, properties).or_else(|_| start(&jars, properties))
}

fn start(jars: &Path, more: &str) -> Result<Broker, String> {
    let io = |e: io::Error| format!("cannot start Apache Kafka: {e}");
    let ports = free_ports().map_err(io)?;
    let cluster_id = cluster_id();
    let dir = tempfile::Builder::new()
        .prefix("datafusion-kafka-broker-")
        .tempdir()
        .map_err(io)?;
    let ca = certificate(dir.path())?;
    let properties = server_properties(dir.path(), ports) + more;
    fs::write(dir.path().join("server.properties"), properties).map_err(io)?;
    let [plain, sasl, tls, no_login, mutual, _] = ports.map(|port| format!("127.0.0.1:{port}"));
    let keystore = dir.path().join("keystore.p12");
    let mut process = Process::start(dir, jars, &cluster_id, "-Xms256m -Xmx1g").map_err(io)?;

    let mut broker = Broker {
        servers: plain,
        sasl_servers: Some(sasl),
        tls: Some(Tls {
            servers: tls,
            no_login,
            mutual,
            ca,
            keystore,
        }),
        process: None,
    };
    let deadline = Instant::now() + PATIENCE;
    while !answers_as(&broker, &cluster_id) {
        if process.has_ended().map_err(io)? {
            return Err("Apache Kafka ended while it started; its last words are above".to_owned());
        }
        if Instant::now() > deadline {
            return Err(format!("Apache Kafka has not answered for {PATIENCE:?}"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    broker.process = Some(process);
    Ok(broker)
}

/// Whether the cluster with this id answers. If the port was lost, the broker of another test run
/// may answer there.
fn answers_as(broker: &Broker, cluster_id: &str) -> bool {
    // A failed connection is cheap; a request of librdkafka to a closed port is not.
    if TcpStream::connect(&broker.servers).is_err() {
        return false;
    }
    let consumer = broker.consumer("read_committed");
    let second = Duration::from_secs(1);
    consumer
        .fetch_metadata(None, second)
        .is_ok_and(|m| !m.brokers().is_empty())
        && consumer.client().fetch_cluster_id(second).as_deref() == Some(cluster_id)
}

fn server_properties(
    dir: &Path,
    [plain, sasl, tls, no_login, mutual, controller]: [u16; 6],
) -> String {
    let dir = dir.display();
    let users = (0..USERS).map(|n| format!(" user_user-{n}=\"{USER_PASSWORD}\""));
    let users: String = users.collect();
    let listeners = format!(
        "PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},\
         SASL_SSL://127.0.0.1:{tls},SSL://127.0.0.1:{no_login},MUTUAL://127.0.0.1:{mutual}"
    );
    format!(
        r#"
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,MUTUAL:SSL
listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN,OAUTHBEARER
listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="kafka";
listener.name.sasl_ssl.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{SASL_USER}="{SASL_PASSWORD}";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.location={dir}/keystore.p12
ssl.keystore.password={KEYSTORE_PASSWORD}
ssl.keystore.type=PKCS12
listener.name.mutual.ssl.client.auth=required
listener.name.mutual.ssl.truststore.location={dir}/ca.pem
listener.name.mutual.ssl.truststore.type=PEM
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{SASL_USER}="{SASL_PASSWORD}"{users};
log.dirs={dir}/data
# Who does not log in may do everything, as may the holder of the certificate and one user; the
# others what they are allowed.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{SASL_USER};User:CN=127.0.0.1

# A topic that a test did not create is a bug in the test.
auto.create.topics.enable=false
# One node: internal topics of one replica and few partitions.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
group.initial.rebalance.delay.ms=0
message.max.bytes=16777216
# Compaction and retention as soon as there is something to do.
log.initial.task.delay.ms=100
log.cleaner.backoff.ms=100
log.retention.check.interval.ms=200
# Transactions that are open too long are ended soon.
transaction.abort.timed.out.transaction.cleanup.interval.ms=200
"#
    )
}
