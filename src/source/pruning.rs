//! Pruning: which records a filter excludes before they are decoded, or even read.
//!
//! A filter narrows reading in three dimensions: offsets, timestamps and keys. The answer is
//! always a superset, because every decoded row is filtered again. An expression that is not
//! understood here costs time but never correctness. A scan applies it, and applies it again
//! when a dynamic filter says more (`Scan::narrow`).

mod candidates;
mod scale;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::TreeNode as _;
use datafusion::common::{HashSet, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column as ColumnExpr, DynamicFilterPhysicalExpr, InListExpr,
    IsNullExpr, Literal, TryCastExpr,
};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_common::physical_expr::is_volatile;

pub(crate) use self::candidates::Candidates;
use self::scale::Scale;
use crate::definition::TableDefinition;
use crate::definition::metadata_columns::Metadata;
use crate::definition::schema::ColumnRole;
use crate::definition::type_groups::is_text;
use crate::options::{KeyFormat, Mode};
use crate::source::keys::WantedKeys;

/// The columns of an expression. `None` if they are not known: what comes from another library,
/// over DataFusion's foreign function interface, does not show them.
pub(crate) fn columns_of(expression: &Arc<dyn PhysicalExpr>) -> Option<HashSet<ColumnExpr>> {
    let is_known = |part: &Arc<dyn PhysicalExpr>| {
        !part.children().is_empty()
            || part.is::<ColumnExpr>()
            || part.is::<Literal>()
            || part.is::<ScalarFunctionExpr>()
    };
    let hides = expression.exists(|part| Ok(!is_known(part))).ok()?;
    (!hides).then(|| collect_columns(expression))
}

/// Finds the candidate records of filters, for one Kafka partition or for any.
pub(crate) struct Pruner<'a> {
    table: &'a TableDefinition,
    /// The roles of the filter's columns, by position in the filter's schema.
    columns: Vec<ColumnRole>,
    /// One row with the values that are the same for all rows of the partition.
    constants: Option<RecordBatch>,
    constant: BTreeSet<usize>,
}

impl<'a> Pruner<'a> {
    /// `positions` are the positions of the filter's columns in the table's schema. Without a
    /// partition, the result holds for each partition.
    pub(crate) fn new(
        table: &'a TableDefinition,
        positions: &[usize],
        partition: Option<i32>,
    ) -> Self {
        let all: Vec<ColumnRole> = table.schema.columns().map(|(column, _)| column).collect();
        let columns: Vec<ColumnRole> = positions
            .iter()
            .filter_map(|position| all.get(*position).copied())
            .collect();
        let mode = table.options.mode.unwrap_or_default();
        let mut constant = BTreeSet::new();
        let constants = table.schema.arrow().project(positions).ok();
        let constants = constants.and_then(|schema| {
            let arrays = schema.fields().iter().zip(&columns).enumerate();
            let arrays = arrays.map(|(index, (field, column))| {
                let value: ArrayRef = match column {
                    ColumnRole::Metadata(Metadata::Partition) if partition.is_some() => {
                        Arc::new(Int32Array::from(vec![partition]))
                    }
                    ColumnRole::Metadata(Metadata::Topic) => {
                        Arc::new(StringArray::from(vec![table.topic.as_str()]))
                    }
                    ColumnRole::Metadata(Metadata::Tombstone) if mode == Mode::Upsert => {
                        Arc::new(BooleanArray::from(vec![false]))
                    }
                    _ => return Some(new_null_array(field.data_type(), 1)),
                };
                constant.insert(index);
                cast(&value, field.data_type()).ok()
            });
            let arrays = arrays.collect::<Option<Vec<_>>>()?;
            let nullable = schema
                .fields()
                .iter()
                .map(|field| field.as_ref().clone().with_nullable(true));
            let schema: SchemaRef =
                Arc::new(arrow::datatypes::Schema::new(nullable.collect::<Vec<_>>()));
            let options = RecordBatchOptions::new().with_row_count(Some(1));
            RecordBatch::try_new_with_options(schema, arrays, &options).ok()
        });
        Pruner {
            table,
            columns,
            constants,
            constant,
        }
    }

