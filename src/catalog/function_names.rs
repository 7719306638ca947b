//! The names of the table functions.

/// All table functions.
pub(crate) const NAMES: [&str; 5] = [
    "kafka_topics",
    "kafka_offsets",
    "kafka_log",
    "kafka_snapshot",
    "kafka_changes",
];

/// The function of this name, ignoring case.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    let mut names = NAMES.into_iter();
    names.find(|function| function.eq_ignore_ascii_case(name))
}

/// Whether a name is that of a function. DataFusion looks up the functions of a statement as
/// tables too.
pub(crate) fn is_function(name: &str) -> bool {
    find(name).is_some()
}
