//! Reads the records of a topic into record batches.
//!
//! ```text
//! snapshot ── the offset range of each partition ───┐
//! pruning  ── the records that a filter can match ──┤
//! fetch    ── records, chunk by chunk ──────────────┴► scan ─ deduplicate ─► rows ─► RecordBatch
//! envelope ── the row within a payload, and whether it is a delete;   connect_schema ── its types
//! spill           ── the records of keys that memory has no room for, on disk
//! exec            ── the plan node;   reading ── its threads;   shared ── their shared state
//! groups   ── the partitions of each thread, which group_reader reads
//! ends     ── the snapshot of a scan, once fixed;   fix_ends ── fixes it before the plan runs
//! look_ups ── what planning asks the brokers;   planning_client ── the client of planning and reading
//! ```
//!
//! In upsert mode a partition is read from its end towards its start. The first record seen of a
//! key is then its latest record, so only records that become rows are decoded, and rows are
//! returned while reading continues.
//!
//! An output partition reads a group of partitions on a thread of its own, because librdkafka's
//! calls block. All partitions of the group that are being read come into one queue.

pub(crate) mod chunk_sizes;
mod codec;
mod column_builders;
pub(crate) mod connect_schema;
pub(crate) mod deduplicate;
pub(crate) mod ends;
pub(crate) mod envelope;
pub(crate) mod exec;
pub(crate) mod fetch;
pub(crate) mod fix_ends;
mod group_reader;
mod groups;
pub(crate) mod key_partitions;
pub(crate) mod keys;
pub(crate) mod look_ups;
pub(crate) mod metrics;
mod once;
pub(crate) mod passed;
pub(crate) mod planning_client;
pub(crate) mod pruning;
mod reading;
pub(crate) mod rows;
pub(crate) mod scan;
pub(crate) mod shared;
pub(crate) mod snapshot;
pub(crate) mod spill;
pub(crate) mod topic_guard;
