//! Setting properties of objects that are there already.

use std::fmt;

use arrow::array::ArrayRef;
use arrow::datatypes::Fields;
use arrow::error::ArrowError;

use crate::decode::properties::{ObjectReader, Target};
use crate::encode::column::{Column, Name, enclose};
use crate::encode::columns::{column, text_column};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::metadata::{is_date_or_time, written_unit};
use crate::options::{EncodeOptions, NameMatching, Nulls};
use crate::text::document::document;
use crate::text::scan::Scanner;
use crate::types::{UnsupportedType, check_type};

/// Sets some properties of JSON objects and leaves all others as they stand:
/// those that no field names, their order, and how their values are written.
///
/// A property keeps the spelling of its name where that differs from its field's
/// only in case. One that is not there is added at the end. With
/// [`EncodeOptions::timestamp_unit`] a date or time takes the form of the value whose place
/// it takes: text stays text.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{ArrayRef, Int64Array};
/// use arrow::datatypes::{DataType, Field, Fields};
/// use arrow_json_codec::{EncodeOptions, NameMatching, ObjectPatch};
///
/// let fields = Fields::from(vec![
///     Field::new("price", DataType::Int64, true),
///     Field::new("stock", DataType::Int64, true),
/// ]);
/// let patch = ObjectPatch::try_new(&fields, &[1], NameMatching::default(), &EncodeOptions::default())?;
/// let stock: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![7]))];
/// let mut out = Vec::new();
/// patch.batch(&stock)?.write(0, br#"{"price": 1.50, "Stock": 8, "note": null}"#, &mut out)?;
/// assert_eq!(out, br#"{"price":1.50,"Stock":7,"note":null}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ObjectPatch {
    fields: Fields,
    /// The positions in `fields` of those to set.
    set: Vec<usize>,
    names: Vec<Name>,
    reader: ObjectReader,
    options: EncodeOptions,
    lenient: bool,
}

impl ObjectPatch {
    /// Prepares to set the fields at these positions. All fields are needed to
    /// tell which property belongs to which field.
    ///
    /// # Errors
    /// A field whose type has no JSON form, see [`check_type`].
    pub fn try_new(
        fields: &Fields,
        set: &[usize],
        matching: NameMatching,
        options: &EncodeOptions,
    ) -> Result<Self, UnsupportedType> {
        let set: Vec<usize> = set.iter().copied().filter(|i| *i < fields.len()).collect();
        let to_set = || set.iter().filter_map(|index| fields.get(*index));
        to_set().try_for_each(|field| check_type(field))?;
        Ok(ObjectPatch {
            names: to_set().map(|field| Name::new(field)).collect(),
            fields: fields.clone(),
            reader: ObjectReader::new(fields, matching),
            set,
            options: options.clone(),
            lenient: false,
        })
    }

    /// Whether objects are taken as [`DecodeOptions::lenient`](super::DecodeOptions::lenient)
    /// says. By default they are not. Properties that are not set stay as they stand, so an
    /// object that only lenient readers take stays such an object.
    #[must_use]
    pub fn with_lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// Gives access to the values to set: an array per field to set, in the
    /// order of their positions.
    ///
    /// # Errors
    /// Arrays that do not have the number or the types that the fields say.
    pub fn batch<'a>(&'a self, columns: &'a [ArrayRef]) -> Result<PatchWriter<'a>, ArrowError> {
        if columns.len() != self.set.len() {
            return Err(ArrowError::SchemaError(format!(
                "expected {} arrays but there are {}",
                self.set.len(),
                columns.len()
            )));
        }
        let fields = self.set.iter().filter_map(|index| self.fields.get(*index));
        let columns = fields.zip(columns).map(|(field, array)| {
            let options = &self.options;
            let unit = written_unit(field, options.timestamp_unit);
            let may_be_text = unit.is_some() && is_date_or_time(field.data_type());
            let as_text = may_be_text.then(|| text_column(field, array, options, 1));
            Ok(SetColumn {
                column: column(field, array, options, 1)?,
                as_text: as_text.transpose()?,
            })
        });
        Ok(PatchWriter {
            columns: columns.collect::<Result<_, ArrowError>>()?,
            patch: self,
        })
    }
}

impl fmt::Debug for ObjectPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPatch")
            .field("fields", &self.fields)
            .field("set", &self.set)
            .finish_non_exhaustive()
    }
}

/// The values of a batch, to be set row by row.
#[derive(Debug)]
pub struct PatchWriter<'a> {
    patch: &'a ObjectPatch,
    columns: Vec<SetColumn<'a>>,
}

#[derive(Debug)]
struct SetColumn<'a> {
    column: Column<'a>,
    /// For a value that would be a number and takes the place of text.
    as_text: Option<Column<'a>>,
}

