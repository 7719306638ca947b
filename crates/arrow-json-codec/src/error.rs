//! What can be wrong with a document or a value.

use std::fmt;

use arrow::datatypes::{DataType, TimeUnit};

use super::types::unit_name;

/// Why a JSON document is not a row.
///
/// The message is one line without any content of the document.
///
/// ```
/// use arrow::datatypes::{DataType, Field, Fields};
/// use arrow_json_codec::{DecodeErrorKind, DecodeOptions, Found, RowDecoder};
///
/// let fields = Fields::from(vec![Field::new("age", DataType::Int32, true)]);
/// let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default())?;
/// let error = decoder.append(br#"{"age":"42"}"#).unwrap_err();
/// assert_eq!(error.to_string(), "expected Int32 but found a string in `age` at byte 7");
/// let expected = DataType::Int32;
/// assert_eq!(error.kind, DecodeErrorKind::Type { expected, found: Found::String });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message(DataType::to_string))]
#[non_exhaustive]
pub struct DecodeError {
    /// The field by its declared name, as in `customer.tags[3]`.
    ///
    /// In a payload that is not JSON, this is the property in which it stops being JSON, even
    /// if no field has that name. Empty where the document as a whole is wrong, and where the
    /// name of such a property is longer than 64 bytes.
    pub path: String,
    /// The offset in the payload, in bytes.
    pub position: usize,
    /// What is wrong there.
    pub kind: DecodeErrorKind,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The payload has no bytes.
    Empty,
    /// The payload is not UTF-8.
    InvalidUtf8,
    /// The payload is not one JSON document.
    InvalidJson(SyntaxError),
    /// Objects and arrays are nested more than 128 levels deep.
    TooDeep,
    /// The document is JSON, but not an object.
    NotAnObject(Found),
    /// The value does not fit the column.
    Type {
        /// The declared type.
        expected: DataType,
        /// What the document has instead.
        found: Found,
    },
    /// A fault that the caller found, in the caller's words. The message has no position.
    Custom(String),
    /// A NOT NULL field is missing or null.
    MissingValue {
        /// The declared type.
        expected: DataType,
    },
}

/// What is not JSON about a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxError {
    /// A control character stands in a string as it is. Read with
    /// [`DecodeOptions::lenient`](super::DecodeOptions::lenient).
    #[error("a control character is in a string")]
    ControlCharacter,
    /// There is no colon after the name of a property.
    #[error("expected a colon after a property name")]
    Colon,
    /// A number lacks a digit.
    #[error("expected a digit")]
    Digit,
    /// A backslash is followed by a character that it does not escape.
    #[error("an escape sequence is unknown")]
    Escape,
    /// A number of several digits begins with zero.
    #[error("a number has a leading zero")]
    LeadingZero,
    /// There is no name where a property begins.
    #[error("expected a property name")]
    PropertyName,
    /// NaN or an infinity as a bare word. Read with
    /// [`DecodeOptions::lenient`](super::DecodeOptions::lenient).
    #[error("NaN and Infinity are no JSON numbers")]
    NonFinite,
    /// There is no object where one is needed.
    #[error("expected an object")]
    Object,
    /// There is no array where one is needed.
    #[error("expected an array")]
    Array,
    /// A value is followed by neither a comma nor a closing bracket.
    #[error("expected a comma or a closing bracket")]
    Separator,
    /// The document is followed by something else than white space.
    #[error("there is more after the document")]
    Surplus,
    /// One half of a surrogate pair stands alone. Read with
    /// [`DecodeOptions::lenient`](super::DecodeOptions::lenient).
    #[error("half of a surrogate pair is missing")]
    Surrogate,
    /// `\u` is not followed by four hexadecimal digits.
    #[error("an escape sequence is not four hexadecimal digits")]
    HexDigits,
    /// There is no value where one is needed.
    #[error("expected a value")]
    Value,
    /// The payload ends within the document.
    #[error("it ends too early")]
    TooEarly,
    /// Positions are counted in 32 bits.
    #[error("it is larger than 4 GiB")]
    TooLarge,
}

/// What a document has where something else was expected: a description, never content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number of any kind.
    Number,
    /// NaN or an infinity as a bare word.
    NonFinite,
    /// A string with any content.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
    /// A number with a fraction, for a type of whole numbers.
    Fraction,
    /// A number beyond the range of the type.
    OutOfRange,
    /// A number that double precision does not keep, with
    /// [`DecodeOptions::exact_doubles`](super::DecodeOptions::exact_doubles).
    Rounded,
    /// A date or time as a number with parts of the column's unit.
    NumberPrecision,
    /// A number with more decimal places than the scale of the decimal type.
    DecimalPlaces,
    /// A string that does not hold a number, for a numeric type.
    NotANumber,
    /// A string other than `true` and `false`, for a boolean type.
    NotABoolean,
    /// A string that is not base64, for a binary type.
    NotBase64,
    /// A string that is not hexadecimal digits, two for each byte.
    NotHex,
    /// A string that is not JSON, where its text is to be JSON.
    NotJson,
    /// Bytes of another length than the fixed one of the type.
    BinaryLength,
    /// An array of another length than the fixed one of the type.
    ArrayLength,
    /// A string that is not an ISO 8601 date or timestamp.
    NotADateTime,
    /// A string that is not an ISO 8601 time of day.
    NotATime,
    /// A string that is not an ISO 8601 duration.
    NotADuration,
    /// A duration with parts that the type does not have, such as months.
    DurationParts,
    /// A date, time or duration beyond the range of the type.
    TimeOutOfRange,
    /// A date, time or duration as text with parts of the column's unit.
    TimePrecision,
    /// A local time that the time zone of the column skips or has twice.
    LocalTime,
    /// A local time where the time zone of the column is not in the time zone database.
    UnknownZone,
}

