//! [`Location`]: parses a LOCATION, `kafka://host:9092/topic` or only the topic.

use datafusion::common::config::ConfigOptions;

use crate::error::{Error, Result};
use crate::options::{KafkaSessionOptions, Options, Origin};
use crate::table::{KafkaTable, KafkaTableBuilder};

/// The beginning of a LOCATION that names a server.
pub(crate) const SCHEME: &str = "kafka://";

/// The servers and the topic of a table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) servers: Option<String>,
    pub(crate) topic: String,
}

impl Location {
    /// # Errors
    /// [`Error::InvalidLocation`], from which anything that may be a login is removed.
    pub(crate) fn parse(location: &str) -> Result<Self> {
        let invalid = |reason: &str| Error::InvalidLocation {
            location: without_login(location),
            reason: reason.to_owned(),
        };
        let (servers, topic) = match location.split_once("://") {
            None => (None, location),
            Some(("kafka", rest)) => match rest.split_once('/') {
                Some((servers, topic)) => (Some(servers), topic),
                None => return Err(invalid("names no topic; write `kafka://host:9092/topic`")),
            },
            Some(_) => return Err(invalid("must start with `kafka://` or be a topic's name")),
        };
        if servers.is_some_and(|servers| servers.contains('@')) {
            return Err(invalid(
                "contains a user name; give `kafka.client.sasl.username` and `kafka.client.sasl.password` in OPTIONS",
            ));
        }
        if servers.is_some_and(|servers| servers.contains(',')) {
            return Err(invalid(
                "names several servers; give one here, or all of them in `kafka.bootstrap.servers`",
            ));
        }
        if servers.is_none() && topic.contains(':') {
            return Err(invalid("names a server; write `kafka://host:9092/topic`"));
        }
        if let Some(reason) = bad_topic_name(topic) {
            return Err(invalid(reason));
        }
        Ok(Location {
            servers: servers.filter(|s| !s.is_empty()).map(str::to_owned),
            topic: topic.to_owned(),
        })
    }

    /// A builder for the table of this topic. Its own options override `defaults`, which override
    /// those of the session. `origin` is that of the location.
    pub(crate) fn table(
        self,
        session: &ConfigOptions,
        defaults: &Options,
        own: Options,
        origin: Origin,
    ) -> KafkaTableBuilder {
        let builder = KafkaTable::builder(self.topic)
            .with_layers(vec![KafkaSessionOptions::of(session), defaults.clone()])
            .with_options(own);
        match self.servers {
            Some(servers) => builder.with_servers(servers, origin),
            None => builder,
        }
    }
}

/// Why a name breaks Kafka's rules for topic names; `None` if it does not.
pub(crate) fn bad_topic_name(topic: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() {
        Some("names no topic; write `kafka://host:9092/topic`")
    } else if topic.len() > 249 || topic == "." || topic == ".." || !topic.chars().all(allowed) {
        Some(
            "is not a topic name, which has at most 249 letters, digits, dots, underscores and hyphens",
        )
    } else {
        None
    }
}

/// The location without anything that may be a login: the text before an `@`, and the query.
fn without_login(location: &str) -> String {
    let (place, query) = match location.split_once('?') {
        Some((place, _)) => (place, "?***"),
        None => (location, ""),
    };
    match place.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}{query}"),
        None => format!("{place}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(location: &str) -> (Option<String>, String) {
        let location = Location::parse(location).unwrap();
        (location.servers, location.topic)
    }

    #[test]
    fn a_location_is_a_url_or_a_topic() {
        let url = parsed("kafka://host:9092/orders.v1");
        assert_eq!(url, (Some("host:9092".into()), "orders.v1".into()));
        assert_eq!(parsed("orders-eu"), (None, "orders-eu".into()));
        assert_eq!(parsed("kafka:///orders"), (None, "orders".into()));
    }

    #[test]
    fn a_bad_location_says_what_is_allowed() {
        for (location, reason) in [
            ("kafka://host:9092", "names no topic"),
            ("kafka://host:9092/", "names no topic"),
            ("", "names no topic"),
            ("s3://bucket/file", "must start with `kafka://`"),
            ("kafka://a:1,b:2/t", "names several servers"),
            ("kafka://h:1/a/b", "is not a topic name"),
            ("host:9092/t", "names a server; write `kafka://"),
            ("two words", "is not a topic name"),
        ] {
            let error = Location::parse(location).unwrap_err().to_string();
            assert!(error.contains(reason), "{location}: {error}");
        }
    }

    #[test]
    fn a_password_in_a_location_is_refused_and_not_shown() {
        let error = Location::parse("kafka://alice:geheim@host:9092/t").unwrap_err();
        assert!(error.to_string().contains("sasl.password"), "{error}");
        for location in [
            "kafka://alice:geheim@host:9092/t",
            "KAFKA://alice:geheim@host:9092/t",
            "alice:geheim@host:9092/t",
            "kafka://host:9092/t?password=geheim",
            "kafka://host:9092/t?password=geheim@x",
            "alice:geheim://x@host:9092/t",
        ] {
            let error = Location::parse(location).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