/// Why an object cannot be patched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The document is not one JSON object.
    #[error(transparent)]
    Document(#[from] DecodeError),
    /// JSON cannot hold the value.
    #[error(transparent)]
    Value(#[from] EncodeError),
}

/// A property of the object that is patched.
struct Property<'a> {
    name: &'a str,
    value: &'a str,
    targets: Vec<Target>,
    /// The index in `set` of the value that takes the place of this one.
    set: Option<usize>,
    removed: bool,
}

impl PatchWriter<'_> {
    /// Appends the object with the values of this row set in it.
    ///
    /// # Errors
    /// A document that is not an object, a value that JSON cannot hold; `out`
    /// is then as it was.
    ///
    /// # Panics
    /// Where `row` is beyond the end of the batch.
    pub fn write(&self, row: usize, object: &[u8], out: &mut Vec<u8>) -> Result<(), PatchError> {
        let mut properties = self.properties(object)?;
        let mut added = Vec::new();
        for (set, (field, to_set)) in self.patch.set.iter().zip(&self.columns).enumerate() {
            let fills = |property: &Property<'_>| property.fills(*field);
            // The last property of exactly the field's name, or else the last property that fills it.
            let exact = properties.iter().rposition(|p| fills(p) == Some(true));
            let place = exact.or_else(|| properties.iter().rposition(|p| fills(p).is_some()));
            let omitted = self.patch.options.nulls == Nulls::Omit && to_set.column.is_null(row);
            // A property that fills several columns is not this one's to change.
            let shared = |property: &Property<'_>| property.targets.len() > 1;
            match place.and_then(|place| properties.get_mut(place)) {
                None if omitted => {}
                Some(property) if shared(property) => added.push(set),
                None => added.push(set),
                Some(property) if !omitted => property.set = Some(set),
                Some(_) => {
                    let own = properties.iter_mut().filter(|p| p.fills(*field).is_some());
                    let own: Vec<_> = own.collect();
                    if own.iter().any(|property| shared(property)) {
                        added.push(set);
                    }
                    own.into_iter()
                        .filter(|property| !shared(property))
                        .for_each(|property| property.removed = true);
                }
            }
        }
        let start = out.len();
        self.write_properties(row, &properties, &added, out)
            .inspect_err(|_| out.truncate(start))
    }

    fn properties<'a>(&self, object: &'a [u8]) -> Result<Vec<Property<'a>>, DecodeError> {
        let mut scanner = Scanner::of_document(object, self.patch.lenient)?;
        if scanner.next() != Some(b'{') {
            let value = document(object, self.patch.lenient)?;
            let kind = DecodeErrorKind::NotAnObject(value.kind().found());
            return Err(DecodeError::new(value.position(), kind));
        }
        scanner.open_object()?;
        let mut properties = Vec::new();
        while scanner.more_properties(properties.is_empty())? {
            let name = scanner.property()?;
            scanner.colon()?;
            let value = scanner.value()?;
            properties.push(Property {
                name: scanner.resolve(name).raw(),
                value: value.raw(),
                targets: self.patch.reader.targets(&scanner, name),
                set: None,
                removed: false,
            });
        }
        scanner.end()?;
        Ok(properties)
    }

    fn write_properties(
        &self,
        row: usize,
        properties: &[Property<'_>],
        added: &[usize],
        out: &mut Vec<u8>,
    ) -> Result<(), PatchError> {
        let start = out.len();
        for property in properties.iter().filter(|property| !property.removed) {
            out.push(b',');
            out.extend_from_slice(property.name.as_bytes());
            out.push(b':');
            match property.set {
                None => out.extend_from_slice(property.value.as_bytes()),
                Some(set) => self.write_value(set, row, Some(property.value), out)?,
            }
        }
        for set in added {
            if let Some(name) = self.patch.names.get(*set) {
                name.write(out);
            }
            self.write_value(*set, row, None, out)?;
        }
        enclose(out, start, *b"{}");
        Ok(())
    }

    /// Writes a value, in the place of another one where there was one.
    fn write_value(
        &self,
        set: usize,
        row: usize,
        replaced: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Result<(), PatchError> {
        let field = self
            .patch
            .set
            .get(set)
            .and_then(|i| self.patch.fields.get(*i));
        if let (Some(to_set), Some(field)) = (self.columns.get(set), field) {
            let is_text = replaced.is_some_and(|value| value.starts_with('"'));
            let as_text = to_set.as_text.as_ref().filter(|_| is_text);
            as_text
                .unwrap_or(&to_set.column)
                .write(row, out)
                .map_err(|error| error.in_field(field.name()))?;
        }
        Ok(())
    }
}

impl Property<'_> {
    /// `None` where the property does not fill a field, else whether its name is exactly the
    /// field's.
    fn fills(&self, field: usize) -> Option<bool> {
        let target = self.targets.iter().find(|target| target.field == field);
        target.map(|target| target.exact)
    }
}
