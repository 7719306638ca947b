//! librdkafka's fastest way to read a topic, without any work on the records: the minimum cost of
//! reading.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka_extra::{Messages, PartitionReader, TopicHandle};

/// Reads a topic from its beginning until this many records were seen.
pub fn consume(servers: &str, topic: &str, partitions: i32, records: usize) -> usize {
    const BATCH: usize = 10_000;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "0")
        .create()
        .unwrap();
    let topic = Arc::new(TopicHandle::new(consumer, topic).unwrap());
    let start = |partition| PartitionReader::start(Arc::clone(&topic), partition, 0).unwrap();
    let readers: Vec<_> = (0..partitions).map(start).collect();
    let mut messages = Messages::new(topic);
    let mut count = 0;
    // Waits only after a round in which no partition had a record.
    let mut wait = Duration::ZERO;
    while count < records {
        let before = count;
        for reader in &readers {
            reader.poll(wait, BATCH, &mut messages).unwrap();
            let all = (0..messages.len()).filter_map(|index| messages.get(index));
            count += all.filter(|message| message.error().is_none()).count();
            messages.truncate(0);
        }
        wait = match count > before {
            true => Duration::ZERO,
            false => Duration::from_millis(1),
        };
    }
    count
}
