//! What librdkafka can do and rdkafka has no call for: reading a partition through
//! librdkafka's own calls, and some requests.
//!
//! rdkafka's consumers hand out one event, one `Arc` and one wake-up per
//! record. A snapshot reads millions of records only to throw most of them
//! away, so here they come in batches of plain pointers instead.

#![allow(unsafe_code)]

mod admin;
mod broker_config;
mod group;
mod new_topic;
mod record;
mod topic_id;

use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

pub use group::{group_members, group_offsets};
pub use new_topic::Refused;
pub use record::{Record, VisitHeader};
pub use topic_id::TopicId;

/// A topic of one client: what partitions are read from.
pub struct TopicHandle<C: ConsumerContext> {
    // Fields drop in this order: librdkafka wants its topics gone before the client.
    topic: NativeTopic,
    consumer: Arc<BaseConsumer<C>>,
}

struct NativeTopic(NonNull<sys::rd_kafka_topic_t>);

// SAFETY: librdkafka's topic handles are reference counted and may be used
// from any thread at the same time.
unsafe impl Send for NativeTopic {}
// SAFETY: as above.
unsafe impl Sync for NativeTopic {}

impl Drop for NativeTopic {
    fn drop(&mut self) {
        // SAFETY: the pointer came from rd_kafka_topic_new and is released once.
        unsafe { sys::rd_kafka_topic_destroy(self.0.as_ptr()) }
    }
}

impl<C: ConsumerContext> TopicHandle<C> {
    /// `None` when the name has a zero byte or librdkafka refuses it.
    pub fn new(consumer: Arc<BaseConsumer<C>>, topic: &str) -> Option<Self> {
        let name = CString::new(topic).ok()?;
        // SAFETY: the client is alive, the name is a C string that librdkafka
        // copies, and a null configuration means the client's defaults.
        let topic = unsafe {
            sys::rd_kafka_topic_new(
                consumer.client().native_ptr(),
                name.as_ptr(),
                ptr::null_mut(),
            )
        };
        Some(TopicHandle {
            topic: NativeTopic(NonNull::new(topic)?),
            consumer,
        })
    }

    /// The client.
    pub fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    fn as_ptr(&self) -> *mut sys::rd_kafka_topic_t {
        self.topic.0.as_ptr()
    }
}

/// One partition that is being fetched; stops fetching when dropped.
///
/// A partition of a [`TopicHandle`] must have at most one reader at a time.
pub struct PartitionReader<C: ConsumerContext> {
    topic: Arc<TopicHandle<C>>,
    partition: i32,
}

impl<C: ConsumerContext> PartitionReader<C> {
    /// Starts fetching at `offset`.
    pub fn start(
        topic: Arc<TopicHandle<C>>,
        partition: i32,
        offset: i64,
    ) -> Result<Self, RDKafkaErrorCode> {
        // SAFETY: the topic is alive; partition and offset are checked by librdkafka.
        let result = unsafe { sys::rd_kafka_consume_start(topic.as_ptr(), partition, offset) };
        if result != 0 {
            // SAFETY: reads librdkafka's thread-local error code.
            return Err(unsafe { sys::rd_kafka_last_error() }.into());
        }
        Ok(PartitionReader { topic, partition })
    }

    /// Goes on at `offset`; what was fetched before is thrown away. Does not wait.
    pub fn seek(&self, offset: i64) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: the topic is alive; a timeout of 0 only queues the request.
        let code = unsafe { sys::rd_kafka_seek(self.topic.as_ptr(), self.partition, offset, 0) };
        match code {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(code.into()),
        }
    }

    /// Appends up to `max` messages to `messages`. Waits up to `timeout` for
    /// the first one and not at all for the others.
    pub fn poll(&self, timeout: Duration, max: usize, messages: &mut Messages<C>) {
        if max == 0 {
            return;
        }
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the topic is alive and this partition was started.
        let first = unsafe { sys::rd_kafka_consume(self.topic.as_ptr(), self.partition, millis) };
        let Some(first) = NonNull::new(first) else {
            return;
        };
        messages.pointers.push(first);
        messages.pointers.reserve(max - 1);
        let length = messages.pointers.len();
        // SAFETY: `reserve` left room for max - 1 pointers behind `length`;
        // NonNull<T> has the layout of *mut T; librdkafka fills as many places
        // as it returns, never with null; with a timeout of 0 it does not wait.
        unsafe {
            let more = sys::rd_kafka_consume_batch(
                self.topic.as_ptr(),
                self.partition,
                0,
                messages.pointers.as_mut_ptr().add(length).cast(),
                max - 1,
            );
            messages
                .pointers
                .set_len(length + usize::try_from(more).unwrap_or(0));
        }
    }
}

