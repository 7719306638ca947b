//! Transactions and transactional ids, as in `kafka-transactions.sh`.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::broker::Broker;
use crate::records::{Acks, Place, Rec, send};
use crate::topics::topic_name;
use crate::wait::PATIENCE;

const DESCRIBE_TRANSACTIONS: i16 = 65;
const LIST_TRANSACTIONS: i16 = 66;
const VERSION: i16 = 0;
const NO_TAGS: u8 = 0;

/// The end of a transaction. [`Broker::begin`] leaves one open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Readers of committed records see its records.
    Commit,
    /// Readers of committed records do not see its records.
    Abort,
}

/// An open transaction and its producer. If this is dropped, the transaction stays open until it
/// times out (after five minutes), like that of a crashed producer.
pub struct Transaction {
    producer: BaseProducer<Acks>,
    /// The positions of its records, in the order in which they were given.
    pub places: Vec<Place>,
}

impl Transaction {
    /// Commits an offset of partition 0 of a topic for a consumer group, as part of the
    /// transaction.
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

    /// Commits the transaction.
    pub fn commit(self) {
        self.producer.commit_transaction(PATIENCE).unwrap();
    }

    /// Aborts the transaction.
    pub fn abort(self) {
        self.producer.abort_transaction(PATIENCE).unwrap();
    }
}

impl Broker {
    /// Writes records in a transaction of their own. The records have reached the broker when this
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

    /// Writes records in a transaction and leaves it open. The records have reached the broker,
    /// which does not show them, or any later record, to a read-committed consumer.
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

    /// Fences the producer that uses this transactional id, as brokers do when a transaction is
    /// open for too long.
    pub fn fence(&self, transactional_id: &str) {
        let mut config = self.config();
        config.set("transactional.id", transactional_id);
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
    }

    /// The transactional ids that start with a prefix, each with its transaction timeout.
    pub fn transactional_ids(&self, prefix: &str) -> Vec<(String, Duration)> {
        let no_filters = [1, 1, NO_TAGS];
        let answer = self.ask_compact(LIST_TRANSACTIONS, VERSION, &no_filters);
        let mut answer = Answer(&answer);
        let (_throttled, error) = (answer.take(4), answer.take(2));
        assert_eq!(error, [0, 0]);
        let _unknown_filters = answer.texts();
        let mut ids = Vec::new();
        for _ in 0..answer.count() {
            let id = answer.text();
            let (_producer, _state, _tags) = (answer.take(8), answer.text(), answer.take(1));
            if id.starts_with(prefix) {
                ids.push((id.clone(), self.time_limit(&id)));
            }
        }
        ids
    }

    fn time_limit(&self, id: &str) -> Duration {
        let size = u8::try_from(id.len() + 1).unwrap();
        assert!(size < 0x80, "as long as one byte can tell");
        let request = [&[2, size][..], id.as_bytes(), &[NO_TAGS]].concat();
        let answer = self.ask_compact(DESCRIBE_TRANSACTIONS, VERSION, &request);
        let mut answer = Answer(&answer);
        let (_throttled, count) = (answer.take(4), answer.count());
        let (error, described) = (answer.take(2), answer.text());
        assert_eq!((count, error, described.as_str()), (1, &[0, 0][..], id));
        let _state = answer.text();
        let millis = i32::from_be_bytes(answer.take(4).try_into().unwrap());
        Duration::from_millis(millis.try_into().unwrap())
    }
}

/// The rest of a response in compact encodings that was not read yet.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, size: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(size);
        self.0 = rest;
        taken
    }

    /// A varint, seven bits per byte with the lowest bits first. Its value is one more than the
    /// count.
    fn count(&mut self) -> usize {
        let mut count = 0;
        for shift in (0..).step_by(7) {
            let byte = usize::from(self.take(1)[0]);
            count |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        count.saturating_sub(1)
    }

    fn text(&mut self) -> String {
        let size = self.count();
        String::from_utf8(self.take(size).to_vec()).unwrap()
    }

    fn texts(&mut self) -> Vec<String> {
        (0..self.count()).map(|_| self.text()).collect()
    }
}
