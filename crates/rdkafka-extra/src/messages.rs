//! Batches of messages, in librdkafka's own memory.

use std::ffi::CStr;
use std::iter::Peekable;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::vec::Drain;

use rdkafka::consumer::ConsumerContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::ffi::{bytes, check, text};
use crate::record::{Record, VisitHeader};
use crate::topic::TopicHandle;

/// A list of messages that [`PartitionReader::poll`] and [`MessageQueue::poll`] fill.
///
/// A message costs one pointer here: keys and payloads stay where librdkafka has put them,
/// and count for its limits, until the message is removed or the list dropped. Use one list
/// for many calls: its memory is kept.
///
/// It keeps its topic and client alive.
///
/// [`PartitionReader::poll`]: crate::PartitionReader::poll
/// [`MessageQueue::poll`]: crate::MessageQueue::poll
pub struct Messages<C: ConsumerContext> {
    // Fields drop in this order: messages must be destroyed while their client is alive.
    messages: Vec<OwnedMessage>,
    topic: Arc<TopicHandle<C>>,
}

impl<C: ConsumerContext> Messages<C> {
    /// An empty list for messages of this handle's readers, of one or several partitions.
    pub fn new(topic: Arc<TopicHandle<C>>) -> Self {
        Messages {
            messages: Vec::new(),
            topic,
        }
    }

    /// How many messages the list has, those with errors included.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether the list has no message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The message at a position, counted from 0; `None` behind the last one.
    pub fn get(&self, index: usize) -> Option<Message<'_>> {
        let message = self.messages.get(index)?;
        // SAFETY: the message is alive as long as the list is borrowed.
        Some(Message(unsafe { message.0.as_ref() }))
    }

    /// Removes one message, and moves those behind it up. Does nothing behind the last one.
    pub fn remove(&mut self, index: usize) {
        if index < self.messages.len() {
            self.messages.remove(index);
        }
    }

    /// Removes all messages but the first `length`.
    pub fn truncate(&mut self, length: usize) {
        self.messages.truncate(length);
    }

    /// Moves all messages out of this list: `take` gets them in runs of one partition each, in
    /// order. Messages that it does not [`append`](Self::append) to another list are destroyed.
    pub fn distribute(&mut self, mut take: impl FnMut(i32, Run<'_, '_, C>)) {
        let topic = &self.topic;
        let mut messages = self.messages.drain(..).peekable();
        while let Some(partition) = messages.peek().map(OwnedMessage::partition) {
            let messages = &mut messages;
            take(
                partition,
                Run {
                    partition,
                    messages,
                    topic,
                },
            );
        }
    }

    /// Appends messages of another list. Those of another client are destroyed instead.
    pub fn append(&mut self, run: Run<'_, '_, C>) {
        if self.belongs_to(run.topic) {
            let mut run = run;
            self.messages.extend(std::iter::from_fn(|| run.next()));
        }
    }

    /// Moves all messages of another list to the end of this one. Those of another client are
    /// destroyed instead.
    pub fn take_all(&mut self, from: &mut Self) {
        match self.belongs_to(&from.topic) {
            true => self.messages.append(&mut from.messages),
            false => from.messages.clear(),
        }
    }

    pub(crate) fn belongs_to(&self, topic: &Arc<TopicHandle<C>>) -> bool {
        Arc::ptr_eq(&self.topic, topic)
    }

    /// Appends a message; `false` when it is null.
    ///
    /// # Safety
    /// The pointer is null or came from a reader of this list's topic, and nothing else
    /// destroys the message.
    pub(crate) unsafe fn push(&mut self, message: *mut sys::rd_kafka_message_t) -> bool {
        let message = NonNull::new(message).map(OwnedMessage);
        let is_some = message.is_some();
        self.messages.extend(message);
        is_some
    }

    /// Appends up to `max` messages that `fill` writes to places, and counts.
    ///
    /// # Safety
    /// `fill` gets a pointer to `max` places and returns how many of them, from the first one on,
    /// it has filled with pointers as [`push`](Self::push) wants them, without null.
    pub(crate) unsafe fn extend_with(
        &mut self,
        max: usize,
        fill: impl FnOnce(*mut *mut sys::rd_kafka_message_t, usize) -> usize,
    ) {
        self.messages.reserve(max);
        let length = self.messages.len();
        // `OwnedMessage` has the layout of the pointer that it is made of.
        let places = self.messages.spare_capacity_mut().as_mut_ptr().cast();
        let filled = fill(places, max);
        // SAFETY: `reserve` has made room for `max` places, and the caller has promised that
        // `filled` of them hold messages.
        unsafe { self.messages.set_len(length + filled) }
    }
}

