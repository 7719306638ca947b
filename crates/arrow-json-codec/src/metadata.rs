//! What the metadata of a field says about its JSON.
//!
//! The metadata travels with the field through a query, so that the code which reads a column
//! and the code which writes it need not know of each other.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};

use crate::types::unit_name;

/// The key of a field's [`TextEncoding`] in its metadata.
const ENCODING_KEY: &str = "json.encoding";

/// The key of the unit of a field's numbers in its metadata.
const UNIT_KEY: &str = "json.unit";

/// How the values of a column stand in JSON, where there are several ways.
///
/// The encoding is kept in the metadata of the column's field, so that a query which hands the
/// column on also says how it is written:
/// ```
/// use arrow::array::{ArrayRef, AsArray};
/// use arrow::datatypes::{DataType, Field, Fields};
/// use arrow_json_codec::{
///     DecodeOptions, EncodeOptions, RowDecoder, RowEncoder, TextEncoding,
/// };
///
/// let id = TextEncoding::Mixed.mark(Field::new("id", DataType::Utf8View, true));
/// let fields = Fields::from(vec![id]);
/// let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default())?;
/// let payloads = [r#"{"id":7}"#, r#"{"id":"a7"}"#, r#"{"id":"7"}"#];
/// for payload in payloads {
///     decoder.append(payload.as_bytes())?;
/// }
/// let columns: Vec<ArrayRef> = decoder.finish()?;
/// let texts: Vec<_> = columns[0].as_string_view().iter().flatten().collect();
/// assert_eq!(texts, ["7", "a7", "\"7\""]);
///
/// let encoder = RowEncoder::try_new(&fields, &EncodeOptions::default())?;
/// let rows = encoder.batch(&columns)?;
/// for (row, payload) in payloads.into_iter().enumerate() {
///     let mut out = Vec::new();
///     rows.write(row, &mut out)?;
///     assert_eq!(out, payload.as_bytes());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TextEncoding {
    /// Text is written as a string. A string is read as its text, and any other value as its
    /// JSON. A date, time or timestamp is text as well where
    /// [`EncodeOptions::timestamp_unit`](crate::EncodeOptions::timestamp_unit) makes numbers of
    /// others.
    #[default]
    Text,
    /// For text: the text is the JSON of the value; the text of a string has quotes. Text that is
    /// not JSON is not written.
    ///
    /// For any other type: the JSON of the value is the text of a string. A value that is not a
    /// string is read as it stands.
    Json,
    /// The text is the JSON of the value. A string stands without its quotes, unless its text
    /// is JSON as well. Text that is not JSON is written as a string.
    Mixed,
    /// Bytes are a string of base64, with the standard alphabet and padding. This is the only
    /// way for bytes unless a field says otherwise.
    Base64,
    /// Bytes are a string of hexadecimal digits. Both cases are read, lower case is written.
    Hex,
    /// A decimal is the base64 of its unscaled value, a big-endian number in two's complement, as
    /// Kafka Connect's `JsonConverter` writes it. The scale is that of the column. A JSON number
    /// is read as well.
    Base64Decimal,
}

impl TextEncoding {
    /// All encodings.
    const ALL: [Self; 6] = [
        Self::Text,
        Self::Json,
        Self::Mixed,
        Self::Base64,
        Self::Hex,
        Self::Base64Decimal,
    ];

    /// The encoding of a field. `Text` where the field does not say, or names an encoding that
    /// does not apply to its type.
    pub fn of(field: &Field) -> Self {
        let name = field.metadata().get(ENCODING_KEY);
        let found = name.and_then(|name| Self::ALL.into_iter().find(|it| it.name() == name));
        match found {
            Some(encoding) if encoding.applies_to(field.data_type()) => encoding,
            _ => Self::Text,
        }
    }

    /// The field with this encoding in its metadata.
    pub fn mark(self, field: Field) -> Field {
        let mut metadata = field.metadata().clone();
        match self {
            Self::Text if !is_date_or_time(field.data_type()) => {
                drop(metadata.remove(ENCODING_KEY))
            }
            marked => drop(metadata.insert(ENCODING_KEY.to_owned(), marked.name().to_owned())),
        }
        field.with_metadata(metadata)
    }

    /// The name in the metadata of a field: `text`, `json`, `mixed`, `base64`, `hex` or
    /// `base64_decimal`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Mixed => "mixed",
            Self::Base64 => "base64",
            Self::Hex => "hex",
            Self::Base64Decimal => "base64_decimal",
        }
    }

    /// Whether a field of this type may have this encoding.
    pub fn applies_to(self, data_type: &DataType) -> bool {
        match self {
            Self::Text => is_plain_text(data_type) || is_date_or_time(data_type),
            Self::Json => true,
            Self::Mixed => is_plain_text(data_type),
            Self::Base64 | Self::Hex => {
                data_type.is_binary() || matches!(data_type, DataType::FixedSizeBinary(_))
            }
            Self::Base64Decimal => data_type.is_decimal(),
        }
    }
}

/// What a number counts that is a date, a time or a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberUnit {
    /// Days since the epoch.
    Days,
    /// These units since the epoch, or since midnight.
    Time(TimeUnit),
}

/// The name of days in the metadata of a field.
const DAYS: &str = "days";

