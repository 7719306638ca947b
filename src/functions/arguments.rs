//! Evaluates the arguments of a call, which are constants known before the query runs.

use std::ops::RangeInclusive;

use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::catalog::{Session, TableFunctionArgs};
use datafusion::common::{DFSchema, Result as DataFusionResult, ScalarValue, plan_err};
use datafusion::logical_expr::{ColumnarValue, Expr};

use crate::options::Bound;

const BOUND: &str = "expected 'earliest', 'latest', a time (a TIMESTAMP, text as RFC 3339, \
                     milliseconds since 1970, 'timestamp:..') or offsets ('{\"0\":12}', \
                     'offsets:{\"0\":12}')";

const DAY: i64 = 24 * 60 * 60 * 1000;

/// The arguments of one call.
pub(super) struct Arguments<'a> {
    /// The function's signature, for messages.
    signature: &'static str,
    expressions: &'a [Expr],
    session: &'a dyn Session,
}

impl<'a> Arguments<'a> {
    /// # Errors
    /// A plan error for a number of arguments that is not allowed.
    pub(super) fn new(
        signature: &'static str,
        allowed: RangeInclusive<usize>,
        arguments: &TableFunctionArgs<'a, 'a>,
    ) -> DataFusionResult<Self> {
        let expressions = arguments.exprs();
        if !allowed.contains(&expressions.len()) {
            return plan_err!(
                "{signature} was called with {} arguments",
                expressions.len()
            );
        }
        Ok(Arguments {
            signature,
            expressions,
            session: arguments.session(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.expressions.len()
    }

    /// The function's name.
    pub(super) fn function(&self) -> &'static str {
        let (function, _) = self
            .signature
            .split_once('(')
            .unwrap_or((self.signature, ""));
        function
    }

    pub(super) fn session(&self) -> &'a dyn Session {
        self.session
    }

    /// The first argument: the name of a table or topic.
    pub(super) fn topic(&self) -> DataFusionResult<String> {
        if let Some(Expr::Column(name)) = self.expressions.first() {
            return plan_err!(
                "{}: argument `topic` is text; write '{}'",
                self.signature,
                name.flat_name()
            );
        }
        let value = self.constant(0, "topic")?;
        match value.try_as_str() {
            Some(Some(topic)) => Ok(topic.to_owned()),
            _ => self.wrong(
                "topic",
                &value,
                "expected the name of a topic, such as 'orders'",
            ),
        }
    }

    /// A position in a topic.
    pub(super) fn bound(&self, position: usize, argument: &str) -> DataFusionResult<Bound> {
        let value = self.constant(position, argument)?;
        if value.is_null() {
            return self.wrong(argument, &value, BOUND);
        }
        if let Some(Some(text)) = value.try_as_str() {
            return match bound_of_text(text) {
                Ok(bound) => Ok(bound),
                Err(reason) => self.wrong(argument, &value, &reason),
            };
        }
        match millis(&value) {
            Some(millis @ 0..) => Ok(Bound::Timestamp(millis)),
            Some(_) => self.wrong(argument, &value, "Kafka's timestamps start in 1970"),
            None => self.wrong(argument, &value, BOUND),
        }
    }

    fn wrong<T>(&self, argument: &str, value: &ScalarValue, expected: &str) -> DataFusionResult<T> {
        let value = match value.try_as_str() {
            Some(Some(text)) => format!("'{text}'"),
            _ => value.to_string(),
        };
        plan_err!(
            "{}: argument `{argument}` is {value}; {expected}",
            self.signature
        )
    }

    fn constant(&self, position: usize, argument: &str) -> DataFusionResult<ScalarValue> {
        let Some(expression) = self.expressions.get(position) else {
            return plan_err!("{} needs the argument `{argument}`", self.signature);
        };
        match fold(expression, self.session) {
            Ok(value) => Ok(value),
            Err(error) => plan_err!(
                "{}: argument `{argument}` is {}; expected a constant: {}",
                self.signature,
                expression.human_display(),
                error.strip_backtrace()
            ),
        }
    }
}

/// The value of an expression without columns. Arguments from SQL are already constants;
/// arguments of other calls may still be expressions.
fn fold(expression: &Expr, session: &dyn Session) -> DataFusionResult<ScalarValue> {
    if let Expr::Literal(value, _) = expression {
        return Ok(value.clone());
    }
    let physical = session.create_physical_expr(expression.clone(), &DFSchema::empty())?;
    let one_row = RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(Schema::empty().into(), vec![], &one_row)?;
    match physical.evaluate(&batch)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0),
    }
}

