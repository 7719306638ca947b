//! Detects queries that would read their own records.

use crate::definition::TableDefinition;
use crate::options::OnBadRecord;

/// Why an unbounded query from `source` to `sink` would read its own records; `None` if it
/// would not.
pub(super) fn feeds_itself(source: &TableDefinition, sink: &TableDefinition) -> Option<String> {
    let (read, written) = (&source.topic, &sink.topic);
    let is_same_cluster = servers(source) == servers(sink);
    if is_same_cluster && read == written {
        return Some(format!(
            "it reads topic `{read}` and writes it, so it would read its own records without \
             end; write to another topic"
        ));
    }
    let dead_letters = source.options.dead_letter_topic.as_ref();
    let dead_letters =
        dead_letters.filter(|_| source.options.on_bad_record == OnBadRecord::DeadLetter)?;
    let what = match dead_letters {
        // Dead letters are written to the cluster of the output.
        topic if is_same_cluster && topic == read => "the topic that is read",
        topic if topic == written => "the topic that is written",
        _ => return None,
    };
    Some(format!(
        "`kafka.dead_letter.topic` = `{dead_letters}` is {what}; name a separate topic for \
         records that do not fit"
    ))
}

/// The bootstrap servers of a table, which stand for its cluster.
pub(super) fn servers(table: &TableDefinition) -> Option<&str> {
    table.options.client.bootstrap_servers().ok()
}
