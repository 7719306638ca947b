//! Keeps number literals exact.
//!
//! DataFusion turns every number with a decimal point or beyond 64 bits into a DOUBLE. Compared
//! with a DECIMAL, `18446744073709551617` would then also be equal to its neighbours, and a
//! DELETE would remove their rows. Written into a DECIMAL, `1234567.8` would get digits that the
//! user did not write. Here, a literal that is compared with or written to an exact number stays
//! a decimal. Before planning, the literal is replaced by a cast of its text to DECIMAL. After
//! planning, when types are known, the cast becomes a DOUBLE wherever no exact number is
//! involved.

use std::ops::ControlFlow;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as DataFusionResult, plan_err};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr as PlanExpr, ExprSchemable, LogicalPlan, lit,
};
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, CastKind, ExactNumberInfo, Expr, MergeAction, MergeInsertKind, SetExpr,
    UnaryOperator, Value, Values, VisitMut, VisitorMut,
};

use crate::json::{is_exact_double, plain_number};

/// The most digits of a number that is kept as a decimal. A decimal holds one more, which is needed
/// for a zero before the decimal point.
const DIGITS: u64 = 75;

/// Turns number literals that must not become a DOUBLE into decimals.
pub(crate) fn keep_decimals(statement: &mut Statement) {
    let _ = match statement {
        Statement::Statement(statement) => statement.visit(&mut Literals),
        Statement::Explain(explain) => return keep_decimals(&mut explain.statement),
        Statement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => query.visit(&mut Literals),
            CopyToSource::Relation(_) => return,
        },
        Statement::CreateExternalTable(_) | Statement::Reset(_) => return,
    };
}

struct Literals;

impl VisitorMut for Literals {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::BinaryOp { left, op, right } if is_comparison(op) => {
                to_decimal(left);
                to_decimal(right);
            }
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                to_decimal(left);
                to_decimal(right);
            }
            Expr::Between {
                expr, low, high, ..
            } => {
                to_decimal(expr);
                to_decimal(low);
                to_decimal(high);
            }
            Expr::InList { expr, list, .. } => {
                to_decimal(expr);
                list.iter_mut().for_each(to_decimal);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &mut ast::Statement) -> ControlFlow<()> {
        match statement {
            ast::Statement::Insert(insert) => {
                let body = insert.source.as_mut().map(|query| query.body.as_mut());
                if let Some(SetExpr::Values(values)) = body {
                    keep_values(values);
                }
            }
            ast::Statement::Update(update) => keep_assigned(&mut update.assignments),
            ast::Statement::Merge(merge) => {
                for clause in &mut merge.clauses {
                    match &mut clause.action {
                        MergeAction::Update(update) => keep_assigned(&mut update.assignments),
                        MergeAction::Insert(insert) => {
                            if let MergeInsertKind::Values(values) = &mut insert.kind {
                                keep_values(values);
                            }
                        }
                        MergeAction::Delete { .. } => {}
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
            | BinaryOperator::Spaceship
    )
}

/// Leaves a column of VALUES unchanged where one of its values is more than a literal, or is a
/// number that no decimal can hold. A column has one type for all rows.
fn keep_values(values: &mut Values) {
    let columns = values.rows.iter().map(|row| row.content.len()).max();
    for column in 0..columns.unwrap_or(0) {
        let cells = || values.rows.iter().filter_map(|row| row.content.get(column));
        let is_kept = |cell: &Expr| match number(cell) {
            Some(number) => plain_number(&number, DIGITS).is_some(),
            None => matches!(cell, Expr::Value(_)),
        };
        if cells().all(is_kept) {
            let cells = values.rows.iter_mut();
            cells
                .filter_map(|row| row.content.get_mut(column))
                .for_each(to_decimal);
        }
    }
}

fn keep_assigned(assignments: &mut [ast::Assignment]) {
    for assignment in assignments {
        to_decimal(&mut assignment.value);
    }
}

/// Turns a number literal that DataFusion would make a DOUBLE into a decimal.
fn to_decimal(expr: &mut Expr) {
    let Some(number) = number(expr) else {
        return;
    };
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return;
    }
    let Some(number) = plain_number(&number, DIGITS) else {
        return;
    };
    let digits = number.trim_start_matches('-');
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (Ok(whole), Ok(scale)) = (u64::try_from(whole.len()), i64::try_from(fraction.len())) else {
        return;
    };
    let precision = whole + scale.unsigned_abs();
    *expr = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::value(Value::SingleQuotedString(number))),
        data_type: ast::DataType::Decimal(ExactNumberInfo::PrecisionAndScale(precision, scale)),
        array: false,
        format: None,
    };
}