/// Parses what `kafka.end` takes. The prefixes `timestamp:` and `offsets:` may be missing.
fn bound_of_text(text: &str) -> Result<Bound, String> {
    let text = text.trim();
    let word = if text.starts_with('{') {
        "offsets:"
    } else if text.starts_with(|first: char| first.is_ascii_digit()) && text.contains('-') {
        "timestamp:"
    } else {
        ""
    };
    match Bound::parse(&format!("{word}{text}")) {
        Err(_) if word.is_empty() && !text.contains(':') => Err(BOUND.to_owned()),
        parsed => parsed,
    }
}

/// Milliseconds since 1970. Fractions of a millisecond are rounded up: timestamps of records are
/// whole milliseconds, and a bound is the first record at that time or later.
fn millis(value: &ScalarValue) -> Option<i64> {
    match *value {
        ScalarValue::TimestampSecond(seconds, _) => seconds?.checked_mul(1000),
        ScalarValue::TimestampMillisecond(millis, _) | ScalarValue::Date64(millis) => millis,
        ScalarValue::TimestampMicrosecond(micros, _) => Some(ceil(micros?, 1000)),
        ScalarValue::TimestampNanosecond(nanos, _) => Some(ceil(nanos?, 1_000_000)),
        ScalarValue::Date32(days) => Some(i64::from(days?) * DAY),
        _ if value.data_type().is_integer() => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(millis)) => millis,
            _ => None,
        },
        _ => None,
    }
}

fn ceil(value: i64, unit: i64) -> i64 {
    value.div_euclid(unit) + i64::from(value.rem_euclid(unit) != 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn text_is_what_an_end_takes_or_that_without_its_word() {
        let offsets = Bound::Offsets(BTreeMap::from([(0, 12)]));
        let time = Bound::Timestamp(1_704_067_200_000);
        for (text, bound) in [
            ("earliest", &Bound::Earliest),
            (" Latest", &Bound::Latest),
            ("offsets:{\"0\":12}", &offsets),
            ("{\"0\":12}", &offsets),
            ("timestamp:1704067200000", &time),
            ("timestamp:2024-01-01T00:00:00Z", &time),
            ("2024-01-01T01:00:00+01:00", &time),
        ] {
            assert_eq!(bound_of_text(text).as_ref(), Ok(bound), "{text}");
        }
        for text in [
            "",
            "now",
            "12",
            "{}",
            "{\"0\":-1}",
            "2024-01-01",
            "1969-12-31T00:00:00Z",
        ] {
            assert!(bound_of_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parts_of_a_millisecond_are_rounded_up() {
        for (nanos, expected) in [(0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2)] {
            let value = ScalarValue::TimestampNanosecond(Some(nanos), None);
            assert_eq!(millis(&value), Some(expected), "{nanos}");
        }
        assert_eq!(millis(&ScalarValue::Date32(Some(1))), Some(DAY));
        assert_eq!(millis(&ScalarValue::UInt64(Some(u64::MAX))), None);
        assert_eq!(
            millis(&ScalarValue::TimestampSecond(Some(i64::MAX), None)),
            None
        );
        assert_eq!(millis(&ScalarValue::Float64(Some(1.0))), None);
    }
}
