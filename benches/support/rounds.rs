//! Statistics over several rounds.
//!
//! Everything that is compared runs in turn within each round, and its ratio is the median of the
//! ratios of the rounds. A machine that slows down slows down all of it.

/// The median of an odd number of values.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median of the ratios of two values of the same round.
pub fn median_ratio(values: &[f64], others: &[f64]) -> f64 {
    median(
        values
            .iter()
            .zip(others)
            .map(|(value, other)| value / other),
    )
}
