//! A real Apache Kafka for the tests, and what they do to it from outside.
//!
//! Everything here talks to the broker through rdkafka or `kcat` alone, never through the crate
//! under test, so that it can judge it.

use std::env;
use std::fs;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// How long anything may take before a test gives up on it. Generous: a busy machine is not a bug.
const PATIENCE: Duration = Duration::from_secs(60);

/// The one user of the SASL listener.
pub const SASL_USER: &str = "alice";
pub const SASL_PASSWORD: &str = "alice-secret";

/// A running Kafka: the tests' own, or the one that `KAFKA_BOOTSTRAP_SERVERS` names.
#[derive(Debug)]
pub struct Broker {
    /// `bootstrap.servers` of the plain listener.
    pub servers: String,
    /// `bootstrap.servers` of the SASL_PLAINTEXT listener (mechanisms PLAIN, and OAUTHBEARER with
    /// tokens that nobody signed); the tests' own broker has one.
    pub sasl_servers: Option<String>,
    /// The SASL_SSL listener (mechanisms SCRAM-SHA-512 and PLAIN); the tests' own broker has one.
    pub tls: Option<Tls>,
    /// The shell that holds the JVM, and the pipe that keeps it alive.
    _shell: Option<Child>,
}

/// A listener that shows a certificate.
#[derive(Debug)]
pub struct Tls {
    pub servers: String,
    /// The certificate that signs the listener's, in PEM.
    pub ca: PathBuf,
}

/// [`broker`] for a test that is nothing without one:
/// `let Some(broker) = broker::required("name of test") else { return };`
///
/// A missing broker leaves the test out, aloud, except where one was promised: with `CI=true`, or
/// by `KAFKA_BOOTSTRAP_SERVERS`.
pub fn required(test: &str) -> Option<&'static Broker> {
    match broker() {
        Ok(broker) => Some(broker),
        Err(why) if in_ci() || env::var_os(SERVERS).is_some() => {
            panic!("{test} needs a Kafka broker: {why}")
        }
        Err(why) => {
            let first = why.lines().next().unwrap_or_default();
            say(&format!("left out: {test} ({first})"));
            None
        }
    }
}

const SERVERS: &str = "KAFKA_BOOTSTRAP_SERVERS";

/// The broker of this process, started by the first who asks, or why there is none.
pub fn broker() -> Result<&'static Broker, &'static str> {
    static BROKER: OnceLock<Result<Broker, String>> = OnceLock::new();
    let broker = BROKER.get_or_init(|| {
        let broker = match env::var(SERVERS) {
            Ok(servers) => external(servers),
            Err(_) => jars().and_then(|jars| {
                // Between choosing a port and Kafka's opening it another process may take it.
                start(&jars).or_else(|_| start(&jars))
            }),
        };
        if let Err(why) = &broker {
            say(&format!("no Kafka broker: {why}"));
        }
        broker
    });
    broker.as_ref().map_err(String::as_str)
}

fn external(servers: String) -> Result<Broker, String> {
    let broker = Broker {
        servers,
        sasl_servers: None,
        tls: None,
        _shell: None,
    };
    match broker
        .consumer("read_committed")
        .fetch_metadata(None, PATIENCE / 6)
    {
        Ok(_) => Ok(broker),
        Err(error) => Err(format!(
            "{SERVERS}={} does not answer: {error}",
            broker.servers
        )),
    }
}

