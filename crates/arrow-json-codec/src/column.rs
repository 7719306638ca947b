//! Columns of scalar values under construction.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, NullArray, NullBufferBuilder, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::datatypes::*;
use arrow::error::ArrowError;
use half::f16;

use super::bytes::{BinaryColumn, FixedSizeBinaryColumn, StringColumn};
use super::error::{DecodeError, Found};
use super::json_text::TextEncoding;
use super::marked::Marked;
use super::nested;
use super::number::{Wide, integer, scaled, short_decimal, short_float};
use super::scan::{Kind, Scanner, Value, is_number};
use super::significant::gives_back;
use super::temporal::{
    SECONDS_PER_DAY, Zone, parse_date, parse_duration, parse_span, parse_time, parse_timestamp,
    short_timestamp, whole_days,
};
use super::types::{DecodeOptions, digits};
use super::unit::unit_of;
use super::views::StringViewColumn;

/// A column under construction.
///
/// An error of `read` may leave part of a value behind: the owner of the
/// outermost column then truncates it, which undoes that at every level.
pub(super) trait Column: Send + Sync {
    /// Adds the value that the scanner stands before, which is not null.
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError>;

    /// The same for a value at a position, quickly and without saying what is
    /// wrong; returns where the value ends.
    fn walk(&mut self, document: &Marked<'_>, at: usize) -> Option<usize> {
        self.read_at(document, at)
    }

    /// What `walk` does with a value that is not as simple as most are.
    #[cold]
    fn read_at(&mut self, document: &Marked<'_>, at: usize) -> Option<usize> {
        let mut scanner = document.scanner(at);
        self.read(&mut scanner).ok()?;
        Some(scanner.position())
    }

    fn append_null(&mut self);
    fn truncate(&mut self, len: usize);
    /// Takes what was added as an array.
    fn finish(&mut self) -> Result<ArrayRef, ArrowError>;
}

pub(super) type BoxColumn = Box<dyn Column>;

/// An empty column of a field, or `None` for a type that [`super::check_type`] refuses.
pub(super) fn of_field(field: &Field, options: &DecodeOptions) -> Option<BoxColumn> {
    match TextEncoding::of(field) {
        TextEncoding::Text => match unit_of(field) {
            None => new(field.data_type(), options),
            unit => {
                let options = DecodeOptions {
                    timestamp_unit: unit,
                    ..options.clone()
                };
                new(field.data_type(), &options)
            }
        },
        encoding => Some(Box::new(StringColumn::new(field.data_type(), encoding))),
    }
}

