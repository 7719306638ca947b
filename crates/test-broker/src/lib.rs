//! A real Apache Kafka for the tests, and what they do to it from outside.
//!
//! Everything here talks to the broker through rdkafka or `kcat` alone, never through the crate
//! under test, so that it can judge it.

// Test code says that something is wrong by panicking.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

mod acls;
mod cluster;
pub mod listeners;
mod quotas;
mod records;
mod requests;
mod start;
mod transactions;

use std::env;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers as _, Message as _};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

pub use acls::Right;
pub use cluster::Cluster;
pub use quotas::Rate;
use records::{Acks, send};
pub use records::{End, Place, Rec, Stored, Transaction};
use start::start;
pub use start::{
    KEYSTORE_PASSWORD, SASL_PASSWORD, SASL_USER, USER_PASSWORD, certificate, jars, own, own_with,
};

/// How long anything may take before a test gives up on it. Generous: a busy machine is not a bug.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Kafka: the tests' own, or the one that `KAFKA_BOOTSTRAP_SERVERS` names.
#[derive(Debug)]
pub struct Broker {
    /// `bootstrap.servers` of the plain listener.
    pub servers: String,
    /// `bootstrap.servers` of the SASL_PLAINTEXT listener (mechanisms PLAIN, and OAUTHBEARER with
    /// tokens that nobody signed); the tests' own broker has one.
    pub sasl_servers: Option<String>,
    /// The listeners with TLS, one of them SASL_SSL (mechanisms SCRAM-SHA-512 and PLAIN); the
    /// tests' own broker has them.
    pub tls: Option<Tls>,
    /// The shell that holds the JVM, and the pipe that keeps it alive.
    _shell: Option<Child>,
}

/// Listeners that show a certificate.
#[derive(Debug)]
pub struct Tls {
    /// With a login.
    pub servers: String,
    /// Without a login.
    pub no_login: String,
    /// Which require the same certificate of the client.
    pub mutual: String,
    /// The certificate, which nobody else has signed, in PEM.
    pub ca: PathBuf,
    /// The certificate with its key, in PKCS#12.
    pub keystore: PathBuf,
}

/// A Kafka that is held up.
#[derive(Debug)]
#[cfg(unix)]
pub struct Frozen {
    /// The leader of the group of processes.
    shell: u32,
}

#[cfg(unix)]
impl Frozen {
    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.shell);
        let sent = Command::new("kill").args([signal, "--", &group]).status();
        assert!(sent.unwrap().success());
    }
}

#[cfg(unix)]
impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
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

    /// Holds Kafka up, which answers nothing until what this gives is dropped.
    #[cfg(unix)]
    pub fn freeze(&self) -> Frozen {
        let shell = self._shell.as_ref().unwrap().id();
        let frozen = Frozen { shell };
        frozen.signal("-STOP");
        frozen
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

    /// Whether it answers.
    pub fn is_there(&self) -> bool {
        let consumer = self.consumer("read_committed");
        consumer.fetch_metadata(None, PATIENCE / 60).is_ok()
    }

    /// Where a consumer group has committed to, by partition; partitions without an offset
    /// are left out.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<(i32, i64)> {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let mut asked = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            asked.add_partition(topic, partition.id());
        }
        let found = consumer.committed_offsets(asked, PATIENCE).unwrap();
        let found = found.elements();
        let offsets = found
            .iter()
            .filter_map(|element| Some((element.partition(), element.offset().to_raw()?)));
        offsets.filter(|(_, offset)| *offset >= 0).collect()
    }

    /// Commits an offset for a consumer group, as another program does.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().unwrap();
        let mut offsets = TopicPartitionList::new();
        let offset = Offset::Offset(offset);
        offsets
            .add_partition_offset(topic, partition, offset)
            .unwrap();
        consumer.commit(&offsets, CommitMode::Sync).unwrap();
    }

    /// Deletes a consumer group, and with it its offsets.
    pub fn delete_group(&self, group: &str) {
        let options = AdminOptions::new();
        let deleted = block_on(self.admin().delete_groups(&[group], &options)).unwrap();
        deleted.into_iter().for_each(|group| drop(group.unwrap()));
    }

    /// Takes the transactions of this id from the producer that has them, as brokers do from one
    /// whose transaction is open for too long.
    pub fn fence(&self, transactional_id: &str) {
        let mut config = self.config();
        config.set("transactional.id", transactional_id);
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
    }

    /// Where the partitions end, what is no record included.
    pub fn ends(&self, topic: &str) -> Vec<(i32, i64)> {
        let consumer = self.consumer("read_committed");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let partitions = metadata.topics()[0].partitions().iter();
        let end = |p| consumer.fetch_watermarks(topic, p, PATIENCE).unwrap().1;
        partitions.map(|p| (p.id(), end(p.id()))).collect()
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
                // The client goes on when another broker leads, or the same one is back.
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
                ))) => {}
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
