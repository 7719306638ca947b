//! Messages and hints about documents and values that the JSON codec refuses.
//!
//! The codec reports what is wrong as data. Here, types get their SQL names, and a hint names the
//! option or the declaration that helps. A user can follow each hint literally: the named type or
//! option accepts the value, and the named conversion gives the intended value.

use arrow::datatypes::{DataType, TimeUnit};

use crate::json::{
    DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind, Found, UnsupportedReason,
    UnsupportedType,
};
use crate::sql_type::sql_type;

/// What is wrong with a key or a payload, without a hint.
pub(crate) fn decode_message(error: &DecodeError) -> String {
    error.message(sql_type)
}

/// Why a value cannot be written, and what helps.
pub(super) fn encode_message(error: &EncodeError) -> String {
    let message = error.message(sql_type);
    match error.kind {
        EncodeErrorKind::NonFinite => format!("{message}; set `kafka.json.non_finite` = string"),
        EncodeErrorKind::UnitPrecision(unit) => format!(
            "{message} in `kafka.json.timestamp_unit`; truncate it with date_trunc('{}', ..)",
            unit_word(unit)
        ),
        EncodeErrorKind::NotJson => format!(
            "{message}; write a string with quotes of its own, as in '\"text\"', or set \
             `kafka.column.<name>.encoding` = `text`"
        ),
        _ => message,
    }
}

/// Why a column has no JSON form, and what to declare.
pub(crate) fn unsupported_message(error: &UnsupportedType) -> String {
    match error.reason {
        UnsupportedReason::NoForm => format!(
            "type {} of `{}` has no JSON form: declare another type, or VARCHAR for the JSON text",
            sql_type(&error.data_type),
            error.path
        ),
        _ => error.message(sql_type),
    }
}

/// What helps with an error in a payload, as the end of a sentence. `kafka.on_bad_record` helps
/// with all errors and is not repeated here.
pub(super) fn hint(error: &DecodeError) -> Option<&'static str> {
    const AS_TEXT: &str = "set `kafka.value.format` = `string` to read it as text";
    Some(match &error.kind {
        DecodeErrorKind::Type { expected, found } => instead(expected, *found),
        DecodeErrorKind::MissingValue { .. } => "declare it without NOT NULL",
        DecodeErrorKind::InvalidJson(_) if error.is_read_leniently() => {
            "set `kafka.json.lenient` = `true`"
        }
        DecodeErrorKind::InvalidUtf8 => "set `kafka.value.format` = `bytes` to read the raw bytes",
        DecodeErrorKind::InvalidJson(_) | DecodeErrorKind::TooDeep if error.path.is_empty() => {
            AS_TEXT
        }
        DecodeErrorKind::NotAnObject(_) if !may_mean_a_delete(error) => AS_TEXT,
        _ => return None,
    })
}

/// Whether the error is about a payload that some writers use for a delete.
pub(super) fn may_mean_a_delete(error: &DecodeError) -> bool {
    matches!(
        error.kind,
        DecodeErrorKind::Empty | DecodeErrorKind::NotAnObject(Found::Null)
    )
}

/// The unit as the argument of `date_trunc`.
fn unit_word(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "second",
        TimeUnit::Millisecond => "millisecond",
        TimeUnit::Microsecond => "microsecond",
        TimeUnit::Nanosecond => "nanosecond",
    }
}

const AS_TEXT: &str = "declare VARCHAR, which takes values of every kind as text";
const ITS_TEXT: &str = "declare VARCHAR for its text";
const TRY_CAST: &str = "declare VARCHAR and use try_cast";

