//! Columns of strings.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::{DataType, LargeUtf8Type, Utf8Type};
use arrow::error::ArrowError;

use super::column::Column;
use super::ends::Bytes;
use super::indexed::IndexedDocument;
use crate::error::DecodeError;
use crate::metadata::TextEncoding;
use crate::text::document::is_json;
use crate::text::scan::Scanner;
use crate::text::strings::unescape;
use crate::text::value::{Kind, Value};

pub(crate) struct StringColumn {
    bytes: Bytes,
    data_type: DataType,
    encoding: TextEncoding,
}

impl StringColumn {
    pub(crate) fn new(data_type: &DataType, encoding: TextEncoding) -> Self {
        Self {
            bytes: Bytes::default(),
            data_type: data_type.clone(),
            encoding,
        }
    }
}

impl Column for StringColumn {
    fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        let data = &mut self.bytes.data;
        match value.kind() {
            _ if self.encoding != TextEncoding::Text => {
                let text = text_of(&value, self.encoding);
                data.extend_from_slice(text.as_deref().unwrap_or(value.raw()).as_bytes());
            }
            Kind::String { .. } => {
                unescape(value.quoted(), |part| {
                    data.extend_from_slice(part.as_bytes())
                });
            }
            _ => data.extend_from_slice(value.raw().as_bytes()),
        }
        self.bytes.end_value();
        Ok(())
    }

    fn decode_fast(&mut self, document: &IndexedDocument<'_>, at: usize) -> Option<usize> {
        let end = document.string(at);
        let Some(end) = end.filter(|_| self.encoding == TextEncoding::Text) else {
            return self.decode_checked_at(document, at);
        };
        self.bytes
            .append_start(document.rest(at + 1)?, end - at - 2);
        Some(end)
    }

    fn append_null(&mut self) {
        self.bytes.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self.data_type {
            DataType::Utf8 => Arc::new(self.bytes.finish::<Utf8Type>()?),
            DataType::LargeUtf8 => Arc::new(self.bytes.finish::<LargeUtf8Type>()?),
            // Views are laid over the bytes without copying them.
            _ => Arc::new(StringViewArray::from(
                &self.bytes.finish::<LargeUtf8Type>()?,
            )),
        })
    }
}

/// The text of a string that is not kept as its JSON.
fn text_of<'a>(value: &Value<'a>, encoding: TextEncoding) -> Option<Cow<'a, str>> {
    let text = value.text().filter(|_| encoding != TextEncoding::Json)?;
    (encoding == TextEncoding::Text || !is_json(&text)).then_some(text)
}
