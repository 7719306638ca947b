//! MERGE: changes the rows of a topic according to the rows of a source.

use std::collections::HashMap;

use datafusion::common::{Column, Result as DataFusionResult, plan_err};
use datafusion::logical_expr::dml::{
    MergeIntoAction, MergeIntoClause, MergeIntoClauseKind, MergeIntoOp,
};
use datafusion::logical_expr::{
    Expr, ExprSchemable, JoinType, LogicalPlan, LogicalPlanBuilder, lit, when,
};
use datafusion::scalar::ScalarValue;

use crate::definition::metadata_columns::{KEY_COLUMN, Metadata};
use crate::dml::target::{Target, record_columns, row_number, unqualified};
use crate::dml::update::assigned;
use crate::sink::change::{CHANGE_COLUMN, Change, ROW_COLUMN};

/// The column that is true in rows of the source.
const IS_SOURCE: &str = "__record_is_source";

/// `MERGE INTO t USING s ON .. WHEN ..`: the first clause that applies to a pair of rows
/// decides the change. Pairs to which no clause applies are left out.
pub(super) fn merge(
    target: &Target,
    source: &LogicalPlan,
    merge: &MergeIntoOp,
) -> DataFusionResult<LogicalPlan> {
    let mut columns: Vec<Expr> = source
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    columns.push(lit(true).alias(IS_SOURCE));
    let source = LogicalPlanBuilder::from(source.clone())
        .project(columns)?
        .window([row_number()])?;
    let rows = source.join_on(
        target.scan()?.build()?,
        join_type(&merge.clauses),
        [merge.on.clone()],
    )?;

    let number = |place: usize| lit(i32::try_from(place).unwrap_or(i32::MAX));
    let mut cases: Option<datafusion::logical_expr::conditional_expressions::CaseBuilder> = None;
    for (place, clause) in merge.clauses.iter().enumerate() {
        let applies = applies(target, clause);
        cases = Some(match &mut cases {
            None => when(applies, number(place)),
            Some(cases) => cases.when(applies, number(place)),
        });
    }
    let Some(mut cases) = cases else {
        return plan_err!("MERGE needs a WHEN clause");
    };
    let change = cases.otherwise(lit(ScalarValue::Int32(None)))?;
    let mut columns: Vec<Expr> = rows
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    columns.push(change.alias(CHANGE_COLUMN));
    let rows = rows
        .project(columns)?
        .filter(unqualified(CHANGE_COLUMN).is_not_null())?;

    let mut changes = Vec::with_capacity(merge.clauses.len());
    // For each column of the table, the value that each clause gives it.
    let mut values: HashMap<String, Vec<(usize, Expr)>> = HashMap::new();
    for (place, clause) in merge.clauses.iter().enumerate() {
        changes.push(match &clause.action {
            MergeIntoAction::Delete => Change::Delete,
            MergeIntoAction::Update(set) => {
                for (name, value) in set {
                    let all = values.entry(name.clone()).or_default();
                    all.push((place, value.clone()));
                }
                let names = set.iter().map(|(name, _)| name.clone());
                target.check_rewriting("MERGE")?;
                let positions = assigned(target, names, "MERGE")?;
                if target.definition().extensions.value_codec.is_some() {
                    // A codec encodes the whole payload, so it needs all columns.
                    for field in target.payload_fields_but(&positions) {
                        let old = Column::new(Some(target.name.clone()), field.name());
                        let all = values.entry(field.name().clone()).or_default();
                        all.push((place, Expr::Column(old)));
                    }
                }
                Change::Update(positions)
            }
            MergeIntoAction::Insert {
                columns,
                values: given,
            } => {
                for (name, value) in inserted(target, columns, given)? {
                    values.entry(name).or_default().push((place, value));
                }
                Change::Upsert
            }
        });
    }
    let mut columns = record_columns(rows.schema(), &Metadata::RECORD)?;
    for field in target.definition().schema.arrow().fields() {
        let Some(values) = values.remove(field.name()) else {
            continue;
        };
        let null = lit(ScalarValue::try_from(field.data_type())?);
        let mut value = null;
        for (place, of_clause) in values.into_iter().rev() {
            let of_clause = of_clause.cast_to(field.data_type(), rows.schema())?;
            let is_clause = unqualified(CHANGE_COLUMN).eq(number(place));
            value = when(is_clause, of_clause).otherwise(value)?;
        }
        columns.push(value.alias(field.name()));
    }
    columns.push(unqualified(CHANGE_COLUMN));
    columns.push(unqualified(ROW_COLUMN));
    let rows = rows.project(columns)?.build()?;
    target.write(rows, changes, true)
}

/// The join that keeps those unmatched rows that a clause is for.
fn join_type(clauses: &[MergeIntoClause]) -> JoinType {
    let any = |kinds: &[MergeIntoClauseKind]| clauses.iter().any(|c| kinds.contains(&c.kind));
    let inserts = any(&[
        MergeIntoClauseKind::NotMatched,
        MergeIntoClauseKind::NotMatchedByTarget,
    ]);
    match (inserts, any(&[MergeIntoClauseKind::NotMatchedBySource])) {
        (true, true) => JoinType::Full,
        (true, false) => JoinType::Left,
        (false, true) => JoinType::Right,
        (false, false) => JoinType::Inner,
    }
}

/// Whether a clause applies to a pair of rows.
fn applies(target: &Target, clause: &MergeIntoClause) -> Expr {
    let record = Column::new(Some(target.name.clone()), Metadata::RecordKey.name());
    let is_target = Expr::Column(record);
    let is_source = unqualified(IS_SOURCE).is_true();
    let kind = match clause.kind {
        MergeIntoClauseKind::Matched => is_source.and(is_target.is_not_null()),
        MergeIntoClauseKind::NotMatched | MergeIntoClauseKind::NotMatchedByTarget => {
            is_target.is_null()
        }
        MergeIntoClauseKind::NotMatchedBySource => unqualified(IS_SOURCE).is_not_true(),
    };
    match &clause.predicate {
        None => kind,
        Some(predicate) => kind.and(predicate.clone()),
    }
}

/// The values that an INSERT clause gives to the columns of the table.
fn inserted(
    target: &Target,
    columns: &[String],
    values: &[Expr],
) -> DataFusionResult<Vec<(String, Expr)>> {
    let schema = target.definition().schema.arrow();
    let names: Vec<&str> = match columns {
        [] => schema.fields().iter().map(|f| f.name().as_str()).collect(),
        some => some.iter().map(String::as_str).collect(),
    };
    if !names.contains(&KEY_COLUMN) {
        return plan_err!(
            "MERGE INTO topic `{}`: INSERT needs a value for `{KEY_COLUMN}`, since every record needs a key",
            target.table.topic()
        );
    }
    let given: HashMap<&str, &Expr> = names.into_iter().zip(values).collect();
    let all = schema.fields().iter().map(|field| {
        let name = field.name().as_str();
        let value = match given.get(name) {
            Some(value) => (*value).clone(),
            None => match target.table.default_of(name) {
                Some(default) => default.clone(),
                None => lit(ScalarValue::try_from(field.data_type())?),
            },
        };
        Ok((name.to_owned(), value))
    });
    all.collect()
}
