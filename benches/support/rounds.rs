//! Figures of several rounds.
//!
//! Whatever is compared runs in turns within each round, and its ratio is the median of the rounds'
//! ratios: a machine that slows down slows all of them down.

/// The middle one of an odd number of values.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median of what each value is to the other of its round.
pub fn median_ratio(values: &[f64], others: &[f64]) -> f64 {
    median(
        values
            .iter()
            .zip(others)
            .map(|(value, other)| value / other),
    )
}
