//! What can be wrong with a document or a value.

use std::fmt;

use arrow::datatypes::{DataType, TimeUnit};

use super::advice::advice;
use super::types::unit_name;
use crate::sql_type::sql_type;

/// What was found where something else was expected. Descriptions, never content.
pub(super) mod found {
    pub(crate) const NULL: &str = "null";
    pub(crate) const BOOLEAN: &str = "a boolean";
    pub(crate) const NUMBER: &str = "a number";
    pub(crate) const NON_FINITE: &str = "NaN or an infinity";
    pub(crate) const STRING: &str = "a string";
    pub(crate) const ARRAY: &str = "an array";
    pub(crate) const OBJECT: &str = "an object";
    pub(crate) const FRACTION: &str = "a fractional number";
    pub(crate) const RANGE: &str = "a number out of range";
    pub(crate) const ROUNDED: &str = "a number that it would round";
    pub(crate) const NUMBER_PRECISION: &str = "a number more precise than the column";
    pub(crate) const TOO_PRECISE: &str = "more decimal places than its scale";
    pub(crate) const NOT_NUMBER: &str = "a string that is not a number";
    pub(crate) const NOT_BOOLEAN: &str = "a string that is neither true nor false";
    pub(crate) const NOT_BASE64: &str = "a string that is not base64";
    pub(crate) const BINARY_LENGTH: &str = "base64 of another length";
    pub(crate) const ARRAY_LENGTH: &str = "an array of another length";
    pub(crate) const NOT_DATE_TIME: &str = "a string that is not an ISO 8601 date or time";
    pub(crate) const NOT_TIME: &str = "a string that is not an ISO 8601 time";
    pub(crate) const NOT_DURATION: &str = "a string that is not an ISO 8601 duration";
    pub(crate) const DURATION_PARTS: &str = "a duration with parts that this type cannot hold";
    pub(crate) const TIME_RANGE: &str = "a date or time out of range";
    pub(crate) const TIME_PRECISION: &str = "a date or time more precise than the column";
    pub(crate) const LOCAL_TIME: &str =
        "a local time that the column's time zone does not have or has twice";
    pub(crate) const NO_OFFSET: &str =
        "a local time, with a time zone in the column that is not known";
}

/// What is not JSON, but read where lenience is asked for.
pub(super) mod fault {
    pub(crate) const CONTROL_CHARACTER: &str = "a control character is in a string";
    pub(crate) const NON_FINITE: &str = "NaN and Infinity are no JSON numbers";
    pub(crate) const SURROGATE: &str = "half of a surrogate pair is missing";
}

