//! Plans statements that write a query's rows to a topic.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, Result as DataFusionResult, TableReference, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::functions_nested::expr_fn::map_entries;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::optimizer::Analyzer;
use datafusion::scalar::ScalarValue;

use crate::definition::TableDefinition;
use crate::definition::metadata_columns::{KEY_COLUMN, Metadata, RECORD_PREFIX, VALUE_COLUMN};
use crate::definition::type_groups::is_binary;
use crate::options::Mode;
use crate::sql_type::sql_type;
use crate::table::{KafkaTable, KafkaTableBuilder};

/// The query with the types that its rows will have. Before the analysis a UNION has the types
/// of its first query, and rows of the other queries would be cast to those.
pub(crate) fn analyzed(
    query: LogicalPlan,
    analyzer: &Analyzer,
    config: &ConfigOptions,
) -> DataFusionResult<LogicalPlan> {
    analyzer.execute_and_check(query, config, |_, _| {})
}

/// A topic whose columns are those of a query.
pub(crate) struct QueriedTopic {
    /// How the topic is read, for an INSERT OVERWRITE.
    pub(crate) source: Option<KafkaTableBuilder>,
    pub(crate) sink: KafkaTableBuilder,
}

impl From<KafkaTableBuilder> for QueriedTopic {
    fn from(sink: KafkaTableBuilder) -> Self {
        QueriedTopic { source: None, sink }
    }
}

/// Plans a statement that writes the rows of an analyzed query. `verb` is the statement's name
/// in errors, and `target` is the topic's name in the plan.
pub(crate) fn write_query(
    verb: &str,
    query: LogicalPlan,
    target: TableReference,
    topic: QueriedTopic,
    operation: InsertOp,
) -> DataFusionResult<LogicalPlan> {
    let query = with_headers(verb, &target, query)?;
    // A literal makes its column NOT NULL, which need not hold for the rows of later queries.
    let fields = query.schema().as_arrow().fields().iter();
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    let mut fields: Vec<_> = fields.collect();
    if let Some(column) = untyped_parameter(&query) {
        return plan_err!(
            "{verb} topic `{}`: `{column}` is a parameter, whose type is not known yet; write `CAST($1 AS ..)`",
            target.table()
        );
    }
    let key = fields.iter().position(|field| field.name() == KEY_COLUMN);
    let takes_null_keys = topic.sink.table_options()?.mode == Some(Mode::Append);
    match key.map(|place| (place, fields.get(place).map(Field::data_type))) {
        // Without a type from the query, `_key` gets the type of the key's format.
        Some((place, Some(DataType::Null))) if takes_null_keys => drop(fields.remove(place)),
        Some((_, Some(DataType::Null))) => {
            return plan_err!(
                "{verb} topic `{}`: `{KEY_COLUMN}` is NULL, and every record needs a key in upsert mode; `kafka.mode` = `append` writes records without one",
                target.table()
            );
        }
        None if !takes_null_keys => {
            return plan_err!(
                "{verb} topic `{}` needs a column `{KEY_COLUMN}` in its query, such as `SELECT id AS {KEY_COLUMN}, ..`",
                target.table()
            );
        }
        _ => {}
    }
    let schema = Schema::new(fields);
    let define = |builder: KafkaTableBuilder| builder.define_with(&schema).map(Arc::new);
    let source = topic.source.map(define).transpose()?;
    let sink = define(topic.sink)?;
    if sink.schema.has(Metadata::Value) {
        return plan_err!(
            "{verb} topic `{}`: `{VALUE_COLUMN}` is a whole payload, but `kafka.value.format` = `json` writes a property per column; set `kafka.value.format` = `string` or `bytes`, or rename the column",
            target.table()
        );
    }
    let table = KafkaTable::new(source, Some(sink)).of_query();
    let source = provider_as_source(Arc::new(table));
    LogicalPlanBuilder::insert_into(query, target, source, operation)?.build()
}

/// The query with its `_headers` cast to the type of record headers, if it has another type.
fn with_headers(
    verb: &str,
    target: &TableReference,
    query: LogicalPlan,
) -> DataFusionResult<LogicalPlan> {
    let name = Metadata::Headers.name();
    let schema = query.schema();
    let Ok(field) = schema.field_with_unqualified_name(name) else {
        return Ok(query);
    };
    let given = field.data_type();
    if *given == Metadata::Headers.data_type() {
        return Ok(query);
    }
    if !is_like_headers(given) {
        return plan_err!(
            "{verb} topic `{}`: `{name}` is {}; give headers as `MAP {{'name': 'value'}}`, or as `[{{key: 'name', value: 'value'}}]` if a name occurs twice",
            target.table(),
            sql_type(given)
        );
    }
    let columns = schema.columns().into_iter().map(|column| {
        if column.name != name {
            return Expr::Column(column);
        }
        let headers = match given {
            DataType::Map(..) => map_entries(Expr::Column(column)),
            _ => Expr::Column(column),
        };
        cast(headers, Metadata::Headers.written_type()).alias(name)
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(query).project(columns)?.build()
}

/// Whether a type is a map or a list of names and values, with text or bytes as values.
fn is_like_headers(given: &DataType) -> bool {
    let entry = match given {
        DataType::Null => return true,
        DataType::Map(entry, _) | DataType::List(entry) | DataType::LargeList(entry) => entry,
        _ => return false,
    };
    let DataType::Struct(fields) = entry.data_type() else {
        return false;
    };
    let [key, value] = fields.as_ref() else {
        return false;
    };
    let is_named = key.name() == "key" && value.name() == "value";
    let is_value = |value: &DataType| value.is_string() || value.is_null() || is_binary(value);
    (is_named || matches!(given, DataType::Map(..)))
        && key.data_type().is_string()
        && is_value(value.data_type())
}

/// The topic's columns as expressions over a query's columns, matched by name and cast. The
/// query need not have all columns.
pub(crate) fn aligned(
    verb: &str,
    target: &TableDefinition,
    given: &DFSchema,
) -> DataFusionResult<Vec<Expr>> {
    let topic = &target.topic;
    let fields = target.schema.arrow().fields();
    let known: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    for field in given.fields() {
        let name = field.name().as_str();
        if !known.contains(&name) && !name.starts_with(RECORD_PREFIX) {
            return plan_err!(
                "topic `{topic}` has no column `{name}`; it has {}",
                known.join(", ")
            );
        }
    }
    fields
        .iter()
        .map(|field| {
            let value = match given.qualified_field_with_unqualified_name(field.name()) {
                Ok(found) => Expr::Column(found.into()),
                Err(_) if field.name() == KEY_COLUMN && !target.takes_null_keys() => {
                    return plan_err!(
                        "{verb} topic `{topic}` needs a value for `{KEY_COLUMN}`, since every record needs a key in upsert mode"
                    );
                }
                Err(_) => lit(ScalarValue::try_from(field.data_type())?),
            };
            Ok(value.cast_to(field.data_type(), given)?.alias(field.name()))
        })
        .collect()
}

/// A column that is only a parameter, whose type is unknown until its value is given.
fn untyped_parameter(query: &LogicalPlan) -> Option<&str> {
    let LogicalPlan::Projection(projection) = query else {
        return None;
    };
    let expressions = projection.expr.iter().zip(projection.schema.fields());
    let mut untyped = expressions.filter(|(expression, field)| {
        let expression = (*expression).clone().unalias_nested().data;
        field.data_type().is_null() && matches!(expression, Expr::Placeholder(_))
    });
    untyped.next().map(|(_, field)| field.name().as_str())
}