impl<C: ConsumerContext> Drop for PartitionReader<C> {
    fn drop(&mut self) {
        // SAFETY: the topic is alive and this partition was started. The call
        // waits for librdkafka's own thread, not for the network.
        unsafe { sys::rd_kafka_consume_stop(self.topic.as_ptr(), self.partition) };
    }
}

/// Messages as librdkafka owns them; given back when cleared or dropped.
pub struct Messages<C: ConsumerContext> {
    pointers: Vec<NonNull<sys::rd_kafka_message_t>>,
    // Messages must be given back while their client is alive.
    _topic: Arc<TopicHandle<C>>,
}

// SAFETY: a message may be read and destroyed on any thread; nothing else
// points to it.
unsafe impl<C: ConsumerContext> Send for Messages<C> {}

impl<C: ConsumerContext> Messages<C> {
    /// An empty list.
    pub fn new(topic: Arc<TopicHandle<C>>) -> Self {
        Messages {
            pointers: Vec::new(),
            _topic: topic,
        }
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.pointers.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.pointers.is_empty()
    }

    /// The message at a place of the list.
    pub fn get(&self, index: usize) -> Option<Message<'_>> {
        self.pointers.get(index).map(|pointer| {
            // SAFETY: the pointer came from librdkafka, was not given back, and
            // the borrow of `self` keeps it so.
            Message(unsafe { pointer.as_ref() })
        })
    }

    /// Gives one message back.
    pub fn remove(&mut self, index: usize) {
        if index < self.pointers.len() {
            let pointer = self.pointers.remove(index);
            // SAFETY: the pointer is taken out of the list and given back once.
            unsafe { sys::rd_kafka_message_destroy(pointer.as_ptr()) }
        }
    }

    /// Gives the messages from `length` on back.
    pub fn truncate(&mut self, length: usize) {
        for pointer in self.pointers.drain(length.min(self.pointers.len())..) {
            // SAFETY: each pointer is taken out of the list and given back once.
            unsafe { sys::rd_kafka_message_destroy(pointer.as_ptr()) }
        }
    }
}

impl<C: ConsumerContext> Drop for Messages<C> {
    fn drop(&mut self) {
        self.truncate(0);
    }
}

/// A message of a partition: a record, or something that happened to the partition.
pub struct Message<'a>(&'a sys::rd_kafka_message_t);

impl Message<'_> {
    /// `None` for a record, otherwise what happened.
    pub fn error(&self) -> Option<RDKafkaErrorCode> {
        match self.0.err {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => None,
            code => Some(code.into()),
        }
    }

    /// What librdkafka says about [`error`](Self::error).
    pub fn error_text(&self) -> String {
        // SAFETY: the message is alive; the result is null or a C string that
        // lives as long as the message.
        unsafe { admin::text(sys::rd_kafka_message_errstr(self.0)) }.unwrap_or_default()
    }
}

impl Record for Message<'_> {
    fn offset(&self) -> i64 {
        self.0.offset
    }

    fn key(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka keeps key_len bytes there as long as the message lives.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    fn payload(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka keeps len bytes there as long as the message lives.
        unsafe { bytes(self.0.payload, self.0.len) }
    }

    fn timestamp(&self) -> Option<i64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive and `kind` is written to.
        let millis = unsafe { sys::rd_kafka_message_timestamp(self.0, &mut kind) };
        (kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && millis >= 0)
            .then_some(millis)
    }

    fn visit_headers(&self, visit: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive; the list belongs to it.
        let code = unsafe { sys::rd_kafka_message_headers(self.0, &mut headers) };
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the list is alive; the call writes the three places and
            // says so by its result.
            let code = unsafe {
                sys::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size)
            };
            if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
                return;
            }
            // SAFETY: the name is a C string and the value `size` bytes or
            // null, both as long as the message lives.
            unsafe { visit(CStr::from_ptr(name).to_bytes(), bytes(value, size)) }
        }
    }
}

