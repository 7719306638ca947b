//! Which key could have been meant.

/// The candidate nearest to `key`, if one is near enough to be a misspelling.
pub(super) fn nearest<'a>(key: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = match key.len() {
        0..=4 => 1,
        5..=9 => 2,
        _ => 3,
    };
    candidates
        .map(|candidate| (distance(key, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, above) in b.bytes().zip(row.iter_mut().skip(1)) {
            left = (diagonal + usize::from(x != y))
                .min(*above + 1)
                .min(left + 1);
            diagonal = std::mem::replace(above, left);
        }
    }
    if b.is_empty() {
        return a.len();
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (a, b, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("mode", "mode", 0),
            ("mod", "mode", 1),
            ("kitten", "sitting", 3),
            ("start", "end", 5),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_near_candidates_are_named() {
        let keys = ["mode", "start", "timeout"];
        assert_eq!(nearest("mod", keys.into_iter()), Some("mode"));
        assert_eq!(nearest("timeuot", keys.into_iter()), Some("timeout"));
        assert_eq!(nearest("delivery", keys.into_iter()), None);
    }
}
