//! Infers the columns of a table from a sample of its topic.

use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow_json_codec::is_null;
use rdkafka_extra::Record;

use crate::client::{Cancel, Client, KeptClients, OffsetRange, blocking};
use crate::definition::TableDefinition;
use crate::definition::metadata_columns::KEY_COLUMN;
use crate::definition::schema::is_reserved;
use crate::error::{Error, Result, own_error};
use crate::extensions::Extensions;
use crate::json::{DecodeError, SchemaInference, ValueInference};
use crate::options::{Framing, KeyFormat, Mode, TableOptions, ValueFormat};
use crate::source::fetch::{Chunk, Fetch, FetchProgress, POLL, PartitionFetch};

/// Samples a topic and makes a definition with the columns of the sample.
pub(crate) async fn table(
    topic: String,
    options: TableOptions,
    extensions: Extensions,
    kept: KeptClients,
) -> Result<TableDefinition> {
    blocking(move |cancel| infer(topic, options, extensions, &kept, cancel))
        .await
        .map_err(own_error)
}

fn infer(
    topic: String,
    mut options: TableOptions,
    extensions: Extensions,
    kept: &KeptClients,
    cancel: &Cancel,
) -> Result<TableDefinition> {
    let sample = sample(&topic, &options, kept, cancel).map_err(or_declared)?;
    let no_columns = |reason: &str| Error::InferSchema {
        topic: topic.clone(),
        reason: format!("{reason}; declare the columns"),
    };
    if sample.records == 0 {
        return Err(no_columns("it has no records with a payload"));
    }
    // One record with a key is enough for upsert mode. `kafka.null_key` then says how records
    // without a key are read.
    let keyless = options.mode.is_none() && !sample.keyed;
    if keyless {
        log::warn!("topic `{topic}` has records without a key: the table is in append mode");
        options.mode = Some(Mode::Append);
    }
    // The type of a number is a guess here, so values that would be rounded are an error.
    options.decode.exact_doubles = true;
    let remedy = sample.remedy();
    let format = *options.value_format.get_or_insert_with(|| {
        let found = sample.value_format();
        if found != ValueFormat::Json {
            log::warn!(
                "topic `{topic}` is not JSON: the table has one payload column, `_value`{remedy}"
            );
        }
        found
    });
    if options.key_format.is_none() && extensions.key_codec.is_none() && sample.binary_keys {
        log::warn!(
            "topic `{topic}` has keys that are not text: `_key` is BYTEA; `kafka.key.format` = `int32`, \
             `int64`, `uuid` or `json` reads what is in them"
        );
        options.key_format = Some(KeyFormat::Bytes);
    }
    let mut fields = Vec::new();
    if options.key_format() == KeyFormat::Json {
        let nullable = options.mode == Some(Mode::Append) || sample.null_keys;
        fields.push(sample.key.finish_as(KEY_COLUMN).with_nullable(nullable));
    }
    if format == ValueFormat::Json {
        if sample.objects == 0 {
            let reason = format!("none of the sampled payloads is a JSON object{remedy}");
            return Err(no_columns(&reason));
        }
        // A property whose name is that of a metadata column must not replace that column.
        let found = sample.payload.finish();
        let (hidden, found): (Vec<_>, Vec<_>) =
            found.iter().partition(|field| is_reserved(field.name()));
        for property in hidden {
            log::warn!(
                "topic `{topic}`: the property `{}` is not a column, since its name is reserved for \
                 the record itself; declare a column in another case to read the property",
                property.name()
            );
        }
        fields.extend(found.into_iter().map(|field| field.as_ref().clone()));
    }
    let table = TableDefinition::try_new(topic, options, &Schema::new(fields), extensions)?;
    Ok(TableDefinition { keyless, ..table })
}

/// Adds a hint to the error of a missing READ right. With declared columns the right is not
/// needed for writing.
fn or_declared(mut error: Error) -> Error {
    if let Error::Denied {
        operation: "READ",
        hint,
        ..
    } = &mut error
    {
        *hint = "; it is needed to infer the columns: if you only write to the topic, declare \
                 them instead (`CREATE EXTERNAL TABLE`)"
            .to_owned();
    }
    error
}

