//! Days and their dates in the proleptic Gregorian calendar, for years of any size.
//!
//! The arithmetic is written out, since Arrow's dates and timestamps reach years far beyond
//! those of chrono, and since it runs once for each value that is read or written.

pub(crate) const SECONDS_PER_DAY: i64 = 86_400;

/// Days since the epoch of a date (Howard Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms"). Years start in March, so that leap days end them.
#[inline]
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The reverse of [`days_from_civil`], within an era after Neri and Schneider,
/// "Euclidean affine functions and their application to calendar algorithms".
#[inline]
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let quarters = days.rem_euclid(146_097) as u32 * 4 + 3;
    let (century, quarters) = (quarters / 146_097, (quarters % 146_097) | 3);
    // The product's upper half is the year of the century, its lower half the day of it.
    let product = 2_939_745 * u64::from(quarters);
    let year_of_century = (product >> 32) as u32;
    let day_of_year = product as u32 / 2_939_745 / 4;
    // The same for the month and the day, with a factor of 2 to the power of 16.
    let product = 2141 * day_of_year + 197_913;
    let (month, day) = (product >> 16, (product & 0xFFFF) / 2141 + 1);
    let next_year = day_of_year >= 306;
    let month = if next_year { month - 12 } else { month };
    let year = i64::from(100 * century + year_of_century + u32::from(next_year));
    (era * 400 + year, month, day)
}

#[inline]
pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate};

    use super::*;

    #[test]
    fn dates_are_those_of_chrono_where_it_has_them() {
        const EPOCH: i32 = 719_163;
        let days = |date: NaiveDate| date.num_days_from_ce() - EPOCH;
        let range = days(NaiveDate::MIN)..=days(NaiveDate::MAX);
        // A prime number of days, so that every day of the year comes.
        for day in range.step_by(9973).chain(-800..800) {
            let date = NaiveDate::from_num_days_from_ce_opt(EPOCH + day).unwrap();
            let (year, month, of_month) = civil_from_days(day.into());
            assert_eq!(year, i64::from(date.year()));
            assert_eq!((month, of_month), (date.month(), date.day()));
            let (month, of_month) = (i64::from(month), i64::from(of_month));
            assert_eq!(days_from_civil(year, month, of_month), i64::from(day));
            assert!(of_month <= days_in_month(year, month));
        }
    }
}
