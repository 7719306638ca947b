//! Turns rights that brokers deny into errors.

use rdkafka::error::RDKafkaErrorCode;

use crate::error::{Error, ErrorCode};

/// The resources for which a request needs a right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs<'a> {
    /// The operation on the topic, in the terms of ACLs.
    pub(crate) operation: &'static str,
    pub(crate) topic: &'a str,
    /// The group, where the request is also about a group.
    pub(crate) group: Option<&'a str>,
    pub(crate) transactional_id: Option<Pattern<'a>>,
}

/// The pattern of resource names that a right covers, in the terms of ACLs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pattern<'a> {
    Literal(&'a str),
    /// All names with this prefix.
    Prefixed(&'a str),
}

impl<'a> Needs<'a> {
    /// An operation that needs a right on a topic only.
    pub(crate) fn on(operation: &'static str, topic: &'a str) -> Self {
        Needs {
            operation,
            topic,
            group: None,
            transactional_id: None,
        }
    }

    /// The error that names the denied right, where the code means a denied right.
    pub(crate) fn denied(
        &self,
        code: RDKafkaErrorCode,
        principal: Option<String>,
    ) -> Option<Error> {
        use RDKafkaErrorCode as Code;
        let (operation, resource, pattern) = match (code, self.group, self.transactional_id) {
            // A principal that may write to any topic may also get a producer id. Where the
            // principal has no such right, brokers name the right on the cluster that would do
            // instead.
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
            code: ErrorCode::of(code)?,
            hint: String::new(),
        })
    }
}

/// Whether a broker answers with this code when it denies a right.
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
