//! [`Sample`]: what the sampled records of a topic have in common.

use arrow::datatypes::{Field, Fields};
use arrow_json_codec::is_null;
use rdkafka_extra::Record;
use serde_json::{Map, Value};

use crate::definition::metadata_columns::KEY_COLUMN;
use crate::json::{DecodeError, SchemaInference, ValueInference};
use crate::options::{Envelope, TableOptions, ValueFormat};
use crate::source::connect_schema::ConnectSchema;
use crate::source::envelope::{EnvelopeReader, Event, EventKind};

/// What is known from the records that were sampled so far.
pub(super) struct Sample {
    /// Records with a payload.
    pub(super) records: usize,
    /// A record has a key. Tombstones count too.
    pub(super) keyed: bool,
    /// A key is not text. Numbers of a few bytes often are UTF-8, but with zero bytes.
    pub(super) binary_keys: bool,
    texts: usize,
    /// One reading for each envelope that the payloads may have.
    payloads: Vec<Payloads>,
    /// One reading for each envelope that JSON keys may have.
    keys: Vec<Keys>,
    /// How many keys were sampled.
    sampled_keys: usize,
}

/// The payloads of a sample, read in one envelope.
pub(super) struct Payloads {
    pub(super) envelope: Envelope,
    /// How many are a row or a delete in this envelope.
    pub(super) objects: usize,
    reader: EnvelopeReader,
    rows: SchemaInference,
    /// The types that the payloads name.
    types: ConnectSchema,
    /// How many have the shape of the envelope and of nothing else.
    typical: usize,
    /// How many others fit the envelope, but have no row that would show it.
    neutral: usize,
    /// Why a payload is not JSON, if `kafka.json.lenient` would accept it.
    nearly: Option<DecodeError>,
}

/// The keys of a sample, read in one envelope.
pub(super) struct Keys {
    pub(super) envelope: Envelope,
    /// A key is null.
    pub(super) has_nulls: bool,
    reader: EnvelopeReader,
    values: ValueInference,
    /// The type that the keys name.
    types: ConnectSchema,
    /// How many have the shape of the envelope.
    typical: usize,
}

impl Sample {
    /// No record has been sampled yet. `has_key_codec` says that keys are not JSON, whatever
    /// they look like.
    pub(super) fn new(options: &TableOptions, has_key_codec: bool) -> Self {
        // In the order in which they are preferred: Debezium's envelope often is in Kafka
        // Connect's.
        let payloads = match options.value_envelope {
            Some(envelope) => vec![envelope],
            None if options.may_be_json() => {
                vec![Envelope::Debezium, Envelope::Connect, Envelope::None]
            }
            None => vec![Envelope::None],
        };
        let is_json = options.may_have_json_keys() && !has_key_codec;
        let keys = match options.key_envelope {
            Some(envelope) => vec![envelope],
            None if is_json => vec![Envelope::Connect, Envelope::None],
            None => vec![Envelope::None],
        };
        let payloads = payloads.into_iter();
        let keys = keys.into_iter();
        Sample {
            records: 0,
            keyed: false,
            binary_keys: false,
            texts: 0,
            payloads: payloads.map(|it| Payloads::new(it, options)).collect(),
            keys: keys.map(|it| Keys::new(it, options)).collect(),
            sampled_keys: 0,
        }
    }

    pub(super) fn add(&mut self, record: &impl Record) {
        let is_text = |key: &[u8]| std::str::from_utf8(key).is_ok_and(|text| !text.contains('\0'));
        self.keyed |= record.key().is_some();
        self.binary_keys |= record.key().is_some_and(|key| !is_text(key));
        let Some(payload) = record.payload() else {
            return;
        };
        self.records += 1;
        if let Some(key) = record.key() {
            self.sampled_keys += 1;
            self.keys.iter_mut().for_each(|keys| keys.add(key));
        }
        self.payloads.iter_mut().for_each(|read| read.add(payload));
        if std::str::from_utf8(payload).is_ok() {
            self.texts += 1;
        }
    }

    /// The end of a message: the option that would let payloads pass as JSON, if there is one.
    pub(super) fn remedy(&self) -> String {
        match self.payloads.iter().find_map(|read| read.nearly.as_ref()) {
            Some(error) => format!("; {error}: `kafka.json.lenient` = `true` reads that"),
            None => String::new(),
        }
    }

    /// Takes the payloads in the envelope that all of them have.
    ///
    /// # Errors
    /// Only some of the payloads have an envelope.
    pub(super) fn take_payloads(&mut self) -> Result<Option<Payloads>, String> {
        // What is not JSON has no shape: reading reports it.
        let plain = self
            .payloads
            .iter()
            .find(|read| read.envelope == Envelope::None);
        let records = plain.map_or(self.records, |read| read.objects);
        let fits = |read: &Payloads| {
            read.envelope == Envelope::None
                || (read.typical > 0 && read.objects > 0 && read.typical + read.neutral >= records)
        };
        let given = self.payloads.len() == 1;
        let found = self.payloads.iter().position(|read| given || fits(read));
        let found = found.map(|place| self.payloads.swap_remove(place));
        let is_plain = found
            .as_ref()
            .is_some_and(|read| read.envelope == Envelope::None);
        let partly = self
            .payloads
            .iter()
            .find(|read| read.typical > 0 && read.objects > 0);
        match partly {
            Some(partly) if is_plain && !given => {
                let share = format!("{} of {records} sampled payloads", partly.typical);
                Err(mixed(&share, partly.envelope, "kafka.value.envelope"))
            }
            _ => Ok(found),
        }
    }

