//! The list of all options.

use std::time::Duration;

use arrow::datatypes::TimeUnit;

use super::bound::bound;
use super::draft::Draft;
use super::envelope::Envelope;
use super::framing::Framing;
use super::property::Side;
use super::table::{
    Bound, CheckKeys, ColumnOptions, ColumnUnit, Deletes, Delivery, Isolation, KeyFormat, Mode,
    NullKey, OnBadRecord, OnLostOffsets, OnRecreatedOutput, Partitioner, ValueFormat,
};
use super::value::{boolean, choice, count, duration, schema_id};
use crate::json::{Decimals, NameMatching, NonFinite, Nulls, TextEncoding};

/// One option, as the documentation shows it.
#[derive(Debug)]
#[non_exhaustive]
pub struct OptionSpec {
    /// The key. A part in `<>` stands for any text.
    pub name: &'static str,
    /// The values that the option takes.
    pub value: &'static str,
    /// The default, or what happens without the option.
    pub default: &'static str,
    /// What the option does.
    pub doc: &'static str,
    /// Whether the option is for reading or writing.
    pub applies: Applies,
    pub(super) kind: Kind,
}

/// Whether an option is for reading, writing, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applies {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Reading and writing.
    Both,
}

/// How the value of an option is applied.
#[derive(Debug)]
pub(super) enum Kind {
    /// A value of the table. The error says what was expected.
    Value(fn(&mut Draft, &str) -> Result<(), String>),
    /// The bootstrap servers.
    Servers,
    /// A file of properties.
    PropertiesFile,
    /// `kafka.topic.config.<name>`
    TopicConfig,
    /// A value of one column.
    Column(fn(&mut ColumnOptions, &str) -> Result<(), String>),
    /// `kafka.client.<property>`, `kafka.consumer.<property>` or `kafka.producer.<property>`.
    Property(Side),
}

/// How long brokers keep idle connections, by default.
const LONGEST_KEPT: Duration = Duration::from_secs(600);

/// Every option there is, in the order of the documentation.
///
/// ```
/// for option in datafusion_kafka::options::all() {
///     println!("{} = {}: {}", option.name, option.value, option.doc);
/// }
/// ```
pub fn all() -> &'static [OptionSpec] {
    OPTIONS
}

/// The option that a key sets, with the text in place of its `<..>`.
pub(super) fn find(key: &str) -> Option<(&'static OptionSpec, &str)> {
    OPTIONS.iter().find_map(|option| match option.around() {
        None => (option.name == key).then_some((option, "")),
        Some((prefix, suffix)) => {
            let rest = key.strip_prefix(prefix)?.strip_suffix(suffix)?;
            (!rest.is_empty()).then_some((option, rest))
        }
    })
}

impl OptionSpec {
    /// The part of the name before the `<..>`.
    pub(super) fn prefix(&self) -> Option<&'static str> {
        self.around().map(|(prefix, _)| prefix)
    }

    /// The parts of the name before and after the `<..>`.
    fn around(&self) -> Option<(&'static str, &'static str)> {
        let (prefix, rest) = self.name.split_once('<')?;
        let (_, suffix) = rest.split_once('>')?;
        Some((prefix, suffix))
    }
}

/// Whether a topic may have this name.
fn is_topic_name(name: &str) -> bool {
    is_name(name) && name != "." && name != ".."
}

