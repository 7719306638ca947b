//! Runs continuous queries in which each record of the input is one change of the output.

pub(crate) mod insert;
pub(super) mod plan;
