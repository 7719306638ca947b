//! Refuses operators that need all rows of an unbounded source.

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

/// Refuses blocking operators with one clear sentence. DataFusion's own check would print the
/// whole plan.
#[derive(Debug)]
pub(crate) struct RejectBlockingOperators;

impl RejectBlockingOperators {
    /// Inserts this rule before DataFusion's check.
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
                    "the query has a result only once its source ends, and an unbounded source \
                     never ends; remove ORDER BY, aggregates and similar operators, or declare \
                     the table without UNBOUNDED"
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

/// Refuses `CREATE TABLE .. AS` of an unbounded query, which would collect rows until memory is
/// full.
///
/// # Errors
/// That refusal, and the errors of planning the query.
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
            "CREATE TABLE {} AS would never finish, since it reads an unbounded table; use \
             CREATE VIEW, add a LIMIT, or declare the table without UNBOUNDED",
            create.name.table()
        );
    }
    Ok(())
}

/// Whether a plan never ends. A plan with a limit of its own ends.
fn never_ends(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let children = plan.children();
    plan.boundedness().is_unbounded()
        && plan.fetch().is_none()
        && (children.is_empty() || children.into_iter().any(never_ends))
}
