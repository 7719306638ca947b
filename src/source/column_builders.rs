//! Builds the columns of a batch, one record at a time.
//!
//! Every builder takes exactly one value per record. A value that does not fit becomes NULL, so
//! all columns stay the same length.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BinaryViewBuilder, BooleanBuilder, Int32Builder, Int64Builder,
    ListBuilder, StringBuilder, StringViewBuilder, StructBuilder, TimestampMillisecondBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;
use rdkafka_extra::Record;

use crate::definition::TableDefinition;
use crate::definition::metadata_columns::Metadata;
use crate::definition::type_groups::is_text;
use crate::error::{Error, Result, decode_message, unsupported_message};
use crate::json::{DecodeError, DecodeErrorKind, RowDecoder, ValueDecoder};
use crate::options::{KeyFormat, ValueFormat};
use crate::source::codec::CodecBuilder;
use crate::source::envelope::{EnvelopeReader, Event, EventKind};

/// The `_key` column, by `kafka.key.format`.
pub(super) enum KeyBuilder {
    Text(TextBuilder),
    Bytes(BytesBuilder),
    /// The second field is the type of the column where NULL is not allowed.
    Json(Box<ValueDecoder>, Option<DataType>, Box<EnvelopeReader>),
    Codec(CodecBuilder),
}

impl KeyBuilder {
    pub(super) fn try_new(
        table: &TableDefinition,
        partition: i32,
        field: &FieldRef,
    ) -> Result<Self> {
        if let Some(codec) = &table.extensions.key_codec {
            let fields = Fields::from(vec![Arc::clone(field)]);
            let builder = CodecBuilder::new(codec, fields, table, partition, "key");
            return Ok(KeyBuilder::Codec(builder));
        }
        Ok(match table.options.key_format() {
            KeyFormat::String => KeyBuilder::Text(TextBuilder::new(field)),
            KeyFormat::Bytes => KeyBuilder::Bytes(BytesBuilder::new(field)),
            KeyFormat::Binary(key) => {
                let (codec, fields) = (Arc::new(key) as _, Fields::from(vec![Arc::clone(field)]));
                KeyBuilder::Codec(CodecBuilder::new(&codec, fields, table, partition, "key"))
            }
            KeyFormat::Json => {
                let decoder = ValueDecoder::try_new(field, &table.options.decode);
                let decoder = decoder.map_err(|error| unsupported(field, &error))?;
                let required = (!field.is_nullable()).then(|| field.data_type().clone());
                let envelope = EnvelopeReader::for_keys(&table.options);
                KeyBuilder::Json(Box::new(decoder), required, Box::new(envelope))
            }
        })
    }

    pub(super) fn append(&mut self, key: Option<&[u8]>, offset: i64) -> Result<(), DecodeError> {
        match self {
            KeyBuilder::Codec(builder) => builder.append(key, offset),
            KeyBuilder::Text(builder) => builder.append(key),
            KeyBuilder::Bytes(builder) => builder.append(key),
            KeyBuilder::Json(decoder, required, envelope) => match key {
                Some(key) => append_key(decoder, envelope, key),
                None => {
                    decoder.append_null();
                    match required {
                        None => Ok(()),
                        Some(expected) => Err(missing(expected)),
                    }
                }
            },
        }
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        match self {
            KeyBuilder::Text(builder) => builder.finish(),
            KeyBuilder::Bytes(builder) => builder.finish(),
            KeyBuilder::Json(decoder, ..) => decoder.finish(),
            KeyBuilder::Codec(builder) => builder.finish().map(|mut arrays| arrays.remove(0)),
        }
    }
}

/// The payload columns, by `kafka.value.format`.
pub(super) enum PayloadDecoder {
    Json(Box<RowDecoder>),
    Text(TextBuilder),
    Bytes(BytesBuilder),
    Codec(CodecBuilder),
}