/// What helps where `found` was found in a column of type `expected`, as the end of a sentence.
fn instead(expected: &DataType, found: Found) -> &'static str {
    match found {
        Found::Object => "declare STRUCT<..> for its properties, or VARCHAR for its JSON text",
        Found::Array => array(expected),
        _ if expected.is_nested() => match found {
            Found::String => ITS_TEXT,
            Found::ArrayLength => "declare a list of any length",
            _ => AS_TEXT,
        },
        Found::Boolean if expected.is_integer() || expected.is_floating() => {
            "declare BOOLEAN and cast, or VARCHAR, which takes values of every kind as text"
        }
        Found::Boolean => "declare BOOLEAN, or VARCHAR, which takes values of every kind as text",
        Found::Number => number(expected),
        Found::Fraction if expected.is_temporal() => "set `kafka.json.timestamp_unit`",
        Found::Fraction => "declare DOUBLE or DECIMAL, or VARCHAR and cast",
        Found::OutOfRange => range(expected),
        Found::Rounded => {
            "declare the columns, this one as DECIMAL or VARCHAR to keep such numbers, or as \
             DOUBLE to have them rounded"
        }
        Found::NumberPrecision if *expected == DataType::Date32 => {
            "declare BIGINT and use arrow_cast(.., 'Date32') where it counts days, or declare \
             TIMESTAMP and cast to DATE"
        }
        Found::NumberPrecision if is_coarse(expected) => {
            "declare a finer type, such as TIMESTAMP(9)"
        }
        Found::NumberPrecision => ITS_TEXT,
        Found::TimePrecision if *expected == DataType::Date32 => {
            "declare TIMESTAMP and cast to DATE"
        }
        Found::TimePrecision if is_coarse(expected) => {
            "declare a finer type, such as TIMESTAMP(9), or VARCHAR and cast"
        }
        Found::TimePrecision if is_span(expected) => ITS_TEXT,
        Found::TimePrecision => "declare VARCHAR and cast",
        Found::NonFinite if expected.is_numeric() => "declare DOUBLE, or VARCHAR for its text",
        Found::DecimalPlaces => "declare a larger scale, or VARCHAR and cast",
        // In columns of other types, the content of a string decides.
        Found::String => "set `kafka.json.coerce` = `true`, or declare VARCHAR and cast",
        Found::NotANumber if expected.is_decimal() => {
            "declare VARCHAR and use try_cast, or BYTEA for the bytes of base64"
        }
        Found::NotANumber | Found::NotABoolean => TRY_CAST,
        Found::NotBase64 => "declare VARCHAR and use decode(.., 'hex') where it is hexadecimal",
        Found::BinaryLength => "declare BYTEA",
        Found::NotADateTime if *expected == DataType::Date32 => {
            "declare VARCHAR and use to_date with its format, as in '%d/%m/%Y'"
        }
        Found::NotADateTime => {
            "declare VARCHAR and use to_timestamp with its format, as in '%d/%m/%Y %H:%M:%S'"
        }
        Found::NotATime => "declare VARCHAR and use to_time with its format, as in '%H.%M.%S'",
        Found::NotADuration => "declare VARCHAR and cast to INTERVAL",
        Found::DurationParts => "declare INTERVAL",
        Found::TimeOutOfRange if matches!(expected, DataType::Timestamp(..)) => {
            "declare a coarser type, such as TIMESTAMP(3), or VARCHAR for its text"
        }
        Found::LocalTime | Found::UnknownZone => {
            "declare TIMESTAMP without a time zone, or VARCHAR for its text"
        }
        Found::TimeOutOfRange => ITS_TEXT,
        _ => AS_TEXT,
    }
}

fn array(expected: &DataType) -> &'static str {
    match expected {
        DataType::Date32 => {
            "declare BIGINT[] and use make_date of its elements, or VARCHAR for its JSON text"
        }
        DataType::Timestamp(..) | DataType::Date64 => {
            "declare BIGINT[] and use to_timestamp(array_to_string(.., '-'), '%Y-%m-%d-%H-%M'), \
             or VARCHAR for its JSON text"
        }
        DataType::Struct(_) => "declare STRUCT<..>[], or VARCHAR for its JSON text",
        _ => "declare a list such as BIGINT[], or VARCHAR for its JSON text",
    }
}

