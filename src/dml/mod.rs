//! Rewrites DELETE, UPDATE, MERGE, TRUNCATE and INSERT OVERWRITE on topics.
//!
//! ```text
//! statement ──rewritten──► SELECT over the topic ──► rows that say what they change ──► sink
//! delete, update, merge, overwrite ── a statement each;   target ── the topic that is changed
//! ```
//!
//! A table provider gets too little information to change rows safely: for `WHERE false`, for
//! subqueries and for LIMIT, DataFusion passes it an empty list of filters. So a statement is
//! rewritten in the plan, above the provider. The engine then evaluates the whole predicate,
//! and the sink gets exactly the rows to change, each with its source record. A tombstone is
//! written with the raw key and to the partition of that record, so it deletes the record no
//! matter which program wrote it.
//!
//! All scans end at the offsets that the topic had when the statement began, so a statement
//! never reads its own records.

mod delete;
mod merge;
mod overwrite;
pub(crate) mod target;
mod update;

use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, LogicalPlan, WriteOp};

use crate::dml::target::Target;

/// The verb of a statement that changes existing rows; `None` for a statement that only adds
/// records.
pub(crate) fn verb(operation: &WriteOp) -> Option<&'static str> {
    Some(match operation {
        WriteOp::Delete => "DELETE",
        WriteOp::Update => "UPDATE",
        WriteOp::Truncate => "TRUNCATE",
        WriteOp::MergeInto(_) => "MERGE",
        WriteOp::Insert(InsertOp::Overwrite) => "INSERT OVERWRITE",
        _ => return None,
    })
}

/// Rewrites a statement that changes a topic to one that inserts the changes; `None` if its
/// target is not a topic.
///
/// # Errors
/// A statement that the topic or its options do not allow.
pub(crate) fn rewrite(
    verb: &str,
    statement: &DmlStatement,
) -> DataFusionResult<Option<LogicalPlan>> {
    let Some(target) = Target::of(statement, verb)? else {
        return Ok(None);
    };
    let input = &statement.input;
    let plan = match &statement.op {
        WriteOp::Delete => delete::delete(&target, input),
        WriteOp::Truncate => delete::truncate(&target),
        WriteOp::Update => update::update(&target, input),
        WriteOp::MergeInto(merge) => merge::merge(&target, input, merge),
        _ => overwrite::overwrite(&target, input),
    };
    plan.map(Some)
}
