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

pub(crate) mod changes;
mod merge;
mod overwrite;
pub(crate) mod target;
mod update;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, LogicalPlan, WriteOp};
use datafusion::optimizer::AnalyzerRule;

use crate::continuous::insert;
use crate::list_casts::to_plain_items;
use crate::literals;
use crate::table::KafkaTable;
use crate::values;
use target::Target;

/// Turns statements that change a topic into queries whose rows are the changes.
#[derive(Debug, Default)]
pub(crate) struct RewriteDml;

impl AnalyzerRule for RewriteDml {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DataFusionResult<LogicalPlan> {
        plan.transform_up(|plan| match plan {
            LogicalPlan::Dml(statement) => rewrite(statement),
            other => Ok(Transformed::no(other)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "kafka_rewrite_dml"
    }
}

fn rewrite(mut statement: DmlStatement) -> DataFusionResult<Transformed<LogicalPlan>> {
    let is_insert = matches!(statement.op, WriteOp::Insert(_));
    if is_insert && writes_topic(&statement)? {
        let rows = Arc::unwrap_or_clone(statement.input);
        statement.input = Arc::new(to_plain_items(rows)?);
    }
    if matches!(statement.op, WriteOp::Insert(_)) {
        values::refuse_other_types(&statement)?;
    }
    let verb = match &statement.op {
        WriteOp::Delete => "DELETE",
        WriteOp::Update => "UPDATE",
        WriteOp::Truncate => "TRUNCATE",
        WriteOp::MergeInto(_) => "MERGE",
        WriteOp::Insert(InsertOp::Overwrite) => "INSERT OVERWRITE",
        WriteOp::Insert(_) => return insert::rewrite(statement),
        _ => return Ok(Transformed::no(LogicalPlan::Dml(statement))),
    };
    let Some(target) = Target::of(&statement, verb)? else {
        return Ok(Transformed::no(LogicalPlan::Dml(statement)));
    };
    let plan = match &statement.op {
        WriteOp::Delete => update::delete(&target, &statement.input),
        WriteOp::Truncate => update::truncate(&target),
        WriteOp::Update => update::update(&target, &statement.input),
        WriteOp::MergeInto(merge) => merge::merge(&target, &statement.input, merge),
        _ => overwrite::overwrite(&target, &statement.input),
    }?;
    literals::refuse_rounded(verb, &plan)?;
    Ok(Transformed::yes(plan))
}

fn writes_topic(statement: &DmlStatement) -> DataFusionResult<bool> {
    let target = source_as_provider(&statement.target)?;
    Ok(target.downcast_ref::<KafkaTable>().is_some())
}
