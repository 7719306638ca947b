//! [`RecordByRecord`]: plans a query that needs only one record at a time.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result as DataFusionResult};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan, col, lit, when};

use crate::definition::TableDefinition;
use crate::definition::metadata_columns::{KEY_COLUMN, Metadata, RECORD_PREFIX};
use crate::definition::type_groups::is_text;
use crate::dml::target::unqualified;
use crate::options::{Mode, OnBadRecord};
use crate::sink::change::{CHANGE_COLUMN, Change};
use crate::sink::observer::StreamingQuery;
use crate::sink::stream::{self, StreamWrite};
use crate::source::passed::Passed;
use crate::table::write_query::aligned;
use crate::table::{KafkaTable, needs_another_plan};

/// The changes that a row can be. The numbers below are their positions.
pub(crate) const CHANGES: [Change; 4] = [
    Change::Upsert,
    Change::Retract,
    Change::Ignore,
    Change::DeadLetter,
];
const UPSERT: i32 = 0;
const RETRACT: i32 = 1;
const IGNORE: i32 = 2;
const DEAD_LETTER: usize = 3;

/// The column that says whether the record is a row of the query's result.
const IS_ROW: &str = "__record_is_row";

/// The columns about a row's record that the sink gets, with their names there.
const SOURCE: [(Metadata, &str); 6] = [
    (Metadata::RecordPartition, stream::SOURCE_PARTITION),
    (Metadata::RecordOffset, stream::SOURCE_OFFSET),
    (Metadata::RecordKey, stream::SOURCE_KEY),
    (Metadata::RecordPayload, stream::SOURCE_PAYLOAD),
    (Metadata::RecordHeaders, stream::SOURCE_HEADERS),
    (Metadata::RecordError, stream::SOURCE_ERROR),
];

/// The position of the record. Every change needs it, for the offsets to commit.
const PLACE: [Metadata; 2] = [Metadata::RecordPartition, Metadata::RecordOffset];
/// The contents of the record, which a dead letter needs.
const DEAD: [Metadata; 4] = [
    Metadata::RecordKey,
    Metadata::RecordPayload,
    Metadata::RecordHeaders,
    Metadata::RecordError,
];

/// A query with a row for each record that it reads.
///
/// A record that is not a row of the result has a row too, which retracts an earlier row of
/// the same key.
///
/// ```text
/// record of the topic                      change of the output
/// payload that is a row of the result      upsert
/// payload for which WHERE does not hold    tombstone, if the output holds the key
/// tombstone                                tombstone
/// ```
pub(crate) struct RecordByRecord {
    /// The columns of the output, followed by the change and the position of the record.
    pub(crate) rows: LogicalPlan,
    /// The table that is read.
    pub(crate) source: Arc<TableDefinition>,
    /// The query has a WHERE, so that many records may be no rows. The sink must then know
    /// which keys the output holds, and send tombstones only for those.
    pub(crate) filters: bool,
}

impl RecordByRecord {
    /// Plans a query as changes of the topic `target`.
    ///
    /// `None` if the query needs more than one record at a time, or if its `_key` is not the
    /// record's key: a tombstone, which has only a key, then does not say which row to delete.
    ///
    /// `read` returns the definition that reads the query's one table. The scan reports its
    /// progress in `passed`.
    pub(crate) fn of(
        query: &LogicalPlan,
        target: &TableDefinition,
        read: impl Fn(&TableDefinition) -> DataFusionResult<Option<TableDefinition>>,
        passed: Option<&Arc<Passed>>,
    ) -> DataFusionResult<Option<Self>> {
        let mut walk = Walk {
            read: &read,
            passed,
            sees_tombstones: reads_tombstones(query)?,
            source: None,
            keys: Vec::new(),
            filters: false,
        };
        let Some(rows) = walk.rewrite(query)? else {
            return Ok(None);
        };
        let Some(source) = walk.source else {
            return Ok(None);
        };
        let key = rows
            .schema()
            .qualified_field_with_unqualified_name(KEY_COLUMN);
        let mut retracts = source.declared_mode() == Mode::Upsert;
        if let Ok(key) = key
            && retracts
            && !walk.keys.contains(&Column::from(key))
        {
            if !walk.sees_tombstones {
                return Ok(None);
            }
            retracts = false;
        }
        let mut columns = aligned("INSERT INTO", target, rows.schema())?;
        let hidden = |metadata: Metadata| hidden(&rows, metadata.name());
        let tombstone = match source.schema.has(Metadata::RecordTombstone) {
            true => hidden(Metadata::RecordTombstone)?.is_true(),
            false => lit(false),
        };
        let no_row = match (retracts, walk.sees_tombstones) {
            (false, _) => lit(IGNORE),
            (true, false) => lit(RETRACT),
            // A query that reads `_tombstone` handles deletes itself. Payloads that WHERE leaves
            // out must still be retracted.
            (true, true) => when(tombstone, lit(IGNORE)).otherwise(lit(RETRACT))?,
        };
        let is_row = self::hidden(&rows, IS_ROW)?;
        let change = match source.schema.has(Metadata::RecordError) {
            false => when(is_row, lit(UPSERT)).otherwise(no_row)?,
            true => when(hidden(Metadata::RecordError)?.is_not_null(), lit(3))
                .when(is_row, lit(UPSERT))
                .otherwise(no_row)?,
        };
        columns.push(change.alias(CHANGE_COLUMN));
        for (metadata, name) in SOURCE {
            if source.schema.has(metadata) {
                columns.push(hidden(metadata)?.alias(name));
            }
        }
        Ok(Some(RecordByRecord {
            rows: LogicalPlanBuilder::from(rows).project(columns)?.build()?,
            source,
            filters: walk.filters && retracts,
        }))
    }
}

