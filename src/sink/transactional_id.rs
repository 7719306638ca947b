//! The `transactional.id` of what writes in transactions.

use crate::client::Pattern;
use crate::options::TableOptions;
use crate::sink::instance::random_id;

/// A `transactional.id`. Its beginning can be named in an ACL.
#[derive(Debug, Clone)]
pub(super) enum TransactionalId {
    /// That no other statement has: two statements at the same time must not fence
    /// each other.
    Statement { prefix: String, name: String },
    /// The same for all instances of a continuous query.
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

    /// The ids that rights are needed on.
    pub(super) fn pattern(&self) -> Pattern<'_> {
        match self {
            TransactionalId::Statement { prefix, .. } => Pattern::Prefixed(prefix),
            TransactionalId::Query(name) => Pattern::Literal(name),
        }
    }
}
