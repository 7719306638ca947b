//! Writing a topic.
//!
//! ```text
//! RecordBatch ── encode: key, payload or tombstone ──► producer ── acknowledgements ──► row count
//! ```

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod encode;
pub(crate) mod exec;
mod held;
pub(crate) mod hook;
pub(crate) mod producer;
pub(crate) mod report;
mod transaction;