fn in_ci() -> bool {
    env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Says something to whoever runs the tests. libtest swallows what passing tests print; it does
/// not swallow this.
pub fn say(line: &str) {
    // In one write: tests speak at the same time.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

// Getting and running Apache Kafka.

const POM: &str = include_str!("../broker/pom.xml");

/// The directory that holds Kafka's jars, filled by Maven the first time.
pub fn jars() -> Result<PathBuf, String> {
    run(Command::new("java").arg("-version"), "Java (17 or later)")?;

    let version = POM
        .split_once("<version>")
        .and_then(|(_, rest)| rest.split_once("</version>"))
        .map(|(version, _)| version)
        .ok_or("tests/broker/pom.xml has no version")?;
    let cache = match env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => env::home_dir()
            .ok_or("no home directory to cache Kafka in")?
            .join(".cache"),
    }
    .join("datafusion-kafka");
    let jars = cache.join(format!("kafka-{version}"));
    if jars.is_dir() {
        return Ok(jars);
    }

    // Filled elsewhere and renamed when complete: what bears the name is whole, whoever else
    // fetches at the same time and however this run ends.
    say(&format!(
        "fetching Apache Kafka {version} with Maven into {}",
        jars.display()
    ));
    let io = |e: io::Error| format!("{}: {e}", cache.display());
    fs::create_dir_all(&cache).map_err(io)?;
    let partial = tempfile::Builder::new()
        .prefix("partial-")
        .tempdir_in(&cache)
        .map_err(io)?;
    let pom = partial.path().join("pom.xml");
    fs::write(&pom, POM).map_err(io)?;
    run(
        Command::new("mvn")
            .args(["-q", "-B", "-Dstyle.color=never", "-f"])
            .arg(&pom)
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", partial.path().display())),
        "Maven",
    )?;
    match fs::rename(partial.path(), &jars) {
        Err(_) if jars.is_dir() => Ok(jars),
        renamed => renamed.map(|()| jars).map_err(io),
    }
}

fn run(command: &mut Command, name: &str) -> Result<Output, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{name} is needed to start one: {e}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!(
        "{name} failed: {}",
        String::from_utf8_lossy(&said).trim()
    ))
}

/// Runs Kafka (in directory `$1`, jars in `$2`, cluster id `$3`, with the user `$4`) until
/// standard input closes. A line there kills it and starts it again.
///
/// Nothing runs at the end of a Rust test process, which may as well be killed; but the kernel
/// closes its end of the pipe, always. Then there is nothing to save: SIGKILL, and away with the
/// directory.
const SHELL: &str = r#"
cd "$1" || exit
# A background command's standard input is /dev/null unless it comes from somewhere else.
exec 3<&0
{
    while read -r _; do touch restarting; kill -KILL "$(cat pid)"; done
    touch stopped; kill -KILL "$(cat pid)"
} <&3 2>/dev/null &
reader=$!
{
    java -Xmx128m -cp "$2/*" kafka.tools.StorageTool format -t "$3" --add-scram "$4" \
        -c server.properties >log 2>&1 &&
    while [ ! -e stopped ]; do
        java -Xms256m -Xmx1g -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
            -Dorg.slf4j.simpleLogger.showDateTime=true -cp "$2/*" kafka.Kafka server.properties \
            >>log 2>&1 &
        echo $! >pid
        wait $! 2>/dev/null # which would say "Killed"
        [ -e restarting ] && rm restarting || break
    done
} </dev/null 2>/dev/null
kill $reader 2>/dev/null
[ -e stopped ] || { echo "Apache Kafka ended by itself; its last words:"; tail -n 30 log; } >&2
cd / && rm -rf "$1"
"#;

/// A Kafka of a test's own, to be killed and started again, where the others can be started.
pub fn own() -> Result<Broker, String> {
    start(&jars()?)
}

