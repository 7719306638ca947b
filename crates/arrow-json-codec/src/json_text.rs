//! Text columns that hold JSON, and dates and times that are text.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field};

use super::error::{EncodeError, EncodeErrorKind};
use super::scan::{Scanner, Value, byte_order_mark, document};
use super::text::write_string;
use super::writer::{BoxWrite, Write};

/// The key in a field's metadata.
const KEY: &str = "json.encoding";

/// How the text of a `Utf8`, `LargeUtf8` or `Utf8View` column stands in JSON.
///
/// It is kept in the metadata of the column's field, so that a query which hands the
/// column on says how it is written:
/// ```
/// use arrow::array::{ArrayRef, AsArray};
/// use arrow::datatypes::{DataType, Field, Fields};
/// use arrow_json_codec::{
///     DecodeOptions, EncodeOptions, RowDecoder, RowEncoder, TextEncoding,
/// };
///
/// let id = TextEncoding::Mixed.mark(Field::new("id", DataType::Utf8View, true));
/// let fields = Fields::from(vec![id]);
/// let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default())?;
/// let payloads = [r#"{"id":7}"#, r#"{"id":"a7"}"#, r#"{"id":"7"}"#];
/// for payload in payloads {
///     decoder.append(payload.as_bytes())?;
/// }
/// let columns: Vec<ArrayRef> = decoder.finish()?;
/// let texts: Vec<_> = columns[0].as_string_view().iter().flatten().collect();
/// assert_eq!(texts, ["7", "a7", "\"7\""]);
///
/// let encoder = RowEncoder::try_new(&fields, &EncodeOptions::default())?;
/// let rows = encoder.batch(&columns)?;
/// for (row, payload) in payloads.into_iter().enumerate() {
///     let mut out = Vec::new();
///     rows.write(row, &mut out)?;
///     assert_eq!(out, payload.as_bytes());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TextEncoding {
    /// Text is written as a string. What is read is a string's text, and of any other value
    /// its JSON. A date, time or timestamp is text as well where
    /// [`EncodeOptions::timestamp_unit`](super::EncodeOptions::timestamp_unit) makes numbers of
    /// others.
    #[default]
    Text,
    /// The text is the JSON of the value, of a string with its quotes. Text that is not JSON
    /// is not written.
    Json,
    /// The text is the JSON of the value, but of a string its text alone, unless that is JSON
    /// as well. Text that is not JSON is written as a string.
    Mixed,
}

impl TextEncoding {
    /// That of a field; `Text` where its type is no text.
    pub fn of(field: &Field) -> Self {
        let encoding = field.metadata().get(KEY).map(String::as_str);
        match encoding {
            Some("json") if is_plain_text(field.data_type()) => Self::Json,
            Some("mixed") if is_plain_text(field.data_type()) => Self::Mixed,
            _ => Self::Text,
        }
    }

    /// The field with this encoding.
    pub fn mark(self, field: Field) -> Field {
        let mut metadata = field.metadata().clone();
        match self {
            Self::Text if !is_date_or_time(field.data_type()) => drop(metadata.remove(KEY)),
            marked => drop(metadata.insert(KEY.to_owned(), marked.name().to_owned())),
        }
        field.with_metadata(metadata)
    }

    /// The name as the metadata of a field has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Mixed => "mixed",
        }
    }

    /// What a value is read as, where that is not its JSON: the text of some strings.
    pub(super) fn text<'a>(self, value: &Value<'a>) -> Option<Cow<'a, str>> {
        let text = value.text().filter(|_| self != Self::Json)?;
        (self == Self::Text || !is_json(&text)).then_some(text)
    }

    /// Whether a field of this type may have this encoding.
    pub fn applies_to(self, data_type: &DataType) -> bool {
        is_plain_text(data_type) || self == Self::Text && is_date_or_time(data_type)
    }
}

pub(super) fn is_plain_text(data_type: &DataType) -> bool {
    data_type.is_string()
}

pub(super) fn is_date_or_time(data_type: &DataType) -> bool {
    use DataType::{Date32, Date64, Time32, Time64, Timestamp};
    matches!(
        data_type,
        Date32 | Date64 | Time32(_) | Time64(_) | Timestamp(..)
    )
}

/// Whether dates or times of a field are text, whatever is said of all others.
pub(super) fn is_text_anyway(field: &Field) -> bool {
    is_date_or_time(field.data_type()) && field.metadata().get(KEY).is_some_and(|e| e == "text")
}

/// Whether a text is JSON, or what lenient readers take for it.
fn is_json(text: &str) -> bool {
    // Most text is told by its first character.
    let may_be = |byte: &u8| byte.is_ascii_digit() || b"{[\"-tfnNI \t\r\n\xEF".contains(byte);
    text.as_bytes().first().is_some_and(may_be) && document(text.as_bytes(), true).is_ok()
}

/// Writes the texts of an array that has such an encoding, so deep in objects and arrays;
/// `None` where it holds no text.
pub(super) fn writer<'a>(
    array: &'a ArrayRef,
    encoding: TextEncoding,
    depth: u32,
) -> Option<BoxWrite<'a>> {
    fn boxed<'a, G: Fn(usize) -> &'a str + Send + Sync + 'a>(
        array: &'a ArrayRef,
        encoding: TextEncoding,
        depth: u32,
        get: G,
    ) -> BoxWrite<'a> {
        Box::new(Texts {
            data_type: array.data_type(),
            encoding,
            depth,
            get,
        })
    }
    Some(match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string_opt::<i32>()?;
            boxed(array, encoding, depth, |row| texts.value(row))
        }
        DataType::LargeUtf8 => {
            let texts = array.as_string_opt::<i64>()?;
            boxed(array, encoding, depth, |row| texts.value(row))
        }
        _ => {
            let texts = array.as_string_view_opt()?;
            boxed(array, encoding, depth, |row| texts.value(row))
        }
    })
}

struct Texts<'a, G> {
    data_type: &'a DataType,
    encoding: TextEncoding,
    depth: u32,
    get: G,
}

impl<'a, G: Fn(usize) -> &'a str + Send + Sync> Write for Texts<'a, G> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let text = (self.get)(row);
        if self.encoding == TextEncoding::Mixed && !is_json(text) {
            write_string(text, out);
            return Ok(());
        }
        let json = json(text, self.depth)
            .ok_or_else(|| EncodeError::new(self.data_type, EncodeErrorKind::NotJson))?;
        out.extend_from_slice(json.as_bytes());
        Ok(())
    }
}

/// The JSON value of a text, where a document can hold it so deep.
fn json(text: &str, depth: u32) -> Option<&str> {
    u32::try_from(text.len()).ok()?;
    let start = byte_order_mark(text.as_bytes());
    let mut scanner = Scanner::within(text.as_bytes(), start, depth, false);
    let value = scanner.value().ok()?;
    scanner.end().ok()?;
    Some(value.raw())
}
