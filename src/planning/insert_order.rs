//! Keeps the order of rows with one key between reading and writing.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SessionState;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{LogicalPlan, WriteOp};
use datafusion::physical_plan::ExecutionPlan;

use crate::sink::changes_table::KafkaChanges;
use crate::table::KafkaTable;

/// Plans INSERTs into topics without redistributing rows over several partitions. Of two rows
/// with one key, the later one must not be written first. Each partition of a source is still
/// read on its own.
///
/// Other statements change each key at most once, so their order does not matter.
#[derive(Debug)]
pub(crate) struct OrderedInsertPlanner(pub(crate) Arc<dyn QueryPlanner + Send + Sync>);

#[async_trait]
impl QueryPlanner for OrderedInsertPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        match session.as_any().downcast_ref::<SessionState>() {
            Some(state) if inserts_into_topic(plan) => {
                let mut state = state.clone();
                keep_order(&mut state);
                self.0.create_physical_plan(plan, &state).await
            }
            _ => self.0.create_physical_plan(plan, session).await,
        }
    }
}

/// Makes plans of this session keep the order of the rows that they read.
pub(crate) fn keep_order(state: &mut SessionState) {
    let optimizer = &mut state.config_mut().options_mut().optimizer;
    optimizer.enable_round_robin_repartition = false;
    optimizer.repartition_file_scans = false;
    optimizer.repartition_joins = false;
    optimizer.repartition_windows = false;
}

fn inserts_into_topic(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Explain(explain) => inserts_into_topic(&explain.plan),
        LogicalPlan::Analyze(analyze) => inserts_into_topic(&analyze.input),
        LogicalPlan::Dml(statement) => {
            let inserts = matches!(
                statement.op,
                WriteOp::Insert(InsertOp::Append | InsertOp::Replace)
            );
            let provider = source_as_provider(&statement.target).ok();
            let is_ordered = |provider: Arc<dyn TableProvider>| {
                let changes = provider.downcast_ref::<KafkaChanges>();
                provider.is::<KafkaTable>() || changes.is_some_and(KafkaChanges::is_ordered)
            };
            inserts && provider.is_some_and(is_ordered)
        }
        _ => false,
    }
}