/// The text of a number literal, with its sign.
fn number(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => Some(number.replace('_', "")),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match expr.as_ref() {
            Expr::Value(_) => number(expr).map(|number| format!("-{number}")),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Plus,
            expr,
        } => number(expr),
        Expr::Nested(inner) => number(inner),
        _ => None,
    }
}

/// Turns the decimals of [`keep_decimals`] back into DOUBLE wherever no exact number needs them.
///
/// # Errors
/// A literal that only a decimal can hold is compared with text, and would have to be rounded.
pub(crate) fn resolve(plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        let schema = merge_schema(&plan.inputs());
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_up(|expr| resolve_expr(expr, &schema))?;
            Ok(expr.update_data(|expr| name.restore(expr)))
        })
    })
    .data()
}

fn resolve_expr(mut expr: PlanExpr, schema: &DFSchema) -> DataFusionResult<Transformed<PlanExpr>> {
    if let PlanExpr::Cast(Cast { expr: inner, field }) = &mut expr {
        let is_double = field.data_type().is_floating() && literal(inner).is_some();
        if is_double {
            to_double(inner);
        }
        return Ok(Transformed::new_transformed(expr, is_double));
    }
    let mut met = compared(&mut expr);
    if !met.iter().any(|expr| literal(expr).is_some()) {
        return Ok(Transformed::no(expr));
    }
    match Digits::compared(met.iter().map(|expr| &**expr), schema)? {
        Some(digits) => met.iter_mut().for_each(|expr| digits.widen(expr)),
        None => met.into_iter().for_each(to_double),
    }
    Ok(Transformed::yes(expr))
}

/// The operands of a comparison; empty for other expressions.
fn compared(expr: &mut PlanExpr) -> Vec<&mut PlanExpr> {
    match expr {
        PlanExpr::BinaryExpr(BinaryExpr { left, op, right }) if op.supports_propagation() => {
            vec![left, right]
        }
        PlanExpr::Between(Between {
            expr, low, high, ..
        }) => vec![expr, low, high],
        PlanExpr::InList(InList { expr, list, .. }) => {
            list.iter_mut().chain([expr.as_mut()]).collect()
        }
        _ => Vec::new(),
    }
}

/// The digits before and after the decimal point that hold all operands.
#[derive(Default)]
struct Digits {
    whole: u8,
    scale: u8,
}

impl Digits {
    /// `None` where an operand is not exact, or where no decimal has enough digits.
    fn compared<'a>(
        compared: impl IntoIterator<Item = &'a PlanExpr>,
        schema: &DFSchema,
    ) -> DataFusionResult<Option<Self>> {
        let mut digits = Some(Digits::default());
        let (mut rounded, mut text) = (None, None);
        for expr in compared {
            let Ok(data_type) = expr.get_type(schema) else {
                return Ok(None);
            };
            if let Some(number) = literal(expr) {
                rounded = rounded.or((!is_exact_double(number)).then_some(number));
            }
            text = text.or(data_type.is_string().then_some(expr));
            digits = digits.and_then(|digits| digits.and(&data_type));
        }
        match (rounded, text) {
            (Some(number), Some(text)) => plan_err!(
                "`{}` is text, and a DOUBLE would round {number}; write the number as text: '{number}'",
                text.human_display()
            ),
            _ => Ok(digits.filter(|d| d.whole.saturating_add(d.scale) <= DECIMAL256_MAX_PRECISION)),
        }
    }

    fn and(self, data_type: &DataType) -> Option<Self> {
        let (whole, scale) = match data_type {
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                let scale = u8::try_from(*scale).ok()?;
                (precision.checked_sub(scale)?, scale)
            }
            other if other.is_integer() => (20, 0),
            _ => return None,
        };
        Some(Digits {
            whole: self.whole.max(whole),
            scale: self.scale.max(scale),
        })
    }

    /// Widens a literal so that the other operands fit into its type.
    fn widen(&self, expr: &mut PlanExpr) {
        let precision = self.whole.saturating_add(self.scale);
        if let (Some(number), Ok(scale)) = (literal(expr), i8::try_from(self.scale))
            && precision > DECIMAL128_MAX_PRECISION
        {
            let number = Box::new(lit(number));
            *expr = PlanExpr::Cast(Cast::new(number, DataType::Decimal256(precision, scale)));
        }
    }
}