fn number(expected: &DataType) -> &'static str {
    match expected {
        DataType::Boolean => "declare BIGINT or DOUBLE and cast",
        DataType::Date32 => {
            "declare BIGINT and use arrow_cast(.., 'Date32') where it counts days, or set \
             `kafka.json.timestamp_unit`"
        }
        DataType::Timestamp(..) | DataType::Date64 => {
            "set `kafka.json.timestamp_unit`, or declare BIGINT and use to_timestamp_millis or \
             similar"
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            "set `kafka.json.timestamp_unit`, or declare BIGINT and use arrow_cast(.., \
             'Time64(Microsecond)') or similar"
        }
        _ if is_span(expected) => {
            "declare BIGINT and use arrow_cast(.., 'Duration(Millisecond)') or similar"
        }
        _ => AS_TEXT,
    }
}

fn range(expected: &DataType) -> &'static str {
    match expected {
        DataType::Int64 => "declare BIGINT UNSIGNED or DECIMAL(38, 0), or VARCHAR for its text",
        DataType::UInt64 => "declare DECIMAL(38, 0), or VARCHAR for its text",
        _ if expected.is_integer() => "declare BIGINT or DECIMAL(38, 0), or VARCHAR for its text",
        DataType::Float16 | DataType::Float32 => "declare DOUBLE, or VARCHAR for its text",
        _ if expected.is_decimal() => {
            "declare more digits, up to DECIMAL(76, ..), or VARCHAR for its text"
        }
        DataType::Timestamp(..) | DataType::Date64 => {
            "declare a coarser type, such as TIMESTAMP(3), or, where `kafka.json.timestamp_unit` is \
             not its unit, BIGINT and use to_timestamp_millis or similar"
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            "declare BIGINT and, where `kafka.json.timestamp_unit` is not its unit, use \
             arrow_cast(.., 'Time64(Microsecond)') or similar"
        }
        _ => ITS_TEXT,
    }
}

/// Whether a timestamp type of a finer unit exists.
fn is_coarse(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(unit, _) => *unit != TimeUnit::Nanosecond,
        DataType::Date64 => true,
        _ => false,
    }
}

