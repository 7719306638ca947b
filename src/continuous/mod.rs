//! Runs continuous queries: each keeps one topic equal to a query over others.
//!
//! ```text
//! record by record   records of one topic ──► upserts and tombstones ──► sink, committed with the offsets
//! refreshed          records of topics ──► rows in memory ──► query ──► differences ──► sink, committed with the offsets
//! ```

mod begin;
mod loops;
pub(crate) mod query;
mod reads;
pub(crate) mod record_by_record;
mod refreshed;
mod run;
pub(crate) mod state;
mod watch;
