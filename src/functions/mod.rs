//! Table functions: topics, their offsets and their records in SQL, without DDL.
//!
//! ```text
//! arguments ── constants of a call: a topic, a bound
//! lookup    ── which topic, options and columns a name stands for
//! records   ── kafka_log, kafka_snapshot, kafka_changes: a table read in another way
//! listing   ── a table whose rows are asked of the brokers: topics, offsets
//! ```

mod arguments;
mod listing;
pub(crate) mod lookup;
mod offsets;
mod records;
mod topics;

use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use datafusion::common::Result as DataFusionResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{
    RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::{Ident, ObjectNamePart, TableFactor};

use crate::options::Options;
use offsets::Offsets;
use records::{Changes, Log, Snapshot};
use topics::Topics;

const NAMES: [&str; 5] = [
    "kafka_topics",
    "kafka_offsets",
    "kafka_log",
    "kafka_snapshot",
    "kafka_changes",
];

/// Adds the functions to a session. `defaults` are the options of topics that
/// are no tables of the session, below what `SET` says.
pub(crate) fn register(state: &mut SessionState, defaults: &Options) -> DataFusionResult<()> {
    let functions: [Arc<dyn TableFunctionImpl>; 5] = [
        Arc::new(Topics(defaults.clone())),
        Arc::new(Offsets(defaults.clone())),
        Arc::new(Log(defaults.clone())),
        Arc::new(Snapshot(defaults.clone())),
        Arc::new(Changes(defaults.clone())),
    ];
    for (name, function) in NAMES.into_iter().zip(functions) {
        state.register_udtf(name, function);
    }
    state.register_relation_planner(Arc::new(AnyCase))
}

/// The function of this name, in any case.
fn find(name: &str) -> Option<&'static str> {
    let mut names = NAMES.into_iter();
    names.find(|function| function.eq_ignore_ascii_case(name))
}

/// Whether a name is one of the functions': DataFusion looks the functions of a
/// statement up as if they were tables too.
pub(crate) fn is_function(name: &str) -> bool {
    find(name).is_some()
}

/// Finds the functions in any case, as DataFusion finds all but table functions.
#[derive(Debug)]
struct AnyCase;

impl RelationPlanner for AnyCase {
    fn plan_relation(
        &self,
        mut relation: TableFactor,
        _context: &mut dyn RelationPlannerContext,
    ) -> DataFusionResult<RelationPlanning> {
        if let TableFactor::Table {
            name,
            args: Some(_),
            ..
        }
        | TableFactor::Function { name, .. } = &mut relation
            && let [part] = name.0.as_mut_slice()
            && let Some(function) = part.as_ident().and_then(|ident| find(&ident.value))
        {
            *part = ObjectNamePart::Identifier(Ident::new(function));
        }
        Ok(RelationPlanning::Original(Box::new(relation)))
    }
}
