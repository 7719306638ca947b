//! Topics of orders.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use super::orders::Shape;
use kafka_test_broker::Broker;

pub type Producer = ThreadedProducer<DefaultProducerContext>;

/// The content of a topic.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    pub records: u64,
    pub keys: u64,
    /// The percentage of tombstones among the records. Applies only where keys are written more
    /// than once.
    pub tombstones: u64,
    pub shape: Shape,
    pub codec: &'static str,
    pub partitions: i32,
}

/// A topic that is filled.
#[derive(Debug)]
pub struct Topic {
    pub name: String,
    pub content: Content,
    broker: &'static Broker,
}

impl Content {
    /// Each key 20 times, 1 % tombstones, orders of about 300 bytes, not compressed, 4 partitions.
    pub fn new(records: u64) -> Self {
        Content {
            records,
            keys: records / 20,
            tombstones: 1,
            shape: Shape::Order,
            codec: "none",
            partitions: 4,
        }
    }

    /// Each key `times` times.
    pub fn written(self, times: u64) -> Self {
        Content {
            keys: self.records / times,
            ..self
        }
    }

    pub fn fill(self, broker: &'static Broker) -> Topic {
        let name = broker.new_topic("bench", self.partitions, &[]);
        let producer = producer(
            &broker.servers,
            &[
                ("compression.type", self.codec),
                ("queue.buffering.max.kbytes", "262144"),
            ],
        );
        let mut payload = String::new();
        for i in 0..self.records {
            // Keys are written round by round, each round in another order.
            let id = i.wrapping_mul(7_368_787) % self.keys;
            let once = self.written_once(i);
            let key = once.map_or_else(|| key(id), str::to_owned);
            self.shape.write(i, &mut payload);
            let upsert = once.is_some() || !self.is_tombstone(i);
            send(&producer, &name, &key, upsert.then_some(payload.as_bytes()));
        }
        producer.flush(Duration::from_secs(120)).unwrap();
        Topic {
            name,
            content: self,
            broker,
        }
    }

    /// Whether record `i` is a tombstone. A key that is written only once is never deleted.
    fn is_tombstone(&self, i: u64) -> bool {
        let random = i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        self.keys < self.records && random % 100 < self.tombstones
    }

    /// Keys that are written once, and their timestamps, for look-ups with `PRIMARY KEY (_key)`.
    fn written_once(&self, i: u64) -> Option<&'static str> {
        match i {
            0 => Some("first"),
            i if i == self.records / 2 => Some("halfway"),
            i if i + 1 == self.records => Some("last"),
            _ => None,
        }
    }
}

impl Topic {
    pub fn servers(&self) -> &str {
        &self.broker.servers
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        self.broker.delete_topic(&self.name);
    }
}

pub fn key(id: u64) -> String {
    format!("order-{id:08}")
}

pub fn producer(servers: &str, settings: &[(&str, &str)]) -> Producer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "20")
        .set("batch.size", "1000000");
    for &(name, value) in settings {
        config.set(name, value);
    }
    config.create().unwrap()
}

/// Sends a record to the partition of its key. Waits while the queue is full.
pub fn send(producer: &Producer, topic: &str, key: &str, payload: Option<&[u8]>) {
    let mut record = BaseRecord::to(topic).key(key);
    record.payload = payload;
    while let Err((error, returned)) = producer.send(record) {
        let full = Some(RDKafkaErrorCode::QueueFull);
        assert_eq!(error.rdkafka_error_code(), full, "{error}");
        record = returned;
        std::thread::sleep(Duration::from_millis(1));
    }
}
