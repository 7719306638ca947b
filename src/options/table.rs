//! The options of one table, parsed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use arrow::datatypes::TimeUnit;
use arrow_json_codec::unit_name;

use super::envelope::Envelope;
use super::framing::Framing;
use crate::json::{DecodeOptions, EncodeOptions, TextEncoding};

/// What the rows of a table are (`kafka.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// One row per key: its latest record. A tombstone removes the row.
    #[default]
    Upsert,
    /// One row per record, in offset order per partition.
    Append,
}

/// How record keys are read and written (`kafka.key.format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum KeyFormat {
    /// UTF-8 text.
    #[default]
    String,
    /// Any JSON value.
    Json,
    /// The bytes as they are.
    Bytes,
    /// Bytes of a known length.
    Binary(BinaryKey),
}

/// Keys of a known length, as Kafka's own serializers write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryKey {
    /// 4 bytes, big endian.
    Int32,
    /// 8 bytes, big endian.
    Int64,
    /// 16 bytes, shown as text.
    Uuid,
}

impl KeyFormat {
    /// All values of `kafka.key.format`.
    pub(super) const ALL: [KeyFormat; 6] = [
        KeyFormat::String,
        KeyFormat::Json,
        KeyFormat::Bytes,
        KeyFormat::Binary(BinaryKey::Int32),
        KeyFormat::Binary(BinaryKey::Int64),
        KeyFormat::Binary(BinaryKey::Uuid),
    ];

    /// The value of `kafka.key.format`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            KeyFormat::String => "string",
            KeyFormat::Json => "json",
            KeyFormat::Bytes => "bytes",
            KeyFormat::Binary(key) => key.name(),
        }
    }
}

impl BinaryKey {
    /// The value of `kafka.key.format`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            BinaryKey::Int32 => "int32",
            BinaryKey::Int64 => "int64",
            BinaryKey::Uuid => "uuid",
        }
    }
}

/// How payloads are read and written (`kafka.value.format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ValueFormat {
    /// A JSON object with a property per column.
    #[default]
    Json,
    /// UTF-8 text in one column `_value`.
    String,
    /// The bytes as they are in one column `_value`.
    Bytes,
}

/// What to do with a record that does not fit the table (`kafka.on_bad_record`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnBadRecord {
    /// The query fails and says where and why.
    #[default]
    Fail,
    /// As if the record had never been written.
    Skip,
    /// The row stays with NULL payload columns, the reason in `_error`.
    Null,
    /// As `Skip`, and a continuous query writes the record to
    /// `kafka.dead_letter.topic`.
    DeadLetter,
}

/// What to do with a record without a key in upsert mode (`kafka.null_key`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum NullKey {
    /// The query fails and says where.
    #[default]
    Fail,
    /// The record is left out.
    Skip,
}

/// What to do with a key that lives in two partitions (`kafka.check_keys`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CheckKeys {
    /// Nothing: such a key is a row of each of the partitions.
    #[default]
    Ignore,
    /// The query fails and names both places.
    Fail,
}

/// Which tombstones a query that never ends writes for rows that its WHERE leaves
/// out (`kafka.deletes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Deletes {
    /// Those of keys that the topic holds, which are kept in memory.
    #[default]
    Known,
    /// One for each such row.
    Always,
}

/// What a named query does where retention has deleted records that it had still to
/// read (`kafka.on_lost_offsets`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnLostOffsets {
    /// It fails and says which offsets are lost.
    #[default]
    Fail,
    /// It goes on with the first record that is there.
    Earliest,
}

/// What a continuous query does that takes its records one by one, where the topic that it
/// writes was deleted and created again (`kafka.on_recreated_output`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnRecreatedOutput {
    /// It fails: the new topic does not hold what was written before.
    #[default]
    Fail,
    /// It reads its topic from where it first began, and writes all again.
    Rewrite,
}

/// How keys are placed in partitions (`kafka.partitioner`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partitioner {
    /// As Java's clients do.
    Murmur2,
    /// As librdkafka's clients do unless told otherwise.
    Crc32,
}

/// Which transactional records are read (`kafka.isolation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Isolation {
    /// Only records of committed transactions, up to the first open one.
    #[default]
    ReadCommitted,
    /// Every record.
    ReadUncommitted,
}

/// What a statement that fails or is dropped leaves in the topic (`kafka.delivery`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Delivery {
    /// What was acknowledged before.
    #[default]
    AtLeastOnce,
    /// Nothing: a statement is one transaction.
    ExactlyOnce,
}

/// A place in a topic (`kafka.start`, `kafka.end`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// The low watermark.
    Earliest,
    /// The end as it is when the query starts.
    Latest,
    /// The first record with this timestamp (milliseconds since 1970, UTC) or a later one.
    Timestamp(i64),
    /// An offset per Kafka partition; partitions that are not named keep the
    /// default of the option (earliest as a start, latest as an end).
    Offsets(BTreeMap<i32, i64>),
    /// Where `kafka.group.id` has committed to; this place in partitions where it
    /// has not.
    Group(Box<Bound>),
}

