//! Columns of dates and times that are numbers.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};

use super::json_text::{is_date_or_time, is_text_anyway};
use super::types::unit_name;

/// The key in a field's metadata.
const KEY: &str = "json.unit";

/// The field whose dates, times and timestamps, at any depth, are numbers of this unit: it
/// says so to whatever reads or writes JSON by it, also after a query that hands it on.
pub fn with_unit(field: &Field, unit: TimeUnit) -> Field {
    let inner = |field: &FieldRef| Arc::new(with_unit(field, unit));
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(inner(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        other if is_date_or_time(other) => {
            let mut metadata = field.metadata().clone();
            metadata.insert(KEY.to_owned(), unit_name(unit).to_owned());
            return field.clone().with_metadata(metadata);
        }
        _ => return field.clone(),
    };
    field.clone().with_data_type(data_type)
}

/// The unit of a field's numbers, where it has one of its own.
pub(super) fn unit_of(field: &Field) -> Option<TimeUnit> {
    let name = field.metadata().get(KEY)?;
    let units = [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ];
    let unit = units.into_iter().find(|unit| unit_name(*unit) == name)?;
    is_date_or_time(field.data_type()).then_some(unit)
}

/// The unit in which a field's dates and times are written, where they are numbers;
/// `otherwise` where the field does not say.
pub(super) fn written_unit(field: &Field, otherwise: Option<TimeUnit>) -> Option<TimeUnit> {
    match is_text_anyway(field) {
        true => None,
        false => unit_of(field).or(otherwise),
    }
}
