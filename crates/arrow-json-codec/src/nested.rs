//! Columns of structs, lists, maps and dictionaries under construction.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, FixedSizeListArray, GenericListArray, MapArray,
    NullBufferBuilder, OffsetSizeTrait, PrimitiveArray, StructArray, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::*;
use arrow::error::ArrowError;
use arrow::row::{OwnedRow, RowConverter, SortField};
use hashbrown::HashMap;

use super::bytes::Ends;
use super::column::{self, BoxColumn, Column};
use super::error::{DecodeError, DecodeErrorKind, Found};
use super::marked::Marked;
use super::object::{ObjectReader, Slots, entries};
use super::scan::{Scanner, Token};
use super::types::{DecodeOptions, map_fields};

/// An empty column of a type with fields of its own.
pub(super) fn new(data_type: &DataType, options: &DecodeOptions) -> Option<BoxColumn> {
    Some(match data_type {
        DataType::Struct(fields) => Box::new(StructColumn {
            object: ObjectColumns::new(fields, options)?,
            nulls: NullBufferBuilder::new(0),
        }),
        DataType::List(item) => list(item, Shape::List, data_type, options)?,
        DataType::LargeList(item) => list(item, Shape::LargeList, data_type, options)?,
        DataType::FixedSizeList(item, size) => {
            list(item, Shape::FixedSize(*size), data_type, options)?
        }
        DataType::Map(entries, sorted) => {
            let (key, value) = map_fields(entries)?;
            Box::new(MapColumn {
                keys: column::new(key.data_type(), options)?,
                values: Child::new(value, options)?,
                ends: Ends::default(),
                len: 0,
                tokens: Vec::new(),
                entries: Arc::clone(entries),
                sorted: *sorted,
            })
        }
        DataType::Dictionary(key, value) => {
            let values = column::new(value, options)?;
            let dictionary: fn(&ArrayRef) -> Result<ArrayRef, ArrowError> = match **key {
                DataType::Int8 => dictionary::<Int8Type>,
                DataType::Int16 => dictionary::<Int16Type>,
                DataType::Int32 => dictionary::<Int32Type>,
                DataType::Int64 => dictionary::<Int64Type>,
                DataType::UInt8 => dictionary::<UInt8Type>,
                DataType::UInt16 => dictionary::<UInt16Type>,
                DataType::UInt32 => dictionary::<UInt32Type>,
                DataType::UInt64 => dictionary::<UInt64Type>,
                _ => return None,
            };
            Box::new(DictionaryColumn { values, dictionary })
        }
        _ => return None,
    })
}

/// A column that knows whether it may be NULL.
pub(super) struct Child {
    nullable: bool,
    data_type: DataType,
    column: BoxColumn,
    /// The one of the objects walked through in which it was last filled.
    row: u64,
}

impl Child {
    pub(super) fn new(field: &Field, options: &DecodeOptions) -> Option<Self> {
        Some(Self {
            nullable: field.is_nullable(),
            data_type: field.data_type().clone(),
            column: column::of_field(field, options)?,
            row: 0,
        })
    }

    /// Reads the value that comes next.
    pub(super) fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        if scanner.next() == Some(b'n') {
            let position = scanner.position();
            scanner.skip()?;
            return self.append_missing(position);
        }
        self.column.read(scanner)
    }

    /// The same, quickly, for the value at this position.
    #[inline]
    pub(super) fn walk(&mut self, document: &Marked<'_>, at: usize) -> Option<usize> {
        if document.byte(at) == Some(b'n') {
            return self.walk_null(document, at);
        }
        self.column.walk(document, at)
    }

    #[inline(never)]
    fn walk_null(&mut self, document: &Marked<'_>, at: usize) -> Option<usize> {
        let end = document.null(at)?;
        self.append_missing(at).ok()?;
        Some(end)
    }

    /// Adds the NULL of a value that is null, or should have been at `position`.
    pub(super) fn append_missing(&mut self, position: usize) -> Result<(), DecodeError> {
        if self.nullable {
            self.column.append_null();
            return Ok(());
        }
        let expected = self.data_type.clone();
        let kind = DecodeErrorKind::MissingValue { expected };
        Err(DecodeError::new(position, kind))
    }

    pub(super) fn append_null(&mut self) {
        self.column.append_null();
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.column.truncate(len);
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.column.finish()
    }
}