    /// The records for which the filter may be true.
    pub(crate) fn candidates(&self, filter: &Arc<dyn PhysicalExpr>) -> Candidates {
        if let Some(dynamic) = filter.downcast_ref::<DynamicFilterPhysicalExpr>() {
            let current = dynamic.current();
            return current.map_or(Candidates::ALL, |filter| self.candidates(&filter));
        }
        if let Some(binary) = filter.downcast_ref::<BinaryExpr>() {
            let (left, right) = (binary.left(), binary.right());
            match binary.op() {
                Operator::And => return self.candidates(left).and(self.candidates(right)),
                Operator::Or => return self.candidates(left).or(self.candidates(right)),
                _ => {}
            }
        }
        if let Some(is_true) = self.constant_truth(filter) {
            return match is_true {
                true => Candidates::ALL,
                false => Candidates::NONE,
            };
        }
        if let Some(binary) = filter.downcast_ref::<BinaryExpr>() {
            let (left, right) = (binary.left(), binary.right());
            if let Some(literal) = right.downcast_ref::<Literal>() {
                return self.compare(left, *binary.op(), literal.value());
            }
            if let (Some(literal), Some(op)) = (left.downcast_ref::<Literal>(), binary.op().swap())
            {
                return self.compare(right, op, literal.value());
            }
        } else if let Some(list) = filter.downcast_ref::<InListExpr>() {
            return self.is_in(list);
        } else if let Some(case) = filter.downcast_ref::<CaseExpr>() {
            let branches = case.when_then_expr().iter().map(|(_, then)| then);
            return branches
                .chain(case.else_expr())
                .map(|branch| self.candidates(branch))
                .fold(Candidates::NONE, Candidates::or);
        } else if let Some(is_null) = filter.downcast_ref::<IsNullExpr>() {
            let column = is_null.arg().downcast_ref::<ColumnExpr>();
            let column = column.and_then(|column| self.columns.get(column.index()));
            if column == Some(&ColumnRole::Metadata(Metadata::Offset)) {
                return Candidates::NONE;
            }
        }
        Candidates::ALL
    }

    /// The value of a filter that is the same for all rows of the partition.
    fn constant_truth(&self, filter: &Arc<dyn PhysicalExpr>) -> Option<bool> {
        let columns = columns_of(filter)?;
        if !columns.iter().all(|c| self.constant.contains(&c.index())) || is_volatile(filter) {
            return None;
        }
        match filter.evaluate(self.constants.as_ref()?).ok()? {
            ColumnarValue::Scalar(ScalarValue::Boolean(value)) => Some(value == Some(true)),
            ColumnarValue::Array(array) => {
                let array = array.as_any().downcast_ref::<BooleanArray>()?;
                Some(array.iter().next().flatten() == Some(true))
            }
            ColumnarValue::Scalar(_) => None,
        }
    }

    fn is_in(&self, list: &InListExpr) -> Candidates {
        if list.negated() {
            return Candidates::ALL;
        }
        let mut any = Candidates::NONE;
        // Collected into one set first: a union per value would be quadratic.
        let mut keys = BTreeSet::new();
        let is_key = self.column(list.expr()) == Some(ColumnRole::Key);
        for item in list.list() {
            let Some(literal) = item.downcast_ref::<Literal>() else {
                return Candidates::ALL;
            };
            if is_key {
                if literal.value().is_null() {
                    continue;
                }
                match self.raw_keys(literal.value()) {
                    Some(raw) => keys.extend(raw),
                    None => return Candidates::ALL,
                }
            } else {
                any = any.or(self.compare(list.expr(), Operator::Eq, literal.value()));
            }
        }
        if keys.is_empty() {
            return any;
        }
        self.only(keys)
    }

