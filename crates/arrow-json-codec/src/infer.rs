//! Finding the columns of sampled JSON.

mod numbers;

use std::borrow::Cow;

use arrow::datatypes::{DataType, Field, Fields};
use hashbrown::HashMap;

use self::numbers::Numbers;
use crate::decode::properties::entries;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::metadata::{TextEncoding, is_plain_text};
use crate::text::document::document;
use crate::text::invalid::Invalid;
use crate::text::scan::Scanner;
use crate::text::value::{Kind, Value};

/// Finds the columns of JSON objects from a sample.
///
/// Numbers become the first of these types that keeps each of them as it is, so that
/// different numbers are different values:
///
/// | type | numbers |
/// |---|---|
/// | `Int64`, else `UInt64` | integers within its range |
/// | `Float64` | at least one has a fraction or an exponent; each is what the float's shortest text says, and integers have at most 15 digits |
/// | `Decimal128(38, s)` | 38 digits are enough before and behind the decimal point; `s` is the most that one has behind it |
/// | `Utf8View` | all others, as they are written |
///
/// Later documents may have numbers that such a float does not keep;
/// [`DecodeOptions::exact_doubles`](super::DecodeOptions::exact_doubles) refuses these.
///
/// Text, values that are always null and values of mixed kinds become `Utf8View`, in which a
/// value of any kind is kept as its JSON text. Where some values are no text, the field has
/// [`TextEncoding::Mixed`], so that each value is written as it was read. Arrays become lists
/// and objects structs, by the same rules. Every field is nullable.
///
/// ```
/// use arrow::datatypes::{DataType, Field, Fields};
/// use arrow_json_codec::SchemaInference;
///
/// let mut inference = SchemaInference::new();
/// inference.add(br#"{"id": 1, "price": 2}"#)?;
/// inference.add(br#"{"id": 2, "price": 2.5, "name": "x"}"#)?;
/// assert_eq!(
///     inference.finish(),
///     Fields::from(vec![
///         Field::new("id", DataType::Int64, true),
///         Field::new("price", DataType::Float64, true),
///         Field::new("name", DataType::Utf8View, true),
///     ])
/// );
/// # Ok::<(), arrow_json_codec::DecodeError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct SchemaInference {
    properties: Properties,
    records: usize,
    lenient: bool,
}

impl SchemaInference {
    /// Nothing has been seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether payloads are taken as [`DecodeOptions::lenient`](super::DecodeOptions::lenient)
    /// says; NaN and the infinities then make a `Float64`. By default they are not.
    #[must_use]
    pub fn with_lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// Takes one object into account.
    ///
    /// # Errors
    /// A payload that is not exactly one JSON object in UTF-8; it leaves no trace.
    pub fn add(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        let value = document(payload, self.lenient)?;
        if value.kind() != Kind::Object {
            let kind = DecodeErrorKind::NotAnObject(value.kind().found());
            return Err(DecodeError::new(value.position(), kind));
        }
        self.properties.add(value)?;
        self.records += 1;
        Ok(())
    }

    /// The number of objects taken into account.
    pub fn records(&self) -> usize {
        self.records
    }

    /// The columns, in the order in which they first appeared.
    pub fn finish(self) -> Fields {
        self.properties.finish()
    }
}

/// Finds the type of JSON values of any kind from a sample, by the rules of
/// [`SchemaInference`].
///
/// ```
/// use arrow::datatypes::DataType;
/// use arrow_json_codec::ValueInference;
///
/// let mut inference = ValueInference::new();
/// inference.add(b"1")?;
/// inference.add(b"2.5")?;
/// assert_eq!(inference.finish(), DataType::Float64);
/// # Ok::<(), arrow_json_codec::DecodeError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ValueInference {
    shape: Shape,
    lenient: bool,
}

impl ValueInference {
    /// Nothing has been seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether payloads are taken as [`DecodeOptions::lenient`](super::DecodeOptions::lenient)
    /// says; NaN and the infinities then make a `Float64`. By default they are not.
    #[must_use]
    pub fn with_lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// Takes one value into account.
    ///
    /// # Errors
    /// A payload that is not exactly one JSON value in UTF-8; it leaves no trace.
    pub fn add(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        self.shape.add(document(payload, self.lenient)?)?;
        Ok(())
    }

