//! Records to rows: the columns that a query reads, built one record at a time.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, BinaryViewBuilder, BooleanBuilder, Int32Builder, Int64Builder,
    ListBuilder, StringBuilder, StringViewBuilder, StructBuilder, TimestampMillisecondBuilder,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, filter_record_batch, nullif};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::error::{Error, Result};
use crate::json::{DecodeError, DecodeErrorKind, RowDecoder, ValueDecoder};
use crate::options::{KeyFormat, OnBadRecord, ValueFormat};
use crate::record::Record;
use crate::schema::{Column, Metadata};
use crate::table::TableDefinition;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is a row.
    Row,
    /// It is a row without a payload, since the payload does not fit the table.
    BadRow,
    /// It does not fit the table and `kafka.on_bad_record` = `skip` leaves it out.
    Skipped,
}

/// Builds batches of the wanted columns from records of one Kafka partition.
pub(crate) struct Rows {
    table: Arc<TableDefinition>,
    partition: i32,
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    payload: Option<PayloadDecoder>,
    /// Where the payload's arrays go among the columns.
    payload_columns: Vec<usize>,
    /// Positions of rows that are only padding: they were skipped.
    skipped: Vec<usize>,
    /// Positions of rows whose payload columns are to be NULL.
    without_payload: Vec<usize>,
    /// Columns that are only judged stand behind the wanted ones.
    wanted: usize,
    len: usize,
}

impl Rows {
    /// Builds the columns with these positions in the table's schema, in this order.
    ///
    /// # Errors
    /// [`Error::InvalidColumn`] for a type that cannot be decoded.
    pub(crate) fn try_new(
        table: &Arc<TableDefinition>,
        partition: i32,
        wanted: &[usize],
    ) -> Result<Self> {
        let schema = &table.schema;
        let all: Vec<(Column, &FieldRef)> = schema.columns().collect();
        let is_about_payload = |position: &usize| {
            let column = all.get(*position).map(|(column, _)| *column);
            matches!(
                column,
                Some(Column::Payload | Column::Metadata(Metadata::Error))
            )
        };
        // Which records are rows, and which rows have a payload, must not
        // depend on what the query reads of it.
        let judged = |position: &usize| match table.options.on_bad_record {
            OnBadRecord::Fail => false,
            OnBadRecord::Skip => true,
            OnBadRecord::Null => is_about_payload(position) && wanted.iter().any(is_about_payload),
        };
        let others = (0..all.len()).filter(|i| !wanted.contains(i) && judged(i));
        let positions: Vec<usize> = wanted.iter().copied().chain(others).collect();
        let projected = schema.arrow().project(&positions).map_err(|error| {
            Error::Unsupported(format!("these columns cannot be read: {error}"))
        })?;
        let mut columns = Vec::with_capacity(positions.len());
        let (mut payload_fields, mut payload_columns) = (Vec::new(), Vec::new());
        for (place, position) in positions.iter().enumerate() {
            let Some((column, field)) = all.get(*position) else {
                continue;
            };
            columns.push(match column {
                Column::Key => ColumnBuilder::Key(KeyBuilder::try_new(table, field)?),
                Column::Metadata(metadata) => {
                    ColumnBuilder::Metadata(MetadataBuilder::new(*metadata), Arc::clone(field))
                }
                Column::Payload => {
                    payload_fields.push(Arc::clone(field));
                    payload_columns.push(place);
                    ColumnBuilder::Payload
                }
            });
        }
        let payload = match payload_fields.first() {
            None => None,
            Some(_) => Some(PayloadDecoder::try_new(table, payload_fields.into())?),
        };
        Ok(Rows {
            table: Arc::clone(table),
            partition,
            schema: Arc::new(projected),
            columns,
            payload,
            payload_columns,
            skipped: Vec::new(),
            without_payload: Vec::new(),
            wanted: wanted.len(),
            len: 0,
        })
    }

    /// How many rows the next batch has.
    pub(crate) fn len(&self) -> usize {
        self.len - self.skipped.len()
    }

    /// Adds a record as a row.
    ///
    /// # Errors
    /// With `kafka.on_bad_record` = `fail`, what does not fit and where; for a
    /// key that does not fit also with `null`.
    pub(crate) fn append(&mut self, record: &impl Record) -> Result<Outcome> {
        let payload_error = self
            .payload
            .as_mut()
            .and_then(|payload| payload.append(record.payload()).err());
        // A tombstone gives a row only where NULLs are what is wanted of it.
        let mut key_error = None;
        for column in &mut self.columns {
            match column {
                ColumnBuilder::Key(key) => key_error = key.append(record.key()).err(),
                ColumnBuilder::Metadata(metadata, _) => metadata.append(
                    &self.table.topic,
                    self.partition,
                    record,
                    payload_error.as_ref(),
                ),
                ColumnBuilder::Payload => {}
            }
        }
        let row = self.len;
        self.len += 1;
        if key_error.is_none() && payload_error.is_none() {
            return Ok(Outcome::Row);
        }
        let (topic, partition, offset) = (&self.table.topic, self.partition, record.offset());
        match (self.table.options.on_bad_record, key_error, payload_error) {
            (OnBadRecord::Skip, ..) => {
                self.skipped.push(row);
                Ok(Outcome::Skipped)
            }
            (_, Some(source), _) => Err(Error::DecodeKey {
                topic: topic.clone(),
                partition,
                offset,
                source,
            }),
            (OnBadRecord::Fail, None, Some(source)) => Err(Error::DecodePayload {
                topic: topic.clone(),
                partition,
                offset,
                source,
            }),
            (OnBadRecord::Null, None, _) => {
                self.without_payload.push(row);
                Ok(Outcome::BadRow)
            }
            (OnBadRecord::Fail, None, None) => Ok(Outcome::Row),
        }
    }

