//! [`TransactionalId`]: the `transactional.id` of a statement or a continuous query.

use crate::client::Pattern;
use crate::options::TableOptions;
use crate::sink::instance::random_id;

/// A `transactional.id`. It begins with a configured prefix, which an ACL can name.
#[derive(Debug, Clone)]
pub(super) enum TransactionalId {
    /// A random id, so that two concurrent statements do not fence each other.
    Statement { prefix: String, name: String },
    /// An id that all instances of a continuous query share, so that a later instance fences
    /// the earlier ones.
    Query(String),
}

impl TransactionalId {
    pub(super) fn of_statement(options: &TableOptions) -> Self {
        let prefix = options.transactional_id_prefix.clone();
        let name = format!("{prefix}{}", random_id());
        TransactionalId::Statement { prefix, name }
    }

    pub(super) fn of_query(query: &str, options: &TableOptions) -> Self {
        let prefix = &options.transactional_id_prefix;
        TransactionalId::Query(format!("{prefix}{query}"))
    }

    pub(super) fn name(&self) -> &str {
        match self {
            TransactionalId::Statement { name, .. } | TransactionalId::Query(name) => name,
        }
    }

    /// The ids that an ACL must allow.
    pub(super) fn pattern(&self) -> Pattern<'_> {
        match self {
            TransactionalId::Statement { prefix, .. } => Pattern::Prefixed(prefix),
            TransactionalId::Query(name) => Pattern::Literal(name),
        }
    }
}
