//! Adds advice to errors about statements that DataFusion refuses without knowing the cause.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Visit as _, Visitor,
};

use crate::catalog::names::last_part;
use crate::definition::TableDefinition;
use crate::definition::schema::is_reserved;
use crate::definition::type_groups::is_text;
use crate::error::Error;
use crate::options::Envelope;

const NO_FUNCTION: &str = "No function matches the given name and argument types '";

/// Whether [`advise`] may know more. Such an error implies that all tables of the statement were
/// found.
pub(crate) fn is_about_columns(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::Diagnostic(_, inner) => is_about_columns(inner),
        DataFusionError::SchemaError(..) => true,
        DataFusionError::Plan(said) => said.contains(NO_FUNCTION),
        _ => false,
    }
}

/// Adds advice to the error of a statement that reads these topics.
pub(crate) fn advise(
    error: DataFusionError,
    statement: &Statement,
    tables: &[Arc<TableDefinition>],
) -> DataFusionError {
    match error {
        // A diagnostic adds the position in the statement, which is not shown here.
        DataFusionError::Diagnostic(_, inner) => advise(*inner, statement, tables),
        DataFusionError::SchemaError(error, backtrace) => match unknown_column(&error, tables) {
            Some((column, topics)) => Error::UnknownColumn {
                column,
                topics,
                source: Arc::from(error),
            }
            .into(),
            None => DataFusionError::SchemaError(error, backtrace),
        },
        DataFusionError::Plan(said) => match text_argument(&said, statement, tables) {
            Some(advice) => advice.into(),
            None => DataFusionError::Plan(said),
        },
        other => other,
    }
}

/// The column that a statement names but none of its tables has, and the topics that may have it
/// nevertheless, because their columns were inferred from a sample.
fn unknown_column(
    error: &SchemaError,
    tables: &[Arc<TableDefinition>],
) -> Option<(String, Vec<String>)> {
    let SchemaError::FieldNotFound { field, .. } = error else {
        return None;
    };
    let inferred = tables.iter().filter(|table| table.is_inferred);
    let mut topics: Vec<String> = inferred.map(|table| table.topic.clone()).collect();
    topics.sort_unstable();
    topics.dedup();
    (!topics.is_empty() && !is_reserved(field.name(), Envelope::None))
        .then(|| (field.name().to_owned(), topics))
}

/// The error for a function of numbers that is called with a text column.
fn text_argument(
    said: &str,
    statement: &Statement,
    tables: &[Arc<TableDefinition>],
) -> Option<Error> {
    let (_, call) = said.split_once(NO_FUNCTION)?;
    let (function, types) = call.split_once('(')?;
    if !types.split_once('\'')?.0.contains("Utf8") {
        return None;
    }
    let mut calls = Calls {
        function,
        arguments: Vec::new(),
    };
    if let Statement::Statement(statement) = statement {
        let _ = statement.visit(&mut calls);
    }
    let is_text_of = |table: &&Arc<TableDefinition>, argument: &Expr| {
        let schema = table.schema.arrow();
        let field = column(argument).and_then(|name| schema.field_with_name(name).ok());
        field.is_some_and(|field| is_text(field.data_type()))
    };
    let mut arguments = calls.arguments.iter();
    let (argument, table) = arguments.find_map(|argument| {
        let table = tables.iter().find(|table| is_text_of(table, argument))?;
        Some((argument, table))
    })?;
    Some(Error::TextArgument {
        function: function.to_owned(),
        argument: argument.to_string(),
        is_inferred: table.is_inferred,
    })
}

/// The name of the column that an expression refers to, without qualifiers.
fn column(expression: &Expr) -> Option<&str> {
    let ident = match expression {
        Expr::Identifier(ident) => ident,
        Expr::CompoundIdentifier(parts) => parts.last()?,
        _ => return None,
    };
    Some(&ident.value)
}

/// Collects the arguments of all calls of a function.
struct Calls<'a> {
    function: &'a str,
    arguments: Vec<Expr>,
}

impl Visitor for Calls<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if let Expr::Function(call) = expression
            && last_part(&call.name).is_some_and(|name| name.eq_ignore_ascii_case(self.function))
            && let FunctionArguments::List(list) = &call.args
        {
            let arguments = list.args.iter().filter_map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression.clone()),
                _ => None,
            });
            self.arguments.extend(arguments);
        }
        ControlFlow::Continue(())
    }
}