/// An empty column, or `None` for a type that [`super::check_type`] refuses.
pub(super) fn new(data_type: &DataType, options: &DecodeOptions) -> Option<BoxColumn> {
    let coerce = options.coerce;
    let number_unit = options.timestamp_unit;
    Some(match data_type {
        DataType::Null => Box::new(NullColumn { len: 0 }),
        DataType::Boolean => Box::new(BooleanColumn {
            values: Vec::new(),
            nulls: NullBufferBuilder::new(0),
            coerce,
        }),
        DataType::Int8 => integers::<Int8Type>(data_type, coerce),
        DataType::Int16 => integers::<Int16Type>(data_type, coerce),
        DataType::Int32 => integers::<Int32Type>(data_type, coerce),
        DataType::Int64 => integers::<Int64Type>(data_type, coerce),
        DataType::UInt8 => integers::<UInt8Type>(data_type, coerce),
        DataType::UInt16 => integers::<UInt16Type>(data_type, coerce),
        DataType::UInt32 => integers::<UInt32Type>(data_type, coerce),
        DataType::UInt64 => integers::<UInt64Type>(data_type, coerce),
        DataType::Float16 => primitive::<Float16Type, _>(data_type, move |value| {
            // Through double precision, so that only ties of both are rounded twice.
            float(
                value,
                coerce,
                |value: f64| f16::from_f64(value),
                |value| value.is_infinite(),
            )
        }),
        DataType::Float32 => primitive::<Float32Type, _>(data_type, move |value| {
            float(
                value,
                coerce,
                |value: f32| value,
                |value| value.is_infinite(),
            )
        }),
        DataType::Float64 => {
            let exact = options.exact_doubles;
            let parse = move |value: &Value<'_>| {
                let double = float(
                    value,
                    coerce,
                    |value: f64| value,
                    |value| value.is_infinite(),
                )?;
                if exact && double.is_finite() && !is_kept(double, value)? {
                    return Err(Found::Rounded);
                }
                Ok(double)
            };
            // It takes no more digits than every double keeps.
            quick_primitive::<Float64Type, _, _>(data_type, parse, short_float)
        }
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
            Box::new(BinaryColumn::new(data_type))
        }
        DataType::FixedSizeBinary(size) => Box::new(FixedSizeBinaryColumn::new(*size)),
        DataType::Date32 => primitive::<Date32Type, _>(data_type, move |value| {
            match numeric(value, number_unit, TimeUnit::Nanosecond)? {
                Some(nanos) => whole_days(nanos, TimeUnit::Nanosecond).map_err(of_number),
                None => parse_date(&text(value)?),
            }
        }),
        DataType::Date64 => {
            times::<Date64Type>(data_type, TimeUnit::Millisecond, options, |text| {
                parse_timestamp(text, TimeUnit::Millisecond, &Zone::None)
            })
        }
        DataType::Time32(TimeUnit::Second) => {
            times_of_day::<Time32SecondType>(data_type, TimeUnit::Second, options)
        }
        DataType::Time32(TimeUnit::Millisecond) => {
            times_of_day::<Time32MillisecondType>(data_type, TimeUnit::Millisecond, options)
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            times_of_day::<Time64MicrosecondType>(data_type, TimeUnit::Microsecond, options)
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            times_of_day::<Time64NanosecondType>(data_type, TimeUnit::Nanosecond, options)
        }
        DataType::Timestamp(unit, zone) => {
            let zone = Zone::new(zone.as_ref());
            match unit {
                TimeUnit::Second => timestamps::<TimestampSecondType>(data_type, zone, options),
                TimeUnit::Millisecond => {
                    timestamps::<TimestampMillisecondType>(data_type, zone, options)
                }
                TimeUnit::Microsecond => {
                    timestamps::<TimestampMicrosecondType>(data_type, zone, options)
                }
                TimeUnit::Nanosecond => {
                    timestamps::<TimestampNanosecondType>(data_type, zone, options)
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
        DataType::Interval(IntervalUnit::YearMonth) => {
            intervals::<IntervalYearMonthType>(data_type, TimeUnit::Second, |months, days, time| {
                (days == 0 && time == 0).then_some(months)
            })
        }
        DataType::Interval(IntervalUnit::DayTime) => intervals::<IntervalDayTimeType>(
            data_type,
            TimeUnit::Millisecond,
            |months, days, time| {
                let time = i32::try_from(time).ok()?;
                (months == 0).then(|| IntervalDayTime::new(days, time))
            },
        ),
        DataType::Interval(IntervalUnit::MonthDayNano) => intervals::<IntervalMonthDayNanoType>(
            data_type,
            TimeUnit::Nanosecond,
            |months, days, time| Some(IntervalMonthDayNano::new(months, days, time)),
        ),
        _ => return nested::new(data_type, options),
    })
}

/// Integers and everything else that Arrow keeps in fixed-width numbers.
struct PrimitiveColumn<T: ArrowPrimitiveType, F, Q> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
    data_type: DataType,
    parse: F,
    quick: Q,
}

fn primitive<T, F>(data_type: &DataType, parse: F) -> BoxColumn
where
    T: ArrowPrimitiveType,
    F: Fn(&Value<'_>) -> Result<T::Native, Found> + Send + Sync + 'static,
{
    quick_primitive::<T, F, _>(data_type, parse, |_| None)
}

/// With a parser for what most values look like: it says how many bytes they
/// take, or nothing where it is not sure of the value that `parse` would give.
fn quick_primitive<T, F, Q>(data_type: &DataType, parse: F, quick: Q) -> BoxColumn
where
    T: ArrowPrimitiveType,
    F: Fn(&Value<'_>) -> Result<T::Native, Found> + Send + Sync + 'static,
    Q: Fn(&[u8]) -> Option<(T::Native, usize)> + Send + Sync + 'static,
{
    Box::new(PrimitiveColumn::<T, F, Q> {
        values: Vec::new(),
        nulls: NullBufferBuilder::new(0),
        data_type: data_type.clone(),
        parse,
        quick,
    })
}

impl<T, F, Q> Column for PrimitiveColumn<T, F, Q>
where
    T: ArrowPrimitiveType,
    F: Fn(&Value<'_>) -> Result<T::Native, Found> + Send + Sync,
    Q: Fn(&[u8]) -> Option<(T::Native, usize)> + Send + Sync,
{
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        let parsed = match (self.quick)(value.raw().as_bytes()) {
            Some((parsed, _)) => parsed,
            None => (self.parse)(&value)
                .map_err(|found| DecodeError::mismatch(value.position(), &self.data_type, found))?,
        };
        self.values.push(parsed);
        self.nulls.append_non_null();
        Ok(())
    }

    fn walk(&mut self, document: &Marked<'_>, at: usize) -> Option<usize> {
        let Some((parsed, length)) = (self.quick)(document.rest(at)?) else {
            return self.read_at(document, at);
        };
        self.values.push(parsed);
        self.nulls.append_non_null();
        Some(at + length)
    }

    fn append_null(&mut self) {
        self.values.push(T::default_value());
        self.nulls.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.nulls.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let values = ScalarBuffer::from(take(&mut self.values));
        let array = PrimitiveArray::<T>::try_new(values, self.nulls.finish())?;
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}

/// Takes a vector and leaves room for as much again.
pub(super) fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

fn integers<T>(data_type: &DataType, coerce: bool) -> BoxColumn
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i128> + TryFrom<i64>,
{
    let parse = move |value: &Value<'_>| {
        let value = match value.kind() {
            Kind::Number { .. } => integer(value.raw()),
            Kind::String { .. } => match number_text(value)? {
                text if coerce => integer(&text),
                _ => Err(Found::String),
            },
            other => Err(other.found()),
        }?;
        T::Native::try_from(value).map_err(|_| Found::OutOfRange)
    };
    quick_primitive::<T, _, _>(data_type, parse, |bytes| {
        let (value, length) = short_decimal(bytes, 0)?;
        Some((T::Native::try_from(value).ok()?, length))
    })
}

/// The text of a string that holds a JSON number.
fn number_text<'a>(value: &Value<'a>) -> Result<Cow<'a, str>, Found> {
    text(value).and_then(|text| {
        if is_number(&text) {
            Ok(text)
        } else {
            Err(Found::NotANumber)
        }
    })
}