impl PayloadDecoder {
    pub(super) fn try_new(table: &TableDefinition, partition: i32, fields: Fields) -> Result<Self> {
        if let Some(codec) = &table.extensions.value_codec {
            let builder = CodecBuilder::new(codec, fields, table, partition, "payload");
            return Ok(PayloadDecoder::Codec(builder));
        }
        let first = fields.first();
        Ok(match (table.schema.value_format(), first) {
            (ValueFormat::String | ValueFormat::Bytes, Some(field)) => Self::as_it_is(field),
            _ => {
                let decoder = RowDecoder::try_new(&fields, &table.options.decode);
                let decoder = decoder.map_err(|error| Error::InvalidColumn {
                    column: error.path.clone(),
                    reason: unsupported_message(&error),
                })?;
                PayloadDecoder::Json(Box::new(decoder))
            }
        })
    }

    /// Puts the whole payload into one column of text or bytes.
    pub(super) fn as_it_is(field: &Field) -> Self {
        match is_text(field.data_type()) {
            true => PayloadDecoder::Text(TextBuilder::new(field)),
            false => PayloadDecoder::Bytes(BytesBuilder::new(field)),
        }
    }

    pub(super) fn append(
        &mut self,
        payload: Option<&[u8]>,
        offset: i64,
    ) -> Result<(), DecodeError> {
        match (self, payload) {
            (PayloadDecoder::Codec(builder), payload) => builder.append(payload, offset),
            (PayloadDecoder::Text(builder), None) => {
                builder.builder.append_option(None);
                Ok(())
            }
            (PayloadDecoder::Bytes(builder), None) => {
                builder.builder.append_option(None);
                Ok(())
            }
            (PayloadDecoder::Json(decoder), Some(row)) => decoder.append(row),
            (PayloadDecoder::Json(decoder), None) => {
                decoder.append_null();
                Ok(())
            }
            (PayloadDecoder::Text(builder), payload) => builder.append(payload),
            (PayloadDecoder::Bytes(builder), payload) => builder.append(payload),
        }
    }

    pub(super) fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        match self {
            PayloadDecoder::Json(decoder) => decoder.finish(),
            PayloadDecoder::Text(builder) => Ok(vec![builder.finish()?]),
            PayloadDecoder::Bytes(builder) => Ok(vec![builder.finish()?]),
            PayloadDecoder::Codec(builder) => builder.finish(),
        }
    }
}

/// Decodes the key within its envelope.
fn append_key(
    decoder: &mut ValueDecoder,
    envelope: &mut EnvelopeReader,
    key: &[u8],
) -> Result<(), DecodeError> {
    let place = match envelope.open(key) {
        Ok(event) => event.row,
        Err(error) => {
            decoder.append_null();
            return Err(error);
        }
    };
    let start = place.start;
    decoder
        .append(key.get(place).unwrap_or_default())
        .map_err(|mut error| {
            error.position += start;
            error
        })
}

/// Builds UTF-8 text as any string type.
pub(super) struct TextBuilder {
    builder: StringKind,
    data_type: DataType,
    nullable: bool,
}

enum StringKind {
    View(StringViewBuilder),
    Plain(StringBuilder),
}

impl StringKind {
    fn append_option(&mut self, value: Option<&str>) {
        match self {
            StringKind::View(builder) => builder.append_option(value),
            StringKind::Plain(builder) => builder.append_option(value),
        }
    }
}

impl TextBuilder {
    fn new(field: &Field) -> Self {
        TextBuilder {
            builder: match field.data_type() {
                DataType::Utf8View => StringKind::View(StringViewBuilder::new()),
                _ => StringKind::Plain(StringBuilder::new()),
            },
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
        }
    }

