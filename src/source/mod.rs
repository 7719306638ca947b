//! Reading a topic.
//!
//! ```text
//! offsets   ── which offsets of each partition ──┐
//! predicate ── which of them a filter can want ──┤
//! fetch     ── their records, chunk by chunk ────┴─► scan ── deduplicate by key ──► rows ──► RecordBatch
//! exec      ── the plan node;   reading ── its threads;   run ── what they share
//! connected ── the client of both planning and reading
//! ```
//!
//! In upsert mode a partition is read from its end towards its start: the
//! first record met of a key is its latest, so only records that become rows
//! are ever decoded, and rows leave while reading goes on. Each partition has
//! a thread of its own, since librdkafka's calls block.

pub(crate) mod chunk_sizes;
mod codec;
mod columns;
pub(crate) mod deduplicate;
pub(crate) mod exec;
pub(crate) mod fetch;
pub(crate) mod keys;
pub(crate) mod metrics;
pub(crate) mod offsets;
mod once;
pub(crate) mod passed;
pub(crate) mod planning_client;
pub(crate) mod predicate;
mod reading;
pub(crate) mod rows;
pub(crate) mod scan;
pub(crate) mod shared;
pub(crate) mod topic_guard;
