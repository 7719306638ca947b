//! DELETE, UPDATE, MERGE, TRUNCATE and INSERT OVERWRITE on topics.
//!
//! ```text
//! statement ──rewritten──► SELECT over the topic ──► rows that say what they change ──► sink
//! ```
//!
//! A provider is told too little to be safe: DataFusion hands it an empty list
//! of filters for `WHERE false`, for subqueries and for LIMIT. So a statement is
//! rewritten in the plan, above the provider: the engine evaluates the whole
//! predicate, and what arrives at the sink are exactly the rows to change, each
//! with the record that it came from. The record's raw key and partition make
//! sure that a tombstone meets the record it is for, whoever wrote that.
//!
//! All reading ends at the offsets that the topic had when the statement
//! began, so a statement never sees what it writes itself.

mod merge;
mod overwrite;
pub(crate) mod target;
mod update;

use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, LogicalPlan, WriteOp};

use crate::dml::target::Target;

/// The verb of a statement that changes what a topic holds; `None` of one that only adds to it.
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

/// A statement that changes a topic as one that inserts the changes; `None` where its target is
/// another table.
///
/// # Errors
/// What the topic or its options do not allow.
pub(crate) fn rewrite(
    verb: &str,
    statement: &DmlStatement,
) -> DataFusionResult<Option<LogicalPlan>> {
    let Some(target) = Target::of(statement, verb)? else {
        return Ok(None);
    };
    let input = &statement.input;
    let plan = match &statement.op {
        WriteOp::Delete => update::delete(&target, input),
        WriteOp::Truncate => update::truncate(&target),
        WriteOp::Update => update::update(&target, input),
        WriteOp::MergeInto(merge) => merge::merge(&target, input, merge),
        _ => overwrite::overwrite(&target, input),
    };
    plan.map(Some)
}