impl RecordByRecord {
    /// How the rows are written: for a continuous query, or for an INSERT statement.
    pub(crate) fn stream(&self, query: Option<Arc<dyn StreamingQuery>>) -> StreamWrite {
        let dead_letters = self.source.options.dead_letter_topic.clone();
        StreamWrite {
            source: Some(self.source.topic.clone()),
            dead_letters: dead_letters
                .filter(|_| self.source.schema.has(Metadata::RecordError))
                .map(|topic| (DEAD_LETTER, topic)),
            retracts: self.filters,
            query,
        }
    }
}

/// Whether a query refers to `_tombstone` at all.
pub(crate) fn mentions_tombstones(query: &LogicalPlan) -> DataFusionResult<bool> {
    query.exists(|node| Ok(node.expressions().iter().any(names_tombstone)))
}

/// Whether a query handles deletes itself: it uses `_tombstone` for more than returning the
/// column, as `SELECT *` does.
fn reads_tombstones(query: &LogicalPlan) -> DataFusionResult<bool> {
    query.exists(|node| {
        let is_projection = matches!(node, LogicalPlan::Projection(_));
        Ok(node.expressions().iter().any(|expression| {
            names_tombstone(expression) && !(is_projection && hands_tombstone_on(expression))
        }))
    })
}

fn names_tombstone(expression: &Expr) -> bool {
    let columns = expression.column_refs();
    columns.iter().any(|c| c.name == Metadata::Tombstone.name())
}

fn hands_tombstone_on(expression: &Expr) -> bool {
    match expression {
        Expr::Column(_) => true,
        Expr::Alias(alias) => {
            alias.name == Metadata::Tombstone.name() && hands_tombstone_on(&alias.expr)
        }
        _ => false,
    }
}

struct Walk<'a, F> {
    read: &'a F,
    passed: Option<&'a Arc<Passed>>,
    sees_tombstones: bool,
    source: Option<Arc<TableDefinition>>,
    /// The columns that are the record's key at this point of the plan.
    keys: Vec<Column>,
    filters: bool,
}

