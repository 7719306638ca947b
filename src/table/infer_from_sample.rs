//! Infers the columns of a table from a sample of its topic.

use std::sync::Arc;

use arrow::datatypes::Schema;

use crate::client::{Cancel, Client, KeptClients, OffsetRange, blocking};
use crate::definition::schema::is_reserved;
use crate::definition::{TableDefinition, column_options};
use crate::error::{Error, Result, own_error};
use crate::extensions::Extensions;
use crate::options::{Envelope, KeyFormat, Mode, TableOptions, ValueFormat};
use crate::source::fetch::{Chunk, Fetch, FetchProgress, POLL, PartitionFetch};
use crate::table::sample::Sample;

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
    let has_key_codec = extensions.key_codec.is_some();
    let mut sample = sample(&topic, &options, has_key_codec, kept, cancel).map_err(or_declared)?;
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
    let mixed = |reason| Error::InferSchema {
        topic: topic.clone(),
        reason,
    };
    let payloads = sample.take_payloads().map_err(mixed)?;
    let objects = payloads.as_ref().map_or(0, |payloads| payloads.objects);
    let has_envelope = options.value_envelope() != Envelope::None;
    let format = *options.value_format.get_or_insert_with(|| {
        let found = match has_envelope {
            true => ValueFormat::Json,
            false => sample.value_format(objects),
        };
        if found != ValueFormat::Json {
            log::warn!(
                "topic `{topic}` is not JSON: the table has one payload column, `_value`{remedy}"
            );
        }
        found
    });
    if let Some(payloads) = &payloads {
        note_envelope(&topic, payloads.envelope, &mut options);
    }
    let keys = sample.take_keys().map_err(mixed)?;
    if let Some(keys) = &keys {
        note_key_envelope(&topic, keys.envelope, &mut options);
    }
    if options.key_format.is_none() && !has_key_codec && sample.binary_keys {
        log::warn!(
            "topic `{topic}` has keys that are not text: `_key` is BYTEA; `kafka.key.format` = `int32`, \
             `int64`, `uuid` or `json` reads what is in them"
        );
        options.key_format = Some(KeyFormat::Bytes);
    }
    let mut fields = Vec::new();
    if let (KeyFormat::Json, Some(keys)) = (options.key_format(), keys) {
        let nullable = options.mode == Some(Mode::Append) || keys.has_nulls;
        fields.push(keys.finish().with_nullable(nullable));
    }
    if let (ValueFormat::Json, Some(payloads)) = (format, payloads) {
        if objects == 0 {
            let what = match payloads.envelope {
                Envelope::None => "is a JSON object".to_owned(),
                envelope => format!("has the envelope of {}", envelope.title()),
            };
            return Err(no_columns(&format!(
                "none of the sampled payloads {what}{remedy}"
            )));
        }
        // A property whose name is that of a metadata column must not replace that column.
        let envelope = payloads.envelope;
        let found = payloads.finish();
        let (hidden, found): (Vec<_>, Vec<_>) = found
            .iter()
            .partition(|field| is_reserved(field.name(), envelope));
        for property in hidden {
            log::warn!(
                "topic `{topic}`: the property `{}` is not a column, since its name is reserved for \
                 the record itself; declare a column in another case to read the property",
                property.name()
            );
        }
        fields.extend(found.into_iter().map(|field| field.as_ref().clone()));
    }
    // A unit that a record names goes before that of the table or the session.
    for field in &fields {
        column_options::note(field, &mut options.columns);
    }
    let table = TableDefinition::try_new(topic, options, &Schema::new(fields), extensions)?;
    Ok(TableDefinition { keyless, ..table })
}

/// Takes the envelope of the sampled payloads as that of the table, unless the table says its own.
fn note_envelope(topic: &str, envelope: Envelope, options: &mut TableOptions) {
    let read = match envelope {
        _ if options.value_envelope.is_some() => return,
        Envelope::None => None,
        Envelope::Connect => Some("the columns are those of `payload`"),
        Envelope::Debezium => Some("the columns are those of `after`, and `d` deletes"),
    };
    if let Some(read) = read {
        let title = envelope.title();
        log::warn!(
            "topic `{topic}` has the envelope of {title}: {read}; `kafka.value.envelope` = `none` \
             reads whole payloads"
        );
    }
    options.value_envelope = Some(envelope);
}

/// The same for keys, which are JSON then.
fn note_key_envelope(topic: &str, envelope: Envelope, options: &mut TableOptions) {
    if envelope == Envelope::None || options.key_envelope.is_some() {
        return;
    }
    log::warn!(
        "topic `{topic}` has keys in the envelope of Kafka Connect: `_key` is their `payload`; \
         `kafka.key.envelope` = `none` reads whole keys"
    );
    options.key_envelope = Some(envelope);
    options.key_format = Some(KeyFormat::Json);
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

/// Reads up to `kafka.infer.records` of the newest records, distributed over the partitions.
fn sample(
    topic: &str,
    options: &TableOptions,
    has_key_codec: bool,
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
    let mut sample = Sample::new(options, has_key_codec);
    for (partition, range) in filled {
        let reader = Arc::clone(&client);
        let mut fetch = PartitionFetch::alone(reader, partition, options.timeout)?;
        let read = newest(&mut fetch, range, share, &mut sample, cancel);
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
                sample.add(&record);
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
