//! The filters that the engine passes down to a scan.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNode as _;
use datafusion::common::{DFSchema, Result as DataFusionResult};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

/// The filter as an expression of this library. The one that `Session::create_physical_expr`
/// returns belongs to the session: over DataFusion's foreign function interface it is another
/// library's, of which nothing is known but its values.
pub(super) fn physical(
    filter: &Expr,
    schema: &DFSchema,
    state: &dyn Session,
) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(state.config().options()))
        .build();
    let filter = ExprSimplifier::new(context).coerce(filter.clone(), schema)?;
    let planning = PhysicalPlanningContext::default();
    create_physical_expr(&filter, schema, state.execution_props(), &planning)
}

/// Whether a filter cannot be evaluated from a row alone: it contains a subquery, an async
/// function, or a volatile function such as `random()`.
pub(super) fn needs_the_engine(filter: &Expr) -> DataFusionResult<bool> {
    Ok(filter.is_volatile()
        || filter
            .exists(|expression| Ok(needs_another_plan(expression) || is_awaited(expression)))?)
}

/// Whether an expression is a subquery, or a column of an outer query.
pub(crate) fn needs_another_plan(expression: &Expr) -> bool {
    matches!(
        expression,
        Expr::ScalarSubquery(_)
            | Expr::InSubquery(_)
            | Expr::Exists(_)
            | Expr::SetComparison(_)
            | Expr::OuterReferenceColumn(..)
    )
}

fn is_awaited(expression: &Expr) -> bool {
    matches!(expression, Expr::ScalarFunction(call) if call.func.as_async().is_some())
}