/// Successive messages of one partition, on their way from one list to another.
pub struct Run<'a, 'list, C: ConsumerContext> {
    partition: i32,
    messages: &'a mut Peekable<Drain<'list, OwnedMessage>>,
    topic: &'a Arc<TopicHandle<C>>,
}

impl<C: ConsumerContext> Run<'_, '_, C> {
    fn next(&mut self) -> Option<OwnedMessage> {
        let is_of_run = |message: &OwnedMessage| message.partition() == self.partition;
        self.messages.next_if(is_of_run)
    }
}

impl<C: ConsumerContext> Drop for Run<'_, '_, C> {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}

/// A message that is given back to librdkafka when dropped.
#[repr(transparent)]
struct OwnedMessage(NonNull<sys::rd_kafka_message_t>);

impl OwnedMessage {
    fn partition(&self) -> i32 {
        // SAFETY: the message is alive until it is dropped.
        unsafe { self.0.as_ref() }.partition
    }
}

// SAFETY: any thread may read and destroy a message, and nothing else points to it. It is not
// `Sync`: headers are parsed when they are first asked for.
unsafe impl Send for OwnedMessage {}

impl Drop for OwnedMessage {
    fn drop(&mut self) {
        // SAFETY: the pointer came from librdkafka and is given back once.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// A message of a partition: a [`Record`], or an event of the partition in its place.
///
/// Look at [`error`](Self::error) first. Of an event only the offset means something.
pub struct Message<'a>(&'a sys::rd_kafka_message_t);

impl Message<'_> {
    /// The partition that the message comes from.
    pub fn partition(&self) -> i32 {
        self.0.partition
    }

    /// `None` for a record, otherwise the event.
    ///
    /// [`RDKafkaErrorCode::PartitionEOF`] is the end of the partition (with
    /// `enable.partition.eof`). librdkafka goes on fetching after most other ones, such as a
    /// broker that is away; it does not after an offset that is out of range where
    /// `auto.offset.reset` is `error`.
    pub fn error(&self) -> Option<RDKafkaErrorCode> {
        check(self.0.err).err()
    }

    /// librdkafka's words for [`error`](Self::error); empty for a record.
    pub fn error_text(&self) -> String {
        if self.error().is_none() {
            return String::new();
        }
        // SAFETY: the message is alive. The result is null or a C string that lives as long.
        unsafe { text(sys::rd_kafka_message_errstr(self.0)) }.unwrap_or_default()
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
        // SAFETY: the message is alive, and `kind` is written to.
        let millis = unsafe { sys::rd_kafka_message_timestamp(self.0, &mut kind) };
        (kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && millis >= 0)
            .then_some(millis)
    }

    fn visit_headers(&self, visit: VisitHeader<'_>) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive and not shared with other threads, since it is not
        // `Sync`. The list belongs to it.
        let code = unsafe { sys::rd_kafka_message_headers(self.0, &mut headers) };
        if check(code).is_err() || headers.is_null() {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the list is alive. The call writes all three places where it succeeds.
            let code = unsafe {
                sys::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size)
            };
            if check(code).is_err() || name.is_null() {
                return;
            }
            // SAFETY: the name is a C string, the value null or `size` bytes. Both live as
            // long as the message.
            unsafe { visit(CStr::from_ptr(name).to_bytes(), bytes(value, size)) }
        }
    }
}
