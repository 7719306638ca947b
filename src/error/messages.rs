//! Messages that depend on the data of an error.

use std::fmt::Display;

use datafusion::common::resources_datafusion_err;
use datafusion::error::DataFusionError;

use super::json_hints::{hint, may_mean_a_delete};
use crate::json::{DecodeError, DecodeErrorKind};

/// The error where the memory pool has no room for something, which says what to raise.
pub(crate) fn no_room(place: impl Display, what: impl Display) -> DataFusionError {
    resources_datafusion_err!(
        "{place}: the memory pool has no room for {what}; raise its limit \
         (`datafusion.runtime.memory_limit`, `--memory-limit` on the command line)"
    )
}

pub(super) fn sample_hint(topics: &[String]) -> String {
    let topics: Vec<String> = topics.iter().map(|topic| format!("`{topic}`")).collect();
    format!(
        "The columns of {} are those that a sample of the newest records shows; set \
         `kafka.infer.records` to sample more of them, or declare the columns",
        topics.join(" and ")
    )
}

pub(super) fn denied(
    operation: &str,
    resource: &str,
    name: &str,
    prefixed: bool,
    principal: Option<&str>,
) -> String {
    let (on, pattern) = match prefixed {
        true => ("s that begin with", " --resource-pattern-type prefixed"),
        false => ("", ""),
    };
    let includes = match operation {
        "DESCRIBE" => ", which READ and WRITE include",
        _ => "",
    };
    let whom = principal.map_or("this login".to_owned(), |principal| {
        format!("`{principal}`")
    });
    let grantee = principal.unwrap_or("User:..");
    let flag = resource.replace(' ', "-");
    format!(
        "the brokers deny {whom} the right {operation} on {resource}{on} `{name}`{includes}; it can \
         be granted with `kafka-acls.sh --add --allow-principal {grantee} --operation {operation} \
         --{flag} {name}{pattern}`"
    )
}

pub(super) fn duplicate_key(topic: &str, row: Option<u64>) -> String {
    let row = match row {
        Some(row) => format!("row {row} for topic `{topic}`"),
        None => format!("a row of topic `{topic}` that the source does not match"),
    };
    format!(
        "{row} has the `_key` of another row that the statement changes, or that key is in two \
         partitions; nothing was written"
    )
}

pub(super) fn payload_hint(error: &DecodeError) -> String {
    let policy = match &error.kind {
        // `null` is not allowed with columns that are NOT NULL.
        DecodeErrorKind::MissingValue { .. } => "set `kafka.on_bad_record` = `skip`",
        _ if may_mean_a_delete(error) => {
            "set `kafka.on_bad_record` = `null` and, where it means a delete, select rows \
             WHERE _error IS NULL"
        }
        _ => "set `kafka.on_bad_record` = `null` or `skip`",
    };
    either(hint(error), policy)
}

pub(super) fn key_hint(error: &DecodeError) -> String {
    let remedy = match &error.kind {
        DecodeErrorKind::InvalidJson(_) if error.is_read_leniently() => hint(error),
        DecodeErrorKind::InvalidUtf8 => {
            Some("set `kafka.key.format` = `bytes`, with which a declared `_key` is BYTEA")
        }
        DecodeErrorKind::Empty
        | DecodeErrorKind::InvalidJson(_)
        | DecodeErrorKind::TooDeep
        | DecodeErrorKind::NotAnObject(_) => {
            Some("set `kafka.key.format` = `string`, with which a declared `_key` is VARCHAR")
        }
        _ => hint(error),
    };
    either(remedy, "set `kafka.on_bad_record` = `skip`")
}

fn either(hint: Option<&str>, policy: &str) -> String {
    match hint {
        Some(hint) => format!("; {hint}, or {policy}"),
        None => format!("; {policy}"),
    }
}
