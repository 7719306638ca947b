//! Rights that brokers deny.

use rdkafka::error::RDKafkaErrorCode;

use crate::error::Error;

/// What a request needs a right to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs<'a> {
    /// On the topic, as ACLs call it.
    pub(crate) operation: &'static str,
    pub(crate) topic: &'a str,
    /// Where the request is also about a group, or a transaction.
    pub(crate) group: Option<&'a str>,
    pub(crate) transactional_id: Option<Pattern<'a>>,
}

/// The names that a right is for, as ACLs have them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pattern<'a> {
    Literal(&'a str),
    /// All names that begin so.
    Prefixed(&'a str),
}

impl<'a> Needs<'a> {
    /// An operation on a topic alone.
    pub(crate) fn on(operation: &'static str, topic: &'a str) -> Self {
        Needs {
            operation,
            topic,
            group: None,
            transactional_id: None,
        }
    }

    /// Which right the brokers deny, where that is what the code says.
    pub(crate) fn denied(
        &self,
        code: RDKafkaErrorCode,
        principal: Option<String>,
    ) -> Option<Error> {
        use RDKafkaErrorCode as Code;
        let (operation, resource, pattern) = match (code, self.group, self.transactional_id) {
            // Who may write to any topic may have a producer's id; brokers answer with
            // the right of the cluster that does instead.
            (Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed, ..) => {
                (self.operation, "topic", Pattern::Literal(self.topic))
            }
            (Code::GroupAuthorizationFailed, Some(group), _) => {
                ("READ", "group", Pattern::Literal(group))
            }
            (Code::TransactionalIdAuthorizationFailed, _, Some(id)) => {
                ("WRITE", "transactional id", id)
            }
            _ => return None,
        };
        let (name, prefixed) = match pattern {
            Pattern::Literal(name) => (name, false),
            Pattern::Prefixed(name) => (name, true),
        };
        Some(Error::Denied {
            operation,
            resource,
            name: name.to_owned(),
            prefixed,
            principal,
            hint: String::new(),
        })
    }
}

/// Whether brokers answer so where they deny a right.
pub(super) fn is_denied(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::ClusterAuthorizationFailed
    )
}
