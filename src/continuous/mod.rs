//! Queries that never end: one topic kept equal to a query over others.
//!
//! ```text
//! row by row   records of one topic ──► rows, and rows taken back ──► sink, committed with the offsets
//! refreshed    records of topics ──► rows in memory ──► query ──► differences ──► sink, committed with the offsets
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
