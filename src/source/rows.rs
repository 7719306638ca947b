//! Turns records into rows: builds the columns that a query reads, one record at a time.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, nullif};
use arrow::datatypes::{Field, FieldRef, Fields, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use rdkafka_extra::Record;

use crate::definition::TableDefinition;
use crate::definition::metadata_columns::Metadata;
use crate::definition::schema::ColumnRole;
use crate::error::{Error, Result};
use crate::json::{DecodeError, DecodeErrorKind};
use crate::options::{Framing, Mode, OnBadRecord, ValueFormat};
use crate::source::column_builders::{KeyBuilder, MetadataBuilder, PayloadDecoder};
use crate::source::connect_schema::DescriptionCheck;
use crate::source::envelope::{EnvelopeReader, Event, EventKind};

/// The result of adding a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The record is a row.
    Row,
    /// The payload does not fit the table, so the record is a row without a payload.
    BadRow,
    /// The record does not fit the table, and `kafka.on_bad_record` = `skip` leaves the record
    /// out.
    Skipped,
    /// The record deletes its key.
    Deleted {
        /// Whether the delete is a row of its own.
        is_row: bool,
    },
    /// The payload says nothing about its key, so the record is left out.
    PassedOver,
}

impl Outcome {
    /// Whether the record has become a row.
    pub(crate) fn is_row(self) -> bool {
        match self {
            Outcome::Row | Outcome::BadRow => true,
            Outcome::Deleted { is_row } => is_row,
            Outcome::Skipped | Outcome::PassedOver => false,
        }
    }

    /// Whether the record is as if it had never been written, so that an older record of its key
    /// counts.
    pub(crate) fn is_left_out(self) -> bool {
        matches!(self, Outcome::Skipped | Outcome::PassedOver)
    }
}

/// The parts of a record that its row is built from, besides offset and key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordParts {
    pub(crate) payload: bool,
    pub(crate) timestamp: bool,
    pub(crate) headers: bool,
}