    /// Takes the keys in the envelope that all of them have.
    ///
    /// # Errors
    /// Only some of the keys have an envelope.
    pub(super) fn take_keys(&mut self) -> Result<Option<Keys>, String> {
        let count = self.sampled_keys;
        let given = self.keys.len() == 1;
        let partly = self.keys.iter().find(|read| read.typical > 0);
        if let Some(partly) = partly
            && !given
            && partly.typical < count
        {
            let share = format!("{} of {count} sampled keys", partly.typical);
            return Err(mixed(&share, partly.envelope, "kafka.key.envelope"));
        }
        let fits = |read: &Keys| given || read.envelope == Envelope::None || read.typical > 0;
        let found = self.keys.iter().position(fits);
        Ok(found.map(|place| self.keys.swap_remove(place)))
    }

    /// The format of payloads of which so many are JSON objects.
    pub(super) fn value_format(&self, objects: usize) -> ValueFormat {
        if objects > 0 {
            ValueFormat::Json
        } else if self.texts == self.records {
            ValueFormat::String
        } else {
            ValueFormat::Bytes
        }
    }
}

impl Payloads {
    fn new(envelope: Envelope, options: &TableOptions) -> Self {
        Payloads {
            envelope,
            objects: 0,
            reader: EnvelopeReader::new(envelope, options).with_source_timestamp(),
            rows: SchemaInference::new().with_lenient(options.decode.lenient),
            types: ConnectSchema::default(),
            typical: 0,
            neutral: 0,
            nearly: None,
        }
    }

    fn add(&mut self, payload: &[u8]) {
        match self.open(payload) {
            Ok(()) => {}
            Err(error) if error.is_read_leniently() => self.nearly = Some(error),
            Err(_) => {}
        }
    }

    fn open(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        let event = self.reader.open(payload)?;
        let row = match event.kind {
            EventKind::Row => Some(event.row.clone()),
            EventKind::Delete => event.before.clone(),
            EventKind::PassedOver => {
                self.neutral += 1;
                return Ok(());
            }
        };
        match self.is_typical(payload, &event) {
            Some(true) => self.typical += 1,
            Some(false) => self.neutral += 1,
            None => {}
        }
        if let Some(schema) = event.schema.and_then(|place| payload.get(place)) {
            self.types.add(schema, self.envelope);
        }
        if let Some(row) = row {
            self.rows.add(payload.get(row).unwrap_or_default())?;
        }
        self.objects += 1;
        Ok(())
    }

    /// Whether hardly anything but this envelope looks like this. `Some(false)` if the payload may
    /// be in the envelope, but does not show it.
    fn is_typical(&self, payload: &[u8], event: &Event) -> Option<bool> {
        match self.envelope {
            Envelope::None => None,
            Envelope::Connect => is_described(payload),
            // The tombstone of Kafka Connect's envelope.
            Envelope::Debezium if event.op.is_none() => Some(false),
            Envelope::Debezium => event.source_timestamp.map(|_| true),
        }
    }

    /// The columns of the rows.
    pub(super) fn finish(self) -> Fields {
        self.types.typed(&self.rows.finish())
    }
}

impl Keys {
    fn new(envelope: Envelope, options: &TableOptions) -> Self {
        Keys {
            envelope,
            has_nulls: false,
            reader: EnvelopeReader::new(envelope, options),
            values: ValueInference::new().with_lenient(options.decode.lenient),
            types: ConnectSchema::default(),
            typical: 0,
        }
    }

    fn add(&mut self, key: &[u8]) {
        let Ok(event) = self.reader.open(key) else {
            return;
        };
        let value = key.get(event.row.clone()).unwrap_or_default();
        self.typical += usize::from(is_described(key).is_some());
        if let Some(schema) = event.schema.and_then(|place| key.get(place)) {
            self.types.add_value(schema, KEY_COLUMN);
        }
        self.has_nulls |= is_null(value);
        // A key that is not JSON is not an error here. Reading reports it.
        drop(self.values.add(value));
    }

    /// The column of the keys.
    pub(super) fn finish(self) -> Field {
        let described = self.types.into_first();
        described.unwrap_or_else(|| self.values.finish_as(KEY_COLUMN))
    }
}

/// The error of a sample of which only a share has an envelope.
fn mixed(share: &str, envelope: Envelope, key: &str) -> String {
    let (title, name) = (envelope.title(), envelope.name());
    format!(
        "{share} have the envelope of {title}, and the others do not; set `{key}` = `{name}`, or \
         `none`"
    )
}

/// Whether a document is Kafka Connect's envelope and nothing else: `Some(false)` if there is no
/// description in it, as of a null.
fn is_described(document: &[u8]) -> Option<bool> {
    let start = document.iter().position(|byte| *byte == b'{')?;
    let object: Map<String, Value> = serde_json::from_slice(document.get(start..)?).ok()?;
    if object.len() != 2 || !object.contains_key("payload") {
        return None;
    }
    match object.get("schema")? {
        Value::Null => Some(false),
        Value::Object(schema) if schema.get("type").is_some_and(Value::is_string) => Some(true),
        _ => None,
    }
}
