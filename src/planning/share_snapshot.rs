//! Makes all scans of a topic in one plan read the same snapshot.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DataFusionResult;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::source::exec::KafkaScanExec;

/// Lets all scans of a topic in a plan share the end offsets, so that the two sides of a
/// self-join agree while other programs write.
#[derive(Debug, Default)]
pub(crate) struct ShareSnapshot;

impl PhysicalOptimizerRule for ShareSnapshot {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let mut met: Vec<Arc<KafkaScanExec>> = Vec::new();
        plan.transform_up(|node| {
            let Some(scan) = node.downcast_ref::<KafkaScanExec>() else {
                return Ok(Transformed::no(node));
            };
            let first = met.iter().find(|first| first.same_topic(scan));
            let runs = Arc::clone(first.map_or(scan.runs(), |first| first.runs()));
            let shared = Arc::new(scan.sharing(&runs, met.len()));
            met.push(Arc::clone(&shared));
            Ok(Transformed::yes(shared as Arc<dyn ExecutionPlan>))
        })
        .data()
    }

    fn name(&self) -> &str {
        "kafka_one_instant"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
