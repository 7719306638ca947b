//! Names types as SQL does, for definitions and messages.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};

/// The type as `CREATE EXTERNAL TABLE` takes it. A type without a name in SQL keeps Arrow's name.
pub(crate) fn sql_type(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "TINYINT UNSIGNED",
        DataType::UInt16 => "SMALLINT UNSIGNED",
        DataType::UInt32 => "INT UNSIGNED",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTEA",
        DataType::Date32 => "DATE",
        DataType::Time64(TimeUnit::Nanosecond) => "TIME",
        DataType::Interval(IntervalUnit::MonthDayNano) => "INTERVAL",
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            return format!("DECIMAL({precision}, {scale})");
        }
        DataType::Timestamp(unit, zone) => {
            let digits = match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            };
            let zone = zone.as_ref().map_or("", |_| " WITH TIME ZONE");
            return format!("TIMESTAMP({digits}){zone}");
        }
        DataType::List(item) | DataType::LargeList(item) => {
            return format!("{}[]", sql_type(item.data_type()));
        }
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{} {}", quoted(field.name()), sql_type(field.data_type())))
                .collect();
            return format!("STRUCT<{}>", fields.join(", "));
        }
        DataType::Map(entries, _) => {
            if let DataType::Struct(fields) = entries.data_type()
                && let [key, value] = fields.as_ref()
            {
                let (key, value) = (sql_type(key.data_type()), sql_type(value.data_type()));
                return format!("MAP({key}, {value})");
            }
            return data_type.to_string();
        }
        DataType::Dictionary(_, value) => return sql_type(value),
        other => return other.to_string(),
    };
    name.to_owned()
}

/// A name quoted for SQL, whatever its characters.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