fn start(jars: &Path) -> Result<Broker, String> {
    let io = |e: io::Error| format!("cannot start Apache Kafka: {e}");
    let ports = free_ports().map_err(io)?;
    // 16 bytes in base64, of which the last character has only two bits.
    let cluster_id = format!("{:021x}A", nanos() << 22 | u128::from(std::process::id()));

    let dir = tempfile::Builder::new()
        .prefix("datafusion-kafka-broker-")
        .tempdir()
        .map_err(io)?;
    let ca = certificate(dir.path())?;
    let properties = server_properties(dir.path(), ports);
    fs::write(dir.path().join("server.properties"), properties).map_err(io)?;
    let [plain, sasl, tls, _] = ports.map(|port| format!("127.0.0.1:{port}"));

    let mut shell = Command::new("sh");
    shell
        .args(["-c", SHELL, "kafka"])
        .args([dir.path(), jars])
        .arg(&cluster_id)
        .arg(format!(
            "SCRAM-SHA-512=[name={SASL_USER},password={SASL_PASSWORD}]"
        ))
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    // Out of reach of the terminal's Ctrl-C: the shell has a directory to remove yet.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    let mut shell = shell.spawn().map_err(io)?;
    let _removed_by_the_shell = dir.keep();

    let mut broker = Broker {
        servers: plain,
        sasl_servers: Some(sasl),
        tls: Some(Tls { servers: tls, ca }),
        _shell: None,
    };
    let deadline = Instant::now() + PATIENCE;
    while !broker.answers_as(&cluster_id) {
        if shell.try_wait().map_err(io)?.is_some() {
            return Err("Apache Kafka ended while it started; its last words are above".to_owned());
        }
        if Instant::now() > deadline {
            return Err(format!("Apache Kafka has not answered for {PATIENCE:?}"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    broker._shell = Some(shell);
    Ok(broker)
}

/// Ports that nobody listens on, all different because all are held at once.
fn free_ports() -> io::Result<[u16; 4]> {
    let hold = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let [a, b, c, d] = [hold()?, hold()?, hold()?, hold()?];
    Ok([
        a.local_addr()?.port(),
        b.local_addr()?.port(),
        c.local_addr()?.port(),
        d.local_addr()?.port(),
    ])
}

/// Makes the key of 127.0.0.1, in `keystore.p12`, and its certificate, which nobody else signed.
pub fn certificate(dir: &Path) -> Result<PathBuf, String> {
    let (keystore, pem) = (dir.join("keystore.p12"), dir.join("ca.pem"));
    let keytool = |act: &str| {
        let mut keytool = Command::new("keytool");
        keytool.args([act, "-alias", "kafka"]);
        keytool.arg("-keystore").arg(&keystore);
        keytool.args(["-storepass", KEYSTORE_PASSWORD, "-storetype", "PKCS12"]);
        keytool
    };
    let mut make = keytool("-genkeypair");
    make.args([
        "-keyalg",
        "EC",
        "-groupname",
        "secp256r1",
        "-validity",
        "30",
    ]);
    make.args(["-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1"]);
    run(&mut make, "Java's keytool")?;
    let mut export = keytool("-exportcert");
    run(export.arg("-rfc").arg("-file").arg(&pem), "Java's keytool")?;
    Ok(pem)
}

const KEYSTORE_PASSWORD: &str = "changeit";

fn server_properties(dir: &Path, [plain, sasl, tls, controller]: [u16; 4]) -> String {
    let dir = dir.display();
    format!(
        r#"
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},SASL_SSL://127.0.0.1:{tls},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},SASL_SSL://127.0.0.1:{tls}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN,OAUTHBEARER
listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="kafka";
listener.name.sasl_ssl.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{SASL_USER}="{SASL_PASSWORD}";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.location={dir}/keystore.p12
ssl.keystore.password={KEYSTORE_PASSWORD}
ssl.keystore.type=PKCS12
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{SASL_USER}="{SASL_PASSWORD}";
log.dirs={dir}/data

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

// What tests do.

/// A record to write. Without a partition its key decides, as in Kafka's own producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rec {
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    /// Milliseconds since 1970; now, if there is none.
    pub timestamp: Option<i64>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Rec {
    pub fn new(key: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            payload: Some(payload.as_ref().to_vec()),
            ..Self::tombstone(key)
        }
    }

    pub fn tombstone(key: impl AsRef<[u8]>) -> Self {
        Self {
            key: Some(key.as_ref().to_vec()),
            ..Self::default()
        }
    }

    pub fn partition(self, partition: i32) -> Self {
        Self {
            partition: Some(partition),
            ..self
        }
    }

    pub fn timestamp(self, millis: i64) -> Self {
        Self {
            timestamp: Some(millis),
            ..self
        }
    }

    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }
}

/// A record as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Where a record went: partition and offset.
pub type Place = (i32, i64);

/// How a transaction ends. One that does not is [`Broker::begin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Commit,
    Abort,
}

/// An open transaction, and the producer that holds it. Dropped, it stays open, as that of a
/// crashed producer does, until it times out (after five minutes).
pub struct Transaction {
    producer: BaseProducer<Acks>,
    /// Where its records went, in the order they were given.
    pub places: Vec<Place>,
}

impl Transaction {
    pub fn commit(self) {
        self.producer.commit_transaction(PATIENCE).unwrap();
    }

    pub fn abort(self) {
        self.producer.abort_transaction(PATIENCE).unwrap();
    }
}

impl Broker {
    /// A cluster that is no Kafka of the tests, such as a mock.
    pub fn elsewhere(servers: &str) -> Self {
        Broker {
            servers: servers.to_owned(),
            sasl_servers: None,
            tls: None,
            _shell: None,
        }
    }

    /// Kills Kafka and starts it again, with all that it had on disk. It takes some seconds.
    pub fn restart(&mut self) {
        let stdin = self._shell.as_mut().and_then(|shell| shell.stdin.as_mut());
        stdin.unwrap().write_all(b"\n").unwrap();
    }

    /// A client configuration that reaches the plain listener.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    /// Creates a topic and waits until every partition has a leader.
    pub fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        // As many replicas as the broker likes.
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
        for &(config, value) in configs {
            topic = topic.set(config, value);
        }
        let done = block_on(self.admin().create_topics([&topic], &AdminOptions::new())).unwrap();
        done.into_iter().for_each(|topic| drop(topic.unwrap()));

        let consumer = self.consumer("read_committed");
        wait_until(
            PATIENCE,
            &format!("a leader for every partition of {name}"),
            || {
                let metadata = consumer.fetch_metadata(Some(name), PATIENCE).unwrap();
                let parts = metadata.topics()[0].partitions();
                parts.len() == usize::try_from(partitions).unwrap()
                    && parts.iter().all(|p| p.error().is_none() && p.leader() >= 0)
            },
        );
    }

    /// Creates a topic of a random name that starts with `prefix`.
    pub fn new_topic(&self, prefix: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
        let name = topic_name(prefix);
        self.create_topic(&name, partitions, configs);
        name
    }

    /// Deletes a topic and waits until the broker denies it.
    pub fn delete_topic(&self, name: &str) {
        let done = block_on(self.admin().delete_topics(&[name], &AdminOptions::new())).unwrap();
        done.into_iter().for_each(|topic| drop(topic.unwrap()));

        let consumer = self.consumer("read_committed");
        wait_until(PATIENCE, &format!("topic {name} is gone"), || {
            let metadata = consumer.fetch_metadata(None, PATIENCE).unwrap();
            metadata.topics().iter().all(|topic| topic.name() != name)
        });
    }

    /// Deletes the records of a partition below an offset, as retention does.
    pub fn delete_records(&self, topic: &str, partition: i32, before_offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before_offset))
            .unwrap();
        let done = block_on(self.admin().delete_records(&list, &AdminOptions::new())).unwrap();
        done.elements()
            .iter()
            .for_each(|partition| partition.error().unwrap());
    }

    /// Writes records and waits for their acknowledgements: where they went, in the same order.
    pub fn produce(&self, topic: &str, records: &[Rec]) -> Vec<Place> {
        self.produce_with(topic, records, &[])
    }

    /// As [`produce`](Self::produce), with more client settings, such as `compression.type`.
    pub fn produce_with(
        &self,
        topic: &str,
        records: &[Rec],
        configs: &[(&str, &str)],
    ) -> Vec<Place> {
        send(&self.producer(configs), topic, records)
    }

    /// Writes records in a transaction of its own. The records have reached the broker when this
    /// returns, even if the transaction is still open.
    pub fn transaction(&self, topic: &str, records: &[Rec], end: End) -> Vec<Place> {
        let open = self.begin(topic, records);
        let places = open.places.clone();
        match end {
            End::Commit => open.commit(),
            End::Abort => open.abort(),
        }
        places
    }

    /// Writes records in a transaction and leaves it open. They have reached the broker, which
    /// does not show them to a read-committed consumer, nor anything after them.
    pub fn begin(&self, topic: &str, records: &[Rec]) -> Transaction {
        let id = topic_name("transaction");
        let producer = self.producer(&[
            ("transactional.id", &id),
            ("transaction.timeout.ms", "300000"),
        ]);
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        let places = send(&producer, topic, records);
        Transaction { producer, places }
    }

    /// Every committed record of a topic, by partition and offset.
    pub fn read_all(&self, topic: &str) -> Vec<Stored> {
        self.read(topic, "read_committed")
    }

    /// Every record of a topic, by partition and offset, committed or not.
    pub fn read_uncommitted(&self, topic: &str) -> Vec<Stored> {
        self.read(topic, "read_uncommitted")
    }

    /// Waits until compaction has removed the records at these places.
    ///
    /// The topic must be of [`COMPACTED`]. Kafka never compacts the segment it writes to, and
    /// closes it only when a later record arrives: so this adds a tombstone, of a key that no
    /// other record has, to every partition concerned.
    pub fn wait_compacted(&self, topic: &str, gone: &[Place]) {
        let mut partitions: Vec<i32> = gone.iter().map(|&(partition, _)| partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        // "Later" is by the records' own timestamps.
        let latest = self
            .read_uncommitted(topic)
            .iter()
            .filter_map(|r| r.timestamp)
            .max();
        let now = i64::try_from(nanos() / 1_000_000).unwrap();
        let later = now.max(latest.unwrap_or(0)) + 1_000;
        let close = |p| {
            Rec::tombstone("closes the segment")
                .partition(p)
                .timestamp(later)
        };
        self.produce(
            topic,
            &partitions.into_iter().map(close).collect::<Vec<_>>(),
        );

        wait_until(PATIENCE, &format!("compaction of {topic}"), || {
            let left = self.read_uncommitted(topic);
            left.iter()
                .all(|r| !gone.contains(&(r.partition, r.offset)))
        });
    }

    /// What `kcat -b SERVERS args` writes, if it is on the PATH, given `input` to read.
    pub fn kcat(&self, args: &[&str], input: &str) -> Option<String> {
        let kcat = Command::new("kcat")
            .args(["-b", &self.servers])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut kcat = match kcat {
            Ok(kcat) => kcat,
            Err(error) if in_ci() => panic!("kcat: {error}"),
            Err(error) => {
                say(&format!("left out: a check with kcat ({error})"));
                return None;
            }
        };
        let mut stdin = kcat.stdin.take().unwrap();
        let output = thread::scope(|scope| {
            // Beside the reading: either pipe may fill up. What kcat does not want to read is
            // its business.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
            kcat.wait_with_output().unwrap()
        });
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kcat {args:?}: {errors}");
        Some(String::from_utf8(output.stdout).unwrap())
    }

    /// Whether the cluster of this id answers, as another test run's might on a port we lost.
    fn answers_as(&self, cluster_id: &str) -> bool {
        // Asking a closed port is cheap; asking librdkafka to is not.
        if TcpStream::connect(&self.servers).is_err() {
            return false;
        }
        let consumer = self.consumer("read_committed");
        let second = Duration::from_secs(1);
        consumer
            .fetch_metadata(None, second)
            .is_ok_and(|m| !m.brokers().is_empty())
            && consumer.client().fetch_cluster_id(second).as_deref() == Some(cluster_id)
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    fn consumer(&self, isolation: &str) -> BaseConsumer {
        self.config()
            // librdkafka wants a group id to assign partitions, though it joins no group.
            .set("group.id", "datafusion-kafka-tests")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", isolation)
            // The end of a partition is told when a request for more comes back empty.
            .set("fetch.wait.max.ms", "5")
            .create()
            .unwrap()
    }

    fn producer(&self, configs: &[(&str, &str)]) -> BaseProducer<Acks> {
        let mut config = self.config();
        config
            // As Kafka's Java client does, so that tests see what other producers write.
            .set("partitioner", "murmur2_random")
            .set("message.max.bytes", "16777216");
        for &(name, value) in configs {
            config.set(name, value);
        }
        config.create_with_context(Acks::default()).unwrap()
    }

    fn read(&self, topic: &str, isolation: &str) -> Vec<Stored> {
        let consumer = self.consumer(isolation);
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let mut unfinished = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            unfinished
                .add_partition_offset(topic, partition.id(), Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&unfinished).unwrap();

        let mut ends = unfinished.count();
        let mut records = Vec::new();
        while ends > 0 {
            match consumer.poll(PATIENCE) {
                Some(Ok(message)) => records.push(Stored {
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp: message.timestamp().to_millis(),
                    key: message.key().map(<[u8]>::to_vec),
                    payload: message.payload().map(<[u8]>::to_vec),
                    headers: message.headers().map_or_else(Vec::new, |headers| {
                        let owned =
                            |h: Header<'_, &[u8]>| (h.key.to_owned(), h.value.map(<[u8]>::to_vec));
                        headers.iter().map(owned).collect()
                    }),
                }),
                Some(Err(KafkaError::PartitionEOF(_))) => ends -= 1,
                Some(Err(error)) => panic!("reading {topic}: {error}"),
                None => panic!("reading {topic}: nothing for {PATIENCE:?}"),
            }
        }
        records.sort_by_key(|r| (r.partition, r.offset));
        records
    }
}

/// Configuration of a topic that Kafka compacts as soon and as thoroughly as it can.
pub const COMPACTED: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.ms", "100"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("max.compaction.lag.ms", "1"),
    // Tombstones go as soon as what they delete is gone.
    ("delete.retention.ms", "0"),
];

