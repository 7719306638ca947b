//! Columns of maps, whose entries are the properties of an object.

use std::sync::Arc;

use arrow::array::{ArrayRef, MapArray, StructArray};
use arrow::datatypes::{DataType, FieldRef, Fields};
use arrow::error::ArrowError;

use super::child::Child;
use super::column::{BoxColumn, Column, unlike};
use super::ends::Ends;
use super::properties::entries;
use crate::error::DecodeError;
use crate::text::scan::Scanner;
use crate::text::value::Token;

pub(crate) struct MapColumn {
    keys: BoxColumn,
    values: Child,
    ends: Ends,
    /// How many entries there are in all.
    len: usize,
    /// The entries of the object at hand.
    tokens: Vec<(Token, Token)>,
    entries: FieldRef,
    sorted: bool,
}

impl MapColumn {
    pub(crate) fn new(entries: &FieldRef, sorted: bool, keys: BoxColumn, values: Child) -> Self {
        Self {
            keys,
            values,
            ends: Ends::default(),
            len: 0,
            tokens: Vec::new(),
            entries: Arc::clone(entries),
            sorted,
        }
    }
}

impl Column for MapColumn {
    fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        if scanner.next() != Some(b'{') {
            let data_type = DataType::Map(Arc::clone(&self.entries), self.sorted);
            return Err(unlike(scanner, &data_type));
        }
        entries(scanner, &mut self.tokens)?;
        if self.sorted {
            self.tokens
                .sort_by_cached_key(|(key, _)| scanner.resolve(*key).text());
        }
        for (index, (key, item)) in self.tokens.iter().enumerate() {
            self.keys
                .decode_checked(&mut Scanner::of_value(&scanner.resolve(*key)))?;
            self.values
                .decode_checked(&mut Scanner::of_value(&scanner.resolve(*item)))
                .map_err(|error| error.in_element(index))?;
        }
        self.len += self.tokens.len();
        self.ends.append(self.len);
        Ok(())
    }

    fn append_null(&mut self) {
        self.ends.append_null(self.len);
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.ends.truncate(len);
        self.keys.truncate(self.len);
        self.values.truncate(self.len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.len = 0;
        let ends = self.ends.finish::<i32>();
        let (keys, values) = (self.keys.finish(), self.values.finish());
        let (offsets, nulls) = ends?;
        let fields = match self.entries.data_type() {
            DataType::Struct(fields) => fields.clone(),
            _ => Fields::empty(),
        };
        let entries = StructArray::try_new(fields, vec![keys?, values?], None)?;
        let field = Arc::clone(&self.entries);
        Ok(Arc::new(MapArray::try_new(
            field,
            offsets,
            entries,
            nulls,
            self.sorted,
        )?))
    }
}
