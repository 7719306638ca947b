//! The types that JSON has a form for, and units of time.

use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Field,
    TimeUnit, validate_decimal_precision_and_scale,
};

/// A column whose type cannot be read from JSON or written to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message(DataType::to_string))]
#[non_exhaustive]
pub struct UnsupportedType {
    /// The column, with the path to the nested field: `customer.tags[]`.
    pub path: String,
    /// The type of that field.
    pub data_type: DataType,
    /// Why.
    pub reason: UnsupportedReason,
}

/// Why a type cannot be read from JSON or written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsupportedReason {
    /// A list or binary of a fixed size below zero.
    #[error("its size is negative")]
    NegativeSize,
    /// A map whose entries are something else than Arrow says.
    #[error("the entries of a map are a non-null key and a value")]
    MapEntries,
    /// A map with keys of another type, which names of properties cannot be.
    #[error("the keys of a map must be strings")]
    MapKey,
    /// A dictionary of nested types, of dictionaries or of binaries without any width.
    #[error("the values of a dictionary must be scalars")]
    DictionaryValue,
    /// A decimal beyond the bounds of its width.
    #[error("Arrow does not allow this precision and scale")]
    DecimalBounds,
    /// A time of day in a unit that its width cannot hold.
    #[error("Arrow does not have this unit in this width")]
    TimeWidth,
    /// A type that the codec does not know, such as unions.
    #[error("use another type, or Utf8 for the JSON text")]
    NoForm,
}

impl UnsupportedType {
    /// The message with the type as `type_name` calls it. `Display` has Arrow's name.
    pub fn message(&self, type_name: impl Fn(&DataType) -> String) -> String {
        let (data_type, path, reason) = (type_name(&self.data_type), &self.path, self.reason);
        format!("type {data_type} of `{path}` has no JSON form: {reason}")
    }
}

/// Checks that a column of this type can be read and written.
///
/// # Errors
/// The first field of a type that has no JSON form: unions, run-end encoded
/// arrays, list views, maps with keys that are not strings, dictionaries of nested
/// types, and types that Arrow itself does not allow.
///
/// ```
/// use arrow::datatypes::{DataType, Field};
/// use arrow_json_codec::check_type;
///
/// assert!(check_type(&Field::new("a", DataType::Int64, true)).is_ok());
/// let list = DataType::ListView(Field::new("item", DataType::Int64, true).into());
/// assert_eq!(check_type(&Field::new("a", list, true)).unwrap_err().path, "a");
/// ```
pub fn check_type(field: &Field) -> Result<(), UnsupportedType> {
    check(field.name().clone(), field.data_type())
}

fn check(path: String, data_type: &DataType) -> Result<(), UnsupportedType> {
    let refuse = |reason: UnsupportedReason| UnsupportedType {
        path: path.clone(),
        data_type: data_type.clone(),
        reason,
    };
    match data_type {
        DataType::Struct(fields) => fields
            .iter()
            .try_for_each(|field| check(format!("{path}.{}", field.name()), field.data_type())),
        DataType::List(item) | DataType::LargeList(item) => {
            check(format!("{path}[]"), item.data_type())
        }
        DataType::FixedSizeList(_, size) | DataType::FixedSizeBinary(size) if *size < 0 => {
            Err(refuse(UnsupportedReason::NegativeSize))
        }
        DataType::FixedSizeList(item, _) => check(format!("{path}[]"), item.data_type()),
        DataType::Map(entries, _) => {
            let Some((key, value)) = map_fields(entries) else {
                return Err(refuse(UnsupportedReason::MapEntries));
            };
            if !is_string(key.data_type()) {
                return Err(refuse(UnsupportedReason::MapKey));
            }
            check(format!("{path}[]"), value.data_type())
        }
        DataType::Dictionary(_, value) => {
            // Arrow's kernels lose the length of binaries without any width.
            let refused = matches!(
                **value,
                DataType::Null | DataType::Dictionary(..) | DataType::FixedSizeBinary(0)
            );
            if refused || value.is_nested() {
                return Err(refuse(UnsupportedReason::DictionaryValue));
            }
            check(path, value)
        }
        DataType::Decimal32(precision, scale) => {
            check_decimal::<Decimal32Type>(*precision, *scale).map_err(refuse)
        }
        DataType::Decimal64(precision, scale) => {
            check_decimal::<Decimal64Type>(*precision, *scale).map_err(refuse)
        }
        DataType::Decimal128(precision, scale) => {
            check_decimal::<Decimal128Type>(*precision, *scale).map_err(refuse)
        }
        DataType::Decimal256(precision, scale) => {
            check_decimal::<Decimal256Type>(*precision, *scale).map_err(refuse)
        }
        DataType::Time32(TimeUnit::Microsecond | TimeUnit::Nanosecond)
        | DataType::Time64(TimeUnit::Second | TimeUnit::Millisecond) => {
            Err(refuse(UnsupportedReason::TimeWidth))
        }
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_)
        | DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(..)
        | DataType::Duration(_)
        | DataType::Interval(_) => Ok(()),
        _ => Err(refuse(UnsupportedReason::NoForm)),
    }
}

fn check_decimal<T: DecimalType>(precision: u8, scale: i8) -> Result<(), UnsupportedReason> {
    validate_decimal_precision_and_scale::<T>(precision, scale)
        .map_err(|_| UnsupportedReason::DecimalBounds)
}

/// The key and value fields of a map's entries, if Arrow accepts them as such.
pub(crate) fn map_fields(entries: &Field) -> Option<(&Field, &Field)> {
    match entries.data_type() {
        DataType::Struct(fields) if !entries.is_nullable() => match &fields[..] {
            [key, value] if !key.is_nullable() => Some((key, value)),
            _ => None,
        },
        _ => None,
    }
}

fn is_string(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// The abbreviation of a unit in the metadata of fields and in messages: `s`, `ms`, `us` or
/// `ns`.
///
/// ```
/// use arrow::datatypes::TimeUnit;
///
/// assert_eq!(arrow_json_codec::unit_name(TimeUnit::Microsecond), "us");
/// ```
pub fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// The power of ten that is this unit's share of a second.
#[inline]
pub(crate) fn digits(unit: TimeUnit) -> u32 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}
