//! How documents are read and written.

use arrow::datatypes::TimeUnit;

/// How a property finds its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameMatching {
    /// By exact name; a column that no property of an object names exactly takes
    /// one that differs only in case, unless that is another column's exact name.
    #[default]
    IgnoreCase,
    /// By exact name only.
    Exact,
}

/// How JSON becomes Arrow.
///
/// ```
/// use arrow_json_codec::{DecodeOptions, NameMatching};
///
/// let options = DecodeOptions::default().with_coerce(true);
/// assert!(options.coerce);
/// assert_eq!(options.names, NameMatching::IgnoreCase);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DecodeOptions {
    /// How properties find their columns, in nested objects too.
    pub names: NameMatching,
    /// Accept strings that hold a number, `true` or `false` for integers, floats
    /// and booleans.
    pub coerce: bool,
    /// Accept numbers for dates, times and timestamps: the count of these units
    /// since the epoch, or since midnight.
    pub timestamp_unit: Option<TimeUnit>,
    /// Refuse a number that a `Float64` column does not keep, such as 2^53 + 1: the
    /// shortest text of the double is another number. Otherwise it is rounded.
    ///
    /// For columns that were inferred from other documents, whose types were not chosen with
    /// rounding in mind.
    pub exact_doubles: bool,
    /// Accept what some writers take for JSON: `NaN`, `Infinity` and `-Infinity` as bare
    /// words, which are values of float columns; in strings, control characters without an
    /// escape, and half of a surrogate pair, which is read as U+FFFD.
    pub lenient: bool,
}

impl DecodeOptions {
    /// Sets [`names`](Self::names).
    #[must_use]
    pub fn with_names(mut self, names: NameMatching) -> Self {
        self.names = names;
        self
    }

    /// Sets [`coerce`](Self::coerce).
    #[must_use]
    pub fn with_coerce(mut self, coerce: bool) -> Self {
        self.coerce = coerce;
        self
    }

    /// Sets [`timestamp_unit`](Self::timestamp_unit).
    #[must_use]
    pub fn with_timestamp_unit(mut self, timestamp_unit: Option<TimeUnit>) -> Self {
        self.timestamp_unit = timestamp_unit;
        self
    }

    /// Sets [`exact_doubles`](Self::exact_doubles).
    #[must_use]
    pub fn with_exact_doubles(mut self, exact_doubles: bool) -> Self {
        self.exact_doubles = exact_doubles;
        self
    }

    /// Sets [`lenient`](Self::lenient).
    #[must_use]
    pub fn with_lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }
}

/// What becomes of a NULL property when writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nulls {
    /// The property is written as `null`.
    #[default]
    Write,
    /// The property is left out, in nested objects too.
    Omit,
}

/// How decimals are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decimals {
    /// As a JSON number with all digits of the scale: `1.50`.
    #[default]
    Number,
    /// As a string with the same digits, for readers that turn numbers into floats.
    String,
}

/// What becomes of NaN and the infinities, which JSON numbers cannot express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NonFinite {
    /// The values are an error.
    #[default]
    Error,
    /// The values are written as the strings `NaN`, `Infinity` and `-Infinity`.
    String,
}

/// How Arrow becomes JSON.
///
/// ```
/// use arrow_json_codec::{EncodeOptions, Nulls};
///
/// let options = EncodeOptions::default().with_nulls(Nulls::Omit);
/// assert_eq!(options.nulls, Nulls::Omit);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EncodeOptions {
    /// What becomes of NULL properties.
    pub nulls: Nulls,
    /// How decimals are written.
    pub decimals: Decimals,
    /// What becomes of NaN and the infinities.
    pub non_finite: NonFinite,
    /// Write dates, times and timestamps as numbers: the count of these units since the
    /// epoch, or since midnight. A value that is more precise is an error. Without a unit,
    /// dates and times are text.
    pub timestamp_unit: Option<TimeUnit>,
}

impl EncodeOptions {
    /// Sets [`nulls`](Self::nulls).
    #[must_use]
    pub fn with_nulls(mut self, nulls: Nulls) -> Self {
        self.nulls = nulls;
        self
    }

    /// Sets [`decimals`](Self::decimals).
    #[must_use]
    pub fn with_decimals(mut self, decimals: Decimals) -> Self {
        self.decimals = decimals;
        self
    }

    /// Sets [`non_finite`](Self::non_finite).
    #[must_use]
    pub fn with_non_finite(mut self, non_finite: NonFinite) -> Self {
        self.non_finite = non_finite;
        self
    }

    /// Sets [`timestamp_unit`](Self::timestamp_unit).
    #[must_use]
    pub fn with_timestamp_unit(mut self, timestamp_unit: Option<TimeUnit>) -> Self {
        self.timestamp_unit = timestamp_unit;
        self
    }
}