    fn append(&mut self, bytes: Option<&[u8]>) -> Result<(), DecodeError> {
        let text = bytes.map(std::str::from_utf8).transpose();
        let value = text.as_ref().ok().copied().flatten();
        self.builder.append_option(value);
        match (text, bytes) {
            (Err(error), _) => {
                let kind = DecodeErrorKind::InvalidUtf8;
                Err(DecodeError::new(error.valid_up_to(), kind))
            }
            (Ok(_), None) if !self.nullable => Err(missing(&self.data_type)),
            (Ok(_), _) => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let array: ArrayRef = match &mut self.builder {
            StringKind::View(builder) => Arc::new(builder.finish()),
            StringKind::Plain(builder) => Arc::new(builder.finish()),
        };
        to_type(array, &self.data_type)
    }
}

/// Builds bytes as any binary type.
pub(super) struct BytesBuilder {
    builder: BinaryKind,
    data_type: DataType,
    nullable: bool,
}

enum BinaryKind {
    View(BinaryViewBuilder),
    Plain(BinaryBuilder),
}

impl BinaryKind {
    fn append_option(&mut self, value: Option<&[u8]>) {
        match self {
            BinaryKind::View(builder) => builder.append_option(value),
            BinaryKind::Plain(builder) => builder.append_option(value),
        }
    }
}

impl BytesBuilder {
    fn new(field: &Field) -> Self {
        BytesBuilder {
            builder: match field.data_type() {
                DataType::BinaryView => BinaryKind::View(BinaryViewBuilder::new()),
                _ => BinaryKind::Plain(BinaryBuilder::new()),
            },
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
        }
    }

    fn append(&mut self, bytes: Option<&[u8]>) -> Result<(), DecodeError> {
        self.builder.append_option(bytes);
        if bytes.is_none() && !self.nullable {
            return Err(missing(&self.data_type));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let array: ArrayRef = match &mut self.builder {
            BinaryKind::View(builder) => Arc::new(builder.finish()),
            BinaryKind::Plain(builder) => Arc::new(builder.finish()),
        };
        to_type(array, &self.data_type)
    }
}

/// Builds a metadata column in the type of [`Metadata::data_type`]. The array is cast to the
/// declared type at the end of a batch.
pub(super) enum MetadataBuilder {
    Topic(StringViewBuilder),
    Partition(Int32Builder),
    Offset(Int64Builder),
    Timestamp(TimestampMillisecondBuilder),
    Headers(Box<ListBuilder<StructBuilder>>),
    Tombstone(BooleanBuilder),
    Error(StringViewBuilder),
    Key(BinaryViewBuilder),
    Payload(BinaryViewBuilder),
    Op(StringViewBuilder),
    SourceTimestamp(TimestampMillisecondBuilder),
    Before(StringViewBuilder),
}

impl MetadataBuilder {
    pub(super) fn new(metadata: Metadata) -> Self {
        match metadata {
            // All rows name the same topic, so the string is stored once per batch.
            Metadata::Topic => {
                MetadataBuilder::Topic(StringViewBuilder::new().with_deduplicate_strings())
            }
            Metadata::Partition | Metadata::RecordPartition => {
                MetadataBuilder::Partition(Int32Builder::new())
            }
            Metadata::Offset | Metadata::RecordOffset => {
                MetadataBuilder::Offset(Int64Builder::new())
            }
            Metadata::Timestamp => MetadataBuilder::Timestamp(timestamps()),
            Metadata::SourceTimestamp => MetadataBuilder::SourceTimestamp(timestamps()),
            Metadata::Op => {
                MetadataBuilder::Op(StringViewBuilder::new().with_deduplicate_strings())
            }
            Metadata::Before => MetadataBuilder::Before(StringViewBuilder::new()),
            Metadata::Headers | Metadata::RecordHeaders => {
                MetadataBuilder::Headers(Box::new(headers_builder()))
            }
            Metadata::Tombstone | Metadata::RecordTombstone => {
                MetadataBuilder::Tombstone(BooleanBuilder::new())
            }
            Metadata::Error | Metadata::RecordError => {
                MetadataBuilder::Error(StringViewBuilder::new())
            }
            Metadata::RecordKey => MetadataBuilder::Key(BinaryViewBuilder::new()),
            Metadata::Value | Metadata::RecordPayload => {
                MetadataBuilder::Payload(BinaryViewBuilder::new())
            }
        }
    }