/// The columns that the properties of an object fill.
pub(super) struct ObjectColumns {
    reader: ObjectReader,
    fields: Fields,
    children: Vec<Child>,
    /// The number of objects that were walked through.
    row: u64,
}

impl ObjectColumns {
    pub(super) fn new(fields: &Fields, options: &DecodeOptions) -> Option<Self> {
        Some(Self {
            reader: ObjectReader::new(fields, options.names),
            fields: fields.clone(),
            children: fields
                .iter()
                .map(|field| Child::new(field, options))
                .collect::<Option<_>>()?,
            row: 0,
        })
    }

    pub(super) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Reads the object at this position as one row, each value straight into its
    /// column when it comes, and returns where it ends: for objects of which no two
    /// properties fill the same field.
    pub(super) fn walk(&mut self, document: &Marked<'_>, at: usize) -> Option<usize> {
        if document.byte(at) != Some(b'{') {
            return None;
        }
        let document = document.within()?;
        self.row += 1;
        let mut left = self.children.len();
        let (children, row) = (&mut self.children, self.row);
        let end = self
            .reader
            .walk(&document, at + 1, |targets, value| match targets {
                [] => document.skip(value),
                [target] => {
                    let child = children.get_mut(target.field)?;
                    if child.row == row {
                        return None;
                    }
                    child.row = row;
                    left -= 1;
                    child.walk(&document, value)
                }
                _ => None,
            })?;
        if left > 0 {
            let missing = self.children.iter_mut().filter(|child| child.row != row);
            for child in missing {
                child.append_missing(at).ok()?;
            }
        }
        Some(end)
    }

    /// Reads the object that comes next as one row. Notes where all the values lie
    /// before any is read, so that later ones may take the place of earlier ones.
    pub(super) fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let position = scanner.position();
        let mut slots = Slots::new(self.children.len());
        self.reader.read(scanner, |targets, scanner| {
            slots.fill(targets, scanner.value_token()?);
            Ok(())
        })?;
        let fields = self.children.iter_mut().zip(&self.fields);
        for ((child, field), token) in fields.zip(slots.tokens()) {
            match token {
                Some(token) => child.read(&mut scanner.resolve(token).scanner()),
                None => child.append_missing(position),
            }
            .map_err(|error| error.in_field(field.name()))?;
        }
        Ok(())
    }

    /// Adds to an error, because of which a payload is not JSON, the property of the
    /// object that it is in.
    #[cold]
    pub(super) fn in_property(
        &self,
        payload: &[u8],
        lenient: bool,
        error: DecodeError,
    ) -> DecodeError {
        let text = match error.kind {
            // What is before it is text.
            DecodeErrorKind::InvalidUtf8 => payload.get(..error.position).unwrap_or_default(),
            _ => payload,
        };
        let scanner = Scanner::of_document(text, lenient).ok();
        match scanner.and_then(|scanner| self.reader.property_at_fault(scanner)) {
            Some(name) => error.in_field(&name),
            None => error,
        }
    }

    pub(super) fn append_null(&mut self) {
        self.children.iter_mut().for_each(Child::append_null);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.children
            .iter_mut()
            .for_each(|child| child.truncate(len));
    }

    pub(super) fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        // All are reset, even if one of them is an error.
        let arrays: Vec<_> = self.children.iter_mut().map(Child::finish).collect();
        arrays.into_iter().collect()
    }
}

struct StructColumn {
    object: ObjectColumns,
    nulls: NullBufferBuilder,
}

