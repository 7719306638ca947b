//! Reading several partitions at once from librdkafka's in-process cluster.

use std::collections::BTreeMap;
use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, DefaultConsumerContext};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;
use crate::PartitionReader;
use crate::record::Record;

const PARTITIONS: i32 = 3;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A topic `orders` with `count` records in each partition.
fn orders(count: i64) -> (Cluster, Arc<TopicHandle<DefaultConsumerContext>>) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", PARTITIONS, 1).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    config.set("enable.partition.eof", "true");
    let producer: BaseProducer = config.create().unwrap();
    for key in 0..count {
        let key = key.to_string();
        for partition in 0..PARTITIONS {
            let record = BaseRecord::to("orders").partition(partition);
            let sent = producer.send(record.key(&key).payload("1"));
            sent.map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let consumer: BaseConsumer = config.create().unwrap();
    (
        cluster,
        Arc::new(TopicHandle::new(consumer, "orders").unwrap()),
    )
}

/// The offsets of each partition up to its end, taken `max` at a time and distributed.
fn offsets(
    queue: &MessageQueue<DefaultConsumerContext>,
    partitions: &[i32],
    max: usize,
) -> BTreeMap<i32, Vec<i64>> {
    let topic = queue.topic();
    let list = || Messages::new(Arc::clone(topic));
    let mut lists: BTreeMap<i32, _> = partitions.iter().map(|p| (*p, list())).collect();
    let mut arrived = list();
    let deadline = Instant::now() + Duration::from_secs(30);
    let has_ended = |messages: &Messages<_>| {
        let last = messages.len().checked_sub(1).and_then(|i| messages.get(i));
        last.is_some_and(|last| last.error() == Some(RDKafkaErrorCode::PartitionEOF))
    };
    while !lists.values().all(has_ended) {
        assert!(Instant::now() < deadline);
        let wait = Duration::from_millis(100);
        queue.poll(wait, max, &mut arrived).unwrap();
        assert!(arrived.len() <= max);
        arrived.distribute(|partition, run| {
            if let Some(list) = lists.get_mut(&partition) {
                list.append(run);
            }
        });
        assert!(arrived.is_empty());
    }
    let offsets_of = |partition: i32, messages: &Messages<_>| -> Vec<i64> {
        let all = (0..messages.len()).map(|index| messages.get(index).unwrap());
        all.inspect(|message| assert_eq!(message.partition(), partition))
            .filter(|message| message.error().is_none())
            .map(|message| message.offset())
            .collect()
    };
    lists
        .iter()
        .map(|(partition, messages)| (*partition, offsets_of(*partition, messages)))
        .collect()
}

#[test]
fn every_partition_brings_each_of_its_records_once_and_in_order() {
    let (_cluster, topic) = orders(500);
    for max in [1, 7, 10_000] {
        let queue = Arc::new(MessageQueue::new(Arc::clone(&topic)).unwrap());
        let start = |partition| PartitionReader::start_in(&queue, partition, 0).unwrap();
        let _readers: Vec<_> = (0..PARTITIONS).map(start).collect();
        let found = offsets(&queue, &[0, 1, 2], max);
        for (partition, found) in found {
            assert!(
                found.iter().copied().eq(0..500),
                "{max}, {partition}: {found:?}"
            );
        }
    }
}

#[test]
fn one_partition_continues_elsewhere_and_another_stops_while_the_third_goes_on() {
    let (_cluster, topic) = orders(100);
    let queue = Arc::new(MessageQueue::new(topic).unwrap());
    let start = |partition| PartitionReader::start_in(&queue, partition, 50).unwrap();
    let (first, second, _third) = (start(0), start(1), start(2));
    first.seek(90).unwrap();
    drop(second);
    let found = offsets(&queue, &[0, 2], 10_000);
    assert!(found[&0].iter().copied().eq(90..100), "{found:?}");
    assert!(found[&2].iter().copied().eq(50..100), "{found:?}");

    // The partition that was stopped can be read again, in a queue of its own.
    let topic = Arc::clone(queue.topic());
    let again = PartitionReader::start(Arc::clone(&topic), 1, 99).unwrap();
    let mut messages = Messages::new(topic);
    while messages.is_empty() {
        again
            .poll(Duration::from_millis(100), 10, &mut messages)
            .unwrap();
    }
    assert_eq!(messages.get(0).unwrap().offset(), 99);
}

#[test]
fn messages_without_a_list_are_dropped_and_those_of_another_client_are_not_mixed_in() {
    let (_cluster, topic) = orders(10);
    let (_other_cluster, other) = orders(0);
    let queue = Arc::new(MessageQueue::new(Arc::clone(&topic)).unwrap());
    let _reader = PartitionReader::start_in(&queue, 0, 0).unwrap();
    let mut arrived = Messages::new(topic);
    while arrived.len() < 10 {
        queue
            .poll(Duration::from_millis(100), 10, &mut arrived)
            .unwrap();
    }
    let mut mixed = Messages::new(other);
    let refused = queue.poll(Duration::from_millis(1), 1, &mut mixed);
    assert_eq!(refused, Err(RDKafkaErrorCode::InvalidArgument));
    let mut runs = 0;
    arrived.distribute(|_, run| {
        runs += 1;
        mixed.append(run);
    });
    assert_eq!((runs, arrived.len(), mixed.len()), (1, 0, 0));
}

#[test]
fn a_queue_is_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<MessageQueue<DefaultConsumerContext>>();
}
