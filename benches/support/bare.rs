//! librdkafka's fastest way to read a topic, doing nothing with the records: what reading costs at
//! least.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::ptr;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka_sys as sys;

/// Reads a topic from its beginning until it has seen so many records.
pub fn consume(servers: &str, topic: &str, partitions: i32, records: usize) -> usize {
    const BATCH: usize = 10_000;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "0")
        .create()
        .unwrap();
    let name = CString::new(topic).unwrap();
    let mut count = 0;
    // SAFETY: plain calls of librdkafka's C interface, in the order that its documentation asks
    // for; every message is given back once.
    unsafe {
        let client = consumer.client().native_ptr();
        let topic = sys::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut());
        let queue = sys::rd_kafka_queue_new(client);
        for partition in 0..partitions {
            sys::rd_kafka_consume_start_queue(topic, partition, 0, queue);
        }
        let mut messages: Vec<*mut sys::rd_kafka_message_t> = vec![ptr::null_mut(); BATCH];
        while count < records {
            let got = sys::rd_kafka_consume_batch_queue(queue, 5, messages.as_mut_ptr(), BATCH);
            for message in &messages[..usize::try_from(got).unwrap_or(0)] {
                if (**message).err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    count += 1;
                }
                sys::rd_kafka_message_destroy(*message);
            }
        }
        for partition in 0..partitions {
            sys::rd_kafka_consume_stop(topic, partition);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_topic_destroy(topic);
    }
    count
}