/// The field whose dates, at any depth, are numbers of days in JSON. A field without a date stays
/// as it is. See [`with_unit`].
///
/// ```
/// use arrow::array::AsArray;
/// use arrow::datatypes::{DataType, Date32Type, Field};
/// use arrow_json_codec::{DecodeOptions, ValueDecoder, with_days};
///
/// let born = with_days(&Field::new("born", DataType::Date32, true));
/// let mut decoder = ValueDecoder::try_new(&born, &DecodeOptions::default())?;
/// decoder.append(b"19723")?;
/// let array = decoder.finish()?;
/// assert_eq!(array.as_primitive::<Date32Type>().value(0), 19_723);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn with_days(field: &Field) -> Field {
    marked(field, DAYS, |data_type| *data_type == DataType::Date32)
}

/// The field whose dates, times and timestamps, at any depth, are numbers of this unit in JSON.
///
/// The unit is kept in the metadata of the field. It goes before
/// [`DecodeOptions::timestamp_unit`](crate::DecodeOptions::timestamp_unit) and
/// [`EncodeOptions::timestamp_unit`](crate::EncodeOptions::timestamp_unit), also after a query
/// that hands the column on. A field without a date or time stays as it is.
///
/// ```
/// use arrow::array::AsArray;
/// use arrow::datatypes::{DataType, Field, TimeUnit, TimestampMillisecondType};
/// use arrow_json_codec::{DecodeOptions, ValueDecoder, with_unit};
///
/// let at = DataType::Timestamp(TimeUnit::Millisecond, None);
/// let at = with_unit(&Field::new("at", at, true), TimeUnit::Second);
/// let mut decoder = ValueDecoder::try_new(&at, &DecodeOptions::default())?;
/// decoder.append(b"1709208000")?;
/// let array = decoder.finish()?;
/// let array = array.as_primitive::<TimestampMillisecondType>();
/// assert_eq!(array.value(0), 1_709_208_000_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn with_unit(field: &Field, unit: TimeUnit) -> Field {
    marked(field, unit_name(unit), is_date_or_time)
}

/// The field with this unit in the metadata of each field within to whose type the unit applies.
fn marked(field: &Field, unit: &str, applies: fn(&DataType) -> bool) -> Field {
    let inner = |field: &FieldRef| Arc::new(marked(field, unit, applies));
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(inner(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        other if applies(other) => {
            let mut metadata = field.metadata().clone();
            metadata.insert(UNIT_KEY.to_owned(), unit.to_owned());
            return field.clone().with_metadata(metadata);
        }
        _ => return field.clone(),
    };
    field.clone().with_data_type(data_type)
}

/// The unit of a field's numbers, where it has one of its own.
pub(crate) fn unit_of(field: &Field) -> Option<NumberUnit> {
    let name = field.metadata().get(UNIT_KEY)?;
    if name == DAYS {
        return (*field.data_type() == DataType::Date32).then_some(NumberUnit::Days);
    }
    let units = [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ];
    let unit = units.into_iter().find(|unit| unit_name(*unit) == name)?;
    is_date_or_time(field.data_type()).then_some(NumberUnit::Time(unit))
}

/// The unit of a field's numbers, where the field has one of its own: `days`, `s`, `ms`, `us` or
/// `ns`. See [`with_unit`] and [`with_days`].
///
/// ```
/// use arrow::datatypes::{DataType, Field};
/// use arrow_json_codec::{number_unit, with_days};
///
/// let born = Field::new("born", DataType::Date32, true);
/// assert_eq!(number_unit(&born), None);
/// assert_eq!(number_unit(&with_days(&born)), Some("days"));
/// ```
pub fn number_unit(field: &Field) -> Option<&'static str> {
    Some(match unit_of(field)? {
        NumberUnit::Days => DAYS,
        NumberUnit::Time(unit) => unit_name(unit),
    })
}

/// The unit in which a field's dates and times are written, where they are numbers;
/// `otherwise` where the field does not say.
pub(crate) fn written_unit(field: &Field, otherwise: Option<TimeUnit>) -> Option<NumberUnit> {
    match is_text_anyway(field) {
        true => None,
        false => unit_of(field).or(otherwise.map(NumberUnit::Time)),
    }
}

/// The field without an encoding.
pub(crate) fn without_encoding(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.remove(ENCODING_KEY);
    field.clone().with_metadata(metadata)
}

pub(crate) fn is_plain_text(data_type: &DataType) -> bool {
    data_type.is_string()
}

/// Whether the values of a type can be numbers of a unit: dates, times and timestamps.
///
/// ```
/// use arrow::datatypes::DataType;
///
/// assert!(arrow_json_codec::is_date_or_time(&DataType::Date32));
/// assert!(!arrow_json_codec::is_date_or_time(&DataType::Int64));
/// ```
pub fn is_date_or_time(data_type: &DataType) -> bool {
    use DataType::{Date32, Date64, Time32, Time64, Timestamp};
    matches!(
        data_type,
        Date32 | Date64 | Time32(_) | Time64(_) | Timestamp(..)
    )
}

/// Whether the dates or times of a field are text even where all others are numbers.
pub(crate) fn is_text_anyway(field: &Field) -> bool {
    is_date_or_time(field.data_type())
        && field
            .metadata()
            .get(ENCODING_KEY)
            .is_some_and(|e| e == "text")
}
