//! Records: writing them, and reading the log.

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::broker::Broker;
use crate::wait::{PATIENCE, nanos, wait_until};

/// A record to write. Without a partition, the key decides as in Kafka's own producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rec {
    /// The partition.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The payload; `None` for a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Milliseconds since 1970; `None` for the current time.
    pub timestamp: Option<i64>,
    /// Names and values, in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Rec {
    /// A record with a key and a payload.
    pub fn new(key: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            payload: Some(payload.as_ref().to_vec()),
            ..Self::tombstone(key)
        }
    }

    /// A record with a key and no payload.
    pub fn tombstone(key: impl AsRef<[u8]>) -> Self {
        Self {
            key: Some(key.as_ref().to_vec()),
            ..Self::default()
        }
    }

    /// The same record in this partition.
    pub fn partition(self, partition: i32) -> Self {
        Self {
            partition: Some(partition),
            ..self
        }
    }

    /// The same record with this timestamp, in milliseconds since 1970.
    pub fn timestamp(self, millis: i64) -> Self {
        Self {
            timestamp: Some(millis),
            ..self
        }
    }

    /// The same record with one more header.
    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }
}

/// A record as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The payload; `None` for a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Names and values, in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// The position of a written record: partition and offset.
pub type Place = (i32, i64);

impl Broker {
    /// Writes records and waits for their acknowledgements. Returns the position of each record, in
    /// the same order.
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

    /// Every committed record of a topic, by partition and offset.
    pub fn read_all(&self, topic: &str) -> Vec<Stored> {
        self.read(topic, "read_committed")
    }

    /// Every record of a topic, by partition and offset, committed or not.
    pub fn read_uncommitted(&self, topic: &str) -> Vec<Stored> {
        self.read(topic, "read_uncommitted")
    }

    /// Waits until compaction has removed the records at these positions.
    ///
    /// The topic needs the configuration [`COMPACTED`](crate::COMPACTED). Kafka does not compact the active segment,
    /// and closes it only when a later record arrives. This therefore writes a tombstone, with a
    /// key that no other record has, to every partition concerned.
    pub fn wait_compacted(&self, topic: &str, gone: &[Place]) {
        let mut partitions: Vec<i32> = gone.iter().map(|&(partition, _)| partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        // "Later" refers to the timestamps of the records.
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

    pub(crate) fn producer(&self, configs: &[(&str, &str)]) -> BaseProducer<Acks> {
        let mut config = self.config();
        config
            // Partitions are chosen as in Kafka's Java client, so that tests see what other
            // producers write.
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
                // The client recovers by itself: another broker becomes the leader, or the same one
                // comes back.
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

/// Delivery reports, by the number of the record. The callback only stores them and asserts
/// nothing, since a panic must not cross librdkafka.
#[derive(Default)]
pub(crate) struct Acks(Mutex<Vec<Option<Result<Place, KafkaError>>>>);

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

pub(crate) fn send(producer: &BaseProducer<Acks>, topic: &str, records: &[Rec]) -> Vec<Place> {
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
