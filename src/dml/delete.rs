//! DELETE and TRUNCATE: tombstones for the source records of rows.

use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};

use crate::definition::metadata_columns::Metadata;
use crate::dml::target::{Target, only_change, record_columns};
use crate::sink::change::Change;

/// The columns of the source record that a tombstone needs.
const TO_DELETE: [Metadata; 2] = [Metadata::RecordPartition, Metadata::RecordKey];

/// `DELETE FROM t WHERE ..`: a tombstone for each row.
pub(super) fn delete(target: &Target, input: &LogicalPlan) -> DataFusionResult<LogicalPlan> {
    tombstones(target, target.with_record(input)?)
}

/// `TRUNCATE t`: a tombstone for each key.
pub(super) fn truncate(target: &Target) -> DataFusionResult<LogicalPlan> {
    tombstones(target, target.scan()?.build()?)
}

fn tombstones(target: &Target, rows: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let mut columns = record_columns(rows.schema(), &TO_DELETE)?;
    columns.push(only_change());
    let rows = LogicalPlanBuilder::from(rows).project(columns)?.build()?;
    target.write(rows, vec![Change::Delete], false)
}
