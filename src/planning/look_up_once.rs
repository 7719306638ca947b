//! Makes a statement ask the brokers once about each topic, and read each topic at one instant.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SessionState;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;

use crate::source::look_ups::LookUps;

/// Plans each statement with [`LookUps`] of its own, which the scans find in the session's
/// configuration. The two sides of a self-join therefore agree while other programs write.
#[derive(Debug)]
pub(crate) struct LookUpOncePlanner(pub(crate) Arc<dyn QueryPlanner + Send + Sync>);

#[async_trait]
impl QueryPlanner for LookUpOncePlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        match session.as_any().downcast_ref::<SessionState>() {
            // A view may be planned as a part of a statement, whose look-ups it uses.
            Some(state) if state.config().get_extension::<LookUps>().is_none() => {
                let mut state = state.clone();
                state
                    .config_mut()
                    .set_extension(Arc::new(LookUps::default()));
                self.0.create_physical_plan(plan, &state).await
            }
            _ => self.0.create_physical_plan(plan, session).await,
        }
    }
}
