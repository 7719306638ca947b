//! What stands beside an offset that a continuous query commits.

use rdkafka_extra::TopicId;

/// What stands beside a committed offset, in the metadata that Kafka keeps with it.
///
/// It tells a query's own offsets from those of other programs, one instance of a query
/// from another, and what a restart has to know beside the offset itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The instance of the query that committed the offset.
    pub(crate) instance: String,
    /// Where the query began to read the partition at its first start; `None` of one that
    /// the topic got later, which was read from its beginning.
    pub(crate) start: Option<i64>,
    /// The topic that is read,
    pub(crate) source: Option<TopicId>,
    /// and the one that is written, where brokers tell their ids.
    pub(crate) output: Option<TopicId>,
}

const NAME: &str = "datafusion-kafka";

impl Mark {
    /// The mark that a text is; `None` for what another program has committed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        if parts.next() != Some(NAME) {
            return None;
        }
        let mut mark = Mark::default();
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name {
                "instance" => mark.instance = value.to_owned(),
                "start" => mark.start = value.parse().ok(),
                "source" => mark.source = TopicId::parse(value),
                "output" => mark.output = TopicId::parse(value),
                // Of a later version.
                _ => {}
            }
        }
        Some(mark)
    }

    /// The text that is committed.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{NAME} instance={}", self.instance);
        if let Some(start) = self.start {
            text.push_str(&format!(" start={start}"));
        }
        for (name, id) in [("source", self.source), ("output", self.output)] {
            if let Some(id) = id {
                text.push_str(&format!(" {name}={id}"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_is_written() {
        let id = TopicId::parse("00000000000000070000000000000009");
        for mark in [
            Mark {
                instance: "ab12".to_owned(),
                ..Mark::default()
            },
            Mark {
                instance: "ab12".to_owned(),
                start: Some(7),
                source: id,
                output: id,
            },
        ] {
            assert_eq!(Mark::parse(&mark.text()), Some(mark));
        }
    }

    #[test]
    fn what_others_commit_is_no_mark() {
        for text in ["", "consumer-1", "0123456789abcdef0123456789abcdef"] {
            assert_eq!(Mark::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let mark = Mark::parse("datafusion-kafka instance=a new=1 start=3").unwrap();
        assert_eq!((mark.instance.as_str(), mark.start), ("a", Some(3)));
    }
}
