//! Provides the table functions that show topics, their offsets and their records in SQL, without
//! DDL.
//!
//! ```text
//! arguments ── constants of a call: a topic, a bound
//! lookup    ── the topic, options and columns that a name stands for
//! records   ── kafka_log, kafka_snapshot, kafka_changes: a table read in another mode
//! bytes     ── kafka_int, kafka_uuid: scalar functions of the bytes of keys and headers
//! listing   ── a table whose rows are requested from the brokers: topics, offsets
//! ```

mod arguments;
mod bytes;
mod listing;
pub(crate) mod lookup;
mod offsets;
mod records;
mod topics;

use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use datafusion::common::{DFSchema, Result as DataFusionResult, TableReference};
use datafusion::execution::{FunctionRegistry as _, SessionState};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{LogicalPlanBuilder, ScalarUDF};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableFactor,
};

use crate::catalog::function_names::{CHANGES, LOG, OFFSETS, SNAPSHOT, TOPICS, find};
use crate::options::Options;
use bytes::{Content, OfBytes};
use offsets::Offsets;
use records::{ChangesFunction, LogFunction, SnapshotFunction};
use topics::Topics;

/// Adds the functions to a session. `defaults` are the options of topics that are not tables of
/// the session. `SET` overrides them.
pub(crate) fn register(state: &mut SessionState, defaults: &Options) -> DataFusionResult<()> {
    let functions: [(&str, Arc<dyn TableFunctionImpl>); 5] = [
        (TOPICS, Arc::new(Topics(defaults.clone()))),
        (OFFSETS, Arc::new(Offsets(defaults.clone()))),
        (LOG, Arc::new(LogFunction(defaults.clone()))),
        (SNAPSHOT, Arc::new(SnapshotFunction(defaults.clone()))),
        (CHANGES, Arc::new(ChangesFunction(defaults.clone()))),
    ];
    for (name, function) in functions {
        state.register_udtf(name, function);
    }
    for content in [Content::Int, Content::Uuid] {
        let function = ScalarUDF::new_from_impl(OfBytes::new(content));
        state.register_udf(Arc::new(function))?;
    }
    Ok(())
}

/// Lets statements call the functions in any case.
pub(crate) fn find_in_any_case(state: &mut SessionState) -> DataFusionResult<()> {
    state.register_relation_planner(Arc::new(Calls))
}

/// Finds the functions in any case, as DataFusion finds all other functions, but not table
/// functions. The planned scan is named after the function and its arguments: DataFusion takes
/// scans with one name for the same scan, and would reuse the result of one subquery for another.
#[derive(Debug)]
struct Calls;

impl RelationPlanner for Calls {
    fn plan_relation(
        &self,
        mut relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DataFusionResult<RelationPlanning> {
        if let TableFactor::Table {
            name,
            args: Some(arguments),
            alias,
            ..
        } = &relation
            && let Some(function) = function(name)
            && let Some(expressions) = expressions(&arguments.args)
        {
            let shown: Vec<String> = expressions.iter().map(ToString::to_string).collect();
            let shown = format!("{function}({})", shown.join(", "));
            let expressions = expressions
                .into_iter()
                .map(|e| context.sql_expr_to_logical_expr(e, &DFSchema::empty()))
                .collect::<DataFusionResult<_>>()?;
            let provider = context.context_provider();
            let source = provider.get_table_function_source(function, expressions)?;
            let plan = LogicalPlanBuilder::scan(TableReference::bare(shown), source, None)?;
            let planned = PlannedRelation::new(plan.build()?, alias.clone());
            return Ok(RelationPlanning::Planned(Box::new(planned)));
        }
        if let TableFactor::Table {
            name,
            args: Some(_),
            ..
        }
        | TableFactor::Function { name, .. } = &mut relation
            && let Some(function) = function(name)
        {
            *name = ObjectName::from(vec![Ident::new(function)]);
        }
        Ok(RelationPlanning::Original(Box::new(relation)))
    }
}

fn function(name: &ObjectName) -> Option<&'static str> {
    match name.0.as_slice() {
        [part] => part.as_ident().and_then(|ident| find(&ident.value)),
        _ => None,
    }
}

/// The arguments, if all of them are unnamed.
fn expressions(arguments: &[FunctionArg]) -> Option<Vec<Expr>> {
    let expression = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression.clone()),
        _ => None,
    };
    arguments.iter().map(expression).collect()
}
