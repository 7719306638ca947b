//! INSERT OVERWRITE: makes a topic equal to a query with as few records as possible.

use datafusion::common::{Column, Result as DataFusionResult, TableReference};
use datafusion::logical_expr::{
    Expr, JoinType, LogicalPlan, LogicalPlanBuilder, Operator, binary_expr, cast, lit, when,
};

use crate::definition::metadata_columns::{KEY_COLUMN, Metadata};
use crate::definition::schema::ColumnRole as Kind;
use crate::dml::target::{Target, record_columns, row_number};
use crate::sink::change::{CHANGE_COLUMN, Change, ROW_COLUMN};
use crate::table::write_query::aligned;

/// The changes that a row can be. The numbers below are their positions.
const CHANGES: [Change; 3] = [Change::Upsert, Change::Delete, Change::Keep];
const UPSERT: i32 = 0;
const DELETE: i32 = 1;
const KEEP: i32 = 2;

const NEW: &str = "__record_new";
const OLD: &str = "__record_old";
/// The column that is true in rows of the query.
const IS_NEW: &str = "__record_is_new";

/// `INSERT OVERWRITE t SELECT ..`: compares the query's rows with those of the topic.
///
/// ```text
/// query     FULL JOIN     topic   ON _key
/// row       none                  upsert
/// none      row                   delete
/// row       equal row             keep
/// row       other row             upsert
/// ```
pub(super) fn overwrite(target: &Target, input: &LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let mut new = aligned("INSERT OVERWRITE", target.definition(), input.schema())?;
    new.push(lit(true).alias(IS_NEW));
    let new = LogicalPlanBuilder::from(input.clone())
        .project(new)?
        .window([row_number()])?
        .alias(NEW)?;
    let old = target.scan()?.alias(OLD)?.build()?;
    let rows = new.join_on(
        old,
        JoinType::Full,
        [column(NEW, KEY_COLUMN).eq(column(OLD, KEY_COLUMN))],
    )?;

    let mut columns = record_columns(rows.schema(), &Metadata::RECORD)?;
    let schema = &target.definition().schema;
    let fields = schema.arrow().fields().iter();
    columns.extend(fields.map(|field| column(NEW, field.name()).alias(field.name())));
    let record = column(OLD, Metadata::RecordKey.name());
    // A row of the query that is a tombstone means that the topic has no row for the key.
    let is_wanted = match schema.has(Metadata::Tombstone) {
        true => {
            let tombstone = column(NEW, Metadata::Tombstone.name());
            column(NEW, IS_NEW).and(tombstone.is_not_true())
        }
        false => column(NEW, IS_NEW),
    };
    let change = when(
        is_wanted.is_not_true(),
        when(record.clone().is_not_null(), lit(DELETE)).otherwise(lit(KEEP))?,
    )
    .when(record.is_null(), lit(UPSERT))
    .when(is_equal(target), lit(KEEP))
    .otherwise(lit(UPSERT))?;
    columns.push(change.alias(CHANGE_COLUMN));
    columns.push(column(NEW, ROW_COLUMN).alias(ROW_COLUMN));
    let rows = rows.project(columns)?;
    target.write(rows.build()?, CHANGES.to_vec(), true)
}

/// Whether a reader would see no difference between the query's row and the topic's.
fn is_equal(target: &Target) -> Expr {
    let mut equal = lit(true);
    for (kind, field) in target.definition().schema.columns() {
        let (new, old) = (column(NEW, field.name()), column(OLD, field.name()));
        let same = |new: Expr, old| binary_expr(new, Operator::IsNotDistinctFrom, old);
        equal = match kind {
            Kind::Payload => equal.and(same(new, old)),
            // Headers and timestamps are written only where the query gives them, so a NULL is not
            // a difference.
            Kind::Metadata(Metadata::Headers) => {
                equal.and(new.clone().is_null().or(same(new, old)))
            }
            Kind::Metadata(Metadata::Timestamp) => {
                let millis = |time| cast(time, Metadata::Timestamp.data_type());
                equal.and(new.clone().is_null().or(same(millis(new), millis(old))))
            }
            Kind::Key | Kind::Metadata(_) => continue,
        };
    }
    equal
}

fn column(table: &str, name: &str) -> Expr {
    Expr::Column(Column::new(Some(TableReference::bare(table)), name))
}
