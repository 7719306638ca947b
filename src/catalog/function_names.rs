//! The names of the table functions.

pub(crate) const TOPICS: &str = "kafka_topics";
pub(crate) const OFFSETS: &str = "kafka_offsets";
pub(crate) const LOG: &str = "kafka_log";
pub(crate) const SNAPSHOT: &str = "kafka_snapshot";
pub(crate) const CHANGES: &str = "kafka_changes";

const NAMES: [&str; 5] = [TOPICS, OFFSETS, LOG, SNAPSHOT, CHANGES];

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
