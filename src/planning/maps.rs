//! Plans the type `MAP(key, value)`, which DataFusion's parser takes and its planner does not.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result as DataFusionResult, TableReference, not_impl_err, plan_err};
use datafusion::logical_expr::planner::{ContextProvider, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{self, ColumnDef, Ident};

/// Plans maps, and leaves all other types to the planner of the session.
#[derive(Debug, Clone)]
pub(crate) struct Maps {
    own: Option<Arc<dyn TypePlanner>>,
}

impl Maps {
    pub(crate) fn new(own: Option<Arc<dyn TypePlanner>>) -> Self {
        Maps { own }
    }

    /// The type of the keys or the values, which may have maps in it.
    fn inner(&self, data_type: &ast::DataType) -> DataFusionResult<DataType> {
        let types = Types {
            planner: Arc::new(self.clone()),
            options: ConfigOptions::default(),
        };
        let column = ColumnDef {
            name: Ident::new("inner"),
            data_type: data_type.clone(),
            options: Vec::new(),
        };
        let schema = SqlToRel::new(&types).build_schema(vec![column])?;
        match schema.fields().first() {
            Some(field) => Ok(field.data_type().clone()),
            None => plan_err!("{data_type} is no type"),
        }
    }
}

impl TypePlanner for Maps {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> DataFusionResult<Option<FieldRef>> {
        let ast::DataType::Map(key, value) = sql_type else {
            return match &self.own {
                Some(own) => own.plan_type_field(sql_type),
                None => Ok(None),
            };
        };
        let (key, value) = (self.inner(key)?, self.inner(value)?);
        if !key.is_string() {
            return not_impl_err!("MAP with keys other than VARCHAR: names in JSON are text");
        }
        let map = Field::new_map(
            "",
            "entries",
            // DataFusion compares the keys with literals, which are `Utf8`, without a cast.
            Field::new("keys", DataType::Utf8, false),
            Field::new("values", value, true),
            false,
            true,
        );
        Ok(Some(Arc::new(map)))
    }
}

/// Knows types and nothing else.
struct Types {
    planner: Arc<dyn TypePlanner>,
    options: ConfigOptions,
}

impl ContextProvider for Types {
    fn get_table_source(&self, name: TableReference) -> DataFusionResult<Arc<dyn TableSource>> {
        plan_err!("{name} is no type")
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::clone(&self.planner))
    }

    fn get_function_meta(&self, _: &str) -> Option<Arc<ScalarUDF>> {
        None
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, _: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
