//! Queries that never end: one topic kept equal to a query over others.
//!
//! ```text
//! row by row   records of one topic ──► rows, and rows taken back ──► sink, committed with the offsets
//! refreshed    records of topics ──► rows in memory ──► query ──► differences ──► sink, committed with the offsets
//! ```

mod begin;
mod events;
mod input;
pub(crate) mod insert;
mod loops;
mod output;
pub(crate) mod query;
mod reads;
mod refresh;
mod row_by_row;
mod run;
mod snapshot;
pub(crate) mod state;
mod watch;
