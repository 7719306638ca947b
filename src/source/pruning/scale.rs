//! [`Scale`]: comparisons of what is computed from an offset or a time.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;

use super::candidates::Interval;

const SECOND: i128 = 1_000;
const DAY: i128 = 86_400_000;

/// How a compared value is computed from an offset or from milliseconds: multiplied by `times`,
/// divided by `parts`, and off by at most `slack`.
pub(super) struct Scale {
    data_type: DataType,
    times: i128,
    parts: i128,
    slack: i128,
}

impl Scale {
    pub(super) fn identity(data_type: DataType) -> Self {
        Scale {
            data_type,
            times: 1,
            parts: 1,
            slack: 0,
        }
    }

    /// `None` for a cast that does not keep the order, or that is not supported here.
    pub(super) fn cast(mut self, to: &DataType) -> Option<Self> {
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
    pub(super) fn interval(&self, op: Operator, literal: &ScalarValue) -> Option<Interval> {
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
