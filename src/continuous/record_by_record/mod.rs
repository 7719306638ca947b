//! Queries that make rows of single records: each record is a change of the output.

pub(crate) mod insert;
pub(super) mod plan;
