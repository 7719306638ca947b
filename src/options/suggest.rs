//! Suggests a key for a misspelled one.

use strsim::osa_distance;

/// The candidate nearest to `key`, if one is near enough to be a misspelling.
pub(super) fn nearest<'a>(key: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = match key.len() {
        0..=4 => 1,
        5..=9 => 2,
        _ => 3,
    };
    candidates
        // Two swapped letters count as one mistake.
        .map(|candidate| (osa_distance(key, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_candidates_are_named() {
        let keys = ["mode", "start", "timeout"];
        assert_eq!(nearest("mod", keys.into_iter()), Some("mode"));
        assert_eq!(nearest("mdoe", keys.into_iter()), Some("mode"));
        assert_eq!(nearest("timeuot", keys.into_iter()), Some("timeout"));
        assert_eq!(nearest("delivery", keys.into_iter()), None);
    }
}
