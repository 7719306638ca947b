//! Three brokers, one of which may be killed at a time.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use rdkafka::consumer::Consumer as _;

use crate::broker::Broker;
use crate::jars::jars;
use crate::ports::free_ports;
use crate::process::{Process, cluster_id};
use crate::wait::{PATIENCE, wait_until};

/// Three brokers. Every topic is on all of them, unless a topic says otherwise. Acknowledged
/// records are on at least two brokers, so one broker may be killed at any time.
#[derive(Debug)]
pub struct Cluster {
    /// The whole cluster, for what tests do to a broker.
    pub broker: Broker,
    nodes: Vec<Process>,
}

/// The memory options of each broker. They suffice for the topics of a test.
const HEAP: &str = "-Xms96m -Xmx256m";

impl Cluster {
    /// Starts the brokers and waits until all three answer.
    ///
    /// # Errors
    ///
    /// The reason why the brokers cannot be started here, such as a missing Java.
    pub fn start() -> Result<Self, String> {
        let jars = jars()?;
        let io = |error: io::Error| format!("cannot start three brokers: {error}");
        let ports = free_ports().map_err(io)?;
        let (clients, controllers) = ports.split_at(3);
        let voters = (1..)
            .zip(controllers)
            .map(|(id, port)| format!("{id}@127.0.0.1:{port}"));
        let voters = voters.collect::<Vec<_>>().join(",");
        let id = cluster_id();
        let mut nodes = Vec::new();
        for (number, (client, controller)) in (1..).zip(clients.iter().zip(controllers)) {
            let dir = tempfile::Builder::new()
                .prefix("datafusion-kafka-node-")
                .tempdir()
                .map_err(io)?;
            let properties = properties(dir.path(), number, *client, *controller, &voters);
            fs::write(dir.path().join("server.properties"), properties).map_err(io)?;
            nodes.push(Process::start(dir, &jars, &id, HEAP).map_err(io)?);
        }
        let servers = clients.iter().map(|port| format!("127.0.0.1:{port}"));
        let servers = servers.collect::<Vec<_>>().join(",");
        let cluster = Cluster {
            broker: Broker::elsewhere(&servers),
            nodes,
        };
        let begun = Instant::now();
        while cluster.alive() < 3 {
            if begun.elapsed() > PATIENCE {
                return Err(format!("three brokers have not answered for {PATIENCE:?}"));
            }
        }
        Ok(cluster)
    }

    /// The number of brokers in the cluster now.
    pub fn alive(&self) -> usize {
        let consumer = self.broker.consumer("read_committed");
        let metadata = consumer.fetch_metadata(None, PATIENCE / 20);
        metadata.map_or(0, |metadata| metadata.brokers().len())
    }

    /// Kills the leader of a partition with SIGKILL, and starts that broker again immediately. The
    /// start takes several seconds, during which another broker leads.
    pub fn kill_leader(&mut self, topic: &str, partition: i32) {
        let consumer = self.broker.consumer("read_committed");
        let mut leader = None;
        wait_until(PATIENCE, "a leader", || {
            let Ok(metadata) = consumer.fetch_metadata(Some(topic), PATIENCE / 10) else {
                return false;
            };
            let partitions = metadata.topics()[0].partitions().iter();
            let mut partitions = partitions.filter(|p| p.id() == partition);
            leader = partitions.next().map(|p| p.leader()).filter(|id| *id > 0);
            leader.is_some()
        });
        let node = usize::try_from(leader.unwrap() - 1).unwrap();
        self.nodes[node].restart();
    }

    /// Waits until all brokers are up, and each has all partitions of a topic.
    pub fn wait_whole(&self, topic: &str) {
        let consumer = self.broker.consumer("read_committed");
        wait_until(PATIENCE * 2, "all three brokers", || {
            let Ok(metadata) = consumer.fetch_metadata(Some(topic), PATIENCE / 10) else {
                return false;
            };
            let partitions = metadata.topics()[0].partitions();
            metadata.brokers().len() == 3 && partitions.iter().all(|p| p.isr().len() == 3)
        });
    }
}

fn properties(dir: &Path, node: i32, client: u16, controller: u16, voters: &str) -> String {
    let dir = dir.display();
    format!(
        r#"
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{client}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={dir}/data
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=3
group.initial.rebalance.delay.ms=0
# A broker that was killed is missed soon.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# Three of them on a small machine.
num.network.threads=1
num.io.threads=2
log.cleaner.enable=false
log.initial.task.delay.ms=100
transaction.abort.timed.out.transaction.cleanup.interval.ms=200
"#
    )
}