    pub(super) fn append(
        &mut self,
        topic: &str,
        partition: i32,
        record: &impl Record,
        event: &Event,
        error: Option<&DecodeError>,
    ) {
        match self {
            MetadataBuilder::Topic(builder) => builder.append_value(topic),
            MetadataBuilder::Partition(builder) => builder.append_value(partition),
            MetadataBuilder::Offset(builder) => builder.append_value(record.offset()),
            MetadataBuilder::Timestamp(builder) => builder.append_option(record.timestamp()),
            MetadataBuilder::Headers(builder) => append_headers(builder, record),
            MetadataBuilder::Tombstone(builder) => {
                let is_delete = event.kind == EventKind::Delete;
                builder.append_value(is_delete || record.payload().is_none());
            }
            MetadataBuilder::Error(builder) => {
                builder.append_option(error.map(decode_message));
            }
            MetadataBuilder::Key(builder) => builder.append_option(record.key()),
            MetadataBuilder::Payload(builder) => builder.append_option(record.payload()),
            MetadataBuilder::Op(builder) => builder.append_option(event.op),
            MetadataBuilder::SourceTimestamp(builder) => {
                builder.append_option(event.source_timestamp);
            }
            MetadataBuilder::Before(builder) => {
                let before = event.before.clone();
                let before = before.and_then(|place| record.payload()?.get(place));
                builder.append_option(before.and_then(|json| std::str::from_utf8(json).ok()));
            }
        }
    }

    pub(super) fn finish(&mut self, field: &Field) -> Result<ArrayRef, ArrowError> {
        let array: ArrayRef = match self {
            MetadataBuilder::Topic(builder)
            | MetadataBuilder::Error(builder)
            | MetadataBuilder::Op(builder)
            | MetadataBuilder::Before(builder) => Arc::new(builder.finish()),
            MetadataBuilder::Partition(builder) => Arc::new(builder.finish()),
            MetadataBuilder::Offset(builder) => Arc::new(builder.finish()),
            MetadataBuilder::Timestamp(builder) | MetadataBuilder::SourceTimestamp(builder) => {
                Arc::new(builder.finish())
            }
            MetadataBuilder::Headers(builder) => Arc::new(builder.finish()),
            MetadataBuilder::Tombstone(builder) => Arc::new(builder.finish()),
            MetadataBuilder::Key(builder) | MetadataBuilder::Payload(builder) => {
                Arc::new(builder.finish())
            }
        };
        to_type(array, field.data_type())
    }
}

fn timestamps() -> TimestampMillisecondBuilder {
    TimestampMillisecondBuilder::new().with_timezone("UTC")
}

fn headers_builder() -> ListBuilder<StructBuilder> {
    let DataType::List(item) = Metadata::Headers.data_type() else {
        return ListBuilder::new(StructBuilder::from_fields(Fields::empty(), 0));
    };
    let fields = match item.data_type() {
        DataType::Struct(fields) => fields.clone(),
        _ => Fields::empty(),
    };
    ListBuilder::new(StructBuilder::from_fields(fields, 0)).with_field(item)
}

fn append_headers(builder: &mut ListBuilder<StructBuilder>, record: &impl Record) {
    let headers = builder.values();
    record.visit_headers(&mut |name, value| {
        if let Some(names) = headers.field_builder::<StringBuilder>(0) {
            names.append_value(String::from_utf8_lossy(name));
        }
        if let Some(values) = headers.field_builder::<BinaryBuilder>(1) {
            values.append_option(value);
        }
        headers.append(true);
    });
    builder.append(true);
}

fn missing(expected: &DataType) -> DecodeError {
    let expected = expected.clone();
    DecodeError::new(0, DecodeErrorKind::MissingValue { expected })
}

fn to_type(array: ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == data_type {
        return Ok(array);
    }
    cast(&array, data_type)
}

fn unsupported(field: &Field, error: &crate::json::UnsupportedType) -> Error {
    Error::InvalidColumn {
        column: field.name().clone(),
        reason: unsupported_message(error),
    }
}
