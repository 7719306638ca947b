//! Columns of lists.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, GenericListArray, OffsetSizeTrait};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;

use super::child::Child;
use super::column::{Column, unlike};
use super::ends::Ends;
use super::indexed::IndexedDocument;
use crate::error::{DecodeError, Found};
use crate::text::scan::Scanner;

#[derive(Clone, Copy)]
pub(crate) enum Shape {
    List,
    LargeList,
    FixedSize(i32),
}

pub(crate) struct ListColumn {
    data_type: DataType,
    field: FieldRef,
    shape: Shape,
    item: Child,
    /// How many items there are in all.
    len: usize,
    ends: Ends,
}

impl ListColumn {
    /// Lists of this type and shape, whose items are `field`.
    pub(crate) fn new(data_type: &DataType, shape: Shape, field: &FieldRef, item: Child) -> Self {
        Self {
            data_type: data_type.clone(),
            field: Arc::clone(field),
            shape,
            item,
            len: 0,
            ends: Ends::default(),
        }
    }

    /// How many items every list has, if that is fixed.
    fn size(&self) -> Option<usize> {
        match self.shape {
            Shape::FixedSize(size) => Some(usize::try_from(size).unwrap_or(0)),
            _ => None,
        }
    }

    fn finish_offsets<O: OffsetSizeTrait>(&mut self) -> Result<ArrayRef, ArrowError> {
        let offsets = self.ends.finish::<O>();
        let items = self.item.finish()?;
        let (offsets, nulls) = offsets?;
        let field = Arc::clone(&self.field);
        Ok(Arc::new(GenericListArray::try_new(
            field, offsets, items, nulls,
        )?))
    }
}

impl Column for ListColumn {
    fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        if scanner.next() != Some(b'[') {
            return Err(unlike(scanner, &self.data_type));
        }
        let position = scanner.position();
        scanner.open_array()?;
        let mut index = 0;
        while scanner.more_elements(index == 0)? {
            let item = self.item.decode_checked(scanner);
            item.map_err(|error| error.in_element(index))?;
            index += 1;
        }
        if self.size().is_some_and(|size| size != index) {
            let found = Found::ArrayLength;
            return Err(DecodeError::mismatch(position, &self.data_type, found));
        }
        self.len += index;
        self.ends.append(self.len);
        Ok(())
    }

    fn decode_fast(&mut self, document: &IndexedDocument<'_>, mut at: usize) -> Option<usize> {
        if document.byte(at) != Some(b'[') {
            return None;
        }
        let document = document.within()?;
        let mut items = 0;
        at = document.space(at + 1);
        if document.byte(at) != Some(b']') {
            loop {
                at = document.space(self.item.decode_fast(&document, at)?);
                items += 1;
                if document.byte(at) != Some(b',') {
                    break;
                }
                at = document.space(at + 1);
            }
        }
        let fits = self.size().is_none_or(|size| size == items);
        if document.byte(at) != Some(b']') || !fits {
            return None;
        }
        self.len += items;
        self.ends.append(self.len);
        Some(at + 1)
    }

    fn append_null(&mut self) {
        for _ in 0..self.size().unwrap_or(0) {
            self.item.append_null();
            self.len += 1;
        }
        self.ends.append_null(self.len);
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.ends.truncate(len);
        self.item.truncate(self.len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.len = 0;
        match self.shape {
            Shape::List => self.finish_offsets::<i32>(),
            Shape::LargeList => self.finish_offsets::<i64>(),
            Shape::FixedSize(size) => {
                let (offsets, nulls) = self.ends.finish::<i64>()?;
                let len = offsets.len() - 1;
                let items = self.item.finish()?;
                let field = Arc::clone(&self.field);
                Ok(Arc::new(FixedSizeListArray::try_new_with_length(
                    field, size, items, nulls, len,
                )?))
            }
        }
    }
}
