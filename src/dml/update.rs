//! UPDATE: sets columns in the source record of every row.

use std::collections::HashSet;

use datafusion::common::{Result as DataFusionResult, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use crate::definition::metadata_columns::{KEY_COLUMN, Metadata, VALUE_COLUMN};
use crate::definition::schema::ColumnRole;
use crate::dml::target::{Target, only_change, record_columns};
use crate::sink::change::Change;

/// `UPDATE t SET .. WHERE ..`: an update of every row's source record.
pub(super) fn update(target: &Target, input: &LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let (values, input) = match input {
        LogicalPlan::Projection(projection) => {
            (projection.expr.as_slice(), projection.input.as_ref())
        }
        // PREPARE removes the projection if every column keeps its value.
        all => (&[][..], all),
    };
    let rows = target.with_record(input)?;
    let set: Vec<&Expr> = values.iter().filter(|e| !is_itself(e)).collect();
    let names = set.iter().map(|e| e.qualified_name().1);
    target.check_rewriting("UPDATE")?;
    let positions = assigned(target, names, "UPDATE")?;
    let mut columns = record_columns(rows.schema(), &Metadata::RECORD)?;
    columns.extend(set.into_iter().cloned());
    if target.definition().extensions.value_codec.is_some() {
        // A codec encodes the whole payload, so it needs all columns.
        for field in target.payload_fields_but(&positions) {
            let found = rows
                .schema()
                .qualified_field_with_unqualified_name(field.name())?;
            columns.push(Expr::Column(found.into()).alias(field.name()));
        }
    }
    columns.push(only_change());
    let rows = LogicalPlanBuilder::from(rows).project(columns)?.build()?;
    target.write(rows, vec![Change::Update(positions)], false)
}

/// Whether a column keeps its value.
fn is_itself(expression: &Expr) -> bool {
    let Expr::Alias(alias) = expression else {
        return matches!(expression, Expr::Column(_));
    };
    matches!(alias.expr.as_ref(), Expr::Column(column) if column.name == alias.name)
}

/// The positions of the columns that a statement sets.
///
/// # Errors
/// A column that cannot be set in an existing record.
pub(super) fn assigned(
    target: &Target,
    names: impl IntoIterator<Item = String>,
    verb: &str,
) -> DataFusionResult<Vec<usize>> {
    let schema = &target.definition().schema;
    let settable: HashSet<&str> = schema
        .columns()
        .filter(|(column, _)| {
            let metadata = [Metadata::Timestamp, Metadata::Headers].map(ColumnRole::Metadata);
            *column == ColumnRole::Payload || metadata.contains(column)
        })
        .map(|(_, field)| field.name().as_str())
        .collect();
    names
        .into_iter()
        .map(|name| {
            if name == KEY_COLUMN {
                return plan_err!(
                    "{verb} cannot set `{KEY_COLUMN}`, which identifies the row; INSERT the row under its new key and DELETE the old one"
                );
            }
            if name == Metadata::Tombstone.name() {
                return plan_err!("{verb} cannot set `{name}`; DELETE the row instead");
            }
            if name == VALUE_COLUMN && !settable.contains(VALUE_COLUMN) {
                return plan_err!(
                    "{verb} cannot set `{name}`, which is the raw payload; set the columns of its properties, or use a table with `kafka.value.format` = `string`"
                );
            }
            if !settable.contains(name.as_str()) {
                return plan_err!(
                    "{verb} cannot set `{name}`, which comes from the broker or from the record's position"
                );
            }
            target.position(&name)
        })
        .collect()
}
