//! JSON to Arrow and back, strict and exact.
//!
//! The crate knows Arrow and JSON and nothing else. One JSON document is one row; columns are
//! the top-level properties of an object.
//!
//! | to | use |
//! |---|---|
//! | make columns of JSON objects | [`RowDecoder`] |
//! | make one column of JSON values of any kind | [`ValueDecoder`] |
//! | write rows as JSON objects | [`RowEncoder`] |
//! | write the values of one array | [`ValueEncoder`] |
//! | set some properties of objects that are there already | [`ObjectPatch`] |
//! | find some properties of objects without decoding them | [`PropertyFinder`] |
//! | find the columns of sampled documents | [`SchemaInference`], [`ValueInference`] |
//! | ask whether a type has a JSON form | [`check_type`] |
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
//!
//! # What is JSON
//!
//! JSON is what RFC 8259 says. A byte order mark before a document is passed over.
//! [`DecodeOptions::lenient`] also takes what some writers take for JSON. A document is checked
//! as a whole, however few columns are read from it.
//!
//! # How decoding works
//!
//! 1. A structural index notes where strings may end in a document: one bit for each byte.
//! 2. One pass goes through the document by that index. Every property that a column wants
//!    goes straight into the column, and all other values are only checked.
//! 3. Where the pass meets anything unusual, the document is decoded again from its start,
//!    checked: first as JSON, then noting where all values lie before the first is decoded. So
//!    the last of duplicate properties wins, an exactly named property beats one that differs
//!    in case, and an error says what is wrong first.
//!
//! An error leaves the columns as they were before the document, plus one row of NULLs: good
//! documents around a bad one are never disturbed.
//!
//! # How encoding works
//!
//! The columns of a batch are resolved once, then rows are written one by one into a byte
//! vector. What is written is read back as an equal value, for each type that [`check_type`]
//! accepts.
//!
//! # The code
//!
//! `text` knows the text of JSON and no arrays; `decode` and `encode` know arrays; `find`, `patch`
//! and `infer` are made of these. `unsafe` stands in two places of `decode`: the structural index
//! and the column of string views.

mod decode;
mod encode;
mod error;
mod find;
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
pub use find::{PropertyFinder, documents, string_value};
pub use infer::{SchemaInference, ValueInference};
pub use metadata::{TextEncoding, is_date_or_time, number_unit, with_days, with_unit};
pub use options::{Decimals, DecodeOptions, EncodeOptions, NameMatching, NonFinite, Nulls};
pub use patch::{ObjectPatch, PatchError, PatchWriter};
pub use text::document::is_null;
pub use text::significant::{is_exact_double, plain_number};
pub use types::{UnsupportedReason, UnsupportedType, check_type, unit_name};

/// The README's examples, run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