/// A name that no other test and no other run has.
pub fn topic_name(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{count}-{:x}", std::process::id(), nanos())
}

/// Polls until the condition holds; fails after the deadline, saying what did not happen.
pub fn wait_until(deadline: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !holds() {
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn nanos() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos()
}

/// Waits for a future on a thread of its own, because the test may itself be on a runtime.
fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let wait = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(future)
    };
    thread::scope(|scope| scope.spawn(wait).join().unwrap())
}

/// Delivery reports, by the number of the record sent. Kept, not judged, in the callback: a panic
/// must not cross librdkafka.
#[derive(Default)]
struct Acks(Mutex<Vec<Option<Result<Place, KafkaError>>>>);

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, nth: usize) {
        let mut acks = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(ack) = acks.get_mut(nth) {
            *ack = Some(match report {
                Ok(message) => Ok((message.partition(), message.offset())),
                Err((error, _)) => Err(error.clone()),
            });
        }
    }
}

fn send(producer: &BaseProducer<Acks>, topic: &str, records: &[Rec]) -> Vec<Place> {
    *producer.context().0.lock().unwrap() = vec![None; records.len()];
    for (nth, record) in records.iter().enumerate() {
        let mut message = BaseRecord::with_opaque_to(topic, nth);
        message.partition = record.partition;
        message.key = record.key.as_deref();
        message.payload = record.payload.as_deref();
        message.timestamp = record.timestamp;
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            message.headers = Some(
                record
                    .headers
                    .iter()
                    .fold(headers, |headers, (key, value)| {
                        headers.insert(Header {
                            key,
                            value: value.as_ref(),
                        })
                    }),
            );
        }
        while let Err((error, back)) = producer.send(message) {
            assert_eq!(
                error.rdkafka_error_code(),
                Some(RDKafkaErrorCode::QueueFull),
                "{error}"
            );
            producer.poll(Duration::from_millis(10));
            message = back;
        }
    }
    producer.flush(PATIENCE).unwrap();
    let acks = std::mem::take(&mut *producer.context().0.lock().unwrap());
    acks.into_iter().map(|ack| ack.unwrap().unwrap()).collect()
}
