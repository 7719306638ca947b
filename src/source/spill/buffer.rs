//! Records as the columns of a batch, with no more of each record than the scan needs.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int64Array, Int64Builder, ListArray,
    ListBuilder, StructBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use rdkafka_extra::{Record, VisitHeader};

use crate::source::fetch::Chunk;
use crate::source::rows::RecordParts;

const OFFSET: &str = "offset";
const TIMESTAMP: &str = "timestamp";
const KEY: &str = "key";
const PAYLOAD: &str = "payload";
const HEADERS: &str = "headers";

/// The columns of a block.
pub(super) fn schema(parts: RecordParts) -> SchemaRef {
    let field = |name, data_type| Field::new(name, data_type, true);
    let mut fields = vec![
        field(OFFSET, DataType::Int64),
        field(KEY, DataType::Binary),
        field(PAYLOAD, DataType::Binary),
    ];
    if parts.timestamp {
        fields.push(field(TIMESTAMP, DataType::Int64));
    }
    if parts.headers {
        let header = Field::new_list_field(DataType::Struct(header_fields()), true);
        fields.push(field(HEADERS, DataType::List(Arc::new(header))));
    }
    Arc::new(Schema::new(fields))
}

fn header_fields() -> Fields {
    let field = |name| Field::new(name, DataType::Binary, true);
    Fields::from(vec![field("name"), field("value")])
}

/// About how many bytes a record takes besides its key, payload and headers.
const RECORD: usize = 32;

/// Records that are not written yet.
pub(super) struct Buffer {
    offsets: Int64Builder,
    keys: BinaryBuilder,
    /// A record whose payload is not needed has an empty one, so that it is not a tombstone.
    payloads: BinaryBuilder,
    timestamps: Option<Int64Builder>,
    headers: Option<ListBuilder<StructBuilder>>,
    parts: RecordParts,
    bytes: usize,
}

impl Buffer {
    /// An empty buffer. It allocates nothing before the first record.
    pub(super) fn new(parts: RecordParts) -> Self {
        let headers =
            || ListBuilder::with_capacity(StructBuilder::from_fields(header_fields(), 0), 0);
        Buffer {
            offsets: Int64Builder::with_capacity(0),
            keys: BinaryBuilder::with_capacity(0, 0),
            payloads: BinaryBuilder::with_capacity(0, 0),
            timestamps: parts.timestamp.then(|| Int64Builder::with_capacity(0)),
            headers: parts.headers.then(headers),
            parts,
            bytes: 0,
        }
    }

    pub(super) fn append(&mut self, record: &impl Record) {
        let payload = record.payload();
        let payload = match self.parts.payload {
            true => payload,
            false => payload.map(|_| [].as_slice()),
        };
        let key = record.key();
        self.offsets.append_value(record.offset());
        self.keys.append_option(key);
        self.payloads.append_option(payload);
        let sizes = [key, payload].map(|bytes| bytes.map_or(0, <[u8]>::len));
        self.bytes += RECORD + sizes.iter().sum::<usize>();
        if let Some(timestamps) = &mut self.timestamps {
            timestamps.append_option(record.timestamp());
        }
        if let Some(headers) = &mut self.headers {
            let entries = headers.values();
            let bytes = &mut self.bytes;
            record.visit_headers(&mut |name, value| {
                *bytes += RECORD + name.len() + value.map_or(0, <[u8]>::len);
                for (place, part) in [Some(name), value].into_iter().enumerate() {
                    if let Some(column) = entries.field_builder::<BinaryBuilder>(place) {
                        column.append_option(part);
                    }
                }
                entries.append(true);
            });
            headers.append(true);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// About the size of the records.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the records as a batch, and empties the buffer.
    pub(super) fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        self.bytes = 0;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.offsets.finish()),
            Arc::new(self.keys.finish()),
            Arc::new(self.payloads.finish()),
        ];
        if let Some(timestamps) = &mut self.timestamps {
            columns.push(Arc::new(timestamps.finish()));
        }
        if let Some(headers) = &mut self.headers {
            columns.push(Arc::new(headers.finish()));
        }
        RecordBatch::try_new(Arc::clone(schema), columns)
    }
}

/// Records that were read back from disk. They were written newest first.
pub(crate) struct Block {
    offsets: Int64Array,
    keys: BinaryArray,
    payloads: BinaryArray,
    timestamps: Option<Int64Array>,
    headers: Option<ListArray>,
}

impl Block {
    pub(super) fn try_new(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let column = |name| batch.column_by_name(name);
        let (Some(offsets), Some(keys), Some(payloads)) = (
            column(OFFSET).and_then(|array| array.as_primitive_opt::<Int64Type>()),
            column(KEY).and_then(|array| array.as_binary_opt()),
            column(PAYLOAD).and_then(|array| array.as_binary_opt()),
        ) else {
            return Err(ArrowError::IpcError("a block has other columns".to_owned()));
        };
        let timestamps = column(TIMESTAMP).and_then(|array| array.as_primitive_opt());
        let headers = column(HEADERS).and_then(|array| array.as_list_opt());
        Ok(Block {
            offsets: offsets.clone(),
            keys: keys.clone(),
            payloads: payloads.clone(),
            timestamps: timestamps.cloned(),
            headers: headers.cloned(),
        })
    }

    /// The size of all keys, in bytes.
    pub(crate) fn key_bytes(&self) -> usize {
        self.keys.value_data().len()
    }
}

/// The oldest record comes first, as in a chunk that was fetched.
impl Chunk for Block {
    type Record<'a> = SpilledRecord<'a>;

    fn len(&self) -> usize {
        self.offsets.len()
    }

    fn get(&self, index: usize) -> Option<SpilledRecord<'_>> {
        let row = self.offsets.len().checked_sub(index + 1)?;
        Some(SpilledRecord { block: self, row })
    }

    fn clear(&mut self) {
        self.offsets = self.offsets.slice(0, 0);
    }
}

pub(crate) struct SpilledRecord<'a> {
    block: &'a Block,
    row: usize,
}

impl SpilledRecord<'_> {
    fn bytes<'a>(&self, array: &'a BinaryArray) -> Option<&'a [u8]> {
        array.is_valid(self.row).then(|| array.value(self.row))
    }
}

impl Record for SpilledRecord<'_> {
    fn offset(&self) -> i64 {
        self.block.offsets.value(self.row)
    }

    fn key(&self) -> Option<&[u8]> {
        self.bytes(&self.block.keys)
    }

    fn payload(&self) -> Option<&[u8]> {
        self.bytes(&self.block.payloads)
    }

    fn timestamp(&self) -> Option<i64> {
        let timestamps = self.block.timestamps.as_ref()?;
        timestamps
            .is_valid(self.row)
            .then(|| timestamps.value(self.row))
    }

    fn visit_headers(&self, visit: VisitHeader<'_>) {
        let Some(headers) = &self.block.headers else {
            return;
        };
        let entries = headers.value(self.row);
        let mut columns = entries.as_struct().columns().iter();
        let mut column = || {
            columns
                .next()
                .and_then(|array| array.as_binary_opt::<i32>())
        };
        if let (Some(names), Some(values)) = (column(), column()) {
            for (name, value) in names.iter().zip(values) {
                visit(name.unwrap_or_default(), value);
            }
        }
    }
}
