//! Rewrites `INSERT INTO .. SELECT .. FROM` an UNBOUNDED table.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Result as DataFusionResult, plan_err};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, LogicalPlan, WriteOp};

use crate::continuous::loops::feeds_itself;
use crate::continuous::record_by_record::plan::{CHANGES, RecordByRecord, mentions_tombstones};
use crate::definition::TableDefinition;
use crate::options::OnBadRecord;
use crate::sink::changes_table::KafkaChanges;
use crate::sink::observer::StreamingQuery;
use crate::table::KafkaTable;

/// Rewrites an INSERT from unbounded changes such that deletes in the source become deletes
/// in the topic.
pub(crate) fn rewrite(statement: DmlStatement) -> DataFusionResult<Transformed<LogicalPlan>> {
    let unchanged = |statement| Ok(Transformed::no(LogicalPlan::Dml(statement)));
    let provider = source_as_provider(&statement.target)?;
    let sink = provider
        .downcast_ref::<KafkaTable>()
        .and_then(KafkaTable::sink);
    let Some(sink) = sink else {
        return unchanged(statement);
    };
    let sources = unbounded_sources(&statement.input)?;
    for source in &sources {
        if let Some(reason) = feeds_itself(source, sink) {
            return plan_err!("INSERT INTO topic `{}`: {reason}", sink.topic);
        }
    }
    let Some(source) = sources.first() else {
        return unchanged(statement);
    };
    let dead_letters = source.options.on_bad_record == OnBadRecord::DeadLetter;
    if !source.is_change_log && !dead_letters {
        return unchanged(statement);
    }
    let read = |table: &TableDefinition| Ok(table.unbounded.then(|| table.clone()));
    match RecordByRecord::of(&statement.input, sink, read, None)? {
        Some(rows) => Ok(Transformed::yes(write(&statement, sink, rows, None))),
        None if mentions_tombstones(&statement.input)? && !dead_letters => unchanged(statement),
        None => plan_err!(
            "INSERT INTO topic `{}` cannot carry the deletes of UNBOUNDED topic `{}` through this query: that needs a SELECT of one table with WHERE at most, and its `_key` as `_key`; read `_tombstone` in the query to handle deletes there, or run it as a ContinuousQuery over tables that are not UNBOUNDED",
            sink.topic,
            source.topic
        ),
    }
}

/// The statement that writes these rows.
pub(crate) fn write(
    statement: &DmlStatement,
    sink: &Arc<TableDefinition>,
    rows: RecordByRecord,
    query: Option<Arc<dyn StreamingQuery>>,
) -> LogicalPlan {
    let stream = rows.stream(query);
    let changes = KafkaChanges::new(
        Arc::clone(sink),
        rows.rows.schema().inner(),
        CHANGES.to_vec(),
        false,
    );
    LogicalPlan::Dml(DmlStatement::new(
        statement.table_name.clone(),
        provider_as_source(Arc::new(changes.with_stream(stream))),
        WriteOp::Insert(InsertOp::Append),
        Arc::new(rows.rows),
    ))
}

/// The UNBOUNDED tables that a plan reads.
fn unbounded_sources(plan: &LogicalPlan) -> DataFusionResult<Vec<Arc<TableDefinition>>> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
            && let Some(source) = provider
                .downcast_ref::<KafkaTable>()
                .and_then(KafkaTable::source)
            && source.unbounded
        {
            found.push(Arc::clone(source));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