impl fmt::Display for Bound {
    /// As it is written in `kafka.start` and `kafka.end`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Earliest => write!(f, "earliest"),
            Bound::Latest => write!(f, "latest"),
            Bound::Timestamp(millis) => write!(f, "timestamp:{millis}"),
            Bound::Group(_) => write!(f, "group"),
            Bound::Offsets(offsets) => {
                write!(f, "offsets:{{")?;
                for (index, (partition, offset)) in offsets.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}\"{partition}\":{offset}")?;
                }
                write!(f, "}}")
            }
        }
    }
}

/// How a topic is created (`kafka.create_topic` and `kafka.topic.*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewTopic {
    /// `kafka.topic.partitions`; `None` is the broker's default.
    pub(crate) partitions: Option<i32>,
    /// `kafka.topic.replication`; `None` is the broker's default.
    pub(crate) replication: Option<i32>,
    /// `kafka.topic.config.*`, in upsert mode with `cleanup.policy` = `compact` unless given.
    pub(crate) config: BTreeMap<String, String>,
}

/// What a number counts in a column of dates, times or timestamps (`kafka.column.<name>.unit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnUnit {
    Days,
    Time(TimeUnit),
}

impl ColumnUnit {
    /// All values of the option.
    pub(super) const ALL: [ColumnUnit; 5] = [
        ColumnUnit::Days,
        ColumnUnit::Time(TimeUnit::Second),
        ColumnUnit::Time(TimeUnit::Millisecond),
        ColumnUnit::Time(TimeUnit::Microsecond),
        ColumnUnit::Time(TimeUnit::Nanosecond),
    ];

    /// The unit of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }

    /// The value of the option.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ColumnUnit::Days => "days",
            ColumnUnit::Time(unit) => unit_name(unit),
        }
    }
}

/// What is said of one column (`kafka.column.<name>.*`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ColumnOptions {
    /// `kafka.column.<name>.encoding`; `None` when it was not given.
    pub(crate) encoding: Option<TextEncoding>,
    /// `kafka.column.<name>.unit`; `None` when it was not given.
    pub(crate) unit: Option<ColumnUnit>,
    /// Whether the table's own options say it, so that there must be such a column.
    pub(crate) is_own: bool,
}

/// The options of one table, parsed and checked against each other.
#[derive(Debug, Clone)]
pub(crate) struct TableOptions {
    /// `kafka.mode`; `None` when it was not given: upsert, or what the sample shows.
    pub(crate) mode: Option<Mode>,
    /// `kafka.start`
    pub(crate) start: Bound,
    /// `kafka.end`
    pub(crate) end: Bound,
    /// `kafka.group.id`: the consumer group whose offsets `kafka.start` = `group` takes.
    pub(crate) group_id: Option<String>,
    /// `kafka.on_lost_offsets`
    pub(crate) on_lost_offsets: OnLostOffsets,
    /// `kafka.isolation`
    pub(crate) isolation: Isolation,
    /// `kafka.metadata` = `all`: every metadata column is added to the schema.
    pub(crate) all_metadata: bool,
    /// `kafka.key.format`; `None` when it was not given: text, or what the sample shows.
    pub(crate) key_format: Option<KeyFormat>,
    /// `kafka.value.format`; `None` when it was not given: JSON, or what the sample shows.
    pub(crate) value_format: Option<ValueFormat>,
    /// `kafka.null_key`
    pub(crate) null_key: NullKey,
    /// `kafka.check_keys`
    pub(crate) check_keys: CheckKeys,
    /// `kafka.partitioner`; `None` when it was not given: read keys may be
    /// anywhere, written ones are placed as Java's clients do.
    pub(crate) partitioner: Option<Partitioner>,
    /// `kafka.on_bad_record`
    pub(crate) on_bad_record: OnBadRecord,
    /// `kafka.json.names`, `kafka.json.coerce`, `kafka.json.timestamp_unit`,
    /// `kafka.json.lenient`
    pub(crate) decode: DecodeOptions,
    /// `kafka.value.envelope`; `None` when it was not given: none, or what the sample shows.
    pub(crate) value_envelope: Option<Envelope>,
    /// `kafka.key.envelope`; `None` when it was not given: none, or what the sample shows.
    pub(crate) key_envelope: Option<Envelope>,
    /// `kafka.deleted_by`: the property that marks a deleted row.
    pub(crate) deleted_by: Option<String>,
    /// `kafka.json.documents` = `many`: a payload has several documents, which are a list.
    pub(crate) many_documents: bool,
    /// `kafka.json.framing`
    pub(crate) framing: Framing,
    /// `kafka.json.schema_id`: what is written in front of payloads.
    pub(crate) schema_id: Option<u64>,
    /// `kafka.json.key_schema_id`: what is written in front of keys.
    pub(crate) key_schema_id: Option<u64>,
    /// `kafka.json.nulls`, `kafka.json.decimals`, `kafka.json.non_finite`,
    /// `kafka.json.timestamp_unit`
    pub(crate) encode: EncodeOptions,
    /// `kafka.column.<name>.*`, by the name in lower case; a path of names for a field of a
    /// column.
    pub(crate) columns: BTreeMap<String, ColumnOptions>,
    /// `kafka.batch.rows`; `None` is the session's batch size.
    pub(crate) batch_rows: Option<usize>,
    /// `kafka.batch.ms`
    pub(crate) batch_time: Duration,
    /// `kafka.wait_for`: offsets that a query must see, by Kafka partition.
    pub(crate) wait_for: BTreeMap<i32, i64>,
    /// `kafka.delivery`
    pub(crate) delivery: Delivery,
    /// `kafka.transactional_id.prefix`: how every `transactional.id` begins.
    pub(crate) transactional_id_prefix: String,
    /// `kafka.commit.ms`: how often a write that never ends is committed.
    pub(crate) commit_time: Duration,
    /// `kafka.on_recreated_output`
    pub(crate) on_recreated_output: OnRecreatedOutput,
    /// `kafka.deletes`
    pub(crate) deletes: Deletes,
    /// `kafka.dead_letter.topic`
    pub(crate) dead_letter_topic: Option<String>,
    /// `kafka.dry_run`: statements produce nothing and report what they would send.
    pub(crate) dry_run: bool,
    /// `kafka.infer.records`
    pub(crate) infer_records: usize,
    /// `kafka.create_topic`: how to create a topic that an INSERT does not find.
    pub(crate) create_topic: Option<NewTopic>,
    /// `kafka.timeout`: the longest wait for a server to answer.
    pub(crate) timeout: Duration,
    /// `kafka.retry_timeout`: the longest wait for a server that went away in mid-work.
    pub(crate) retry_timeout: Duration,
    /// `kafka.keep_clients`: how long a session keeps an idle client; zero if it keeps none.
    pub(crate) keep_clients: Duration,
    /// The clients' properties.
    pub(crate) client: super::ClientOptions,
}

