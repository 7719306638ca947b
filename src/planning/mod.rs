//! Adds the library's part of planning: its own SQL entry point, COPY and DataFrames to topics,
//! and the rules that make plans over topics correct.
//!
//! ```text
//! sql ── a statement with tables that are looked up asynchronously;   advice ── helpful errors
//! values, literals, zoned ── types that DataFusion would choose differently;   maps ── those that it lacks
//! copy, data_frame ── a query's rows written to a topic
//! insert_order, look_up_once, unbounded ── rules for physical plans
//! ```

pub(crate) mod advice;
pub(crate) mod copy;
pub(crate) mod data_frame;
pub(crate) mod insert_order;
pub(crate) mod literals;
pub(crate) mod look_up_once;
pub(crate) mod maps;
pub(crate) mod sql;
pub(crate) mod unbounded;
pub(crate) mod values;
pub(crate) mod zoned;
