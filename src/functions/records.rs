//! `kafka_log`, `kafka_snapshot` and `kafka_changes`: a table read in another mode and between
//! other bounds.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::Result as DataFusionResult;

use crate::definition::TableDefinition;
use crate::error::Result;
use crate::functions::arguments::Arguments;
use crate::functions::lookup;
use crate::options::{Bound, Mode, Options};
use crate::table::KafkaTable;

/// The function `kafka_log`: every record of a topic.
#[derive(Debug)]
pub(super) struct LogFunction(pub(super) Options);

impl TableFunctionImpl for LogFunction {
    fn call_with_args(
        &self,
        args: TableFunctionArgs<'_, '_>,
    ) -> DataFusionResult<Arc<dyn TableProvider>> {
        let arguments = Arguments::new("kafka_log(topic)", 1..=1, &args)?;
        let table = lookup::table(&arguments, &self.0)?;
        readable(change_log(&table)?)
    }
}

/// The function `kafka_snapshot`: the latest record of every key at some time.
#[derive(Debug)]
pub(super) struct SnapshotFunction(pub(super) Options);

impl TableFunctionImpl for SnapshotFunction {
    fn call_with_args(
        &self,
        args: TableFunctionArgs<'_, '_>,
    ) -> DataFusionResult<Arc<dyn TableProvider>> {
        let arguments = Arguments::new("kafka_snapshot(topic, at)", 2..=2, &args)?;
        let at = arguments.bound(1, "at")?;
        let table = lookup::table(&arguments, &self.0)?;
        let mut options = table.options.clone();
        options.mode = Some(Mode::Upsert);
        options.end = at;
        let columns = table.schema.arrow();
        readable(TableDefinition::try_new(
            table.topic.clone(),
            options,
            columns,
            table.extensions.clone(),
        )?)
    }
}

/// The function `kafka_changes`: every record between two positions of a topic.
#[derive(Debug)]
pub(super) struct ChangesFunction(pub(super) Options);

impl TableFunctionImpl for ChangesFunction {
    fn call_with_args(
        &self,
        args: TableFunctionArgs<'_, '_>,
    ) -> DataFusionResult<Arc<dyn TableProvider>> {
        let arguments = Arguments::new("kafka_changes(topic, from[, to])", 2..=3, &args)?;
        let from = arguments.bound(1, "from")?;
        let to = match arguments.len() {
            2 => Bound::Latest,
            _ => arguments.bound(2, "to")?,
        };
        let table = lookup::table(&arguments, &self.0)?;
        let mut changes = change_log(&table)?;
        changes.options.start = from;
        changes.options.end = to;
        readable(changes)
    }
}

/// The table in append mode with all metadata columns, tombstones included.
fn change_log(table: &TableDefinition) -> Result<TableDefinition> {
    let mut options = table.options.clone();
    options.mode = Some(Mode::Append);
    options.all_metadata = true;
    // A tombstone has no payload, and a record in a log need not have a key.
    let fields = table.schema.arrow().fields().iter();
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    let columns = Schema::new(fields.collect::<Vec<Field>>());
    let extensions = table.extensions.clone();
    TableDefinition::try_new(table.topic.clone(), options, &columns, extensions)
}

fn readable(table: TableDefinition) -> DataFusionResult<Arc<dyn TableProvider>> {
    Ok(Arc::new(KafkaTable::new(Some(Arc::new(table)), None)))
}
