//! The analyzer rule for all statements that write.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{DmlStatement, LogicalPlan, WriteOp};
use datafusion::optimizer::AnalyzerRule;

use crate::continuous::record_by_record::insert;
use crate::dml;
use crate::planning::{literals, values};
use crate::sink::list_casts::to_plain_items;
use crate::table::KafkaTable;

/// Turns statements that change a topic into queries whose rows are the changes.
#[derive(Debug, Default)]
pub(super) struct RewriteDml;

impl RewriteDml {
    pub(super) const NAME: &str = "kafka_rewrite_dml";
}

impl AnalyzerRule for RewriteDml {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DataFusionResult<LogicalPlan> {
        plan.transform_up(|plan| match plan {
            LogicalPlan::Dml(statement) => rewrite(statement),
            other => Ok(Transformed::no(other)),
        })
        .data()
    }

    fn name(&self) -> &str {
        Self::NAME
    }
}

fn rewrite(mut statement: DmlStatement) -> DataFusionResult<Transformed<LogicalPlan>> {
    if matches!(statement.op, WriteOp::Insert(_)) {
        if writes_topic(&statement)? {
            let rows = Arc::unwrap_or_clone(statement.input);
            statement.input = Arc::new(to_plain_items(rows)?);
        }
        values::refuse_other_types(&statement)?;
    }
    let Some(verb) = dml::verb(&statement.op) else {
        return match statement.op {
            WriteOp::Insert(_) => insert::rewrite(statement),
            _ => Ok(Transformed::no(LogicalPlan::Dml(statement))),
        };
    };
    match dml::rewrite(verb, &statement)? {
        None => Ok(Transformed::no(LogicalPlan::Dml(statement))),
        Some(plan) => {
            literals::refuse_rounded(verb, &plan)?;
            Ok(Transformed::yes(plan))
        }
    }
}

fn writes_topic(statement: &DmlStatement) -> DataFusionResult<bool> {
    let target = source_as_provider(&statement.target)?;
    Ok(target.downcast_ref::<KafkaTable>().is_some())
}
