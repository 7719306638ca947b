//! The column that a type needs.
//!
//! Nested columns are made here from the columns inside of them, so that no kind of column
//! knows another.

use arrow::datatypes::*;

use super::binary::{BinaryColumn, BytesText, FixedSizeBinaryColumn};
use super::boolean::BooleanColumn;
use super::child::Child;
use super::column::BoxColumn;
use super::decimal_bytes::base64_decimals;
use super::dictionary::DictionaryColumn;
use super::json_text::JsonTextColumn;
use super::list::{ListColumn, Shape};
use super::map::MapColumn;
use super::null::NullColumn;
use super::numbers::{decimals, float16, float32, float64, integers};
use super::object::{ObjectColumns, StructColumn};
use super::strings::StringColumn;
use super::times::{
    date32, date64, dates_of_days, day_time_intervals, month_day_nano_intervals, spans,
    times_of_day, timestamps, year_month_intervals,
};
use super::views::StringViewColumn;
use crate::metadata::{NumberUnit, TextEncoding, is_plain_text, unit_of, without_encoding};
use crate::options::DecodeOptions;
use crate::text::iso8601::zone::Zone;
use crate::types::map_fields;

/// An empty column of a field, or `None` for a type that [`crate::check_type`] refuses.
pub(crate) fn column(field: &Field, options: &DecodeOptions) -> Option<BoxColumn> {
    let data_type = field.data_type();
    match TextEncoding::of(field) {
        TextEncoding::Text | TextEncoding::Base64 => match unit_of(field) {
            None => column_of_type(data_type, options),
            Some(NumberUnit::Days) => Some(dates_of_days()),
            Some(NumberUnit::Time(unit)) => {
                let options = DecodeOptions {
                    timestamp_unit: Some(unit),
                    ..options.clone()
                };
                column_of_type(data_type, &options)
            }
        },
        encoding if is_plain_text(data_type) => {
            Some(Box::new(StringColumn::new(data_type, encoding)))
        }
        TextEncoding::Hex => Some(match data_type {
            DataType::FixedSizeBinary(size) => {
                Box::new(FixedSizeBinaryColumn::new(*size, BytesText::Hex))
            }
            _ => Box::new(BinaryColumn::new(data_type, BytesText::Hex)),
        }),
        TextEncoding::Base64Decimal => base64_decimals(data_type),
        TextEncoding::Json | TextEncoding::Mixed => {
            let child = child(&without_encoding(field), options)?;
            Some(Box::new(JsonTextColumn::new(
                data_type,
                child,
                options.lenient,
            )))
        }
    }
}

/// An empty column of a field that is part of a row, a list or a map.
pub(crate) fn child(field: &Field, options: &DecodeOptions) -> Option<Child> {
    Some(Child::new(field, column(field, options)?))
}

/// Empty columns of the fields of an object.
pub(crate) fn object(fields: &Fields, options: &DecodeOptions) -> Option<ObjectColumns> {
    let children = fields.iter().map(|field| child(field, options));
    let children = children.collect::<Option<_>>()?;
    Some(ObjectColumns::new(fields, options.names, children))
}

