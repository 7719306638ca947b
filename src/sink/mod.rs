//! Writing a topic.
//!
//! ```text
//! RecordBatch ── encode: key, payload or tombstone ──► producer ── acknowledgements ──► row count
//! ```

pub(crate) mod create;
pub(crate) mod encode;
pub(crate) mod exec;
pub(crate) mod producer;
