//! Converts JSON to Arrow and back, as this crate's tables do.
//!
//! These items are re-exported from the crate [`arrow_json_codec`], which knows nothing of Kafka.
//! They are the types of options and errors, and the decoders and encoders for code that handles
//! payloads itself, such as a [`WriteHook`](crate::WriteHook).

pub use arrow_json_codec::{
    Decimals, DecodeError, DecodeErrorKind, DecodeOptions, EncodeError, EncodeErrorKind,
    EncodeOptions, Found, NameMatching, NonFinite, Nulls, ObjectPatch, PatchError, PatchWriter,
    RowDecoder, RowEncoder, RowWriter, SchemaInference, SyntaxError, TextEncoding,
    UnsupportedReason, UnsupportedType, ValueDecoder, ValueEncoder, ValueInference, ValueWriter,
    check_type, is_exact_double, plain_number,
};
