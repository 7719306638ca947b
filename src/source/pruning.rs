//! Pruning: which records a filter excludes before they are decoded, or even read.
//!
//! A filter narrows reading in three dimensions: offsets, timestamps and keys. The answer is
//! always a superset, because every decoded row is filtered again. An expression that is not
//! understood here costs time but never correctness. A scan applies it, and applies it again
//! when a dynamic filter says more (`Scan::narrow`).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use chrono::{DateTime, SecondsFormat};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column as ColumnExpr, DynamicFilterPhysicalExpr, InListExpr,
    IsNullExpr, Literal, TryCastExpr,
};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::is_volatile;

use crate::definition::TableDefinition;
use crate::definition::metadata_columns::Metadata;
use crate::definition::schema::ColumnRole;
use crate::definition::type_groups::is_text;
use crate::options::{KeyFormat, Mode};
use crate::source::keys::WantedKeys;

/// The records of one partition for which a filter may be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidates {
    pub(crate) offsets: Interval,
    /// Milliseconds since 1970.
    pub(crate) timestamps: Interval,
    /// `None` is every key.
    pub(crate) keys: Option<WantedKeys>,
}

/// From `min` to `max`, both included; empty where `min` > `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) min: i64,
    pub(crate) max: i64,
}

impl Interval {
    pub(crate) const ALL: Interval = Interval {
        min: i64::MIN,
        max: i64::MAX,
    };
    const NONE: Interval = Interval { min: 1, max: 0 };

    fn is_empty(self) -> bool {
        self.min > self.max
    }
}

impl Candidates {
    pub(crate) const ALL: Candidates = Candidates {
        offsets: Interval::ALL,
        timestamps: Interval::ALL,
        keys: None,
    };