impl Found {
    /// The description as messages have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::NonFinite => "NaN or an infinity",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
            Self::Fraction => "a fractional number",
            Self::OutOfRange => "a number out of range",
            Self::Rounded => "a number that it would round",
            Self::NumberPrecision => "a number more precise than the column",
            Self::DecimalPlaces => "more decimal places than its scale",
            Self::NotANumber => "a string that is not a number",
            Self::NotABoolean => "a string that is neither true nor false",
            Self::NotBase64 => "a string that is not base64",
            Self::NotHex => "a string that is not hexadecimal digits",
            Self::NotJson => "a string whose text is not JSON",
            Self::BinaryLength => "bytes of another length",
            Self::ArrayLength => "an array of another length",
            Self::NotADateTime => "a string that is not an ISO 8601 date or time",
            Self::NotATime => "a string that is not an ISO 8601 time",
            Self::NotADuration => "a string that is not an ISO 8601 duration",
            Self::DurationParts => "a duration with parts that this type cannot hold",
            Self::TimeOutOfRange => "a date or time out of range",
            Self::TimePrecision => "a date or time more precise than the column",
            Self::LocalTime => {
                "a local time that the column's time zone does not have or has twice"
            }
            Self::UnknownZone => "a local time, with a time zone in the column that is not known",
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl DecodeError {
    /// An error at a position of the payload, in bytes, and of no field.
    pub fn new(position: usize, kind: DecodeErrorKind) -> Self {
        Self {
            path: String::new(),
            position,
            kind,
        }
    }

    pub(crate) fn mismatch(position: usize, expected: &DataType, found: Found) -> Self {
        let expected = expected.clone();
        Self::new(position, DecodeErrorKind::Type { expected, found })
    }

    pub(crate) fn in_field(mut self, name: &str) -> Self {
        prepend(name, &mut self.path);
        self
    }

    pub(crate) fn in_element(mut self, index: usize) -> Self {
        prepend(&format!("[{index}]"), &mut self.path);
        self
    }

    /// Whether [`DecodeOptions::lenient`](super::DecodeOptions::lenient) would read what
    /// is wrong here.
    pub fn is_read_leniently(&self) -> bool {
        matches!(
            self.kind,
            DecodeErrorKind::InvalidJson(
                SyntaxError::ControlCharacter | SyntaxError::NonFinite | SyntaxError::Surrogate
            )
        )
    }

    /// The message with the types as `type_name` calls them. `Display` has Arrow's names.
    pub fn message(&self, type_name: impl Fn(&DataType) -> String) -> String {
        let what = match &self.kind {
            DecodeErrorKind::Empty => "empty, not JSON".to_owned(),
            DecodeErrorKind::InvalidUtf8 => "not UTF-8".to_owned(),
            DecodeErrorKind::InvalidJson(what) => format!("not JSON: {what}"),
            DecodeErrorKind::TooDeep => "nested more than 128 levels deep".to_owned(),
            DecodeErrorKind::NotAnObject(found) => {
                format!("expected a JSON object but found {found}")
            }
            DecodeErrorKind::Type { expected, found } => {
                format!("expected {} but found {found}", type_name(expected))
            }
            DecodeErrorKind::Custom(what) => return what.clone(),
            DecodeErrorKind::MissingValue { expected } => {
                let expected = type_name(expected);
                format!("expected {expected} but the value is missing or null")
            }
        };
        let place = match self.path.as_str() {
            "" => String::new(),
            path => format!(" in `{path}`"),
        };
        format!("{what}{place} at byte {}", self.position)
    }
}

/// Why a value cannot be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message(DataType::to_string))]
#[non_exhaustive]
pub struct EncodeError {
    /// The field, as in `customer.tags[3]`.
    pub path: String,
    /// The type of the field.
    pub data_type: DataType,
    /// What is wrong with the value.
    pub kind: EncodeErrorKind,
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeErrorKind {
    /// NaN or an infinity, which JSON numbers cannot express.
    #[error("NaN and infinities are no JSON numbers")]
    NonFinite,
    /// A decimal with more digits than the precision of its column.
    #[error("the value has more digits than the column's precision")]
    DecimalPrecision,
    /// A time of day before midnight or beyond the end of the day.
    #[error("the time is not within one day")]
    TimeOfDay,
    /// A date or time with parts of the unit of its number.
    #[error("it is more precise than {}, the unit of such numbers", unit_name(*.0))]
    UnitPrecision(TimeUnit),
    /// Text that is not JSON, in a column that holds JSON.
    #[error("the text is not JSON, which the column's encoding says that it is")]
    NotJson,
}

impl EncodeError {
    pub(crate) fn new(data_type: &DataType, kind: EncodeErrorKind) -> Self {
        Self {
            path: String::new(),
            data_type: data_type.clone(),
            kind,
        }
    }

    pub(crate) fn in_field(mut self, name: &str) -> Self {
        prepend(name, &mut self.path);
        self
    }

    pub(crate) fn in_element(mut self, index: usize) -> Self {
        prepend(&format!("[{index}]"), &mut self.path);
        self
    }

    /// The message with the type as `type_name` calls it. `Display` has Arrow's name.
    pub fn message(&self, type_name: impl Fn(&DataType) -> String) -> String {
        let (data_type, path, kind) = (type_name(&self.data_type), &self.path, self.kind);
        format!("cannot write {data_type} of `{path}` as JSON: {kind}")
    }
}

/// Puts a step in front of a path.
fn prepend(step: &str, path: &mut String) {
    if !path.is_empty() && !path.starts_with('[') {
        path.insert(0, '.');
    }
    path.insert_str(0, step);
}
