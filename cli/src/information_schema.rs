//! Topics in `information_schema`, including those that were not used before. DataFusion lists only
//! tables that it can list without a request to the brokers, so topics and columns are looked up
//! before such a statement runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, TableReference};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use datafusion_kafka::Error;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::session::{Session, table_names};
use crate::tables::{Listing, Topics};

const SCHEMA: &str = "information_schema";

/// How many topics are looked up at the same time.
const AT_ONCE: usize = 8;

/// How many of the omitted topics the note names.
const NAMED: usize = 3;

/// Whether a statement reads tables of `information_schema`, as SHOW does.
pub(crate) fn is_read_by(statement: &Statement, state: &SessionState) -> bool {
    let read = state.resolve_table_references(statement);
    read.is_ok_and(|tables| tables.iter().any(|table| table.schema() == Some(SCHEMA)))
}

/// The topics as one statement sees them. Dropping this resets the listing.
pub(crate) struct Shown<'a>(&'a Topics);

impl<'a> Shown<'a> {
    /// Lists the topics and looks up their columns, as far as the statement needs them.
    ///
    /// # Errors
    /// An error that keeps all topics from being listed. A topic whose columns cannot be looked up
    /// is left out, with a note.
    pub(crate) async fn to(
        statement: &Statement,
        session: &Session,
        topics: &'a Topics,
    ) -> Result<Self> {
        let shown = Shown(topics);
        let state = session.ctx.state();
        let asked = Asked::by(statement, &state).await;
        if !asked.tables && asked.columns.is_empty() {
            return Ok(shown);
        }
        // SHOW COLUMNS reads one table, which was looked up when the statement was planned.
        if !is_show_columns(statement) {
            topics.refresh(&session.ctx).await?;
        }
        let mut names: BTreeSet<String> = topics.names().into_iter().collect();
        names.extend(table_names(&session.ctx));
        let mut without_columns = BTreeSet::new();
        if !asked.columns.is_empty() {
            let mut known = look_into(session, asked.names(&names, &state)?).await?;
            // The statement's own tables are looked up as in any other statement.
            let used = state.resolve_table_references(statement)?;
            known.extend(used.iter().map(|table| table.table().to_owned()));
            without_columns = &names - &known;
        }
        topics.list(Listing {
            all: asked.tables,
            without_columns,
        });
        Ok(shown)
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.list(Listing::default());
    }
}

fn is_show_columns(statement: &Statement) -> bool {
    let Statement::Statement(statement) = statement else {
        return false;
    };
    matches!(statement.as_ref(), ast::Statement::ShowColumns { .. })
}

/// Looks up tables. Returns the names of those whose columns are known now.
async fn look_into(session: &Session, names: Vec<String>) -> Result<BTreeSet<String>> {
    let ctx = &session.ctx;
    let looked = stream::iter(names).map(|name| async move {
        match ctx
            .table_provider(TableReference::bare(name.as_str()))
            .await
        {
            Ok(_) => Ok((name, true)),
            Err(error) => match Error::find(&error) {
                // The error does not concern this topic alone.
                Some(Error::Connect { .. } | Error::Login { .. }) => Err(error),
                _ => Ok((name, false)),
            },
        }
    });
    let looked: Vec<_> = looked.buffer_unordered(AT_ONCE).try_collect().await?;
    let (known, unknown): (Vec<_>, Vec<_>) = looked.into_iter().partition(|(_, known)| *known);
    note(unknown.into_iter().map(|(name, _)| name).collect());
    Ok(known.into_iter().map(|(name, _)| name).collect())
}

fn note(mut unknown: Vec<String>) {
    unknown.sort_unstable();
    let Some(first) = unknown.first() else { return };
    let named: Vec<String> = unknown
        .iter()
        .take(NAMED)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = match unknown.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    log::warn!(
        "topics whose columns are not known are left out: {}{more}; `DESCRIBE \"{first}\"` says why",
        named.join(", ")
    );
}

/// What a statement reads from `information_schema`.
#[derive(Default)]
struct Asked {
    tables: bool,
    /// Each use of `columns` in the statement: its table reference, and its filters.
    columns: Vec<(TableReference, Vec<Expr>)>,
}

impl Asked {
    async fn by(statement: &Statement, state: &SessionState) -> Self {
        let mut asked = Asked::default();
        match state.statement_to_plan(statement.clone()).await {
            Ok(plan) => {
                // Pushes the filters down to the tables.
                let plan = state.optimize(&plan).unwrap_or(plan);
                asked.add(&plan, Vec::new());
            }
            // Some statements that write are not planned by this call.
            Err(_) => {
                let read = state.resolve_table_references(statement);
                for table in read.unwrap_or_default() {
                    asked.add_table(&table, Vec::new());
                }
            }
        }
        asked
    }

    fn add(&mut self, plan: &LogicalPlan, filters: Vec<Expr>) {
        match plan {
            LogicalPlan::TableScan(scan) => self.add_table(&scan.table_name, filters),
            LogicalPlan::Filter(filter) => {
                self.add(
                    &filter.input,
                    split_conjunction_owned(filter.predicate.clone()),
                );
            }
            other => {
                for input in other.inputs() {
                    self.add(input, Vec::new());
                }
            }
        }
        let _ = plan.apply_subqueries(|plan| {
            self.add(plan, Vec::new());
            Ok(TreeNodeRecursion::Continue)
        });
    }

    fn add_table(&mut self, table: &TableReference, filters: Vec<Expr>) {
        if table.schema() != Some(SCHEMA) {
            return;
        }
        if table.table().eq_ignore_ascii_case("tables") {
            self.tables = true;
        } else if table.table().eq_ignore_ascii_case("columns") {
            self.columns.push((table.clone(), filters));
        }
    }

    /// The tables of the default schema whose columns the statement reads.
    fn names(&self, all: &BTreeSet<String>, state: &SessionState) -> Result<Vec<String>> {
        let defaults = &state.config_options().catalog;
        let column = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
        let always = |value| column(vec![value; all.len()]);
        let tables = RecordBatch::try_from_iter([
            ("table_catalog", always(defaults.default_catalog.as_str())),
            ("table_schema", always(defaults.default_schema.as_str())),
            (
                "table_name",
                column(all.iter().map(String::as_str).collect()),
            ),
        ])?;
        let mut asked = vec![false; all.len()];
        for (table, filters) in &self.columns {
            let schema = DFSchema::try_from_qualified_schema(table.clone(), &tables.schema())?;
            let mut passes = vec![true; all.len()];
            for filter in filters {
                // A filter that needs more than a table's name is left to the statement.
                let is_about_tables = filter.column_refs().iter().all(|c| schema.has_column(c));
                if !is_about_tables || filter.is_volatile() {
                    continue;
                }
                let filter = state.create_physical_expr(filter.clone(), &schema)?;
                let holds = filter.evaluate(&tables)?.into_array(all.len())?;
                let holds = holds.as_boolean_opt().into_iter().flatten();
                for (passes, holds) in passes.iter_mut().zip(holds) {
                    *passes &= holds == Some(true);
                }
            }
            for (asked, passes) in asked.iter_mut().zip(passes) {
                *asked |= passes;
            }
        }
        let asked = all.iter().zip(asked).filter(|(_, asked)| *asked);
        Ok(asked.map(|(name, _)| name.clone()).collect())
    }
}
