//! Queries that would read what they write.

use crate::definition::TableDefinition;
use crate::options::OnBadRecord;

/// Why rows of this table cannot be written to that topic without an end: what is written
/// would be read again. `None` where they can.
pub(super) fn feeds_itself(source: &TableDefinition, sink: &TableDefinition) -> Option<String> {
    let (read, written) = (&source.topic, &sink.topic);
    let is_same_cluster = servers(source) == servers(sink);
    if is_same_cluster && read == written {
        return Some(format!(
            "it reads topic `{read}` and writes it, and would never come to an end of its own \
             records; write another topic"
        ));
    }
    let dead_letters = source.options.dead_letter_topic.as_ref();
    let dead_letters =
        dead_letters.filter(|_| source.options.on_bad_record == OnBadRecord::DeadLetter)?;
    let what = match dead_letters {
        // Dead letters are written where the output is.
        topic if is_same_cluster && topic == read => "the topic that is read",
        topic if topic == written => "the topic that is written",
        _ => return None,
    };
    Some(format!(
        "`kafka.dead_letter.topic` = `{dead_letters}` is {what}; name a topic of its own for \
         records that do not fit"
    ))
}

/// The cluster of a table, as far as its servers tell.
pub(super) fn servers(table: &TableDefinition) -> Option<&str> {
    table.options.client.bootstrap_servers().ok()
}