/// The text of a literal that [`keep_decimals`] wrote.
fn literal(expr: &PlanExpr) -> Option<&str> {
    let PlanExpr::Cast(Cast { expr, field }) = expr else {
        return None;
    };
    match expr.as_ref() {
        PlanExpr::Literal(ScalarValue::Utf8(text) | ScalarValue::Utf8View(text), _)
            if field.data_type().is_decimal() =>
        {
            text.as_deref()
        }
        _ => None,
    }
}

fn to_double(expr: &mut PlanExpr) {
    if let Some(double) = literal(expr).and_then(|number| number.parse::<f64>().ok()) {
        *expr = lit(double);
    }
}

/// Refuses to change rows based on a comparison of a decimal with a DOUBLE literal that may have
/// been rounded. Such a literal is left when [`keep_decimals`] did not see the statement.
///
/// # Errors
/// The operand, and how to write the number.
pub(crate) fn refuse_rounded(verb: &str, plan: &LogicalPlan) -> DataFusionResult<()> {
    plan.apply_with_subqueries(|plan| {
        let schema = merge_schema(&plan.inputs());
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let PlanExpr::InSubquery(list) = expr
                    && list.expr.get_type(&schema).is_ok_and(|t| is_exact(&t))
                    && has_rounded(&list.subquery.subquery)?
                {
                    return refused(verb, &list.expr);
                }
                let mut expr = expr.clone();
                let compared = compared(&mut expr);
                let decimal = compared.iter().find(|expr| {
                    let data_type = expr.get_type(&schema);
                    data_type.is_ok_and(|data_type| data_type.is_decimal())
                });
                match decimal {
                    Some(decimal) if compared.iter().any(|expr| may_be_rounded(expr)) => {
                        refused(verb, decimal)
                    }
                    _ => Ok(TreeNodeRecursion::Continue),
                }
            })
        })
    })?;
    Ok(())
}

fn refused<T>(verb: &str, compared: &PlanExpr) -> DataFusionResult<T> {
    plan_err!(
        "{verb} compares `{}`, an exact number, with a number that is read as a DOUBLE, which may be a different number; write the number as text, in apostrophes",
        compared.human_display()
    )
}

fn is_exact(data_type: &DataType) -> bool {
    data_type.is_decimal() || data_type.is_integer()
}

/// Whether a plan has a literal that may have been rounded.
fn has_rounded(plan: &LogicalPlan) -> DataFusionResult<bool> {
    plan.exists(|plan| {
        let mut has_rounded = false;
        plan.apply_expressions(|expr| {
            has_rounded |= expr.exists(|expr| Ok(may_be_rounded(expr)))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(has_rounded)
    })
}

/// Whether other numbers would become the same double as this literal.
fn may_be_rounded(expr: &PlanExpr) -> bool {
    /// From here on, doubles are further apart than integers.
    const LARGE: f64 = 9_007_199_254_740_992.0;
    const SURE_DIGITS: usize = 15;
    match expr {
        PlanExpr::Literal(ScalarValue::Float64(Some(double)), _) => {
            let digits = format!("{double:e}");
            let digits = digits.split('e').next().unwrap_or_default();
            double.abs() >= LARGE || digits.bytes().filter(u8::is_ascii_digit).count() > SURE_DIGITS
        }
        _ => false,
    }
}
