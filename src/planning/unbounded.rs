//! What needs all rows of a source that has no end.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::plan_err;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::ExecutionPlanProperties as _;
use datafusion::physical_plan::execution_plan::EmissionType;

/// Refuses in one sentence what DataFusion's own check refuses with the whole plan.
#[derive(Debug)]
pub(crate) struct RejectBlockingOperators;

impl RejectBlockingOperators {
    /// The rules with this one before DataFusion's check.
    pub(crate) fn before_check(
        mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
    ) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
        let check = rules
            .iter()
            .position(|rule| rule.name() == "SanityCheckPlan");
        rules.insert(
            check.unwrap_or(rules.len()),
            Arc::new(RejectBlockingOperators),
        );
        rules
    }
}

impl PhysicalOptimizerRule for RejectBlockingOperators {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        plan.apply(|node| {
            if node.boundedness().is_unbounded() && node.pipeline_behavior() == EmissionType::Final
            {
                return plan_err!(
                    "the query has a result only once its source ends, and an unbounded one never \
                     does; do without ORDER BY, aggregates and the like, or declare the table \
                     without UNBOUNDED"
                );
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }

    fn name(&self) -> &str {
        "kafka_refuse_unbounded"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Refuses `CREATE TABLE .. AS` of a query without end, which would collect rows until there is no memory.
///
/// # Errors
/// That refusal, and those of planning the query.
pub(crate) async fn refuse_to_collect(
    state: &SessionState,
    plan: &LogicalPlan,
) -> DataFusionResult<()> {
    let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) = plan else {
        return Ok(());
    };
    let query = state.create_physical_plan(&create.input).await?;
    if never_ends(&query) {
        return plan_err!(
            "CREATE TABLE {} AS would wait for the end of an unbounded table, which has none; use \
             CREATE VIEW, add a LIMIT, or declare the table without UNBOUNDED",
            create.name.table()
        );
    }
    Ok(())
}

/// Whether a plan gives rows for ever: one with a limit of its own ends.
fn never_ends(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let children = plan.children();
    plan.boundedness().is_unbounded()
        && plan.fetch().is_none()
        && (children.is_empty() || children.into_iter().any(never_ends))
}
