//! Reading from librdkafka's in-process cluster.

use std::thread;
use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, DefaultConsumerContext};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;
use crate::record::Record;

type Topic = Arc<TopicHandle<DefaultConsumerContext>>;

struct Kafka(MockCluster<'static, DefaultProducerContext>);

impl Kafka {
    /// A topic `orders` of two partitions.
    fn start() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("orders", 2, 1).unwrap();
        Kafka(cluster)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.0.bootstrap_servers());
        config.set("enable.partition.eof", "true");
        config
    }

    /// Writes records with these keys and payloads to partition 0.
    fn write(&self, records: &[(&str, Option<&str>)]) {
        let producer: BaseProducer = self.config().create().unwrap();
        for (key, payload) in records {
            let mut record = BaseRecord::to("orders").partition(0).key(*key);
            record.payload = *payload;
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    }

    fn write_numbers(&self, count: usize) {
        let keys: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let records: Vec<_> = keys.iter().map(|key| (&**key, Some("x"))).collect();
        self.write(&records);
    }

    fn topic(&self) -> Topic {
        let consumer: BaseConsumer = self.config().create().unwrap();
        Arc::new(TopicHandle::new(consumer, "orders").unwrap())
    }
}

/// The offsets of the records up to the end of the partition, taken `max` at a time.
fn offsets(
    reader: &PartitionReader<DefaultConsumerContext>,
    max: usize,
    messages: &mut Messages<DefaultConsumerContext>,
) -> Vec<i64> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut offsets = Vec::new();
    while Instant::now() < deadline {
        messages.truncate(0);
        let wait = Duration::from_millis(100);
        reader.poll(wait, max, messages).unwrap();
        assert!(messages.len() <= max);
        for index in 0..messages.len() {
            let message = messages.get(index).unwrap();
            match message.error() {
                None => offsets.push(message.offset()),
                Some(RDKafkaErrorCode::PartitionEOF) => return offsets,
                Some(code) => panic!("{code}: {}", message.error_text()),
            }
        }
    }
    panic!("the end of the partition was not met after {offsets:?}");
}

#[test]
fn batches_bring_every_record_once_and_in_order() {
    let kafka = Kafka::start();
    kafka.write_numbers(1_000);
    for max in [1, 7, 10_000] {
        let topic = kafka.topic();
        let reader = PartitionReader::start(Arc::clone(&topic), 0, 0).unwrap();
        let found = offsets(&reader, max, &mut Messages::new(topic));
        assert!(found.iter().copied().eq(0..1_000), "{max}: {found:?}");
    }
}

#[test]
fn a_message_shows_all_of_its_record() {
    let kafka = Kafka::start();
    let producer: BaseProducer = kafka.config().create().unwrap();
    let header = |key, value| Header { key, value };
    let headers = OwnedHeaders::new()
        .insert(header("trace", Some("1")))
        .insert(header("trace", Some("")))
        .insert(header("null", None::<&str>));
    let record = BaseRecord::to("orders").partition(0).key("a");
    let record = record.payload("12").timestamp(1_700_000_000_123);
    let sent = producer.send(record.headers(headers));
    sent.map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();

    let topic = kafka.topic();
    let reader = PartitionReader::start(Arc::clone(&topic), 0, 0).unwrap();
    let mut messages = Messages::new(topic);
    poll_until(&reader, &mut messages, 1);
    let message = messages.get(0).unwrap();
    assert!(message.error().is_none());
    assert_eq!(message.error_text(), "");
    assert_eq!(message.offset(), 0);
    assert_eq!(message.key(), Some(&b"a"[..]));
    assert_eq!(message.payload(), Some(&b"12"[..]));
    assert_eq!(message.timestamp(), Some(1_700_000_000_123));
    assert_eq!(message.size(), 3);
    let mut headers = Vec::new();
    message.visit_headers(&mut |name, value| {
        headers.push((name.to_vec(), value.map(<[u8]>::to_vec)));
    });
    let wanted = [("trace", Some("1")), ("trace", Some("")), ("null", None)];
    let wanted = wanted.map(|(name, value)| (name.into(), value.map(Into::into)));
    assert_eq!(headers, wanted);
    assert_eq!(message.headers_size(), 5 + 1 + 5 + 4);
}

#[test]
fn a_tombstone_is_not_an_empty_value() {
    let kafka = Kafka::start();
    kafka.write(&[("a", None), ("a", Some(""))]);
    let topic = kafka.topic();
    let reader = PartitionReader::start(Arc::clone(&topic), 0, 0).unwrap();
    let mut messages = Messages::new(topic);
    poll_until(&reader, &mut messages, 2);
    assert_eq!(messages.get(0).unwrap().payload(), None);
    assert_eq!(messages.get(1).unwrap().payload(), Some(&b""[..]));
}

#[test]
fn reading_continues_where_it_is_told_to() {
    let kafka = Kafka::start();
    kafka.write_numbers(100);
    let topic = kafka.topic();
    let reader = PartitionReader::start(Arc::clone(&topic), 0, 90).unwrap();
    let mut messages = Messages::new(topic);
    assert!(offsets(&reader, 100, &mut messages).into_iter().eq(90..100));
    reader.seek(40).unwrap();
    let found = offsets(&reader, 100, &mut messages);
    assert!(found.iter().copied().eq(40..100), "{found:?}");
}

