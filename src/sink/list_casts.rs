//! Casts of an INSERT to lists whose items say how they stand in JSON.
//!
//! DataFusion casts each value of an INSERT to the type of its column, and the metadata of
//! list items is part of that type. Arrays that it works out while it plans lose the metadata
//! (`ScalarValue` keeps a list's items without), and would then not be of the type that
//! their plan promises. The sink has the metadata from its table and needs none here.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DataFusionResult};
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, Values};

/// The rows of an INSERT, with casts to lists of plain items.
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
                // A NULL that has the type already.
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

/// The type, without metadata of the items of its lists.
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