/// Builds batches of the wanted columns from records of one Kafka partition.
pub(crate) struct Rows {
    table: Arc<TableDefinition>,
    partition: i32,
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    payload: Option<PayloadDecoder>,
    /// Finds the row in a payload, where payloads have to be looked at.
    envelope: Option<EnvelopeReader>,
    /// Checks the columns against what a record says of its own numbers.
    description: Option<DescriptionCheck>,
    /// Whether records that delete a key are rows.
    keeps_deletes: bool,
    /// The positions of the payload's arrays among the columns.
    payload_columns: Vec<usize>,
    /// Positions of rows that only hold the place of records that are left out.
    skipped: Vec<usize>,
    /// Positions of rows whose payload columns are to be NULL.
    without_payload: Vec<usize>,
    /// The number of wanted columns. Columns that are only checked come after them.
    wanted: usize,
    /// Whether headers are among the columns, and so count towards the size.
    has_headers: bool,
    len: usize,
    /// The size of the records of these rows, which is about the size of the rows.
    bytes: usize,
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
        let all: Vec<(ColumnRole, &FieldRef)> = schema.columns().collect();
        let is_about_payload = |position: &usize| {
            let column = all.get(*position).map(|(column, _)| *column);
            matches!(
                column,
                Some(
                    ColumnRole::Payload
                        | ColumnRole::Metadata(Metadata::Error | Metadata::RecordError)
                )
            )
        };
        let is_raw = |position: &usize| {
            let column = all.get(*position).map(|(column, _)| *column);
            column == Some(ColumnRole::Metadata(Metadata::Value))
        };
        // Which records are rows, and which rows have a payload, must not depend on the
        // projection of the query. Columns that decide it are therefore decoded even where the
        // query does not read them.
        let judged = |position: &usize| match table.options.on_bad_record {
            OnBadRecord::Fail => false,
            OnBadRecord::Skip | OnBadRecord::DeadLetter => true,
            OnBadRecord::Null => {
                (is_about_payload(position) || is_raw(position))
                    && wanted.iter().any(is_about_payload)
            }
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
                ColumnRole::Key => {
                    ColumnBuilder::Key(KeyBuilder::try_new(table, partition, field)?)
                }
                ColumnRole::Metadata(Metadata::Value) => {
                    ColumnBuilder::Raw(PayloadDecoder::as_it_is(field), table.options.framing)
                }
                ColumnRole::Metadata(metadata) => {
                    ColumnBuilder::Metadata(MetadataBuilder::new(*metadata), Arc::clone(field))
                }
                ColumnRole::Payload => {
                    payload_fields.push(Arc::clone(field));
                    payload_columns.push(place);
                    ColumnBuilder::Payload
                }
            });
        }
        let payload_fields = Fields::from(payload_fields);
        let description = DescriptionCheck::of(&payload_fields, table.options.value_envelope());
        let payload = match payload_fields.first() {
            None => None,
            Some(_) => Some(PayloadDecoder::try_new(table, partition, payload_fields)?),
        };
        let options = &table.options;
        let is_json =
            schema.value_format() == ValueFormat::Json && table.extensions.value_codec.is_none();
        let envelope = (is_json && (payload.is_some() || options.judges_payloads())).then(|| {
            let source_timestamp = |column: &ColumnBuilder| {
                matches!(
                    column,
                    ColumnBuilder::Metadata(MetadataBuilder::SourceTimestamp(_), _)
                )
            };
            let reader = EnvelopeReader::for_payloads(options);
            match columns.iter().any(source_timestamp) {
                true => reader.with_source_timestamp(),
                false => reader,
            }
        });
        let has_headers = columns.iter().any(|column| {
            matches!(
                column,
                ColumnBuilder::Metadata(MetadataBuilder::Headers(_), _)
            )
        });
        Ok(Rows {
            table: Arc::clone(table),
            partition,
            schema: Arc::new(projected),
            columns,
            payload,
            envelope,
            description,
            keeps_deletes: options.mode == Some(Mode::Append) && schema.has_deletes(),
            payload_columns,
            skipped: Vec::new(),
            without_payload: Vec::new(),
            wanted: wanted.len(),
            has_headers,
            len: 0,
            bytes: 0,
        })
    }

    /// The parts of a record that these columns need.
    pub(crate) fn record_parts(&self) -> RecordParts {
        let any = |is_part: fn(&ColumnBuilder) -> bool| self.columns.iter().any(is_part);
        RecordParts {
            payload: self.envelope.is_some()
                || any(|column| {
                    matches!(
                        column,
                        ColumnBuilder::Payload
                            | ColumnBuilder::Raw(..)
                            | ColumnBuilder::Metadata(MetadataBuilder::Payload(_), _)
                    )
                }),
            timestamp: any(|column| {
                matches!(
                    column,
                    ColumnBuilder::Metadata(MetadataBuilder::Timestamp(_), _)
                )
            }),
            headers: self.has_headers,
        }
    }

    /// The number of rows in the next batch.
    pub(crate) fn len(&self) -> usize {
        self.len - self.skipped.len()
    }

    /// The number of rows built for the next batch, including those that will be removed.
    pub(crate) fn built(&self) -> usize {
        self.len
    }

    /// The size of the records that the rows were built from, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a record as a row.
    ///
    /// # Errors
    /// With `kafka.on_bad_record` = `fail`, the value that does not fit, and its position. With
    /// `null`, only a key that does not fit is an error.
    pub(crate) fn append(&mut self, record: &impl Record) -> Result<Outcome> {
        let (event, row, mut payload_error) = self.open(record.payload());
        if let Some(decoder) = &mut self.payload
            && let Err(mut error) = decoder.append(row, record.offset())
        {
            error.position += event.row.start;
            payload_error = payload_error.or(Some(error));
        }
        let mut key_error = None;
        for column in &mut self.columns {
            match column {
                ColumnBuilder::Key(key) => {
                    key_error = key.append(record.key(), record.offset()).err();
                }
                ColumnBuilder::Raw(raw, framing) => {
                    let payload = match raw {
                        PayloadDecoder::Text(_) => record.payload().map(|p| framing.split(p).1),
                        _ => record.payload(),
                    };
                    let error = raw.append(payload, record.offset()).err();
                    payload_error = payload_error.or(error);
                }
                ColumnBuilder::Metadata(..) | ColumnBuilder::Payload => {}
            }
        }
        let error = payload_error.as_ref().or(key_error.as_ref());
        for column in &mut self.columns {
            if let ColumnBuilder::Metadata(metadata, _) = column {
                metadata.append(&self.table.topic, self.partition, record, &event, error);
            }
        }
        let row = self.len;
        self.len += 1;
        self.bytes += record.size();
        if self.has_headers {
            self.bytes += record.headers_size();
        }
        let outcome = match event.kind {
            EventKind::Row => Outcome::Row,
            EventKind::Delete => Outcome::Deleted {
                is_row: self.keeps_deletes,
            },
            EventKind::PassedOver => Outcome::PassedOver,
        };
        if !outcome.is_row() {
            // As a tombstone, the record is not decoded.
            self.skipped.push(row);
            return Ok(outcome);
        }
        if key_error.is_none() && payload_error.is_none() {
            return Ok(outcome);
        }
        let (topic, partition, offset) = (&self.table.topic, self.partition, record.offset());
        match (self.table.options.on_bad_record, key_error, payload_error) {
            (OnBadRecord::Skip, ..) => {
                self.skipped.push(row);
                Ok(Outcome::Skipped)
            }
            (OnBadRecord::DeadLetter, ..) => {
                self.without_payload.push(row);
                Ok(Outcome::BadRow)
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

    /// Finds the row in a payload, and what is wrong with its envelope.
    fn open<'a>(
        &mut self,
        payload: Option<&'a [u8]>,
    ) -> (Event, Option<&'a [u8]>, Option<DecodeError>) {
        let (Some(envelope), Some(whole)) = (&mut self.envelope, payload) else {
            return (Event::default(), payload, None);
        };
        let event = match envelope.open(whole) {
            Ok(event) => event,
            Err(error) => return (Event::default(), None, Some(error)),
        };
        if event.kind != EventKind::Row {
            return (event, None, None);
        }
        let description = event.schema.clone().and_then(|place| whole.get(place));
        let check = self.description.as_mut().zip(description);
        let wrong = check.and_then(|(check, description)| check.check(description));
        let error =
            wrong.map(|reason| DecodeError::new(0, DecodeErrorKind::Custom(reason.to_owned())));
        let row = whole.get(event.row.clone());
        (event, row, error)
    }

    /// Whether the payload of a record says nothing about any key, so that the record needs none.
    pub(crate) fn is_passed_over(&mut self, record: &impl Record) -> bool {
        let opened = self.envelope.as_mut().zip(record.payload());
        let event = opened.and_then(|(envelope, payload)| envelope.open(payload).ok());
        event.is_some_and(|event| event.kind == EventKind::PassedOver)
    }

    /// Removes the row that was added last.
    pub(crate) fn take_back(&mut self, outcome: Outcome) {
        if outcome.is_row() {
            self.skipped.push(self.len.saturating_sub(1));
        }
    }

    /// Returns the rows as a batch of the wanted columns, and resets the builder.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = std::mem::take(&mut self.len);
        self.bytes = 0;
        let mut arrays = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            arrays.push(match column {
                ColumnBuilder::Key(key) => Some(key.finish()?),
                ColumnBuilder::Metadata(metadata, field) => Some(metadata.finish(field)?),
                ColumnBuilder::Raw(raw, _) => raw.finish()?.pop(),
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
        // Rows of records that are left out hold NULLs until they are removed, even in columns that do not allow NULL.
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
    /// The payload, not decoded. Text does not have the id of a schema in front.
    Raw(PayloadDecoder, Framing),
    /// Filled by the payload decoder, which builds all payload columns together.
    Payload,
}