    /// Takes the rows as a batch of the wanted columns and starts anew.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = std::mem::take(&mut self.len);
        let mut arrays = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            arrays.push(match column {
                ColumnBuilder::Key(key) => Some(key.finish()?),
                ColumnBuilder::Metadata(metadata, field) => Some(metadata.finish(field)?),
                ColumnBuilder::Payload => None,
            });
        }
        if let Some(payload) = &mut self.payload {
            let without = std::mem::take(&mut self.without_payload);
            let mask = (!without.is_empty()).then(|| mask(rows, &without));
            for (array, place) in payload.finish()?.into_iter().zip(&self.payload_columns) {
                let array = match &mask {
                    Some(mask) => nullif(&array, &mask.clone().into())?,
                    None => array,
                };
                if let Some(slot) = arrays.get_mut(*place) {
                    *slot = Some(array);
                }
            }
        }
        let arrays: Vec<ArrayRef> = arrays.into_iter().flatten().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let skipped = std::mem::take(&mut self.skipped);
        if skipped.is_empty() {
            let batch =
                RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?;
            return self.only_wanted(batch);
        }
        // Skipped rows are padded with NULLs, also in columns that have none.
        let nullable: Vec<Field> = self
            .schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        let padded = Arc::new(arrow::datatypes::Schema::new(nullable));
        let batch = RecordBatch::try_new_with_options(padded, arrays, &options)?;
        let keep = !&mask(rows, &skipped);
        let kept = filter_record_batch(&batch, &keep.into())?;
        let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
        let batch = RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            kept.columns().to_vec(),
            &options,
        )?;
        self.only_wanted(batch)
    }

    fn only_wanted(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        if batch.num_columns() == self.wanted {
            return Ok(batch);
        }
        batch.project(&(0..self.wanted).collect::<Vec<_>>())
    }
}

fn mask(rows: usize, positions: &[usize]) -> BooleanBuffer {
    let mut rest = positions.iter().copied().peekable();
    BooleanBuffer::collect_bool(rows, |row| rest.next_if_eq(&row).is_some())
}

enum ColumnBuilder {
    Key(KeyBuilder),
    Metadata(MetadataBuilder, FieldRef),
    /// Filled from the payload decoder, which builds all its columns at once.
    Payload,
}

/// The `_key` column. Like every builder here it takes one value per record,
/// a NULL where the value does not fit.
enum KeyBuilder {
    Text(TextBuilder),
    Bytes(BytesBuilder),
    /// With the type where NULL is not allowed.
    Json(Box<ValueDecoder>, Option<DataType>),
}

impl KeyBuilder {
    fn try_new(table: &TableDefinition, field: &FieldRef) -> Result<Self> {
        Ok(match table.options.key_format {
            KeyFormat::String => KeyBuilder::Text(TextBuilder::new(field)),
            KeyFormat::Bytes => KeyBuilder::Bytes(BytesBuilder::new(field)),
            KeyFormat::Json => {
                let decoder = ValueDecoder::try_new(field, &table.options.decode);
                let decoder = decoder.map_err(|error| unsupported(field, &error))?;
                let required = (!field.is_nullable()).then(|| field.data_type().clone());
                KeyBuilder::Json(Box::new(decoder), required)
            }
        })
    }

