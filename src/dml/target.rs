//! [`Target`]: the topic that a statement changes.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::{
    DFSchema, Result as DataFusionResult, TableReference, not_impl_err, plan_err,
};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    DmlStatement, Expr, JoinType, LogicalPlan, LogicalPlanBuilder, TableScan, WriteOp, col, lit,
};

use crate::definition::TableDefinition;
use crate::definition::metadata_columns::Metadata;
use crate::definition::schema::ColumnRole;
use crate::options::{Bound, Delivery, Isolation, Mode, OnBadRecord};
use crate::sink::change::{CHANGE_COLUMN, Change, ROW_COLUMN};
use crate::sink::changes_table::KafkaChanges;
use crate::table::KafkaTable;

/// The table of a statement that changes a topic.
pub(super) struct Target {
    /// The table's name in the statement's plan.
    pub(super) name: TableReference,
    pub(super) table: KafkaTable,
    /// The table with the columns of each row's source record.
    reading: KafkaTable,
    writing: Arc<TableDefinition>,
}

impl Target {
    /// The target of a statement; `None` if it is not a topic.
    ///
    /// # Errors
    /// A table whose options do not allow the statement.
    pub(super) fn of(statement: &DmlStatement, verb: &str) -> DataFusionResult<Option<Self>> {
        let Ok(provider) = source_as_provider(&statement.target) else {
            return Ok(None);
        };
        let Some(table) = provider.downcast_ref::<KafkaTable>() else {
            return Ok(None);
        };
        let topic = table.topic();
        let Some((source, sink)) = table.source().zip(table.sink()) else {
            return plan_err!(
                "{verb} needs `{topic}` to match a source and a sink pattern, since it reads the topic and writes it"
            );
        };
        source.check_is_writable()?;
        sink.check_is_writable()?;
        if source.unbounded {
            return plan_err!(
                "{verb} needs all of topic `{topic}` as it is now, and an UNBOUNDED table has no end; use a table without UNBOUNDED"
            );
        }
        let (read, write) = (&source.options, &sink.options);
        if read.mode.unwrap_or_default() == Mode::Append {
            return plan_err!(
                "{verb} changes the latest record of a key, which `{topic}` in append mode does not have; use a table with `kafka.mode` = `upsert`, or INSERT INTO to add records"
            );
        }
        if (&read.start, &read.end) != (&Bound::Earliest, &Bound::Latest) {
            return plan_err!(
                "{verb} needs all of topic `{topic}` as it is now; use a table without `kafka.start` and `kafka.end`"
            );
        }
        if read.isolation == Isolation::ReadUncommitted {
            return plan_err!(
                "{verb} on topic `{topic}` must not use uncommitted records; use a table without `kafka.isolation` = `read_uncommitted`"
            );
        }
        let (read_by, written_by) = (&source.extensions, &sink.extensions);
        if read.key_format() != write.key_format()
            || source.schema.value_format() != sink.schema.value_format()
            || read_by.key_codec.is_some() != written_by.key_codec.is_some()
            || read_by.value_codec.is_some() != written_by.value_codec.is_some()
        {
            return plan_err!(
                "{verb} needs the source and the sink pattern of `{topic}` to have the same `kafka.key.format` and `kafka.value.format`, or both a codec"
            );
        }
        let definition = |of: &TableDefinition, options, schema| {
            Arc::new(TableDefinition {
                topic: topic.to_owned(),
                options,
                schema,
                extensions: of.extensions.clone(),
                is_inferred: of.is_inferred,
                unbounded: false,
                is_change_log: false,
                keyless: false,
            })
        };
        let reading = definition(
            source,
            read.clone(),
            source.schema.with_record(&Metadata::RECORD),
        );
        let mut reading = KafkaTable::new(Some(reading), None);
        if write.create_topic.is_some() {
            reading = reading.allow_missing_topic();
        }
        let mut options = write.clone();
        // The source's options say which JSON property a column is.
        options.decode = read.decode.clone();
        options.on_bad_record = read.on_bad_record;
        // The safer setting wins where the two patterns differ.
        options.dry_run |= read.dry_run;
        if read.delivery == Delivery::ExactlyOnce {
            options.delivery = Delivery::ExactlyOnce;
        }
        Ok(Some(Target {
            name: statement.table_name.clone(),
            table: table.clone(),
            reading,
            writing: definition(sink, options, source.schema.clone()),
        }))
    }

    /// All rows, with their source records.
    pub(super) fn scan(&self) -> DataFusionResult<LogicalPlanBuilder> {
        let source = provider_as_source(Arc::new(self.reading.clone()));
        LogicalPlanBuilder::scan(self.name.clone(), source, None)
    }

