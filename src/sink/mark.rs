//! [`Mark`]: the metadata of an offset that a continuous query commits.

use rdkafka_extra::TopicId;

/// The metadata that Kafka stores with an offset, as a continuous query writes it.
///
/// The mark distinguishes a query's offsets from those of other programs, and the offsets of
/// one instance from those of another. It also holds what a restart needs to know besides
/// the offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The instance of the query that committed the offset.
    pub(crate) instance: String,
    /// The offset from which the query read the partition at its first start. `None` for a
    /// partition that was added later, which is read from its beginning.
    pub(crate) start: Option<i64>,
    /// The id of the topic that is read, if the brokers report it.
    pub(crate) source: Option<TopicId>,
    /// The id of the topic that is written, if the brokers report it.
    pub(crate) output: Option<TopicId>,
}

const NAME: &str = "datafusion-kafka";

impl Mark {
    /// Parses the metadata of an offset; `None` if another program has committed it.
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
                // A field of a later version.
                _ => {}
            }
        }
        Some(mark)
    }

    /// The metadata to commit.
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
