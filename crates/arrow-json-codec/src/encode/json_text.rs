//! Text columns that hold JSON, and JSON that is the text of strings.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;

use super::column::{BoxWrite, Write};
use crate::error::{EncodeError, EncodeErrorKind};
use crate::metadata::TextEncoding;
use crate::text::document::is_json;
use crate::text::scan::{Scanner, byte_order_mark};
use crate::text::strings::write_string;

/// The writer of an array of texts with such an encoding, inside of `depth` objects and
/// arrays. `None` for an array of another type.
pub(crate) fn writer<'a>(
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

/// The JSON value of a text, if a document can hold it inside of `depth` objects and arrays.
fn json(text: &str, depth: u32) -> Option<&str> {
    u32::try_from(text.len()).ok()?;
    let start = byte_order_mark(text.as_bytes());
    let mut scanner = Scanner::within(text.as_bytes(), start, depth, false);
    let value = scanner.value().ok()?;
    scanner.end().ok()?;
    Some(value.raw())
}

/// Writes the JSON of values as the text of strings.
pub(crate) fn within_string(values: BoxWrite<'_>) -> BoxWrite<'_> {
    Box::new(WithinString(values))
}

struct WithinString<'a>(BoxWrite<'a>);

impl Write for WithinString<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut json = Vec::new();
        self.0.write(row, &mut json)?;
        // JSON is text.
        write_string(&String::from_utf8_lossy(&json), out);
        Ok(())
    }
}
