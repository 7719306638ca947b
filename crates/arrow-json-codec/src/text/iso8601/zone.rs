//! Time zones of timestamp columns, looked up in the database of chrono.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use chrono::{DateTime, Offset, TimeZone};

use crate::error::Found;

/// How the timestamps of a column relate to instants.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Zone {
    /// Wall clock time without a time zone.
    None,
    /// Universal time.
    Utc,
    /// A zone whose offsets are known.
    Known(Tz),
    /// A zone that is not in the time zone database: only its instants are known.
    Unknown,
}

impl Zone {
    pub(crate) fn new(name: Option<&Arc<str>>) -> Self {
        match name.map(|name| &**name) {
            None => Self::None,
            Some("UTC" | "Etc/UTC" | "Z" | "+00:00" | "+0000" | "+00") => Self::Utc,
            Some(name) => Tz::from_str(name).map_or(Self::Unknown, Self::Known),
        }
    }

    /// The offset from universal time at an instant, in seconds, where that can
    /// be written as hours and minutes.
    pub(crate) fn offset_at(&self, seconds: i64) -> Option<i64> {
        let Self::Known(zone) = self else { return None };
        let instant = DateTime::from_timestamp(seconds, 0)?.naive_utc();
        let offset = zone.offset_from_utc_datetime(&instant).fix();
        let offset = i64::from(offset.local_minus_utc());
        (offset % 60 == 0).then_some(offset)
    }

    /// The offset from universal time of a local time, in seconds.
    pub(crate) fn offset_of(&self, seconds: i128) -> Result<i64, Found> {
        let zone = match self {
            Self::None | Self::Utc => return Ok(0),
            Self::Unknown => return Err(Found::UnknownZone),
            Self::Known(zone) => zone,
        };
        let local = i64::try_from(seconds)
            .ok()
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
            .ok_or(Found::TimeOutOfRange)?
            .naive_utc();
        let offset = zone.offset_from_local_datetime(&local).single();
        let offset = offset.ok_or(Found::LocalTime)?.fix();
        Ok(offset.local_minus_utc().into())
    }
}