    fn compare(
        &self,
        side: &Arc<dyn PhysicalExpr>,
        op: Operator,
        literal: &ScalarValue,
    ) -> Candidates {
        let op = match op {
            Operator::IsNotDistinctFrom if literal.is_null() => return Candidates::ALL,
            Operator::IsNotDistinctFrom => Operator::Eq,
            Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => op,
            _ => return Candidates::ALL,
        };
        match self.column(side) {
            Some(_) if literal.is_null() => Candidates::NONE,
            Some(ColumnRole::Key) if op == Operator::Eq => match self.raw_keys(literal) {
                Some(raw) => self.only(raw.into_iter().collect()),
                None => Candidates::ALL,
            },
            Some(ColumnRole::Metadata(metadata @ (Metadata::Offset | Metadata::Timestamp))) => {
                let scale = self.scale(side);
                let interval = scale.and_then(|scale| scale.interval(op, literal));
                match (metadata, interval) {
                    (_, None) => Candidates::ALL,
                    (_, Some(interval)) if interval.is_empty() => Candidates::NONE,
                    (Metadata::Offset, Some(offsets)) => Candidates {
                        offsets,
                        ..Candidates::ALL
                    },
                    (_, Some(timestamps)) => Candidates {
                        timestamps,
                        ..Candidates::ALL
                    },
                }
            }
            _ => Candidates::ALL,
        }
    }

    fn only(&self, raw: BTreeSet<Vec<u8>>) -> Candidates {
        Candidates {
            keys: Some(WantedKeys::new(raw, self.table.options.key_format())),
            ..Candidates::ALL
        }
    }

    /// The column under any number of casts. For keys, only casts that keep the text of the value
    /// count.
    fn column(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<ColumnRole> {
        if let Some(column) = expr.downcast_ref::<ColumnExpr>() {
            return self.columns.get(column.index()).copied();
        }
        let inner = uncast(expr)?;
        let column = self.column(inner)?;
        if column == ColumnRole::Key {
            let schema = self.constants.as_ref()?.schema();
            let (from, to) = (inner.data_type(&schema).ok()?, cast_type(expr)?);
            let both = |is: fn(&DataType) -> bool| is(&from) && is(&to);
            return (both(is_text) || both(DataType::is_integer)).then_some(column);
        }
        Some(column)
    }

    /// The record keys, as bytes, that a value of the key column can come from.
    fn raw_keys(&self, literal: &ScalarValue) -> Option<Vec<Vec<u8>>> {
        // Only the codec knows how many encodings a key has.
        if self.table.extensions.key_codec.is_some() {
            return None;
        }
        let text = literal.try_as_str().flatten();
        match self.table.options.key_format() {
            KeyFormat::String => Some(vec![text?.as_bytes().to_vec()]),
            KeyFormat::Bytes => match literal {
                ScalarValue::Binary(Some(bytes))
                | ScalarValue::LargeBinary(Some(bytes))
                | ScalarValue::BinaryView(Some(bytes)) => Some(vec![bytes.clone()]),
                _ => None,
            },
            KeyFormat::Binary(key) => Some(vec![key.bytes_of(literal)?]),
            KeyFormat::Json => match (text, literal) {
                // Either a JSON string, or another JSON value with this text.
                (Some(text), _) => Some(vec![
                    format!("\"{text}\"").into_bytes(),
                    text.as_bytes().to_vec(),
                ]),
                // With coercion, `"5"` would be another encoding of 5.
                (None, literal)
                    if literal.data_type().is_integer() && !self.table.options.decode.coerce =>
                {
                    Some(vec![literal.to_string().into_bytes()])
                }
                _ => None,
            },
        }
    }

    /// How the values of this side are computed from offsets or milliseconds.
    fn scale(&self, side: &Arc<dyn PhysicalExpr>) -> Option<Scale> {
        if let Some(column) = side.downcast_ref::<ColumnExpr>() {
            let field = self.constants.as_ref()?.schema();
            let data_type = field.fields().get(column.index())?.data_type().clone();
            let start = match self.columns.get(column.index())? {
                ColumnRole::Metadata(Metadata::Offset) => Scale::identity(DataType::Int64),
                // First the type that brokers use, then the declared type.
                _ => Scale::identity(Metadata::Timestamp.data_type()),
            };
            return start.cast(&data_type);
        }
        self.scale(uncast(side)?)?.cast(&cast_type(side)?)
    }
}

fn uncast(expr: &Arc<dyn PhysicalExpr>) -> Option<&Arc<dyn PhysicalExpr>> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return Some(cast.expr());
    }
    expr.downcast_ref::<TryCastExpr>().map(TryCastExpr::expr)
}

fn cast_type(expr: &Arc<dyn PhysicalExpr>) -> Option<DataType> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return Some(cast.cast_type().clone());
    }
    let cast = expr.downcast_ref::<TryCastExpr>();
    cast.map(|cast| cast.cast_type().clone())
}
