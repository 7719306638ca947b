//! Records and transactions, written and as they are in the log.

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::{Broker, PATIENCE};

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
    pub(super) producer: BaseProducer<Acks>,
    /// Where its records went, in the order they were given.
    pub places: Vec<Place>,
}

impl Transaction {
    /// Commits an offset of partition 0 of a topic with it, for a consumer group.
    pub fn send_offset(&self, broker: &Broker, group: &str, topic: &str, offset: i64) {
        let consumer: BaseConsumer = broker.config().set("group.id", group).create().unwrap();
        let mut offsets = TopicPartitionList::new();
        let offset = Offset::Offset(offset);
        offsets.add_partition_offset(topic, 0, offset).unwrap();
        let group = consumer.group_metadata().unwrap();
        let producer = &self.producer;
        producer
            .send_offsets_to_transaction(&offsets, &group, PATIENCE)
            .unwrap();
    }

    pub fn commit(self) {
        self.producer.commit_transaction(PATIENCE).unwrap();
    }

    pub fn abort(self) {
        self.producer.abort_transaction(PATIENCE).unwrap();
    }
}

/// Delivery reports, by the number of the record sent. Kept, not judged, in the callback: a panic
/// must not cross librdkafka.
#[derive(Default)]
pub(super) struct Acks(Mutex<Vec<Option<Result<Place, KafkaError>>>>);

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

pub(super) fn send(producer: &BaseProducer<Acks>, topic: &str, records: &[Rec]) -> Vec<Place> {
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