impl Column for StructColumn {
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        if scanner.next() != Some(b'{') {
            let data_type = DataType::Struct(self.object.fields().clone());
            return Err(unlike(scanner, &data_type));
        }
        self.object.read(scanner)?;
        self.nulls.append_non_null();
        Ok(())
    }

    fn walk(&mut self, document: &Marked<'_>, at: usize) -> Option<usize> {
        let end = self.object.walk(document, at)?;
        self.nulls.append_non_null();
        Some(end)
    }

    fn append_null(&mut self) {
        self.object.append_null();
        self.nulls.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.object.truncate(len);
        self.nulls.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let len = self.nulls.len();
        let nulls = self.nulls.finish();
        let arrays = self.object.finish()?;
        let fields = self.object.fields().clone();
        Ok(Arc::new(StructArray::try_new_with_length(
            fields, arrays, nulls, len,
        )?))
    }
}

#[derive(Clone, Copy)]
enum Shape {
    List,
    LargeList,
    FixedSize(i32),
}

struct ListColumn {
    data_type: DataType,
    field: FieldRef,
    shape: Shape,
    item: Child,
    /// How many items there are in all.
    len: usize,
    ends: Ends,
}

fn list(
    field: &FieldRef,
    shape: Shape,
    data_type: &DataType,
    options: &DecodeOptions,
) -> Option<BoxColumn> {
    Some(Box::new(ListColumn {
        data_type: data_type.clone(),
        field: Arc::clone(field),
        shape,
        item: Child::new(field, options)?,
        len: 0,
        ends: Ends::default(),
    }))
}

impl ListColumn {
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
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        if scanner.next() != Some(b'[') {
            return Err(unlike(scanner, &self.data_type));
        }
        let position = scanner.position();
        scanner.open_array()?;
        let mut index = 0;
        while scanner.more_elements(index == 0)? {
            let item = self.item.read(scanner);
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

    fn walk(&mut self, document: &Marked<'_>, mut at: usize) -> Option<usize> {
        if document.byte(at) != Some(b'[') {
            return None;
        }
        let document = document.within()?;
        let mut items = 0;
        at = document.space(at + 1);
        if document.byte(at) != Some(b']') {
            loop {
                at = document.space(self.item.walk(&document, at)?);
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

struct MapColumn {
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

impl Column for MapColumn {
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
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
            self.keys.read(&mut scanner.resolve(*key).scanner())?;
            self.values
                .read(&mut scanner.resolve(*item).scanner())
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

/// For a value of another kind than the column's.
#[cold]
fn unlike(scanner: &mut Scanner<'_>, data_type: &DataType) -> DecodeError {
    match scanner.value() {
        Ok(value) => DecodeError::mismatch(value.position(), data_type, value.kind().found()),
        Err(invalid) => invalid.into(),
    }
}

/// Gathers plain values, and finds the distinct ones at the end of a batch.
struct DictionaryColumn {
    values: BoxColumn,
    dictionary: fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
}

impl Column for DictionaryColumn {
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        self.values.read(scanner)
    }

    fn walk(&mut self, document: &Marked<'_>, at: usize) -> Option<usize> {
        self.values.walk(document, at)
    }

    fn append_null(&mut self) {
        self.values.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        (self.dictionary)(&self.values.finish()?)
    }
}

/// Arrow's own cast to a dictionary does not know all types of values.
fn dictionary<K: ArrowDictionaryKeyType>(values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
    let rows = converter.convert_columns(std::slice::from_ref(values))?;
    let mut key_by_value = HashMap::<OwnedRow, K::Native, foldhash::fast::RandomState>::default();
    let mut distinct = Vec::new();
    let mut keys = Vec::with_capacity(values.len());
    for (index, row) in rows.iter().enumerate() {
        if values.is_null(index) {
            keys.push(None);
            continue;
        }
        let row = row.owned();
        let key = match key_by_value.get(&row) {
            Some(key) => *key,
            None => {
                let key = K::Native::from_usize(distinct.len())
                    .ok_or(ArrowError::DictionaryKeyOverflowError)?;
                distinct.push(u32::try_from(index).map_err(|_| {
                    ArrowError::InvalidArgumentError("too many rows in one batch".to_owned())
                })?);
                key_by_value.insert(row, key);
                key
            }
        };
        keys.push(Some(key));
    }
    let keys = PrimitiveArray::<K>::from_iter(keys);
    let distinct = take(values, &UInt32Array::from(distinct), None)?;
    Ok(Arc::new(DictionaryArray::try_new(keys, distinct)?))
}
