//! Removes the metadata of list items from the casts of an INSERT.
//!
//! The metadata says how items are encoded in JSON. DataFusion casts each value of an INSERT to
//! the type of its column, and the metadata of list items is part of that type. A constant that
//! is evaluated during planning loses the metadata, because `ScalarValue` keeps a list's items
//! without it. The constant's type would then differ from the plan's. The sink takes the
//! metadata from its table, so the casts do not need it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DataFusionResult};
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, Values};

/// The rows of an INSERT, with all casts to lists changed to lists without item metadata.
pub(crate) fn to_plain_items(rows: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    rows.transform_up(|node| {
        let node = node.map_expressions(|expression| {
            expression.transform_up(|expression| match expression {
                Expr::Cast(cast)
                    if plain_items(cast.field.data_type()) != *cast.field.data_type() =>
                {
                    let field = cast.field.as_ref().clone();
                    let data_type = plain_items(field.data_type());
                    let field = Arc::new(field.with_data_type(data_type));
                    let cast = Cast { field, ..cast };
                    Ok(Transformed::yes(Expr::Cast(cast)))
                }
                // A NULL that already has the column's type.
                Expr::Literal(value, metadata)
                    if plain_items(&value.data_type()) != value.data_type() =>
                {
                    let value = value.cast_to(&plain_items(&value.data_type()))?;
                    Ok(Transformed::yes(Expr::Literal(value, metadata)))
                }
                other => Ok(Transformed::no(other)),
            })
        })?;
        node.transform_data(|node| match node {
            LogicalPlan::Values(Values { schema, values }) => {
                let schema = Arc::new(plain_schema(&schema)?);
                Ok(Transformed::yes(LogicalPlan::Values(Values {
                    schema,
                    values,
                })))
            }
            other => Ok(Transformed::no(other)),
        })?
        .map_data(LogicalPlan::recompute_schema)
    })
    .data()
}

fn plain_schema(schema: &DFSchema) -> DataFusionResult<DFSchema> {
    let fields = schema.iter().map(|(qualifier, field)| {
        let data_type = plain_items(field.data_type());
        let field = Arc::new(field.as_ref().clone().with_data_type(data_type));
        (qualifier.cloned(), field)
    });
    DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())
}

/// The type without the metadata of list items, at any depth of lists.
pub(crate) fn plain_items(data_type: &DataType) -> DataType {
    let item = |field: &FieldRef| {
        let data_type = plain_items(field.data_type());
        Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
    };
    match data_type {
        DataType::List(field) => DataType::List(item(field)),
        DataType::LargeList(field) => DataType::LargeList(item(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(item(field), *size),
        other => other.clone(),
    }
}
