//! What can go wrong, with the place as data.
//!
//! Every variant names the act that failed and carries topic, partition, offset
//! or option key as fields, so that a program can react to them and a person
//! can read them. No message holds a payload or the value of a secret.

mod code;
mod conversion;
mod fetch_failure;
mod json_hints;
pub mod kind;
mod messages;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

pub use self::code::ErrorCode;
pub use self::fetch_failure::FetchFailure;
use self::json_hints::encode_message;
pub(crate) use self::json_hints::{decode_message, unsupported_message};
pub(crate) use self::messages::no_room;
use self::messages::{denied, duplicate_key, key_hint, payload_hint, sample_hint};
use crate::json::{DecodeError, EncodeError};

/// The result of this crate's own operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
///
/// Inside DataFusion it travels as [`DataFusionError::External`]; [`Error::find`]
/// gets it back from whatever DataFusion wrapped around it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option key that does not exist.
    #[error("unknown option `{key}`{hint}")]
    UnknownOption {
        /// The key as it was given.
        key: String,
        /// Empty, or what could have been meant, as the end of the sentence.
        hint: String,
    },

    /// An option whose value cannot be used, or that may not be set.
    #[error("option `{key}`: {reason}")]
    InvalidOption {
        /// The key as it was given.
        key: String,
        /// What is wrong and what is allowed; never a secret value.
        reason: String,
    },

    /// Two options that set the same thing.
    #[error("options `{first}` and `{second}` set the same thing; give only one of them")]
    ConflictingOptions {
        /// One of the two keys.
        first: String,
        /// The other one.
        second: String,
    },

    /// A file that an option names cannot be read.
    #[error("option `{key}`: cannot read {}", .path.display())]
    ReadFile {
        /// The option that names the file.
        key: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },

    /// A declared schema that cannot be a Kafka table.
    #[error("column `{column}`: {reason}")]
    InvalidColumn {
        /// The column, with the path to a nested field.
        column: String,
        /// What is wrong and what is allowed.
        reason: String,
    },

    /// The servers did not answer in time.
    #[error("cannot reach Kafka at {servers} within {timeout:?}: {reason}")]
    Connect {
        /// The bootstrap servers.
        servers: String,
        /// How long was waited (`kafka.timeout`).
        timeout: Duration,
        /// What the connection looks like and what would help, or what librdkafka said.
        reason: String,
    },

    /// The servers refuse the login, or one side the other's certificate.
    #[error("cannot log in to Kafka at {servers}: {reason}")]
    Login {
        /// The bootstrap servers.
        servers: String,
        /// What the servers or librdkafka said, and what would help.
        reason: String,
    },

    /// A right that the brokers deny.
    #[error("{}{hint}", denied(operation, resource, name, *prefixed, principal.as_deref()))]
    #[non_exhaustive]
    Denied {
        /// The operation as ACLs call it, such as `READ`.
        operation: &'static str,
        /// What it is on: `topic`, `group` or `transactional id`.
        resource: &'static str,
        /// The name of the topic, the group or the transactional id.
        name: String,
        /// Whether the right is needed on all names that begin so: each statement in a
        /// transaction has a transactional id of its own.
        prefixed: bool,
        /// Who is denied it, such as `User:alice`. `None` where the client does not
        /// know: with certificates, tokens and Kerberos.
        principal: Option<String>,
        /// The code of the broker's answer.
        code: ErrorCode,
        /// Empty, or how to do without the right, as the end of the sentence.
        hint: String,
    },

    /// The topic does not exist.
    #[error("topic `{topic}` does not exist on {servers}{hint}")]
    TopicNotFound {
        /// The topic.
        topic: String,
        /// The bootstrap servers.
        servers: String,
        /// Empty, or what would help, as the end of the sentence.
        hint: String,
    },

    /// The servers do not say what topics they have.
    #[error("cannot list the topics of {servers}: {reason}")]
    ListTopics {
        /// The bootstrap servers.
        servers: String,
        /// The code of the broker's answer, where a broker has refused it.
        code: Option<ErrorCode>,
        /// What librdkafka or the broker said.
        reason: String,
    },

    /// The topic could not be created.
    #[error("cannot create topic `{topic}`: {reason}")]
    CreateTopic {
        /// The topic.
        topic: String,
        /// The code of the broker's answer, where a broker has refused it.
        code: Option<ErrorCode>,
        /// What the broker said.
        reason: String,
    },

    /// A request to the brokers about a topic failed.
    #[error("cannot {act} of topic `{topic}`: {reason}")]
    Request {
        /// What was asked for, as in "read the end offsets".
        act: &'static str,
        /// The topic.
        topic: String,
        /// The code of the broker's answer, where a broker has refused it.
        code: Option<ErrorCode>,
        /// What librdkafka or the broker said.
        reason: String,
    },

    /// A start or end offset outside of what the partition holds.
    #[error(
        "option `{key}`: offset {offset} of topic `{topic}` partition {partition} is out of range; \
         the partition holds offsets {low} to {high} (end not included)"
    )]
    OffsetOutOfRange {
        /// `kafka.start` or `kafka.end`.
        key: &'static str,
        /// The topic.
        topic: String,
        /// The Kafka partition.
        partition: i32,
        /// The offset asked for.
        offset: i64,
        /// The low watermark.
        low: i64,
        /// The high watermark.
        high: i64,
    },

    /// Records that a consumer group had still to read when retention deleted them, with
    /// `kafka.on_lost_offsets` = `fail`.
    #[error(
        "group `{group}` has read topic `{topic}` partition {partition} up to offset {from}, and \
         the brokers hold nothing before offset {to}: retention has deleted what was between, \
         unread; set `kafka.on_lost_offsets` = `earliest` to go on at {to}, or use another name to \
         begin as new"
    )]
    #[non_exhaustive]
    LostOffsets {
        /// The consumer group, whose name is that of a continuous query.
        group: String,
        /// The topic.
        topic: String,
        /// The Kafka partition.
        partition: i32,
        /// The first offset that was not read.
        from: i64,
        /// The first offset that the partition still holds.
        to: i64,
    },

    /// Reading a partition failed for good.
    #[error("reading topic `{topic}` partition {partition} failed at offset {offset}: {reason}")]
    Fetch {
        /// The topic.
        topic: String,
        /// The Kafka partition.
        partition: i32,
        /// The next offset to be read.
        offset: i64,
        /// Why.
        reason: FetchFailure,
    },

    /// A record without a key in a table that needs one.
    #[error(
        "topic `{topic}` partition {partition} offset {offset}: the record has no key, which upsert \
         mode needs; set `kafka.null_key` = `skip` to leave such records out, or `kafka.mode` = \
         `append` to read them"
    )]
    NullKey {
        /// The topic.
        topic: String,
        /// The Kafka partition.
        partition: i32,
        /// The record's offset.
        offset: i64,
    },

    /// A record with a key in a table that is in append mode only because no record of
    /// the sample has one.
    #[error(
        "topic `{topic}` partition {partition} offset {offset}: the record has a key, but those that \
         the columns were inferred from have none; set `kafka.mode` = `upsert` to read the latest \
         record of every key, or `append` to read every record"
    )]
    UnexpectedKey {
        /// The topic.
        topic: String,
        /// The Kafka partition.
        partition: i32,
        /// The record's offset.
        offset: i64,
    },

    /// A key that lives in two partitions, with `kafka.check_keys` = `fail`.
    #[error(
        "topic `{topic}` partition {partition} offset {offset}: the key of this record is also in \
         partition {other_partition}, at offset {other_offset}; its writers place keys differently, \
         or the topic got more partitions"
    )]
    KeyInTwoPartitions {
        /// The topic.
        topic: String,
        /// The Kafka partition.
        partition: i32,
        /// The offset of the key's latest record there.
        offset: i64,
        /// The other Kafka partition.
        other_partition: i32,
        /// The offset of the key's latest record in the other partition.
        other_offset: i64,
    },

    /// A key that does not fit `kafka.key.format` and the type of `_key`.
    #[error("topic `{topic}` partition {partition} offset {offset}: bad key: {}{}", decode_message(.source), key_hint(.source))]
    DecodeKey {
        /// The topic.
        topic: String,
        /// The Kafka partition.
        partition: i32,
        /// The record's offset.
        offset: i64,
        /// What was expected and where.
        source: DecodeError,
    },

    /// A payload that does not fit `kafka.value.format` and the columns.
    #[error("topic `{topic}` partition {partition} offset {offset}: bad payload: {}{}", decode_message(.source), payload_hint(.source))]
    DecodePayload {
        /// The topic.
        topic: String,
        /// The Kafka partition.
        partition: i32,
        /// The record's offset.
        offset: i64,
        /// What was expected and where.
        source: DecodeError,
    },

    /// A record that a [`Codec`](crate::Codec) cannot decode.
    #[error(
        "topic `{topic}` partition {partition} offset {offset}: the {part} cannot be decoded: \
         {reason}"
    )]
    Codec {
        /// The topic.
        topic: String,
        /// The Kafka partition.
        partition: i32,
        /// The record's offset; that of the first one where it is about a whole batch.
        offset: i64,
        /// `key` or `payload`.
        part: &'static str,
        /// What the codec said.
        reason: String,
    },

    /// A row that cannot be written as a record.
    #[error("row {row} for topic `{topic}`: {}", encode_message(.source))]
    EncodeRow {
        /// The topic.
        topic: String,
        /// The row's number in the statement, from 0.
        row: u64,
        /// Why.
        source: EncodeError,
    },

    /// A row that is not allowed in the topic, such as one with a NULL key.
    #[error("row {row} for topic `{topic}`: {reason}")]
    InvalidRow {
        /// The topic.
        topic: String,
        /// The row's number in the statement, from 0.
        row: u64,
        /// What is wrong with it.
        reason: String,
    },

    /// A record that the brokers did not take.
    #[error(
        "writing row {row} to topic `{topic}` failed: {reason}; {acknowledged} records had been \
         acknowledged, and some on their way may still be"
    )]
    Produce {
        /// The topic.
        topic: String,
        /// The number of its row in the statement, from 0.
        row: u64,
        /// The code of the broker's answer, where a broker has refused it.
        code: Option<ErrorCode>,
        /// What librdkafka or the broker said of the first refused record.
        reason: String,
        /// How many records of the statement the brokers had acknowledged.
        acknowledged: u64,
        /// Whether the record itself is the reason, such as one that is too large: brokers
        /// will not take it later either.
        refused: bool,
    },

    /// A transaction that did not begin (`kafka.delivery` = `exactly_once`).
    #[error("cannot begin a transaction on topic `{topic}`: {reason}")]
    BeginTransaction {
        /// The topic.
        topic: String,
        /// The code of the broker's answer, where a broker has refused it.
        code: Option<ErrorCode>,
        /// What librdkafka or the broker said.
        reason: String,
    },

    /// A statement in a transaction that failed: nothing of it is in the topic.
    #[error(
        "writing to topic `{topic}` failed: {reason}; its transaction was not committed, so that \
         readers of committed records see nothing of it"
    )]
    TransactionFailed {
        /// The topic.
        topic: String,
        /// The code of the broker's answer, where a broker has refused it.
        code: Option<ErrorCode>,
        /// What librdkafka or the broker said.
        reason: String,
        /// The number of the row in the statement, from 0, whose record is itself the reason,
        /// such as one that is too large: brokers will not take it later either.
        refused_row: Option<u64>,
    },

    /// A transaction of which nobody knows whether it was committed.
    #[error(
        "whether the statement on topic `{topic}` was committed is not known, since the brokers did \
         not answer: {reason}; look into the topic before you repeat it"
    )]
    CommitUnknown {
        /// The topic.
        topic: String,
        /// The code of the broker's answer, where a broker has refused it.
        code: Option<ErrorCode>,
        /// What librdkafka or the broker said.
        reason: String,
    },

    /// A continuous query of which another instance was started.
    #[error(
        "continuous query `{query}` was ended by another instance of the same name, which goes on in \
         its place; give the two different names if both are meant to run"
    )]
    Fenced {
        /// The name of the query.
        query: String,
    },

    /// A continuous query that does nothing though there are records to read.
    #[error(
        "continuous query `{query}` has {lag} records to read and has done nothing with them for \
         {timeout:?}"
    )]
    Stalled {
        /// The name of the query.
        query: String,
        /// The records that are to be read.
        lag: u64,
        /// How long nothing was done.
        timeout: Duration,
    },

    /// A continuous query that cannot be one.
    #[error("continuous query `{query}`: {reason}")]
    ContinuousQuery {
        /// The name of the query.
        query: String,
        /// What is wrong and what would help.
        reason: String,
    },

    /// Two rows of one statement that write the same key.
    #[error("{}", duplicate_key(.topic, *.row))]
    DuplicateKey {
        /// The topic.
        topic: String,
        /// The row's number, from 0, among those of the statement's query, or of the
        /// source of a MERGE; `None` for a row of the topic that the source does not match.
        row: Option<u64>,
    },

    /// Offsets that a query was told to wait for (`kafka.wait_for`).
    #[error(
        "topic `{topic}` partition {partition} ends at offset {end} after {timeout:?} \
         (`kafka.timeout`), and not at {wanted} as `kafka.wait_for` asks; a record there may belong \
         to an open transaction, or before one"
    )]
    NotYetThere {
        /// The topic.
        topic: String,
        /// The Kafka partition.
        partition: i32,
        /// Where it ends.
        end: i64,
        /// Where it was to end.
        wanted: i64,
        /// How long was waited.
        timeout: Duration,
    },

    /// A table name that matches two patterns of the same kind.
    #[error(
        "table `{table}` matches two {kind} patterns, `{first}` and `{second}`; make them exclude each other"
    )]
    AmbiguousPattern {
        /// The table name, which is the topic.
        table: String,
        /// `source` or `sink`.
        kind: &'static str,
        /// One of the patterns.
        first: String,
        /// The other one.
        second: String,
    },

    /// A pattern that is not a regular expression.
    #[error("topic pattern `{pattern}` is not a regular expression")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },

    /// A LOCATION that names no topic.
    #[error("LOCATION `{location}`: {reason}")]
    InvalidLocation {
        /// The location, without user information.
        location: String,
        /// What is wrong and what is allowed.
        reason: String,
    },

    /// A schema that cannot be inferred from the topic.
    #[error("cannot infer the columns of topic `{topic}`: {reason}")]
    InferSchema {
        /// The topic.
        topic: String,
        /// Why, and what to do.
        reason: String,
    },

    /// A column that a statement names and a sample of the topics did not show.
    #[error("{source} {}", sample_hint(.topics))]
    UnknownColumn {
        /// The column.
        column: String,
        /// The topics of the statement whose columns are inferred.
        topics: Vec<String>,
        /// What DataFusion says, with the columns that there are.
        source: Arc<SchemaError>,
    },

    /// A function of numbers that is called with a column of text.
    #[error(
        "{function} needs numbers, and `{argument}` is VARCHAR{}; write try_cast({argument} AS \
         DOUBLE) in its place, which is NULL for what is no number",
        if *.is_inferred { ", since not all sampled records have a number there" } else { "" }
    )]
    TextArgument {
        /// The function.
        function: String,
        /// The column, as the statement has it.
        argument: String,
        /// Whether the column's type is inferred from a sample.
        is_inferred: bool,
    },

    /// A client that could not be made, mostly for a property librdkafka refuses.
    #[error("cannot make a Kafka client: {reason}")]
    CreateClient {
        /// What librdkafka said, without the property's value.
        reason: String,
    },

    /// Something that the library does not do.
    #[error("{0}")]
    Unsupported(String),

    /// An error of DataFusion or Arrow, such as memory that is used up, in what this crate ran
    /// for its caller.
    #[error(transparent)]
    DataFusion(Arc<DataFusionError>),
}

/// The [`Error`] that DataFusion has wrapped, or the error of DataFusion as one of this crate.
pub(crate) fn own_error(error: DataFusionError) -> Error {
    match Error::find(&error) {
        Some(own) => own.clone(),
        None => Error::DataFusion(Arc::new(error)),
    }
}
