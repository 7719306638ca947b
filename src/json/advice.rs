//! What to do about a value that does not fit its column.
//!
//! Each of these can be followed as it is: the type or option that it names takes the
//! value, and what it says to make of that gives the value that was meant.

use arrow::datatypes::{DataType, TimeUnit};

use super::error::found;

const AS_TEXT: &str = "declare VARCHAR, which takes values of every kind as text";
const ITS_TEXT: &str = "declare VARCHAR for its text";
const TRY_CAST: &str = "declare VARCHAR and use try_cast";

/// What helps where this was found in a column of this type, as the end of a sentence.
pub(super) fn advice(expected: &DataType, found: &str) -> &'static str {
    match found {
        found::OBJECT => "declare STRUCT<..> for its properties, or VARCHAR for its JSON text",
        found::ARRAY => array(expected),
        _ if expected.is_nested() => match found {
            found::STRING => ITS_TEXT,
            found::ARRAY_LENGTH => "declare a list of any length",
            _ => AS_TEXT,
        },
        found::BOOLEAN if expected.is_integer() || expected.is_floating() => {
            "declare BOOLEAN and cast, or VARCHAR, which takes values of every kind as text"
        }
        found::BOOLEAN => "declare BOOLEAN, or VARCHAR, which takes values of every kind as text",
        found::NUMBER => number(expected),
        found::FRACTION if expected.is_temporal() => "set `kafka.json.timestamp_unit`",
        found::FRACTION => "declare DOUBLE or DECIMAL, or VARCHAR and cast",
        found::RANGE => range(expected),
        found::ROUNDED => {
            "declare the columns, this one as DECIMAL or VARCHAR to keep such numbers, or as \
             DOUBLE to have them rounded"
        }
        found::NUMBER_PRECISION if *expected == DataType::Date32 => {
            "declare BIGINT and use arrow_cast(.., 'Date32') where it counts days, or declare \
             TIMESTAMP and cast to DATE"
        }
        found::NUMBER_PRECISION if is_coarse(expected) => "declare a finer type, as TIMESTAMP(9)",
        found::NUMBER_PRECISION => ITS_TEXT,
        found::TIME_PRECISION if *expected == DataType::Date32 => {
            "declare TIMESTAMP and cast to DATE"
        }
        found::TIME_PRECISION if is_coarse(expected) => {
            "declare a finer type, as TIMESTAMP(9), or VARCHAR and cast"
        }
        found::TIME_PRECISION if is_span(expected) => ITS_TEXT,
        found::TIME_PRECISION => "declare VARCHAR and cast",
        found::NON_FINITE if expected.is_numeric() => "declare DOUBLE, or VARCHAR for its text",
        found::TOO_PRECISE => "declare a larger scale, or VARCHAR and cast",
        // In other columns a string is judged by what is in it.
        found::STRING => "set `kafka.json.coerce` = `true`, or declare VARCHAR and cast",
        found::NOT_NUMBER if expected.is_decimal() => {
            "declare VARCHAR and use try_cast, or BYTEA for the bytes of base64"
        }
        found::NOT_NUMBER | found::NOT_BOOLEAN => TRY_CAST,
        found::NOT_BASE64 => "declare VARCHAR and use decode(.., 'hex') where it is hexadecimal",
        found::BINARY_LENGTH => "declare BYTEA",
        found::NOT_DATE_TIME if *expected == DataType::Date32 => {
            "declare VARCHAR and use to_date with its format, as in '%d/%m/%Y'"
        }
        found::NOT_DATE_TIME => {
            "declare VARCHAR and use to_timestamp with its format, as in '%d/%m/%Y %H:%M:%S'"
        }
        found::NOT_TIME => "declare VARCHAR and use to_time with its format, as in '%H.%M.%S'",
        found::NOT_DURATION => "declare VARCHAR and cast to INTERVAL",
        found::DURATION_PARTS => "declare INTERVAL",
        found::TIME_RANGE if matches!(expected, DataType::Timestamp(..)) => {
            "declare a coarser type, as TIMESTAMP(3), or VARCHAR for its text"
        }
        found::LOCAL_TIME | found::NO_OFFSET => {
            "declare TIMESTAMP without a time zone, or VARCHAR for its text"
        }
        found::TIME_RANGE => ITS_TEXT,
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
             its like"
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            "set `kafka.json.timestamp_unit`, or declare BIGINT and use arrow_cast(.., \
             'Time64(Microsecond)') or its like"
        }
        _ if is_span(expected) => {
            "declare BIGINT and use arrow_cast(.., 'Duration(Millisecond)') or its like"
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
            "declare a coarser type, as TIMESTAMP(3), or, where `kafka.json.timestamp_unit` is \
             not its unit, BIGINT and use to_timestamp_millis or its like"
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            "declare BIGINT and, where `kafka.json.timestamp_unit` is not its unit, use \
             arrow_cast(.., 'Time64(Microsecond)') or its like"
        }
        _ => ITS_TEXT,
    }
}

/// Whether there are timestamps of a finer unit.
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