    /// No record: the filter is never true.
    pub(crate) const NONE: Candidates = Candidates {
        offsets: Interval::NONE,
        timestamps: Interval::NONE,
        keys: None,
    };

    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty() || self.timestamps.is_empty()
    }

    /// Describes the pruning in words, for EXPLAIN.
    pub(crate) fn describe(&self, mode: Mode) -> Vec<String> {
        if self.is_empty() {
            return vec!["nothing".to_owned()];
        }
        let mut words = Vec::new();
        let Interval { min, max } = self.offsets;
        if min > 0 {
            words.push(format!("_offset >= {min}"));
        }
        // In upsert mode a newer record hides the older one, whatever its offset.
        if max < i64::MAX && mode == Mode::Append {
            words.push(format!("_offset <= {max}"));
        }
        if self.timestamps.min > 0 {
            let time = DateTime::from_timestamp_millis(self.timestamps.min);
            let millis = || self.timestamps.min.to_string();
            let time = time.map_or_else(millis, |time| {
                time.to_rfc3339_opts(SecondsFormat::Millis, true)
            });
            words.push(format!("_timestamp >= {time}"));
        }
        if let Some(keys) = &self.keys {
            let plural = if keys.len() == 1 { "" } else { "s" };
            words.push(format!("_key in {} value{plural}", keys.len()));
        }
        words
    }

    fn and(self, other: Candidates) -> Candidates {
        let both = |one: Interval, other: Interval| Interval {
            min: one.min.max(other.min),
            max: one.max.min(other.max),
        };
        let joined = Candidates {
            offsets: both(self.offsets, other.offsets),
            timestamps: both(self.timestamps, other.timestamps),
            keys: match (self.keys, other.keys) {
                (Some(one), Some(other)) => Some(one.intersection(other)),
                (one, other) => one.or(other),
            },
        };
        let no_key = joined.keys.as_ref().is_some_and(WantedKeys::is_empty);
        if no_key || joined.is_empty() {
            return Candidates::NONE;
        }
        joined
    }

    pub(crate) fn or(self, other: Candidates) -> Candidates {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        let hull = |one: Interval, other: Interval| Interval {
            min: one.min.min(other.min),
            max: one.max.max(other.max),
        };
        Candidates {
            offsets: hull(self.offsets, other.offsets),
            timestamps: hull(self.timestamps, other.timestamps),
            keys: match (self.keys, other.keys) {
                (Some(one), Some(other)) => Some(one.union(other)),
                _ => None,
            },
        }
    }
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
    /// partition, the result holds for every partition.
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
        let columns = collect_columns(filter);
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
            keys: Some(WantedKeys::new(raw, self.table.options.key_format)),
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
        match self.table.options.key_format {
            KeyFormat::String => Some(vec![text?.as_bytes().to_vec()]),
            KeyFormat::Bytes => match literal {
                ScalarValue::Binary(Some(bytes))
                | ScalarValue::LargeBinary(Some(bytes))
                | ScalarValue::BinaryView(Some(bytes)) => Some(vec![bytes.clone()]),
                _ => None,
            },
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

const SECOND: i128 = 1_000;
const DAY: i128 = 86_400_000;

/// How a compared value is computed from an offset or from milliseconds: multiplied by `times`,
/// divided by `parts`, and off by at most `slack`.
struct Scale {
    data_type: DataType,
    times: i128,
    parts: i128,
    slack: i128,
}

impl Scale {
    fn identity(data_type: DataType) -> Self {
        Scale {
            data_type,
            times: 1,
            parts: 1,
            slack: 0,
        }
    }

    /// `None` for a cast that does not keep the order, or that is not supported here.
    fn cast(mut self, to: &DataType) -> Option<Self> {
        use DataType::{Date32, Date64, Timestamp};
        match (&self.data_type, to) {
            (Timestamp(_, from), Timestamp(unit, zone)) => {
                (self.times, self.parts) = match unit {
                    TimeUnit::Second => (1, SECOND),
                    TimeUnit::Millisecond => (1, 1),
                    TimeUnit::Microsecond => (1_000, 1),
                    TimeUnit::Nanosecond => (1_000_000, 1),
                };
                if *unit == TimeUnit::Second {
                    self.slack += SECOND;
                }
                // The value is interpreted as local time in some zone.
                let is_utc = matches!(zone.as_deref(), None | Some("UTC" | "+00:00" | "Z"));
                if from.is_none() && !is_utc {
                    self.slack += DAY;
                }
            }
            (Timestamp(..), Date32) => {
                (self.times, self.parts) = (1, DAY);
                self.slack += 2 * DAY;
            }
            (Timestamp(..), Date64) => {
                (self.times, self.parts) = (1, 1);
                self.slack += 2 * DAY;
            }
            (Timestamp(..) | DataType::Int64, DataType::Int64) => {}
            (DataType::Int64, to) if keeps_integers(to) => {}
            _ => return None,
        }
        // All numeric types compare alike, whatever their width.
        if !matches!(self.data_type, DataType::Int64) || !to.is_numeric() {
            self.data_type = to.clone();
        }
        Some(self)
    }

    /// The offsets or milliseconds whose value satisfies the comparison.
    fn interval(&self, op: Operator, literal: &ScalarValue) -> Option<Interval> {
        // No realistic literal is larger, and larger products would overflow.
        const LARGEST: i128 = 1 << 80;
        let (floor, ceil) = whole(literal).filter(|(floor, ceil)| {
            (-LARGEST..LARGEST).contains(floor) && (-LARGEST..LARGEST).contains(ceil)
        })?;
        let (exact, times, parts) = (self.parts == 1, self.times, self.parts);
        let step = i128::from(exact);
        let at_least = |value: i128| -(-value * parts).div_euclid(times) - self.slack;
        let at_most = |value: i128| (value * parts).div_euclid(times) + self.slack;
        let (min, max) = match op {
            Operator::Eq if exact && floor != ceil => return Some(Interval::NONE),
            Operator::Eq => (at_least(floor), at_most(ceil)),
            Operator::Gt => (at_least(floor + step), i128::MAX),
            Operator::GtEq => (at_least(if exact { ceil } else { floor }), i128::MAX),
            Operator::Lt => (i128::MIN, at_most(ceil - step)),
            Operator::LtEq => (i128::MIN, at_most(if exact { floor } else { ceil })),
            _ => return None,
        };
        let clamp = |value: i128| value.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        if min > max || min > i64::MAX.into() || max < i64::MIN.into() {
            return Some(Interval::NONE);
        }
        Some(Interval {
            min: clamp(min),
            max: clamp(max),
        })
    }
}

/// Whether a cast keeps different integers different, up to [`EXACT`]. An integer that is too
/// large for a type is an error and is not rounded.
fn keeps_integers(to: &DataType) -> bool {
    match to {
        DataType::Float64 => true,
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale >= 0,
        to => to.is_integer(),
    }
}

/// The integers next to a literal, below and above.
fn whole(literal: &ScalarValue) -> Option<(i128, i128)> {
    let number: i128 = match literal {
        ScalarValue::Int8(Some(v)) => (*v).into(),
        ScalarValue::Int16(Some(v)) => (*v).into(),
        ScalarValue::Int32(Some(v)) | ScalarValue::Date32(Some(v)) => (*v).into(),
        ScalarValue::Int64(Some(v))
        | ScalarValue::Date64(Some(v))
        | ScalarValue::TimestampSecond(Some(v), _)
        | ScalarValue::TimestampMillisecond(Some(v), _)
        | ScalarValue::TimestampMicrosecond(Some(v), _)
        | ScalarValue::TimestampNanosecond(Some(v), _) => (*v).into(),
        ScalarValue::UInt8(Some(v)) => (*v).into(),
        ScalarValue::UInt16(Some(v)) => (*v).into(),
        ScalarValue::UInt32(Some(v)) => (*v).into(),
        ScalarValue::UInt64(Some(v)) => (*v).into(),
        ScalarValue::Decimal128(Some(v), _, scale @ 0..=37) => {
            let one = 10i128.pow(u32::from(scale.unsigned_abs()));
            return Some((v.div_euclid(one), -(-v).div_euclid(one)));
        }
        ScalarValue::Float32(Some(v)) => return whole_float((*v).into()),
        ScalarValue::Float64(Some(v)) => return whole_float(*v),
        _ => return None,
    };
    Some((number, number))
}

/// From here on, neighbouring integers share one float.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn whole_float(value: f64) -> Option<(i128, i128)> {
    (value.abs() < EXACT).then(|| (value.floor() as i128, value.ceil() as i128))
}