fn is_span(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Duration(_) | DataType::Interval(_))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, TimestampNanosecondArray};
    use arrow::datatypes::{Field, Fields, IntervalUnit};

    use super::*;
    use crate::json::{
        DecodeOptions, EncodeOptions, RowDecoder, SchemaInference, ValueDecoder, ValueEncoder,
    };

    fn field(name: &str, data_type: DataType) -> Fields {
        Fields::from(vec![Field::new(name, data_type, true)])
    }

    fn decode(data_type: &DataType, json: &str) -> Result<(), DecodeError> {
        let field = Field::new("v", data_type.clone(), true);
        let mut decoder = ValueDecoder::try_new(&field, &DecodeOptions::default()).unwrap();
        decoder.append(json.as_bytes())
    }

    fn encode_with(array: &ArrayRef, options: &EncodeOptions) -> String {
        let field = Field::new("v", array.data_type().clone(), true);
        let encoder = ValueEncoder::try_new(&field, options).unwrap();
        let error = encoder.batch(array).unwrap().write(0, &mut Vec::new());
        encode_message(&error.unwrap_err())
    }

    #[test]
    fn a_value_of_another_kind_is_described_in_the_types_of_sql() {
        let tag = Field::new("n", DataType::Int8, false);
        let tags = DataType::new_list(DataType::Struct(vec![tag].into()), true);
        let customer = DataType::Struct(vec![Field::new("tags", tags, true)].into());
        let fields = field("customer", customer);
        let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
        let error = decoder
            .append(br#"{"CUSTOMER":{"Tags":[{"n":1},{"N":"secret"}]}}"#)
            .unwrap_err();
        assert_eq!(
            decode_message(&error),
            "expected TINYINT but found a string that is not a number in `customer.tags[1].n` at byte 34"
        );
        assert_eq!(hint(&error), Some("declare VARCHAR and use try_cast"));
        let error = decoder
            .append(br#"{"customer":{"tags":[{"n":null}]}}"#)
            .unwrap_err();
        assert!(hint(&error).is_some());
    }

    #[test]
    fn a_string_for_a_number_may_be_coerced() {
        let error = decode(&DataType::Int32, "\"42\"").unwrap_err();
        assert!(hint(&error).unwrap().contains("kafka.json.coerce"));
    }

    #[test]
    fn a_number_for_a_timestamp_needs_a_unit() {
        let ms = DataType::Timestamp(TimeUnit::Millisecond, None);
        let error = decode(&ms, "1709208000").unwrap_err();
        let hint = hint(&error).unwrap();
        assert!(hint.contains("`kafka.json.timestamp_unit`"), "{hint}");
    }

    #[test]
    fn a_number_that_would_be_rounded_is_kept_by_another_type() {
        let mut inference = SchemaInference::new();
        inference.add(br#"{"v":1.5}"#).unwrap();
        let options = DecodeOptions::default().with_exact_doubles(true);
        let mut decoder = RowDecoder::try_new(&inference.finish(), &options).unwrap();
        let error = decoder.append(br#"{"v":9007199254740993}"#).unwrap_err();
        assert_eq!(
            decode_message(&error),
            "expected DOUBLE but found a number that it would round in `v` at byte 5"
        );
        assert!(
            hint(&error)
                .unwrap()
                .contains("as DECIMAL or VARCHAR to keep")
        );
    }

    /// Types that SQL cannot declare. Tests with SQL follow the hints for the other types.
    #[test]
    fn what_is_advised_instead_of_a_type_of_arrow_reads_the_value() {
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        let timestamp = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let time = "\"2024-02-29T08:30:00\"";
        let unknown = DataType::Timestamp(TimeUnit::Second, Some("Nowhere/None".into()));
        let pair = DataType::new_fixed_size_list(DataType::Int64, 2, true);
        let list = DataType::new_list(DataType::Int64, true);
        for (data_type, json, advice, instead) in [
            (
                DataType::FixedSizeBinary(3),
                "\"AQI=\"",
                "declare BYTEA",
                DataType::Binary,
            ),
            (
                DataType::Duration(TimeUnit::Second),
                "\"P1M\"",
                "declare INTERVAL",
                interval,
            ),
            (
                unknown,
                time,
                "declare TIMESTAMP without a time zone, or VARCHAR for its text",
                timestamp.clone(),
            ),
            (
                DataType::Date64,
                "\"2024-02-29T08:30:00.1234Z\"",
                "declare a finer type, such as TIMESTAMP(9), or VARCHAR and cast",
                timestamp,
            ),
            (pair, "[1]", "declare a list of any length", list),
            (
                DataType::Float16,
                "70000",
                "declare DOUBLE, or VARCHAR for its text",
                DataType::Float64,
            ),
            (
                DataType::Null,
                "7",
                "declare VARCHAR, which takes values of every kind as text",
                DataType::Utf8,
            ),
        ] {
            let error = decode(&data_type, json).unwrap_err();
            assert_eq!(hint(&error), Some(advice), "{data_type}");
            assert!(decode(&instead, json).is_ok(), "{data_type}");
        }
    }

    #[test]
    fn a_value_that_json_cannot_hold_is_described_with_its_option() {
        let nan: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN]));
        assert_eq!(
            encode_with(&nan, &EncodeOptions::default()),
            "cannot write DOUBLE of `v` as JSON: NaN and infinities are no JSON numbers; set \
             `kafka.json.non_finite` = string"
        );
        let late: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000_001]));
        let options = EncodeOptions::default().with_timestamp_unit(Some(TimeUnit::Millisecond));
        assert_eq!(
            encode_with(&late, &options),
            "cannot write TIMESTAMP(9) of `v` as JSON: it is more precise than ms, the unit of such \
             numbers in `kafka.json.timestamp_unit`; truncate it with date_trunc('millisecond', ..)"
        );
    }

    #[test]
    fn a_type_without_a_json_form_is_to_be_declared_otherwise() {
        let item = Field::new("item", DataType::Int64, true);
        let list = Field::new("v", DataType::ListView(item.into()), true);
        let error = crate::json::check_type(&list).unwrap_err();
        let message = unsupported_message(&error);
        assert!(message.starts_with("type ListView("), "{message}");
        assert!(
            message.ends_with(
                " of `v` has no JSON form: declare another type, or VARCHAR for the JSON text"
            ),
            "{message}"
        );
    }
}
