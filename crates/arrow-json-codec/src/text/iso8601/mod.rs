//! ISO 8601 text of dates, times, timestamps and durations.

pub(crate) mod calendar;
mod cursor;
pub(crate) mod duration;
pub(crate) mod fast;
pub(crate) mod parse;
pub(crate) mod write;
pub(crate) mod zone;
