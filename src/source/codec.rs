//! Records in a user-defined format.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryViewArray, BinaryViewBuilder, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{FieldRef, Fields};
use arrow::error::ArrowError;

use crate::definition::TableDefinition;
use crate::error::Error;
use crate::extensions::codec::{self, Codec};
use crate::json::{DecodeError, DecodeErrorKind};
use crate::options::OnBadRecord;

/// Decodes records in a user-defined format, one batch at a time.
pub(super) struct CodecBuilder {
    codec: Arc<dyn Codec>,
    fields: Fields,
    /// Decodes each record when it is appended. `kafka.on_bad_record` needs the result of each
    /// record immediately, unless a bad record fails the query.
    singly: bool,
    pending: BinaryViewBuilder,
    offsets: Vec<i64>,
    decoded: Vec<Vec<ArrayRef>>,
    topic: String,
    partition: i32,
    part: &'static str,
}

impl CodecBuilder {
    pub(super) fn new(
        codec: &Arc<dyn Codec>,
        fields: Fields,
        table: &TableDefinition,
        partition: i32,
        part: &'static str,
    ) -> Self {
        CodecBuilder {
            codec: Arc::clone(codec),
            fields,
            singly: table.options.on_bad_record != OnBadRecord::Fail,
            pending: BinaryViewBuilder::new(),
            offsets: Vec::new(),
            decoded: Vec::new(),
            topic: table.topic.clone(),
            partition,
            part,
        }
    }

    pub(super) fn append(&mut self, bytes: Option<&[u8]>, offset: i64) -> Result<(), DecodeError> {
        if !self.singly {
            self.pending.append_option(bytes);
            self.offsets.push(offset);
            return Ok(());
        }
        let one = BinaryViewArray::from_iter([bytes]);
        let decoded = codec::decode(self.codec.as_ref(), &one, &self.fields);
        let (arrays, result) = match decoded {
            Ok(arrays) => (arrays, Ok(())),
            Err(error) => {
                let nulls = |field: &FieldRef| new_null_array(field.data_type(), 1);
                let error = DecodeError::new(0, DecodeErrorKind::Custom(error.reason));
                (self.fields.iter().map(nulls).collect(), Err(error))
            }
        };
        self.decoded.push(arrays);
        result
    }

    /// Returns one array per field.
    pub(super) fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        if self.singly {
            let rows = std::mem::take(&mut self.decoded);
            let columns = self.fields.iter().enumerate().map(|(column, field)| {
                let arrays: Vec<&dyn Array> = rows
                    .iter()
                    .filter_map(|row| row.get(column).map(AsRef::as_ref))
                    .collect();
                match arrays.as_slice() {
                    [] => Ok(new_null_array(field.data_type(), 0)),
                    arrays => concat(arrays),
                }
            });
            return columns.collect();
        }
        let offsets = std::mem::take(&mut self.offsets);
        let bytes = self.pending.finish();
        codec::decode(self.codec.as_ref(), &bytes, &self.fields).map_err(|error| {
            let offset = offsets.get(error.row.unwrap_or(0)).or(offsets.first());
            ArrowError::from_external_error(Box::new(Error::Codec {
                topic: self.topic.clone(),
                partition: self.partition,
                offset: offset.copied().unwrap_or_default(),
                part: self.part,
                reason: error.reason,
            }))
        })
    }
}
