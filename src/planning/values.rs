//! Plans VALUES that are relations of an INSERT's query, and not the rows to insert.
//!
//! DataFusion plans the whole query of an INSERT with the target's columns in scope, and every
//! VALUES takes the types of these columns by position. In
//! `INSERT INTO t SELECT k, CAST(d * 10 AS INT) FROM (VALUES ('k', 1.7)) v(k, d)`, 1.7 becomes
//! the INT of the second column. That rule is meant only for VALUES that are themselves the rows
//! to insert. All other VALUES keep their own types here.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as DataFusionResult, plan_err};
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{
    Cast, DmlStatement, Expr as PlanExpr, ExprSchemable, LogicalPlan, LogicalPlanBuilder,
};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    self, Parens, Query, SetExpr, TableFactor, Values, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::table::KafkaTable;

/// Plans VALUES in a FROM clause with the types of their own values.
#[derive(Debug)]
pub(crate) struct OwnTypes;

impl OwnTypes {
    pub(crate) fn register(state: &mut SessionState) -> DataFusionResult<()> {
        state.register_relation_planner(Arc::new(OwnTypes))
    }
}

impl RelationPlanner for OwnTypes {
    fn plan_relation(
        &self,
        mut relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DataFusionResult<RelationPlanning> {
        if let TableFactor::Derived {
            subquery, alias, ..
        } = &mut relation
        {
            if is_values(subquery)
                && let SetExpr::Values(values) = subquery.body.as_mut()
            {
                let plan = plan(std::mem::take(&mut values.rows), context)?;
                let planned = PlannedRelation::new(plan, alias.take());
                return Ok(RelationPlanning::Planned(Box::new(planned)));
            }
            let _ = subquery.visit(&mut Relations::default());
        }
        Ok(RelationPlanning::Original(Box::new(relation)))
    }
}

/// Whether a query is VALUES and nothing else.
fn is_values(query: &Query) -> bool {
    let is_values = |values: &Values| !values.value_keyword;
    matches!(query.body.as_ref(), SetExpr::Values(values) if is_values(values))
        && query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.pipe_operators.is_empty()
}

fn plan(
    rows: Vec<Parens<Vec<ast::Expr>>>,
    context: &mut dyn RelationPlannerContext,
) -> DataFusionResult<LogicalPlan> {
    let nothing = DFSchema::empty();
    let rows = rows.into_iter().map(|row| {
        let values = row.content.into_iter();
        let values = values.map(|value| context.sql_to_expr(value, &nothing));
        values.collect::<DataFusionResult<Vec<_>>>()
    });
    let rows = rows.collect::<DataFusionResult<_>>()?;
    let values = LogicalPlanBuilder::values(rows)?;
    // This projection is how `refuse_other_types` recognizes such VALUES.
    let columns: Vec<_> = values.schema().columns();
    values
        .project(columns.into_iter().map(PlanExpr::Column))?
        .build()
}

/// Turns all VALUES of a statement that are not the rows to insert into relations, so that
/// [`OwnTypes`] plans them.
pub(crate) fn as_relations(statement: &mut Statement) {
    match statement {
        Statement::Explain(explain) => as_relations(&mut explain.statement),
        Statement::Statement(statement) => of_statement(statement),
        _ => {}
    }
}

fn of_statement(statement: &mut ast::Statement) {
    let query = match statement {
        ast::Statement::Insert(insert) => &mut insert.source,
        ast::Statement::CreateTable(create) => &mut create.query,
        ast::Statement::Prepare { statement, .. } => return of_statement(statement),
        _ => return,
    };
    if let Some(query) = query {
        below(query);
    }
}

/// Turns the VALUES inside a query into relations, but not those that are the query's own rows.
fn below(query: &mut Query) {
    let relations = &mut Relations::default();
    let _ = query.with.visit(relations);
    let _ = query.order_by.visit(relations);
    let _ = query.limit_clause.visit(relations);
    below_rows(&mut query.body);
}

fn below_rows(rows: &mut SetExpr) {
    match rows {
        SetExpr::Query(query) => below(query),
        SetExpr::SetOperation { left, right, .. } => {
            below_rows(left);
            below_rows(right);
        }
        other => {
            let _ = other.visit(&mut Relations::default());
        }
    }
}

/// Turns VALUES that are not a relation yet into `SELECT * FROM (VALUES ..)`.
#[derive(Default)]
struct Relations {
    /// Whether the next query is already a relation.
    is_relation: bool,
    /// The same for each query that the visitor is in.
    are_relations: Vec<bool>,
}

impl VisitorMut for Relations {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.is_relation = match factor {
            TableFactor::Derived { subquery, .. } => is_values(subquery),
            _ => false,
        };
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.are_relations
            .push(std::mem::take(&mut self.is_relation));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if self.are_relations.pop() == Some(false) {
            make_relations(&mut query.body);
        }
        ControlFlow::Continue(())
    }
}