    /// The type of all the values.
    pub fn finish(self) -> DataType {
        self.shape.finish("").data_type().clone()
    }

    /// A field for all the values, with their [`TextEncoding`].
    pub fn finish_as(self, name: &str) -> Field {
        self.shape.finish(name)
    }
}

/// What all values at one place have in common so far.
#[derive(Debug, Clone, Default)]
enum Shape {
    #[default]
    Unknown,
    Boolean,
    Number(Numbers),
    Text,
    List(Box<Shape>),
    Struct(Properties),
    Mixed,
}

impl Shape {
    fn add(&mut self, value: Value<'_>) -> Result<(), Invalid> {
        let shape = match value.kind() {
            Kind::Null => return Ok(()),
            Kind::Boolean(_) => Self::Boolean,
            Kind::String { .. } => Self::Text,
            Kind::Number { integer } => Self::Number(Numbers::of(value.raw(), integer)),
            Kind::NonFinite => Self::Number(Numbers::NON_FINITE),
            Kind::Array => {
                let mut item = match std::mem::take(self) {
                    Self::Unknown => Box::default(),
                    Self::List(item) => item,
                    _ => {
                        *self = Self::Mixed;
                        return Ok(());
                    }
                };
                let mut scanner = Scanner::of_value(&value);
                scanner.open_array()?;
                let mut first = true;
                while scanner.more_elements(first)? {
                    first = false;
                    item.add(scanner.value()?)?;
                }
                *self = Self::List(item);
                return Ok(());
            }
            Kind::Object => {
                let mut properties = match std::mem::take(self) {
                    Self::Unknown => Properties::default(),
                    Self::Struct(properties) => properties,
                    _ => {
                        *self = Self::Mixed;
                        return Ok(());
                    }
                };
                properties.add(value)?;
                *self = Self::Struct(properties);
                return Ok(());
            }
        };
        *self = match (std::mem::take(self), shape) {
            (Self::Unknown, shape) => shape,
            (Self::Boolean, Self::Boolean) => Self::Boolean,
            (Self::Text, Self::Text) => Self::Text,
            (Self::Number(numbers), Self::Number(others)) => Self::Number(numbers.and(others)),
            _ => Self::Mixed,
        };
        Ok(())
    }

    fn finish(self, name: &str) -> Field {
        let is_text = matches!(self, Self::Unknown | Self::Text);
        let data_type = match self {
            Self::Boolean => DataType::Boolean,
            Self::Number(numbers) => numbers.data_type(),
            Self::List(item) => DataType::List(item.finish(Field::LIST_FIELD_DEFAULT_NAME).into()),
            // Nothing can be selected from a struct without fields.
            Self::Struct(properties) if !properties.is_empty() => {
                DataType::Struct(properties.finish())
            }
            Self::Unknown | Self::Text | Self::Mixed | Self::Struct(_) => DataType::Utf8View,
        };
        let field = Field::new(name, data_type, true);
        match is_plain_text(field.data_type()) && !is_text {
            true => TextEncoding::Mixed.mark(field),
            false => field,
        }
    }
}

/// Properties in the order in which they first appeared.
#[derive(Debug, Clone, Default)]
struct Properties {
    shapes: Vec<(String, Shape)>,
    index_by_name: HashMap<String, usize, foldhash::fast::RandomState>,
}

impl Properties {
    fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    fn add(&mut self, object: Value<'_>) -> Result<(), Invalid> {
        let mut scanner = Scanner::of_value(&object);
        let mut tokens = Vec::new();
        entries(&mut scanner, &mut tokens)?;
        for (name, value) in tokens {
            let name = scanner.resolve(name).text().unwrap_or_default();
            let index = self.index(name);
            if let Some((_, shape)) = self.shapes.get_mut(index) {
                shape.add(scanner.resolve(value))?;
            }
        }
        Ok(())
    }

    fn index(&mut self, name: Cow<'_, str>) -> usize {
        let next = self.shapes.len();
        let index = *self.index_by_name.entry_ref(&*name).or_insert(next);
        if index == next {
            self.shapes.push((name.into_owned(), Shape::Unknown));
        }
        index
    }

    fn finish(self) -> Fields {
        self.shapes
            .into_iter()
            .map(|(name, shape)| shape.finish(&name))
            .collect()
    }
}