/// What is known from the records that were sampled so far.
#[derive(Default)]
struct Sample {
    records: usize,
    /// A record has a key. Tombstones count too.
    keyed: bool,
    objects: usize,
    texts: usize,
    null_keys: bool,
    /// A key is not text. Numbers of a few bytes often are UTF-8, but with zero bytes.
    binary_keys: bool,
    framing: Framing,
    key: ValueInference,
    payload: SchemaInference,
    /// Why a payload is not JSON, if `kafka.json.lenient` would accept it.
    nearly: Option<DecodeError>,
}

impl Sample {
    fn new(options: &TableOptions) -> Self {
        let lenient = options.decode.lenient;
        Sample {
            framing: options.framing,
            key: ValueInference::new().with_lenient(lenient),
            payload: SchemaInference::new().with_lenient(lenient),
            ..Sample::default()
        }
    }

    fn add(&mut self, record: &impl Record, key_format: KeyFormat) {
        self.keyed |= record.key().is_some();
        let is_text = |key: &[u8]| std::str::from_utf8(key).is_ok_and(|text| !text.contains('\0'));
        self.binary_keys |= record.key().is_some_and(|key| !is_text(key));
        let Some(payload) = record.payload() else {
            return;
        };
        self.records += 1;
        if let Some(key) = record.key()
            && key_format == KeyFormat::Json
        {
            let (_, key) = self.framing.split(key);
            self.null_keys |= is_null(key);
            // A key that is not JSON is not an error here. Reading reports it.
            drop(self.key.add(key));
        }
        match self.payload.add(self.framing.split(payload).1) {
            Ok(()) => self.objects += 1,
            Err(error) if error.is_read_leniently() => self.nearly = Some(error),
            Err(_) => {}
        }
        if std::str::from_utf8(payload).is_ok() {
            self.texts += 1;
        }
    }

    /// The end of a message: the option that would let payloads pass as JSON, if there is one.
    fn remedy(&self) -> String {
        match &self.nearly {
            Some(error) => format!("; {error}: `kafka.json.lenient` = `true` reads that"),
            None => String::new(),
        }
    }

    fn value_format(&self) -> ValueFormat {
        if self.objects > 0 {
            ValueFormat::Json
        } else if self.texts == self.records {
            ValueFormat::String
        } else {
            ValueFormat::Bytes
        }
    }
}

/// Reads up to `kafka.infer.records` of the newest records, distributed over the partitions.
fn sample(
    topic: &str,
    options: &TableOptions,
    kept: &KeptClients,
    cancel: &Cancel,
) -> Result<Sample> {
    let client = Arc::new(Client::kept(topic, options, kept)?);
    let partitions = client.partitions(cancel)?;
    let watermarks = client.watermarks(&partitions, cancel)?;
    // Columns do not depend on `kafka.start` and `kafka.end`, so the whole topic is sampled.
    let filled: Vec<_> = watermarks
        .into_iter()
        .filter(|(_, range)| !range.is_empty())
        .collect();
    let share = options.infer_records.div_ceil(filled.len().max(1)).max(1);
    let mut sample = Sample::new(options);
    for (partition, range) in filled {
        let reader = Arc::clone(&client);
        let mut fetch = PartitionFetch::alone(reader, partition, options.timeout)?;
        let read = newest(&mut fetch, range, share, options, &mut sample, cancel);
        if read.is_err() || cancel.is_cancelled() {
            client.discard();
        }
        read?;
    }
    Ok(sample)
}

/// Adds the newest records of a partition. Where these are only tombstones and gaps in the
/// offsets, it goes further back, in steps that grow.
fn newest(
    fetch: &mut PartitionFetch,
    range: OffsetRange,
    share: usize,
    options: &TableOptions,
    sample: &mut Sample,
    cancel: &Cancel,
) -> Result<()> {
    let mut chunk = fetch.chunk();
    let mut span = i64::try_from(share).unwrap_or(i64::MAX);
    let mut end = range.end;
    while end > range.start && !cancel.is_cancelled() {
        let start = end.saturating_sub(span).max(range.start);
        fetch.seek(start)?;
        while fetch.fetch(end, &mut chunk)? == FetchProgress::More && !cancel.is_cancelled() {
            fetch.wait(POLL)?;
        }
        let before = sample.records;
        for index in 0..chunk.len() {
            if let Some(record) = chunk.get(index) {
                sample.add(&record, options.key_format());
            }
        }
        if sample.records > before {
            return Ok(());
        }
        chunk.clear();
        end = start;
        span = span.saturating_mul(4);
    }
    Ok(())
}