impl TableOptions {
    /// `kafka.key.format`, or its default.
    pub(crate) fn key_format(&self) -> KeyFormat {
        self.key_format.unwrap_or_default()
    }

    /// `kafka.value.envelope`, or its default.
    pub(crate) fn value_envelope(&self) -> Envelope {
        self.value_envelope.unwrap_or_default()
    }

    /// `kafka.key.envelope`, or its default.
    pub(crate) fn key_envelope(&self) -> Envelope {
        self.key_envelope.unwrap_or_default()
    }

    /// Whether payloads may be JSON.
    pub(crate) fn may_be_json(&self) -> bool {
        matches!(self.value_format, None | Some(ValueFormat::Json))
    }

    /// Whether keys may be JSON.
    pub(crate) fn may_have_json_keys(&self) -> bool {
        matches!(self.key_format, None | Some(KeyFormat::Json))
    }

    /// Whether a payload has to be looked at to know whether it is a row.
    pub(crate) fn judges_payloads(&self) -> bool {
        self.value_envelope() != Envelope::None || self.deleted_by.is_some()
    }

    /// Whether a payload may say nothing about its key, so that an older record of the key counts.
    pub(crate) fn passes_over_payloads(&self) -> bool {
        self.value_envelope() == Envelope::Debezium
    }

    /// Whether the clients that read are the same for both tables.
    pub(crate) fn same_client(&self, other: &Self) -> bool {
        self.client == other.client
            && self.isolation == other.isolation
            && self.timeout == other.timeout
            && self.retry_timeout == other.retry_timeout
    }
}

impl Default for TableOptions {
    fn default() -> Self {
        TableOptions {
            mode: None,
            start: Bound::Earliest,
            end: Bound::Latest,
            group_id: None,
            on_lost_offsets: OnLostOffsets::default(),
            isolation: Isolation::default(),
            all_metadata: false,
            key_format: None,
            value_format: None,
            null_key: NullKey::default(),
            check_keys: CheckKeys::default(),
            partitioner: None,
            on_bad_record: OnBadRecord::default(),
            decode: DecodeOptions::default(),
            value_envelope: None,
            key_envelope: None,
            deleted_by: None,
            many_documents: false,
            framing: Framing::default(),
            schema_id: None,
            key_schema_id: None,
            encode: EncodeOptions::default(),
            columns: BTreeMap::new(),
            batch_rows: None,
            batch_time: Duration::from_millis(100),
            wait_for: BTreeMap::new(),
            delivery: Delivery::default(),
            transactional_id_prefix: "datafusion-kafka-".to_owned(),
            commit_time: Duration::from_millis(100),
            on_recreated_output: OnRecreatedOutput::default(),
            deletes: Deletes::default(),
            dead_letter_topic: None,
            dry_run: false,
            infer_records: 1000,
            create_topic: None,
            timeout: Duration::from_secs(10),
            retry_timeout: Duration::from_secs(60),
            keep_clients: Duration::from_secs(30),
            client: super::ClientOptions::default(),
        }
    }
}