pub(super) fn text<'a>(value: &Value<'a>) -> Result<Cow<'a, str>, Found> {
    value.text().ok_or(value.kind().found())
}

fn float<P, N>(
    value: &Value<'_>,
    coerce: bool,
    convert: impl Fn(P) -> N,
    is_infinite: impl Fn(N) -> bool,
) -> Result<N, Found>
where
    P: std::str::FromStr + From<f32>,
    N: Copy,
{
    let parse = |text: &str| match text.parse().map(&convert) {
        Ok(value) if !is_infinite(value) => Ok(value),
        _ => Err(Found::OutOfRange),
    };
    let text = match value.kind() {
        Kind::Number { .. } => return parse(value.raw()),
        Kind::NonFinite => Cow::Borrowed(value.raw()),
        _ => text(value)?,
    };
    match &*text {
        "NaN" => Ok(convert(f32::NAN.into())),
        "Infinity" => Ok(convert(f32::INFINITY.into())),
        "-Infinity" => Ok(convert(f32::NEG_INFINITY.into())),
        text if !is_number(text) => Err(Found::NotANumber),
        text if coerce => parse(text),
        _ => Err(Found::String),
    }
}

/// Whether a double still is the number that was read.
fn is_kept(double: f64, value: &Value<'_>) -> Result<bool, Found> {
    Ok(match value.kind() {
        Kind::Number { .. } => gives_back(double, value.raw()),
        _ => gives_back(double, &text(value)?),
    })
}

fn decimals<T, W>(data_type: &DataType, precision: u8, scale: i8) -> BoxColumn
where
    T: DecimalType,
    W: Wide + PartialEq + 'static,
    T::Native: TryFrom<W> + TryFrom<i64>,
{
    let fits = move |value: &T::Native| T::is_valid_decimal_precision(*value, precision);
    let parse = move |value: &Value<'_>| {
        let parse = |text: &str| scaled::<W>(text, scale.into(), Found::DecimalPlaces);
        let value = match value.kind() {
            Kind::Number { .. } => parse(value.raw()),
            Kind::String { .. } => parse(&number_text(value)?),
            other => Err(other.found()),
        }?;
        let value = T::Native::try_from(value).ok();
        value.filter(fits).ok_or(Found::OutOfRange)
    };
    quick_primitive::<T, _, _>(data_type, parse, move |bytes| {
        let (value, length) = short_decimal(bytes, usize::try_from(scale).ok()?)?;
        let value = T::Native::try_from(value).ok().filter(fits)?;
        Some((value, length))
    })
}

/// A number where numbers are accepted as dates and times, in the units of the
/// column; `None` for a value of another kind.
fn numeric(
    value: &Value<'_>,
    number_unit: Option<TimeUnit>,
    unit: TimeUnit,
) -> Result<Option<i128>, Found> {
    let Kind::Number { .. } = value.kind() else {
        return Ok(None);
    };
    let Some(number_unit) = number_unit else {
        let is_fraction = integer(value.raw()) == Err(Found::Fraction);
        return Err(if is_fraction {
            Found::Fraction
        } else {
            Found::Number
        });
    };
    let scale = i64::from(digits(unit)) - i64::from(digits(number_unit));
    scaled(value.raw(), scale, Found::NumberPrecision).map(Some)
}

/// What is said of a number that is no date or time of the column.
fn of_number(found: Found) -> Found {
    match found {
        Found::TimePrecision => Found::NumberPrecision,
        _ => Found::OutOfRange,
    }
}

