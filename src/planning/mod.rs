//! What the library adds to planning: its own SQL entry point, COPY and DataFrames to topics, and
//! the rules that make plans over topics right.
//!
//! ```text
//! sql ── a statement with tables that are looked up asynchronously;   advice ── errors that help
//! values, literals, zoned ── types that DataFusion would choose otherwise
//! copy, data_frame ── a query's rows for a topic
//! insert_order, share_snapshot, unbounded ── rules for physical plans
//! ```

pub(crate) mod advice;
pub(crate) mod copy;
pub(crate) mod data_frame;
pub(crate) mod insert_order;
pub(crate) mod literals;
pub(crate) mod share_snapshot;
pub(crate) mod sql;
pub(crate) mod unbounded;
pub(crate) mod values;
pub(crate) mod zoned;