/// Why a JSON document is not a row.
///
/// Its text is one line without any content of the document; what would help
/// against it is in [`hint`](Self::hint), since that differs between payloads and keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct DecodeError {
    /// The field by its declared name, as in `customer.tags[3]`. Of a payload that is not
    /// JSON the property of the object which is not, also one that is no field, unless its
    /// name is longer than 64 bytes. Empty where the document as a whole is wrong.
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
    /// The payload is not one JSON document; the text says what is wrong.
    InvalidJson(&'static str),
    /// Objects and arrays are nested more than 128 levels deep.
    TooDeep,
    /// The document is JSON, but not an object; the text says what it is.
    NotAnObject(&'static str),
    /// The value does not fit the column.
    Type {
        /// The declared type.
        expected: DataType,
        /// What the document has instead.
        found: &'static str,
    },
    /// What a format other than JSON says.
    Other(String),
    /// A NOT NULL field is missing or null.
    MissingValue {
        /// The declared type.
        expected: DataType,
    },
}

impl DecodeError {
    pub(super) fn new(position: usize, kind: DecodeErrorKind) -> Self {
        Self {
            path: String::new(),
            position,
            kind,
        }
    }

    pub(super) fn mismatch(position: usize, expected: &DataType, found: &'static str) -> Self {
        let expected = expected.clone();
        Self::new(position, DecodeErrorKind::Type { expected, found })
    }

    pub(super) fn in_field(mut self, name: &str) -> Self {
        if !self.path.is_empty() && !self.path.starts_with('[') {
            self.path.insert(0, '.');
        }
        self.path.insert_str(0, name);
        self
    }

    pub(super) fn in_element(mut self, index: usize) -> Self {
        if !self.path.is_empty() && !self.path.starts_with('[') {
            self.path.insert(0, '.');
        }
        self.path.insert_str(0, &format!("[{index}]"));
        self
    }

    /// What would help against it in a payload, as the end of a sentence; for all of
    /// them there is `kafka.on_bad_record`, too.
    ///
    /// ```
    /// use datafusion_kafka::json::DecodeOptions;
    /// use datafusion_kafka::json::RowDecoder;
    /// use arrow::datatypes::{DataType, Field, Fields};
    ///
    /// let fields = Fields::from(vec![Field::new("age", DataType::Int32, true)]);
    /// let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default())?;
    /// let error = decoder.append(br#"{"age":"42"}"#).unwrap_err();
    /// assert_eq!(error.path, "age");
    /// assert!(error.hint().unwrap().contains("kafka.json.coerce"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hint(&self) -> Option<&'static str> {
        const AS_TEXT: &str = "set `kafka.value.format` = `string` to have it as text";
        Some(match &self.kind {
            DecodeErrorKind::Type { expected, found } => advice(expected, found),
            DecodeErrorKind::MissingValue { .. } => "declare it without NOT NULL",
            DecodeErrorKind::InvalidJson(_) if self.is_read_leniently() => {
                "set `kafka.json.lenient` = `true`"
            }
            DecodeErrorKind::InvalidUtf8 => {
                "set `kafka.value.format` = `bytes` to have it as it is"
            }
            DecodeErrorKind::InvalidJson(_) | DecodeErrorKind::TooDeep if self.path.is_empty() => {
                AS_TEXT
            }
            DecodeErrorKind::NotAnObject(_) if !self.may_mean_a_delete() => AS_TEXT,
            _ => return None,
        })
    }

    /// Whether it is about a payload by which some writers mean a delete.
    pub(crate) fn may_mean_a_delete(&self) -> bool {
        matches!(
            self.kind,
            DecodeErrorKind::Empty | DecodeErrorKind::NotAnObject(found::NULL)
        )
    }

    /// Whether it is about something that is read where lenience is asked for.
    pub(crate) fn is_read_leniently(&self) -> bool {
        matches!(
            self.kind,
            DecodeErrorKind::InvalidJson(
                fault::CONTROL_CHARACTER | fault::NON_FINITE | fault::SURROGATE
            )
        )
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DecodeErrorKind::Empty => f.write_str("empty, not JSON")?,
            DecodeErrorKind::InvalidUtf8 => f.write_str("not UTF-8")?,
            DecodeErrorKind::InvalidJson(what) => write!(f, "not JSON: {what}")?,
            DecodeErrorKind::TooDeep => {
                f.write_str("nested more than 128 levels deep")?;
            }
            DecodeErrorKind::NotAnObject(found) => {
                write!(f, "expected a JSON object but found {found}")?;
            }
            DecodeErrorKind::Type { expected, found } => {
                let expected = sql_type(expected);
                write!(f, "expected {expected} but found {found}")?;
            }
            // It knows best where it is.
            DecodeErrorKind::Other(what) => return f.write_str(what),
            DecodeErrorKind::MissingValue { expected } => {
                let expected = sql_type(expected);
                write!(f, "expected {expected} but the value is missing or null")?;
            }
        }
        if !self.path.is_empty() {
            write!(f, " in `{}`", self.path)?;
        }
        write!(f, " at byte {}", self.position)
    }
}

/// Why a value cannot be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot write {} of `{path}` as JSON: {kind}", sql_type(.data_type))]
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
    #[error("NaN and infinities are no JSON numbers; set `kafka.json.non_finite` = string")]
    NonFinite,
    /// A decimal with more digits than the precision of its column.
    #[error("the value has more digits than the column's precision")]
    DecimalPrecision,
    /// A time of day before midnight or beyond the end of the day.
    #[error("the time is not within one day")]
    TimeOfDay,
    /// A date or time with parts of the unit of its number.
    #[error(
        "it is more precise than {}, the unit of such numbers in `kafka.json.timestamp_unit`; cut it off with date_trunc('{}', ..)",
        unit_name(*.0), unit_word(*.0)
    )]
    UnitPrecision(TimeUnit),
    /// Text that is not JSON, in a column that holds JSON.
    #[error(
        "the text is not JSON, which the column's encoding says that it is; write a string with quotes of its own, as in '\"text\"', or set `kafka.column.<name>.encoding` = `text`"
    )]
    NotJson,
}

/// The unit as `date_trunc` has it.
fn unit_word(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "second",
        TimeUnit::Millisecond => "millisecond",
        TimeUnit::Microsecond => "microsecond",
        TimeUnit::Nanosecond => "nanosecond",
    }
}

impl EncodeError {
    pub(super) fn new(data_type: &DataType, kind: EncodeErrorKind) -> Self {
        Self {
            path: String::new(),
            data_type: data_type.clone(),
            kind,
        }
    }

    pub(super) fn in_field(mut self, name: &str) -> Self {
        if !self.path.is_empty() && !self.path.starts_with('[') {
            self.path.insert(0, '.');
        }
        self.path.insert_str(0, name);
        self
    }

    pub(super) fn in_element(self, index: usize) -> Self {
        self.in_field(&format!("[{index}]"))
    }
}