fn make_relations(rows: &mut SetExpr) {
    match rows {
        SetExpr::SetOperation { left, right, .. } => {
            make_relations(left);
            make_relations(right);
        }
        SetExpr::Values(values) if !values.value_keyword => {
            if let Some(select) = select_from(values) {
                *rows = select;
            }
        }
        _ => {}
    }
}

/// Builds `SELECT * FROM` these values. The parser builds it from text, because it knows all
/// other parts of a SELECT.
fn select_from(values: &mut Values) -> Option<SetExpr> {
    let parser = Parser::new(&GenericDialect {}).try_with_sql("SELECT * FROM (VALUES (NULL))");
    let mut select = *parser.ok()?.parse_query().ok()?.body;
    let SetExpr::Select(parts) = &mut select else {
        return None;
    };
    let TableFactor::Derived { subquery, .. } = &mut parts.from.first_mut()?.relation else {
        return None;
    };
    match subquery.body.as_mut() {
        SetExpr::Values(place) => std::mem::swap(place, values),
        _ => return None,
    }
    Some(select)
}

/// Refuses VALUES that took the types of a topic's columns without being the rows to insert.
/// DataFusion types VALUES in a WITH clause, and in a subquery of an expression, before it asks
/// any relation planner.
///
/// # Errors
/// The message says what to write instead.
pub(crate) fn refuse_other_types(statement: &DmlStatement) -> DataFusionResult<()> {
    let provider = source_as_provider(&statement.target)?;
    let Some(table) = provider.downcast_ref::<KafkaTable>() else {
        return Ok(());
    };
    if table.has_columns_of_query() {
        return Ok(());
    }
    let rows = match statement.input.as_ref() {
        // A projection onto the topic's columns, in their order.
        LogicalPlan::Projection(columns) => columns.input.as_ref(),
        rows => rows,
    };
    match has_other_types(rows, true)? {
        true => plan_err!(
            "INSERT INTO topic `{}`: VALUES in a WITH clause or in an expression would take the types of the topic's columns; write `SELECT * FROM (VALUES ..)` in their place, or plan the statement with `datafusion_kafka::sql`",
            table.topic()
        ),
        false => Ok(()),
    }
}

fn has_other_types(plan: &LogicalPlan, are_rows: bool) -> DataFusionResult<bool> {
    let are_rows = match plan {
        LogicalPlan::Values(values) => {
            let mut values = values.values.iter().flatten();
            return Ok(!are_rows && values.any(is_converted));
        }
        LogicalPlan::Projection(columns)
            if matches!(columns.input.as_ref(), LogicalPlan::Values(_))
                && columns
                    .expr
                    .iter()
                    .all(|e| matches!(e, PlanExpr::Column(_))) =>
        {
            return Ok(false);
        }
        LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Distinct(_) => are_rows,
        _ => false,
    };
    for input in plan.inputs() {
        if has_other_types(input, are_rows)? {
            return Ok(true);
        }
    }
    let mut found = false;
    plan.apply_expressions(|expression| {
        expression.apply(|expression| {
            let subquery = match expression {
                PlanExpr::ScalarSubquery(subquery) => subquery,
                PlanExpr::InSubquery(list) => &list.subquery,
                PlanExpr::Exists(exists) => &exists.subquery,
                PlanExpr::SetComparison(compared) => &compared.subquery,
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            found |= has_other_types(&subquery.subquery, false)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

/// Whether a value was converted to another kind of type.
fn is_converted(value: &PlanExpr) -> bool {
    let PlanExpr::Cast(Cast { expr, field }) = value else {
        return false;
    };
    let to = field.data_type();
    match expr.get_type(&DFSchema::empty()) {
        Ok(from) => !(from.is_integer() && to.is_integer() || from.is_string() && to.is_string()),
        Err(_) => true,
    }
}
