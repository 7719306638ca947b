//! The text of JSON: structure, strings, numbers and times, without anything of arrays.

pub(crate) mod document;
pub(crate) mod invalid;
pub(crate) mod iso8601;
pub(crate) mod parse_number;
pub(crate) mod scan;
pub(crate) mod significant;
pub(crate) mod strings;
pub(crate) mod value;
pub(crate) mod write_number;
