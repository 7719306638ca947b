//! JSON to Arrow and back, strict and exact.
//!
//! This module knows Arrow and JSON and nothing else. One JSON document is one
//! row; columns are the top-level properties of an object.
//!
//! **Decoding** ([`RowDecoder`]) marks where strings may end in a document, then
//! walks through it once: every property that a column wants is read straight
//! into it, the others are only checked, so that a document is judged as JSON
//! whatever is projected. A document for which that does not work out is gone
//! through again from the start, carefully: first as JSON, then noting where the
//! values lie before any is read, so that the last of duplicate properties wins,
//! an exactly named property beats one that differs in case, and an error says
//! what is wrong first. An error leaves the columns as they were before the
//! document, plus one row of NULLs, so that good documents around a bad one are
//! never disturbed.
//!
//! What is JSON is what RFC 8259 says, and a byte order mark before it is passed over.
//! [`DecodeOptions::lenient`] also takes what some writers take for JSON.
//!
//! **Encoding** ([`RowEncoder`]) resolves the columns of a batch once, then
//! writes row by row into a byte vector. What it writes, the decoder reads back
//! as an equal value, for every type that [`check_type`] accepts.
//!
//! **Patching** ([`ObjectPatch`]) sets some properties of an object and leaves
//! the others as they stand.
//!
//! **Inference** ([`SchemaInference`]) finds the columns of sampled documents.
//!
//! ```
//! use arrow::array::{ArrayRef, AsArray};
//! use arrow::datatypes::{DataType, Field, Fields, Int64Type};
//! use arrow_json_codec::{DecodeOptions, EncodeOptions, RowDecoder, RowEncoder};
//!
//! let fields = Fields::from(vec![
//!     Field::new("id", DataType::Int64, false),
//!     Field::new("name", DataType::Utf8View, true),
//! ]);
//! let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default())?;
//! decoder.append(br#"{"id": 7, "name": "Ada", "unknown": [1, 2]}"#)?;
//! let columns: Vec<ArrayRef> = decoder.finish()?;
//! assert_eq!(columns[0].as_primitive::<Int64Type>().value(0), 7);
//!
//! let encoder = RowEncoder::try_new(&fields, &EncodeOptions::default())?;
//! let mut out = Vec::new();
//! encoder.batch(&columns)?.write(0, &mut out)?;
//! assert_eq!(out, br#"{"id":7,"name":"Ada"}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod decode;
mod encode;
mod error;
mod infer;
mod metadata;
mod options;
mod patch;
mod text;
mod types;

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
mod tests;

pub use decode::{RowDecoder, ValueDecoder};
pub use encode::{RowEncoder, RowWriter, ValueEncoder, ValueWriter};
pub use error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind, Found, SyntaxError};
pub use infer::{SchemaInference, ValueInference};
pub use metadata::{TextEncoding, with_unit};
pub use options::{Decimals, DecodeOptions, EncodeOptions, NameMatching, NonFinite, Nulls};
pub use patch::{ObjectPatch, PatchError, PatchWriter};
pub use text::scan::is_null;
pub use text::significant::{is_exact_double, plain_number};
pub use types::{UnsupportedReason, UnsupportedType, check_type, unit_name};