impl<F: Fn(&TableDefinition) -> DataFusionResult<Option<TableDefinition>>> Walk<'_, F> {
    fn rewrite(&mut self, plan: &LogicalPlan) -> DataFusionResult<Option<LogicalPlan>> {
        if plan.expressions().iter().any(needs_more_than_a_row) {
            return Ok(None);
        }
        let input = match plan {
            LogicalPlan::TableScan(scan) => return self.scan(scan),
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            _ => return Ok(None),
        };
        let Some(input) = self.rewrite(input)? else {
            return Ok(None);
        };
        let plan = match plan {
            LogicalPlan::Projection(projection) => self.project(&projection.expr, input)?,
            LogicalPlan::Filter(filter) => self.filter(&filter.predicate, input)?,
            LogicalPlan::SubqueryAlias(alias) => {
                for key in &mut self.keys {
                    key.relation = Some(alias.alias.clone());
                }
                LogicalPlanBuilder::from(input)
                    .alias(alias.alias.clone())?
                    .build()?
            }
            _ => return Ok(None),
        };
        Ok(Some(plan))
    }

    fn scan(&mut self, scan: &TableScan) -> DataFusionResult<Option<LogicalPlan>> {
        let provider = source_as_provider(&scan.source)?;
        let table = provider.downcast_ref::<KafkaTable>();
        let Some(declared) = table.and_then(KafkaTable::source) else {
            return Ok(None);
        };
        let (Some(read), None) = ((self.read)(declared)?, scan.fetch) else {
            return Ok(None);
        };
        let dead_letters = read.options.on_bad_record == OnBadRecord::DeadLetter;
        let mut record = PLACE.to_vec();
        if read.is_change_log {
            record.push(Metadata::RecordTombstone);
        }
        if dead_letters {
            record.extend(DEAD);
        }
        let source = Arc::new(read.with_record(&record)?);
        let table = KafkaTable::new(Some(Arc::clone(&source)), None);
        let table = table.with_passed(self.passed.map(Arc::clone));
        let rows = LogicalPlanBuilder::scan(
            scan.table_name.clone(),
            provider_as_source(Arc::new(table)),
            None,
        )?;
        let mut is_row = lit(true);
        if source.schema.has(Metadata::RecordTombstone) && !self.sees_tombstones {
            is_row = is_row.and(unqualified(Metadata::RecordTombstone.name()).is_not_true());
        }
        if dead_letters {
            is_row = is_row.and(unqualified(Metadata::RecordError.name()).is_null());
        }
        let mut columns = all_columns(rows.schema());
        columns.push(is_row.alias(IS_ROW));
        let mut rows = rows.project(columns)?.build()?;
        self.source = Some(source);
        self.keys = vec![Column::new(Some(scan.table_name.clone()), KEY_COLUMN)];
        // A plan that PREPARE has optimized may have its filters inside of the scan.
        for predicate in &scan.filters {
            rows = self.filter(predicate, rows)?;
        }
        Ok(Some(rows))
    }

    /// Turns a filter into a column: rows for which it does not hold stay in the plan, marked as
    /// no rows of the result.
    fn filter(&mut self, predicate: &Expr, input: LogicalPlan) -> DataFusionResult<LogicalPlan> {
        self.filters = true;
        let mut columns = all_columns(input.schema());
        columns.retain(|column| !matches!(column, Expr::Column(c) if c.name == IS_ROW));
        let is_row = hidden(&input, IS_ROW)?;
        let holds = predicate.clone().unalias_nested().data.is_true();
        columns.push(is_row.and(holds).alias(IS_ROW));
        LogicalPlanBuilder::from(input).project(columns)?.build()
    }

    /// Keeps expressions from being evaluated on records that WHERE leaves out, since WHERE may
    /// protect a division from zeros. For such records the expressions get NULLs instead.
    fn project(
        &mut self,
        expressions: &[Expr],
        input: LogicalPlan,
    ) -> DataFusionResult<LogicalPlan> {
        let is_row = hidden(&input, IS_ROW)?;
        let mut columns = Vec::with_capacity(expressions.len());
        let mut keys = Vec::new();
        for expression in expressions {
            if self.is_key(expression) {
                let (relation, name) = expression.qualified_name();
                keys.push(Column::new(relation, name));
                columns.push(expression.clone());
                continue;
            }
            let inner = expression.clone().unalias_nested().data;
            if matches!(inner, Expr::Column(_) | Expr::Literal(..)) || !self.filters {
                columns.push(expression.clone());
                continue;
            }
            let of_rows = inner.transform(|expression| match expression {
                Expr::Column(column) => {
                    let value = when(is_row.clone(), Expr::Column(column)).end()?;
                    Ok(Transformed::yes(value))
                }
                other => Ok(Transformed::no(other)),
            });
            let (relation, name) = expression.qualified_name();
            columns.push(of_rows.data()?.alias_qualified(relation, name));
        }
        for column in all_columns(input.schema()) {
            let is_hidden = matches!(&column, Expr::Column(c) if c.name.starts_with(RECORD_PREFIX));
            if is_hidden {
                columns.push(column);
            }
        }
        self.keys = keys;
        LogicalPlanBuilder::from(input).project(columns)?.build()
    }

    /// Whether an expression is the record's key, under any name.
    fn is_key(&self, expression: &Expr) -> bool {
        match expression {
            Expr::Column(column) => self.keys.contains(column),
            Expr::Alias(alias) => self.is_key(&alias.expr),
            Expr::Cast(cast) => is_text(cast.field.data_type()) && self.is_key(&cast.expr),
            _ => false,
        }
    }
}

/// Whether an expression needs more than the row. Windows, aggregates and UNNEST do. So do
/// subqueries: here they would be evaluated only once, and later changes would not be seen.
fn needs_more_than_a_row(expression: &Expr) -> bool {
    let found = expression.exists(|expression| {
        Ok(needs_another_plan(expression)
            || matches!(
                expression,
                Expr::AggregateFunction(_) | Expr::WindowFunction(_) | Expr::Unnest(_)
            ))
    });
    found.unwrap_or(true)
}

fn all_columns(schema: &datafusion::common::DFSchema) -> Vec<Expr> {
    schema.columns().into_iter().map(col).collect()
}

/// A column that this crate has added to the plan, with any qualifier.
fn hidden(plan: &LogicalPlan, name: &str) -> DataFusionResult<Expr> {
    let field = plan.schema().qualified_field_with_unqualified_name(name)?;
    Ok(Expr::Column(field.into()))
}