    /// The rows of a plan over the table, with their source records.
    ///
    /// PREPARE optimizes the plan before this. So filters and limits may already be inside of
    /// the scan, and subqueries may already be joins.
    ///
    /// # Errors
    /// A plan whose rows are not plain rows of the table.
    pub(super) fn with_record(&self, plan: &LogicalPlan) -> DataFusionResult<LogicalPlan> {
        match plan {
            LogicalPlan::TableScan(scan) if self.is_scanned_by(scan) => {
                let source = provider_as_source(Arc::new(self.reading.clone()));
                let fetch = scan.fetch;
                LogicalPlanBuilder::scan_with_filters_fetch(
                    scan.table_name.clone(),
                    source,
                    None,
                    scan.filters.clone(),
                    fetch,
                )?
                .build()
            }
            LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row => {
                LogicalPlanBuilder::from(self.scan()?.build()?)
                    .filter(lit(false))?
                    .build()
            }
            LogicalPlan::Filter(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::SubqueryAlias(_) => {
                let inputs = plan.inputs();
                let inputs = inputs.into_iter().map(|input| self.with_record(input));
                let inputs = inputs.collect::<DataFusionResult<_>>()?;
                plan.with_new_exprs(plan.expressions(), inputs)
            }
            LogicalPlan::Join(join)
                if matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti) =>
            {
                let left = self.with_record(&join.left)?;
                let right = join.right.as_ref().clone();
                plan.with_new_exprs(plan.expressions(), vec![left, right])
            }
            LogicalPlan::Projection(projection) => {
                let input = self.with_record(&projection.input)?;
                let mut columns = projection.expr.clone();
                for metadata in Metadata::RECORD {
                    let field = input
                        .schema()
                        .qualified_field_with_unqualified_name(metadata.name())?;
                    columns.push(Expr::Column(field.into()));
                }
                LogicalPlanBuilder::from(input).project(columns)?.build()
            }
            other => not_impl_err!(
                "this statement on topic `{}`: {} between the table and the rows to change",
                self.table.topic(),
                other.display()
            ),
        }
    }

    fn is_scanned_by(&self, scan: &TableScan) -> bool {
        let provider = source_as_provider(&scan.source).ok();
        let table = provider
            .as_ref()
            .and_then(|p| p.downcast_ref::<KafkaTable>());
        table.is_some_and(|table| table.topic() == self.table.topic())
    }

    /// The statement that writes the changes in the rows of a plan.
    pub(super) fn write(
        &self,
        rows: LogicalPlan,
        changes: Vec<Change>,
        unique_keys: bool,
    ) -> DataFusionResult<LogicalPlan> {
        let sink = KafkaChanges::new(
            Arc::clone(&self.writing),
            rows.schema().inner(),
            changes,
            unique_keys,
        );
        Ok(LogicalPlan::Dml(DmlStatement::new(
            self.name.clone(),
            provider_as_source(Arc::new(sink)),
            WriteOp::Insert(InsertOp::Append),
            Arc::new(rows),
        )))
    }

    /// Checks that a codec can set columns. A codec encodes the whole payload again, from the
    /// columns that it has decoded.
    ///
    /// # Errors
    /// `kafka.on_bad_record` = `null`, with which payloads that cannot be decoded would be lost.
    pub(super) fn check_rewriting(&self, verb: &str) -> DataFusionResult<()> {
        let options = &self.writing.options;
        if self.writing.extensions.value_codec.is_some()
            && options.on_bad_record == OnBadRecord::Null
        {
            return plan_err!(
                "{verb} on topic `{}` would replace payloads that its codec cannot decode; use a table with `kafka.on_bad_record` = `fail` or `skip`",
                self.table.topic()
            );
        }
        Ok(())
    }

    /// The position of a column in the table.
    pub(super) fn position(&self, column: &str) -> DataFusionResult<usize> {
        Ok(self.writing.schema.arrow().index_of(column)?)
    }

    /// The payload columns except those at these positions.
    pub(super) fn payload_fields_but(
        &self,
        positions: &[usize],
    ) -> impl Iterator<Item = &FieldRef> {
        let columns = self.writing.schema.columns().enumerate();
        columns
            .filter(|(place, (column, _))| {
                *column == ColumnRole::Payload && !positions.contains(place)
            })
            .map(|(_, (_, field))| field)
    }

    pub(super) fn definition(&self) -> &TableDefinition {
        &self.writing
    }
}

/// Columns of the source records of a plan's rows.
pub(super) fn record_columns(
    schema: &DFSchema,
    wanted: &[Metadata],
) -> DataFusionResult<Vec<Expr>> {
    wanted
        .iter()
        .map(|metadata| {
            let field = schema.qualified_field_with_unqualified_name(metadata.name())?;
            Ok(Expr::Column(field.into()).alias(metadata.name()))
        })
        .collect()
}

/// The column that says which change a row is, for a statement with a single change.
pub(super) fn only_change() -> Expr {
    lit(0_i32).alias(CHANGE_COLUMN)
}

/// The column that numbers the rows of a statement's query or source, for error messages.
pub(super) fn row_number() -> Expr {
    datafusion::functions_window::expr_fn::row_number().alias(ROW_COLUMN)
}

/// A column by its name, with any qualifier.
pub(crate) fn unqualified(name: &str) -> Expr {
    col(datafusion::common::Column::new_unqualified(name))
}
