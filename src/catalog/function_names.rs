//! The names of the table functions, which DataFusion looks up as tables too.

/// All of them.
pub(crate) const NAMES: [&str; 5] = [
    "kafka_topics",
    "kafka_offsets",
    "kafka_log",
    "kafka_snapshot",
    "kafka_changes",
];

/// The function of that name, in any case.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    let mut names = NAMES.into_iter();
    names.find(|function| function.eq_ignore_ascii_case(name))
}

/// Whether a name is one of the functions': DataFusion looks the functions of a
/// statement up as if they were tables too.
pub(crate) fn is_function(name: &str) -> bool {
    find(name).is_some()
}