#[test]
fn messages_are_removed_one_by_one_and_from_a_position_on() {
    let kafka = Kafka::start();
    kafka.write_numbers(5);
    let topic = kafka.topic();
    let reader = PartitionReader::start(Arc::clone(&topic), 0, 0).unwrap();
    let mut messages = Messages::new(topic);
    poll_until(&reader, &mut messages, 5);
    let offsets = |messages: &Messages<_>| -> Vec<i64> {
        let all = (0..messages.len()).map(|index| messages.get(index).unwrap().offset());
        all.collect()
    };
    messages.truncate(5);
    messages.remove(1);
    assert_eq!(offsets(&messages), [0, 2, 3, 4]);
    messages.remove(4);
    messages.truncate(2);
    assert_eq!(offsets(&messages), [0, 2]);
    assert!(messages.get(2).is_none());
}

#[test]
fn a_partition_has_one_reader_at_a_time() {
    let kafka = Kafka::start();
    kafka.write_numbers(3);
    let topic = kafka.topic();
    let start = |partition| PartitionReader::start(Arc::clone(&topic), partition, 0);
    let first = start(0).unwrap();
    assert_eq!(start(0).err(), Some(RDKafkaErrorCode::Conflict));
    let other = start(1).unwrap();
    drop(first);
    let again = start(0).unwrap();
    let mut messages = Messages::new(Arc::clone(&topic));
    assert_eq!(offsets(&again, 10, &mut messages), [0, 1, 2]);
    assert!(offsets(&other, 10, &mut messages).is_empty());
}

#[test]
fn a_reader_that_could_not_start_leaves_the_partition_free() {
    let kafka = Kafka::start();
    let topic = kafka.topic();
    let start = |partition, offset| PartitionReader::start(Arc::clone(&topic), partition, offset);
    let unknown = start(-1, 0).err();
    assert_eq!(unknown, Some(RDKafkaErrorCode::UnknownPartition));
    let invalid = start(0, -5).err();
    assert_eq!(invalid, Some(RDKafkaErrorCode::InvalidArgument));
    assert!(start(0, 0).is_ok());
}

#[test]
fn messages_of_another_client_are_not_appended_to() {
    let kafka = Kafka::start();
    kafka.write_numbers(1);
    let reader = PartitionReader::start(kafka.topic(), 0, 0).unwrap();
    let mut messages = Messages::new(kafka.topic());
    let refused = reader.poll(Duration::from_secs(1), 10, &mut messages);
    assert_eq!(refused, Err(RDKafkaErrorCode::InvalidArgument));
    assert!(messages.is_empty());
}

#[test]
fn messages_outlive_their_reader_and_go_to_another_thread() {
    let kafka = Kafka::start();
    kafka.write(&[("a", Some("1"))]);
    let topic = kafka.topic();
    let reader = PartitionReader::start(Arc::clone(&topic), 0, 0).unwrap();
    let mut messages = Messages::new(topic);
    poll_until(&reader, &mut messages, 1);
    drop(reader);
    let key = thread::spawn(move || messages.get(0).unwrap().key().map(<[u8]>::to_vec));
    assert_eq!(key.join().unwrap(), Some(b"a".to_vec()));
}

#[test]
fn an_offset_out_of_range_becomes_a_message_with_an_error() {
    let kafka = Kafka::start();
    kafka.write_numbers(3);
    let mut config = kafka.config();
    config.set("auto.offset.reset", "error");
    let consumer: BaseConsumer = config.create().unwrap();
    let topic = Arc::new(TopicHandle::new(consumer, "orders").unwrap());
    let reader = PartitionReader::start(Arc::clone(&topic), 0, 1_000).unwrap();
    let mut messages = Messages::new(topic);
    poll_until(&reader, &mut messages, 1);
    let message = messages.get(0).unwrap();
    assert_eq!(message.error(), Some(RDKafkaErrorCode::AutoOffsetReset));
    assert!(!message.error_text().is_empty());
}

#[test]
fn handles_and_readers_are_shared_by_threads_and_messages_sent_to_them() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<TopicHandle<DefaultConsumerContext>>();
    shared::<PartitionReader<DefaultConsumerContext>>();
    sent::<Messages<DefaultConsumerContext>>();
}

#[test]
fn a_name_with_a_zero_byte_is_no_topic() {
    let kafka = Kafka::start();
    let consumer: BaseConsumer = kafka.config().create().unwrap();
    let refused = TopicHandle::new(consumer, "or\0ders").err();
    assert_eq!(refused, Some(RDKafkaErrorCode::InvalidTopic));
}

fn poll_until(
    reader: &PartitionReader<DefaultConsumerContext>,
    messages: &mut Messages<DefaultConsumerContext>,
    count: usize,
) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while messages.len() < count {
        assert!(Instant::now() < deadline, "{} messages", messages.len());
        let missing = count - messages.len();
        let wait = Duration::from_millis(100);
        reader.poll(wait, missing, messages).unwrap();
    }
}
