//! Writes rows to a topic as keyed records.
//!
//! ```text
//! RecordBatch ── record_encoder ──► encode_row: key, payload or tombstone ──► hook ──► producer ── acknowledgements ──► report
//!                                                                                         └ transaction
//! exec ── the plan node;   change ── what a row does;   batch_columns ── what the columns are for
//! pending ── keys that may change once;   create ── topics
//! ```
//!
//! librdkafka sends on its own threads while the next rows are encoded. Rows of one key keep
//! their order: one stream of rows fills one queue, and `planning::insert_order` plans a
//! statement such that this stream has the order in which the rows were read.

pub(crate) mod acknowledgements;
mod batch_columns;
pub(crate) mod change;
pub(crate) mod changes_table;
pub(crate) mod create;
pub(crate) mod encode_row;
pub(crate) mod exec;
pub(crate) mod instance;
pub(crate) mod key_set;
pub(crate) mod list_casts;
pub(crate) mod mark;
mod native;
pub(crate) mod observer;
pub(crate) mod pending;
pub(crate) mod producer;
pub(crate) mod record_encoder;
pub(crate) mod record_writer;
pub(crate) mod refused;
pub(crate) mod report;
mod silence;
pub(crate) mod stream;
pub(crate) mod time_limit;
mod transaction;
mod transactional_id;