fn times<T>(
    data_type: &DataType,
    unit: TimeUnit,
    options: &DecodeOptions,
    parse: impl Fn(&str) -> Result<i64, Found> + Send + Sync + 'static,
) -> BoxColumn
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i128>,
{
    primitive::<T, _>(
        data_type,
        time_parser::<T>(unit, options.timestamp_unit, parse),
    )
}

fn time_parser<T>(
    unit: TimeUnit,
    number_unit: Option<TimeUnit>,
    parse: impl Fn(&str) -> Result<i64, Found>,
) -> impl Fn(&Value<'_>) -> Result<T::Native, Found>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i128>,
{
    move |value| {
        let (value, beyond) = match numeric(value, number_unit, unit)? {
            Some(value) => (value, Found::OutOfRange),
            None => (parse(&text(value)?)?.into(), Found::TimeOutOfRange),
        };
        T::Native::try_from(value).map_err(|_| beyond)
    }
}

fn times_of_day<T>(data_type: &DataType, unit: TimeUnit, options: &DecodeOptions) -> BoxColumn
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i128>,
{
    let number_unit = options.timestamp_unit;
    let day = i128::from(SECONDS_PER_DAY) * 10_i128.pow(digits(unit));
    primitive::<T, _>(data_type, move |value| {
        let value = match numeric(value, number_unit, unit)? {
            Some(value) if (0..day).contains(&value) => value,
            Some(_) => return Err(Found::OutOfRange),
            None => parse_time(&text(value)?, unit)?.into(),
        };
        T::Native::try_from(value).map_err(|_| Found::TimeOutOfRange)
    })
}

fn timestamps<T>(data_type: &DataType, zone: Zone, options: &DecodeOptions) -> BoxColumn
where
    T: ArrowTimestampType,
{
    let parse = move |text: &str| parse_timestamp(text, T::UNIT, &zone);
    let parse = time_parser::<T>(T::UNIT, options.timestamp_unit, parse);
    quick_primitive::<T, _, _>(data_type, parse, |bytes| short_timestamp(bytes, T::UNIT))
}

fn spans<T>(data_type: &DataType, unit: TimeUnit) -> BoxColumn
where
    T: ArrowPrimitiveType<Native = i64>,
{
    primitive::<T, _>(data_type, move |value| parse_span(&text(value)?, unit))
}

fn intervals<T>(
    data_type: &DataType,
    unit: TimeUnit,
    build: impl Fn(i32, i32, i64) -> Option<T::Native> + Send + Sync + 'static,
) -> BoxColumn
where
    T: ArrowPrimitiveType,
{
    primitive::<T, _>(data_type, move |value| {
        let parts = parse_duration(&text(value)?, unit)?;
        let range = |_| Found::TimeOutOfRange;
        let months = i32::try_from(parts.months).map_err(range)?;
        let days = i32::try_from(parts.days).map_err(range)?;
        let time = i64::try_from(parts.time).map_err(range)?;
        build(months, days, time).ok_or(Found::DurationParts)
    })
}

struct NullColumn {
    len: usize,
}

impl Column for NullColumn {
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        let found = value.kind().found();
        Err(DecodeError::mismatch(
            value.position(),
            &DataType::Null,
            found,
        ))
    }

    fn append_null(&mut self) {
        self.len += 1;
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(NullArray::new(std::mem::take(&mut self.len))))
    }
}

struct BooleanColumn {
    values: Vec<bool>,
    nulls: NullBufferBuilder,
    coerce: bool,
}

impl Column for BooleanColumn {
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        let found = match value.kind() {
            Kind::Boolean(boolean) => Ok(boolean),
            Kind::String { .. } => match value.text().as_deref() {
                Some("true" | "false") if !self.coerce => Err(Found::String),
                Some("true") => Ok(true),
                Some("false") => Ok(false),
                _ => Err(Found::NotABoolean),
            },
            other => Err(other.found()),
        };
        let boolean = found
            .map_err(|found| DecodeError::mismatch(value.position(), &DataType::Boolean, found))?;
        self.values.push(boolean);
        self.nulls.append_non_null();
        Ok(())
    }

    fn walk(&mut self, document: &Marked<'_>, at: usize) -> Option<usize> {
        let Some((boolean, end)) = document.boolean(at) else {
            return self.read_at(document, at);
        };
        self.values.push(boolean);
        self.nulls.append_non_null();
        Some(end)
    }

    fn append_null(&mut self) {
        self.values.push(false);
        self.nulls.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.nulls.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.nulls.finish();
        let values = BooleanBuffer::from(take(&mut self.values));
        Ok(Arc::new(BooleanArray::new(values, nulls)))
    }
}