fn column_of_type(data_type: &DataType, options: &DecodeOptions) -> Option<BoxColumn> {
    let coerce = options.coerce;
    let number_unit = options.timestamp_unit;
    Some(match data_type {
        DataType::Null => Box::new(NullColumn::default()),
        DataType::Boolean => Box::new(BooleanColumn::new(coerce)),
        DataType::Int8 => integers::<Int8Type>(data_type, coerce),
        DataType::Int16 => integers::<Int16Type>(data_type, coerce),
        DataType::Int32 => integers::<Int32Type>(data_type, coerce),
        DataType::Int64 => integers::<Int64Type>(data_type, coerce),
        DataType::UInt8 => integers::<UInt8Type>(data_type, coerce),
        DataType::UInt16 => integers::<UInt16Type>(data_type, coerce),
        DataType::UInt32 => integers::<UInt32Type>(data_type, coerce),
        DataType::UInt64 => integers::<UInt64Type>(data_type, coerce),
        DataType::Float16 => float16(coerce),
        DataType::Float32 => float32(coerce),
        DataType::Float64 => float64(coerce, options.exact_doubles),
        DataType::Decimal32(precision, scale) => {
            decimals::<Decimal32Type, i128>(data_type, *precision, *scale)
        }
        DataType::Decimal64(precision, scale) => {
            decimals::<Decimal64Type, i128>(data_type, *precision, *scale)
        }
        DataType::Decimal128(precision, scale) => {
            decimals::<Decimal128Type, i128>(data_type, *precision, *scale)
        }
        DataType::Decimal256(precision, scale) => {
            decimals::<Decimal256Type, i256>(data_type, *precision, *scale)
        }
        DataType::Utf8 | DataType::LargeUtf8 => {
            Box::new(StringColumn::new(data_type, TextEncoding::Text))
        }
        DataType::Utf8View => Box::new(StringViewColumn::new()),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            Box::new(BinaryColumn::new(data_type, BytesText::Base64))
        }
        DataType::FixedSizeBinary(size) => {
            Box::new(FixedSizeBinaryColumn::new(*size, BytesText::Base64))
        }
        DataType::Date32 => date32(number_unit),
        DataType::Date64 => date64(number_unit),
        DataType::Time32(TimeUnit::Second) => {
            times_of_day::<Time32SecondType>(data_type, TimeUnit::Second, number_unit)
        }
        DataType::Time32(TimeUnit::Millisecond) => {
            times_of_day::<Time32MillisecondType>(data_type, TimeUnit::Millisecond, number_unit)
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            times_of_day::<Time64MicrosecondType>(data_type, TimeUnit::Microsecond, number_unit)
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            times_of_day::<Time64NanosecondType>(data_type, TimeUnit::Nanosecond, number_unit)
        }
        DataType::Timestamp(unit, zone) => {
            let zone = Zone::new(zone.as_ref());
            match unit {
                TimeUnit::Second => timestamps::<TimestampSecondType>(data_type, zone, number_unit),
                TimeUnit::Millisecond => {
                    timestamps::<TimestampMillisecondType>(data_type, zone, number_unit)
                }
                TimeUnit::Microsecond => {
                    timestamps::<TimestampMicrosecondType>(data_type, zone, number_unit)
                }
                TimeUnit::Nanosecond => {
                    timestamps::<TimestampNanosecondType>(data_type, zone, number_unit)
                }
            }
        }
        DataType::Duration(TimeUnit::Second) => {
            spans::<DurationSecondType>(data_type, TimeUnit::Second)
        }
        DataType::Duration(TimeUnit::Millisecond) => {
            spans::<DurationMillisecondType>(data_type, TimeUnit::Millisecond)
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            spans::<DurationMicrosecondType>(data_type, TimeUnit::Microsecond)
        }
        DataType::Duration(TimeUnit::Nanosecond) => {
            spans::<DurationNanosecondType>(data_type, TimeUnit::Nanosecond)
        }
        DataType::Interval(IntervalUnit::YearMonth) => year_month_intervals(data_type),
        DataType::Interval(IntervalUnit::DayTime) => day_time_intervals(data_type),
        DataType::Interval(IntervalUnit::MonthDayNano) => month_day_nano_intervals(data_type),
        _ => return nested_column(data_type, options),
    })
}

/// An empty column of a type with fields of its own.
fn nested_column(data_type: &DataType, options: &DecodeOptions) -> Option<BoxColumn> {
    let list = |item: &FieldRef, shape| {
        let column = ListColumn::new(data_type, shape, item, child(item, options)?);
        Some(Box::new(column) as BoxColumn)
    };
    Some(match data_type {
        DataType::Struct(fields) => Box::new(StructColumn::new(object(fields, options)?)),
        DataType::List(item) => list(item, Shape::List)?,
        DataType::LargeList(item) => list(item, Shape::LargeList)?,
        DataType::FixedSizeList(item, size) => list(item, Shape::FixedSize(*size))?,
        DataType::Map(entries, sorted) => {
            let (key, value) = map_fields(entries)?;
            let keys = column_of_type(key.data_type(), options)?;
            let values = child(value, options)?;
            Box::new(MapColumn::new(entries, *sorted, keys, values))
        }
        DataType::Dictionary(key, value) => {
            let values = column_of_type(value, options)?;
            Box::new(DictionaryColumn::new(key, values)?)
        }
        _ => return None,
    })
}