/// Whether a text has only characters that topic names may have, and is not too long.
fn is_name(text: &str) -> bool {
    let is_legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=249).contains(&text.len()) && text.bytes().all(is_legal)
}

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "kafka.bootstrap.servers",
        value: "host:port, ..",
        default: "the host in LOCATION",
        doc: "The servers to ask first, as a comma list.",
        applies: Applies::Both,
        kind: Kind::Servers,
    },
    OptionSpec {
        name: "kafka.mode",
        value: "upsert | append",
        default: "upsert",
        doc: "What the rows are: the latest record of every key, or every record. Where columns \
              are inferred and no sampled record has a key, the default is append.",
        applies: Applies::Both,
        kind: Kind::Value(|draft, text| {
            let modes = [("upsert", Mode::Upsert), ("append", Mode::Append)];
            draft.table.mode = Some(choice(text, &modes)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.start",
        value: "earliest | latest | timestamp:<RFC 3339 or ms> | offsets:{\"0\":12, ..} | group",
        default: "earliest",
        doc: "Where reading starts. In upsert mode, only keys that changed since then are rows. \
              `group` is the committed offset of the consumer group `kafka.group.id`, or \
              `earliest` where the group has not committed an offset.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            draft.table.start = match text.trim().eq_ignore_ascii_case("group") {
                true => Bound::Group(Box::new(Bound::Earliest)),
                false => bound(text)
                    .map_err(|expected| expected.replace("`latest`,", "`latest`, `group`,"))?,
            };
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.group.id",
        value: "a name",
        default: "none",
        doc: "The consumer group whose committed offsets `kafka.start` = `group` uses. Queries \
              commit nothing in its name, except a continuous query of that name.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            match text.trim() {
                "" => return Err("expected a name".to_owned()),
                name => draft.table.group_id = Some(name.to_owned()),
            }
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.on_lost_offsets",
        value: "fail | earliest",
        default: "fail",
        doc: "What a continuous query, or `kafka.start` = `group`, does where retention has \
              deleted records after the committed offset: fail with an error that names the lost \
              offsets, or continue at the first record that still exists.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            let policies = [
                ("fail", OnLostOffsets::Fail),
                ("earliest", OnLostOffsets::Earliest),
            ];
            draft.table.on_lost_offsets = choice(text, &policies)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.end",
        value: "earliest | latest | timestamp:<RFC 3339 or ms> | offsets:{\"0\":12, ..}",
        default: "latest",
        doc: "Where reading ends; the record at that position is not read. In upsert mode, the \
              rows are the table as of then.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            draft.table.end = bound(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.batch.rows",
        value: "a number",
        default: "the session's batch size",
        doc: "How many rows of a partition make up a batch of an UNBOUNDED table.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            let rows = count(text, i32::MAX)?;
            draft.table.batch_rows = usize::try_from(rows).ok();
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.batch.ms",
        value: "a number of milliseconds",
        default: "100",
        doc: "How long the rows of an UNBOUNDED table wait for a full batch. After that time the \
              batch is returned, however few rows it has.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            let millis = u64::try_from(count(text, i32::MAX)?).unwrap_or_default();
            draft.table.batch_time = Duration::from_millis(millis);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.wait_for",
        value: "offsets:{\"0\":12, ..}",
        default: "none",
        doc: "Offsets that a write reported. A query waits until the topic has reached them, up to \
              `kafka.timeout`, before it looks up the end of the topic.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            if text.trim() == "offsets:{}" {
                // The report of a statement that wrote nothing.
                draft.table.wait_for.clear();
                return Ok(());
            }
            draft.table.wait_for = match bound(text)? {
                Bound::Offsets(offsets) => offsets,
                _ => return Err("expected `offsets:{\"0\":12, ..}`".to_owned()),
            };
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.isolation",
        value: "read_committed | read_uncommitted",
        default: "read_committed",
        doc: "Whether records of open and aborted transactions are read.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            let levels = [
                ("read_committed", Isolation::ReadCommitted),
                ("read_uncommitted", Isolation::ReadUncommitted),
            ];
            draft.table.isolation = choice(text, &levels)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.metadata",
        value: "none | all",
        default: "none",
        doc: "`all` adds every metadata column to the declared or inferred ones.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            draft.table.all_metadata = choice(text, &[("none", false), ("all", true)])?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.key.format",
        value: "string | json | bytes | int32 | int64 | uuid",
        default: "string",
        doc: "How record keys are read and written. `int32` and `int64` are big-endian numbers of 4 \
              and 8 bytes, and `uuid` is 16 bytes, shown as text. Where columns are inferred, the \
              default is `bytes` if sampled keys are not text.",
        applies: Applies::Both,
        kind: Kind::Value(|draft, text| {
            let formats = KeyFormat::ALL.map(|format| (format.name(), format));
            draft.table.key_format = Some(choice(text, &formats)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.value.format",
        value: "json | string | bytes",
        default: "json",
        doc: "How payloads are read and written: a column per property, or one column `_value` \
              with the unchanged payload. Where columns are inferred, the default is what the \
              sample shows.",
        applies: Applies::Both,
        kind: Kind::Value(|draft, text| {
            let formats = [
                ("json", ValueFormat::Json),
                ("string", ValueFormat::String),
                ("bytes", ValueFormat::Bytes),
            ];
            draft.table.value_format = Some(choice(text, &formats)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.null_key",
        value: "fail | skip",
        default: "fail",
        doc: "What upsert mode does with a record without a key.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            let policies = [("fail", NullKey::Fail), ("skip", NullKey::Skip)];
            draft.table.null_key = choice(text, &policies)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.check_keys",
        value: "ignore | fail",
        default: "ignore",
        doc: "What upsert mode does with a key that is in two partitions and would therefore be \
              two rows: nothing, or fail with an error that names both positions.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            let policies = [("ignore", CheckKeys::Ignore), ("fail", CheckKeys::Fail)];
            draft.table.check_keys = choice(text, &policies)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.partitioner",
        value: "murmur2 | crc32",
        default: "unknown when reading, murmur2 when writing",
        doc: "How every writer of the topic chooses the partition of a key: murmur2 like Java's \
              clients, or crc32 like librdkafka's. A query for keys then reads only their \
              partitions. Only for topics that never got more partitions; UNBOUNDED tables read \
              all partitions.",
        applies: Applies::Both,
        kind: Kind::Value(|draft, text| {
            let partitioners = [
                ("murmur2", Partitioner::Murmur2),
                ("crc32", Partitioner::Crc32),
            ];
            draft.table.partitioner = Some(choice(text, &partitioners)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.on_bad_record",
        value: "fail | skip | null | dead_letter",
        default: "fail",
        doc: "What happens to a record that does not fit the columns: the query fails; the record \
              is treated as if it had never been written; its row has NULL payload columns; or, in \
              an unbounded INSERT, the record is treated as if it had never been written and goes \
              to `kafka.dead_letter.topic`.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            let policies = [
                ("fail", OnBadRecord::Fail),
                ("skip", OnBadRecord::Skip),
                ("null", OnBadRecord::Null),
                ("dead_letter", OnBadRecord::DeadLetter),
            ];
            draft.table.on_bad_record = choice(text, &policies)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.dead_letter.topic",
        value: "a topic",
        default: "none",
        doc: "The topic for records that do not fit, with `kafka.on_bad_record` = `dead_letter`. \
              The records are written unchanged, with headers that name their position and the \
              reason. The topic must exist.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            match text.trim() {
                topic if !is_topic_name(topic) => {
                    return Err("expected a topic: letters, digits, `.`, `_` and `-`".to_owned());
                }
                topic => draft.table.dead_letter_topic = Some(topic.to_owned()),
            }
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.json.names",
        value: "ignore_case | exact",
        default: "ignore_case",
        doc: "Whether a column takes a property whose name differs in case when no property has \
              exactly its name.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            let matching = [
                ("ignore_case", NameMatching::IgnoreCase),
                ("exact", NameMatching::Exact),
            ];
            draft.table.decode.names = choice(text, &matching)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.json.coerce",
        value: "true | false",
        default: "false",
        doc: "Whether numbers and booleans may be given as JSON strings.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            draft.table.decode.coerce = boolean(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.json.timestamp_unit",
        value: "s | ms | us | ns",
        default: "numbers are refused, text is written",
        doc: "The unit of numbers in date, time and timestamp columns. These columns are then \
              written as such numbers; an UPDATE leaves text as text. Writing a value that is more \
              precise than the unit is an error.",
        applies: Applies::Both,
        kind: Kind::Value(|draft, text| {
            let units = [
                ("s", TimeUnit::Second),
                ("ms", TimeUnit::Millisecond),
                ("us", TimeUnit::Microsecond),
                ("ns", TimeUnit::Nanosecond),
            ];
            let unit = Some(choice(text, &units)?);
            draft.table.decode.timestamp_unit = unit;
            draft.table.encode.timestamp_unit = unit;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.json.lenient",
        value: "true | false",
        default: "false",
        doc: "Whether input that is not strictly JSON is read: NaN, Infinity and -Infinity as bare \
              words, which are values of FLOAT and DOUBLE columns; control characters in strings, \
              unchanged; half of a surrogate pair, as U+FFFD.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            draft.table.decode.lenient = boolean(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.value.envelope",
        value: "none | connect | debezium",
        default: "none; what the sample shows where columns are inferred",
        doc: "What of a JSON payload is the row: all of it, `payload` as Kafka Connect writes it \
              with a schema, or `after` of a Debezium event, whose `d` deletes the key. A topic \
              with an envelope is not written.",
        applies: Applies::Both,
        kind: Kind::Value(|draft, text| {
            let envelopes = [Envelope::None, Envelope::Connect, Envelope::Debezium];
            let envelopes = envelopes.map(|envelope| (envelope.name(), envelope));
            draft.table.value_envelope = Some(choice(text, &envelopes)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.key.envelope",
        value: "none | connect",
        default: "none; what the sample shows where columns are inferred",
        doc: "What of a JSON key is `_key`: all of it, or `payload` as Kafka Connect writes it \
              with a schema. Rows are told apart by the whole key.",
        applies: Applies::Both,
        kind: Kind::Value(|draft, text| {
            let envelopes = [Envelope::None, Envelope::Connect];
            let envelopes = envelopes.map(|envelope| (envelope.name(), envelope));
            draft.table.key_envelope = Some(choice(text, &envelopes)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.deleted_by",
        value: "the name of a property",
        default: "only tombstones delete",
        doc: "The property of a row that is `true` or `\"true\"` where the row is deleted, such as \
              `__deleted`.",
        applies: Applies::Both,
        kind: Kind::Value(|draft, text| {
            match text {
                "" => return Err("expected the name of a property".to_owned()),
                name => draft.table.deleted_by = Some(name.to_owned()),
            }
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.json.documents",
        value: "one | many",
        default: "one",
        doc: "How many JSON documents a payload has. `many` are a list in `_value`, such as lines of \
              JSON, and are written on lines of their own.",
        applies: Applies::Both,
        kind: Kind::Value(|draft, text| {
            draft.table.many_documents = choice(text, &[("one", false), ("many", true)])?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.json.framing",
        value: "confluent | apicurio",
        default: "confluent",
        doc: "How many bytes the id of a schema has that stands, behind a zero byte, in front of \
              JSON: 4 or 8. Payloads and keys are read with such an id and without, and an UPDATE \
              keeps it.",
        applies: Applies::Both,
        kind: Kind::Value(|draft, text| {
            let framings = [
                ("confluent", Framing::Confluent),
                ("apicurio", Framing::Apicurio),
            ];
            draft.table.framing = choice(text, &framings)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.json.schema_id",
        value: "a whole number",
        default: "no id is written",
        doc: "The id of the schema in a registry that INSERT writes in front of JSON payloads.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            draft.table.schema_id = Some(schema_id(text)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.json.key_schema_id",
        value: "a whole number",
        default: "no id is written",
        doc: "The same for JSON keys. Rows whose keys are there already keep their bytes.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            draft.table.key_schema_id = Some(schema_id(text)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.json.nulls",
        value: "write | omit",
        default: "write",
        doc: "Whether NULL is written as `null` or left out.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            let nulls = [("write", Nulls::Write), ("omit", Nulls::Omit)];
            draft.table.encode.nulls = choice(text, &nulls)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.json.decimals",
        value: "number | string",
        default: "number",
        doc: "How decimals are written.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            let decimals = [("number", Decimals::Number), ("string", Decimals::String)];
            draft.table.encode.decimals = choice(text, &decimals)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.json.non_finite",
        value: "error | string",
        default: "error",
        doc: "Whether NaN and infinities are refused or written as strings.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            let policies = [("error", NonFinite::Error), ("string", NonFinite::String)];
            draft.table.encode.non_finite = choice(text, &policies)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.column.<name>.encoding",
        value: "text | json | mixed | base64 | hex | base64_decimal",
        default: "text, or base64 of bytes; where columns are inferred, mixed for values of several kinds, for `{}` and for numbers that no type holds",
        doc: "How a column is stored in JSON. For VARCHAR, `text` is a JSON string; any other value is \
              read as its JSON text. `json` is the JSON text of the value, where a string keeps \
              its quotes; text that is not JSON is refused. `mixed` is like `json`, but a string \
              is read without its quotes, unless that text would be JSON too, and text that is not \
              JSON is written as a string. With `json` and `mixed`, a value that was read is \
              written as the same JSON. A date, time or timestamp with the encoding `text` is \
              written as text, whatever the unit is. For other types, `json` is a string that \
              holds the JSON of the value. BYTEA is `base64` or `hex`. A DECIMAL with \
              `base64_decimal` is the base64 of the bytes of its unscaled value, as Kafka Connect \
              writes it. The name is that of a \
              column; `address.zip` is a field of a STRUCT, and `tags[]` are the items of a list.",
        applies: Applies::Both,
        kind: Kind::Column(|column, text| {
            let encodings = [
                ("text", TextEncoding::Text),
                ("json", TextEncoding::Json),
                ("mixed", TextEncoding::Mixed),
                ("base64", TextEncoding::Base64),
                ("hex", TextEncoding::Hex),
                ("base64_decimal", TextEncoding::Base64Decimal),
            ];
            column.encoding = Some(choice(text, &encodings)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.column.<name>.unit",
        value: "days | s | ms | us | ns",
        default: "`kafka.json.timestamp_unit`",
        doc: "The unit of the numbers in a date, time or timestamp column, or in such fields of a \
              STRUCT or list. The column is written as such numbers. `days` is for dates. The name \
              is a path as for the encoding.",
        applies: Applies::Both,
        kind: Kind::Column(|column, text| {
            let units = ColumnUnit::ALL.map(|unit| (unit.name(), unit));
            column.unit = Some(choice(text, &units)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.infer.records",
        value: "a number",
        default: "1000",
        doc: "How many of the newest records are read to infer columns.",
        applies: Applies::Read,
        kind: Kind::Value(|draft, text| {
            let records = count(text, i32::MAX)?;
            draft.table.infer_records = usize::try_from(records).unwrap_or(usize::MAX);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.delivery",
        value: "at_least_once | exactly_once",
        default: "at_least_once",
        doc: "What a failed statement leaves in the topic: the records that were acknowledged \
              before the failure, or, since the statement is one transaction, nothing.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            let allowed = [
                ("at_least_once", Delivery::AtLeastOnce),
                ("exactly_once", Delivery::ExactlyOnce),
            ];
            draft.table.delivery = choice(text, &allowed)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.transactional_id.prefix",
        value: "letters, digits, `.`, `_` and `-`",
        default: "datafusion-kafka-",
        doc: "The prefix of the `transactional.id` of every statement and continuous query with \
              exactly_once; rights can be granted on this prefix. It is part of a continuous \
              query's identity; stop the query before you change it.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            match text.trim() {
                prefix if !is_name(prefix) => {
                    return Err("expected letters, digits, `.`, `_` and `-`".to_owned());
                }
                prefix => draft.table.transactional_id_prefix = prefix.to_owned(),
            }
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.commit.ms",
        value: "a number of milliseconds",
        default: "100",
        doc: "How often an unbounded write is committed. With exactly_once, each commit is one \
              transaction.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            let millis = u64::try_from(count(text, i32::MAX)?).unwrap_or_default();
            draft.table.commit_time = Duration::from_millis(millis);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.on_recreated_output",
        value: "fail | rewrite",
        default: "fail",
        doc: "What a continuous query that runs record by record does where its output topic was \
              deleted and created again: fail with an error, or read again from where it first \
              began and rewrite everything. A refreshed query always rewrites everything.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            let policies = [
                ("fail", OnRecreatedOutput::Fail),
                ("rewrite", OnRecreatedOutput::Rewrite),
            ];
            draft.table.on_recreated_output = choice(text, &policies)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.deletes",
        value: "known | always",
        default: "known",
        doc: "What an INSERT from an UNBOUNDED table writes for rows that its WHERE leaves out: a \
              tombstone only where the topic holds the key, which keeps the topic's keys in \
              memory, or always a tombstone.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            let allowed = [("known", Deletes::Known), ("always", Deletes::Always)];
            draft.table.deletes = choice(text, &allowed)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.dry_run",
        value: "true | false",
        default: "false",
        doc: "Whether statements send nothing and only report what they would send. `SET` applies \
              to existing tables too.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            draft.table.dry_run = boolean(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.create_topic",
        value: "true | false",
        default: "false",
        doc: "Whether INSERT creates the topic when it does not exist.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            draft.create_topic = boolean(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.topic.partitions",
        value: "a number",
        default: "the broker's",
        doc: "How many partitions a created topic has.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            draft.topic.partitions = Some(count(text, i32::MAX)?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.topic.replication",
        value: "a number",
        default: "the broker's",
        doc: "How many replicas each partition of a created topic has.",
        applies: Applies::Write,
        kind: Kind::Value(|draft, text| {
            draft.topic.replication = Some(count(text, i16::MAX.into())?);
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.topic.config.<name>",
        value: "as Kafka's topic configuration",
        default: "`cleanup.policy` = `compact` in upsert mode, else the broker's",
        doc: "The configuration of a created topic.",
        applies: Applies::Write,
        kind: Kind::TopicConfig,
    },
    OptionSpec {
        name: "kafka.timeout",
        value: "a duration such as 10s, 500ms, 2m",
        default: "10s",
        doc: "The longest wait for a server to answer.",
        applies: Applies::Both,
        kind: Kind::Value(|draft, text| {
            draft.table.timeout = duration(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.retry_timeout",
        value: "a duration such as 10s, 500ms, 2m",
        default: "60s",
        doc: "The longest wait for a server that went away during reading or writing: the longest \
              time in which no expected record arrives or is acknowledged. Time in which brokers \
              throttle the client (quotas) does not count.",
        applies: Applies::Both,
        kind: Kind::Value(|draft, text| {
            draft.table.retry_timeout = duration(text)?;
            Ok(())
        }),
    },
    OptionSpec {
        name: "kafka.keep_clients",
        value: "a duration such as 10s, 500ms, 2m, up to 10m, or 0",
        default: "30s",
        doc: "How long a session keeps a client that no statement uses. The next statement that \
              needs a client of the same topic with the same properties takes that client, and \
              need not connect. With `0`, every statement connects.",
        applies: Applies::Both,
        kind: Kind::Value(|draft, text| {
            draft.table.keep_clients = match text.trim() {
                "0" | "0s" => Duration::ZERO,
                text => duration(text)?,
            };
            match draft.table.keep_clients > LONGEST_KEPT {
                true => Err("expected at most `10m`, after which brokers close idle \
                             connections"
                    .to_owned()),
                false => Ok(()),
            }
        }),
    },
    OptionSpec {
        name: "kafka.properties.file",
        value: "a path",
        default: "none",
        doc: "A file with client properties in librdkafka's or Java's spelling. Options given \
              beside the file override its properties; properties that the library sets itself are \
              ignored. SQL may name a file only where the program allows it.",
        applies: Applies::Both,
        kind: Kind::PropertiesFile,
    },
    OptionSpec {
        name: "kafka.client.<property>",
        value: "as librdkafka's property",
        default: "librdkafka's, or the library's",
        doc: "A property of librdkafka for each client of the table.",
        applies: Applies::Both,
        kind: Kind::Property(Side::Both),
    },
    OptionSpec {
        name: "kafka.consumer.<property>",
        value: "as librdkafka's property",
        default: "librdkafka's, or the library's",
        doc: "A property of librdkafka for the clients that read.",
        applies: Applies::Read,
        kind: Kind::Property(Side::Consumer),
    },
    OptionSpec {
        name: "kafka.producer.<property>",
        value: "as librdkafka's property",
        default: "librdkafka's, or the library's",
        doc: "A property of librdkafka for the clients that write.",
        applies: Applies::Write,
        kind: Kind::Property(Side::Producer),
    },
];