/// Lets a client ask its bootstrap servers again where it knows of no brokers.
///
/// A broker that the controller has lost sight of, as after a pause of its process,
/// tells for a moment that there are none. librdkafka then forgets all of them, this
/// one too, and may never ask anybody again. Does not wait.
pub fn find_brokers<C: ClientContext>(client: &Client<C>) {
    let client = client.native_ptr();
    // Who tells of brokers tells of a controller, too.
    // SAFETY: the client is alive; with a timeout of 0 the call looks at what it knows.
    if unsafe { sys::rd_kafka_controllerid(client, 0) } >= 0 {
        return;
    }
    let name = c"bootstrap.servers";
    let mut length = 0;
    // SAFETY: the configuration lives as long as the client; without a place for the
    // value only its length is told, with the zero at its end.
    let known = unsafe {
        let conf = sys::rd_kafka_conf(client);
        sys::rd_kafka_conf_get(conf, name.as_ptr(), ptr::null_mut(), &mut length)
    };
    let mut servers: Vec<u8> = vec![0; length];
    if known != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK || servers.is_empty() {
        return;
    }
    // SAFETY: as above; `length` bytes are there to be written, and the servers are a
    // C string then, which librdkafka copies.
    unsafe {
        let (conf, place) = (sys::rd_kafka_conf(client), servers.as_mut_ptr().cast());
        sys::rd_kafka_conf_get(conf, name.as_ptr(), place, &mut length);
        sys::rd_kafka_brokers_add(client, place);
    }
}

/// Why the transaction of a producer has failed, as it has where the producer takes no
/// more records. Waits for librdkafka's own thread, up to this time.
///
/// librdkafka only says so to who commits. That is refused before anything else is done,
/// which rdkafka's call is not: it first waits for records that were thrown away.
pub fn transaction_error<C: ClientContext>(
    client: &Client<C>,
    timeout: Duration,
) -> Option<(RDKafkaErrorCode, String)> {
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is alive and a producer's; the error is ours to destroy, and its
    // text lives as long.
    unsafe {
        let error = sys::rd_kafka_commit_transaction(client.native_ptr(), millis);
        let error = admin::Owned::new(error, sys::rd_kafka_error_destroy).ok()?;
        let code = sys::rd_kafka_error_code(error.as_ptr());
        let text = admin::text(sys::rd_kafka_error_string(error.as_ptr()));
        Some((code.into(), text.unwrap_or_default()))
    }
}

/// The partition of `count` in which writers put a key by its Murmur2 hash, as Java's
/// clients do; `None` where they do not agree.
pub fn murmur2_partition(key: &[u8], count: i32) -> Option<i32> {
    partition(sys::rd_kafka_msg_partitioner_murmur2, key, count)
}

/// The same by its CRC-32, as librdkafka's clients do unless told otherwise.
pub fn crc32_partition(key: &[u8], count: i32) -> Option<i32> {
    partition(sys::rd_kafka_msg_partitioner_consistent, key, count)
}

type NativePartitioner = unsafe extern "C" fn(
    *const sys::rd_kafka_topic_t,
    *const c_void,
    usize,
    i32,
    *mut c_void,
    *mut c_void,
) -> i32;

fn partition(place: NativePartitioner, key: &[u8], count: i32) -> Option<i32> {
    if key.is_empty() || count < 1 {
        return None;
    }
    // SAFETY: the key is `len` bytes, `count` is positive, and these two
    // functions look at nothing else.
    Some(unsafe {
        place(
            ptr::null(),
            key.as_ptr().cast(),
            key.len(),
            count,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    })
}

/// # Safety
/// `data` is null or points to `length` bytes that live for `'a`.
unsafe fn bytes<'a>(data: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: promised by the caller.
    (!data.is_null()).then(|| unsafe { std::slice::from_raw_parts(data.cast(), length) })
}