    fn append(&mut self, key: Option<&[u8]>) -> Result<(), DecodeError> {
        match self {
            KeyBuilder::Text(builder) => builder.append(key),
            KeyBuilder::Bytes(builder) => builder.append(key),
            KeyBuilder::Json(decoder, required) => match key {
                Some(key) => decoder.append(key),
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

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        match self {
            KeyBuilder::Text(builder) => builder.finish(),
            KeyBuilder::Bytes(builder) => builder.finish(),
            KeyBuilder::Json(decoder, _) => decoder.finish(),
        }
    }
}

/// The payload columns, by `kafka.value.format`.
enum PayloadDecoder {
    Json(Box<RowDecoder>),
    Text(TextBuilder),
    Bytes(BytesBuilder),
}

impl PayloadDecoder {
    fn try_new(table: &TableDefinition, fields: Fields) -> Result<Self> {
        let first = fields.first();
        Ok(match (table.schema.value_format(), first) {
            (ValueFormat::String, Some(field)) => PayloadDecoder::Text(TextBuilder::new(field)),
            (ValueFormat::Bytes, Some(field)) => PayloadDecoder::Bytes(BytesBuilder::new(field)),
            _ => {
                let decoder = RowDecoder::try_new(&fields, &table.options.decode);
                PayloadDecoder::Json(Box::new(decoder.map_err(|error| Error::InvalidColumn {
                    column: error.path.clone(),
                    reason: error.to_string(),
                })?))
            }
        })
    }

    fn append(&mut self, payload: Option<&[u8]>) -> Result<(), DecodeError> {
        match (self, payload) {
            (PayloadDecoder::Json(decoder), Some(payload)) => decoder.append(payload),
            (PayloadDecoder::Json(decoder), None) => {
                decoder.append_null();
                Ok(())
            }
            (PayloadDecoder::Text(builder), payload) => builder.append(payload),
            (PayloadDecoder::Bytes(builder), payload) => builder.append(payload),
        }
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        match self {
            PayloadDecoder::Json(decoder) => decoder.finish(),
            PayloadDecoder::Text(builder) => Ok(vec![builder.finish()?]),
            PayloadDecoder::Bytes(builder) => Ok(vec![builder.finish()?]),
        }
    }
}

/// UTF-8 text as any string type.
struct TextBuilder {
    builder: StringKind,
    data_type: DataType,
    nullable: bool,
}

enum StringKind {
    View(StringViewBuilder),
    Plain(StringBuilder),
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
        match &mut self.builder {
            StringKind::View(builder) => builder.append_option(value),
            StringKind::Plain(builder) => builder.append_option(value),
        }
        match (text, bytes) {
            (Err(error), _) => Err(DecodeError {
                path: String::new(),
                position: error.valid_up_to(),
                kind: DecodeErrorKind::InvalidUtf8,
            }),
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

/// Bytes as any binary type.
struct BytesBuilder {
    builder: BinaryKind,
    data_type: DataType,
    nullable: bool,
}

enum BinaryKind {
    View(BinaryViewBuilder),
    Plain(BinaryBuilder),
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
        match &mut self.builder {
            BinaryKind::View(builder) => builder.append_option(bytes),
            BinaryKind::Plain(builder) => builder.append_option(bytes),
        }
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

/// A metadata column in the type that [`Metadata::data_type`] says; cast to the
/// declared one at the end of a batch.
enum MetadataBuilder {
    Topic(StringViewBuilder),
    Partition(Int32Builder),
    Offset(Int64Builder),
    Timestamp(TimestampMillisecondBuilder),
    Headers(Box<ListBuilder<StructBuilder>>),
    Tombstone(BooleanBuilder),
    Error(StringViewBuilder),
}

impl MetadataBuilder {
    fn new(metadata: Metadata) -> Self {
        match metadata {
            // Rows of one topic all name it: kept once per batch.
            Metadata::Topic => {
                MetadataBuilder::Topic(StringViewBuilder::new().with_deduplicate_strings())
            }
            Metadata::Partition => MetadataBuilder::Partition(Int32Builder::new()),
            Metadata::Offset => MetadataBuilder::Offset(Int64Builder::new()),
            Metadata::Timestamp => {
                MetadataBuilder::Timestamp(TimestampMillisecondBuilder::new().with_timezone("UTC"))
            }
            Metadata::Headers => MetadataBuilder::Headers(Box::new(headers_builder())),
            Metadata::Tombstone => MetadataBuilder::Tombstone(BooleanBuilder::new()),
            Metadata::Error => MetadataBuilder::Error(StringViewBuilder::new()),
        }
    }

    fn append(
        &mut self,
        topic: &str,
        partition: i32,
        record: &impl Record,
        error: Option<&DecodeError>,
    ) {
        match self {
            MetadataBuilder::Topic(builder) => builder.append_value(topic),
            MetadataBuilder::Partition(builder) => builder.append_value(partition),
            MetadataBuilder::Offset(builder) => builder.append_value(record.offset()),
            MetadataBuilder::Timestamp(builder) => builder.append_option(record.timestamp()),
            MetadataBuilder::Headers(builder) => append_headers(builder, record),
            MetadataBuilder::Tombstone(builder) => {
                builder.append_value(record.payload().is_none());
            }
            MetadataBuilder::Error(builder) => {
                builder.append_option(error.map(DecodeError::to_string));
            }
        }
    }

    fn finish(&mut self, field: &Field) -> Result<ArrayRef, ArrowError> {
        let array: ArrayRef = match self {
            MetadataBuilder::Topic(builder) => Arc::new(builder.finish()),
            MetadataBuilder::Partition(builder) => Arc::new(builder.finish()),
            MetadataBuilder::Offset(builder) => Arc::new(builder.finish()),
            MetadataBuilder::Timestamp(builder) => Arc::new(builder.finish()),
            MetadataBuilder::Headers(builder) => Arc::new(builder.finish()),
            MetadataBuilder::Tombstone(builder) => Arc::new(builder.finish()),
            MetadataBuilder::Error(builder) => Arc::new(builder.finish()),
        };
        to_type(array, field.data_type())
    }
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
    DecodeError {
        path: String::new(),
        position: 0,
        kind: DecodeErrorKind::MissingValue {
            expected: expected.clone(),
        },
    }
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
        reason: error.to_string(),
    }
}
