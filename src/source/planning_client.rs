//! The client that planning connects, passed on to the first scan that reads.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::client::{Client, KeptClients};
use crate::definition::TableDefinition;
use crate::error::Result;
use crate::source::chunk_sizes::Budget;

/// A client, until a scan takes it.
///
/// Connecting takes as long as reading some megabytes, so execution reuses the connection of
/// planning. A plan that is kept without being executed keeps an idle connection.
#[derive(Clone, Default)]
pub(crate) struct PlanningClient {
    client: Arc<Mutex<Option<Arc<Client>>>>,
    /// The clients of the session, which scans use before they make new ones.
    kept: KeptClients,
}

impl PlanningClient {
    /// Keeps the client for the first scan that reads.
    pub(crate) fn new(client: Arc<Client>) -> Self {
        PlanningClient {
            client: Arc::new(Mutex::new(Some(client))),
            kept: KeptClients::default(),
        }
    }

    /// No client yet, but those of a session.
    pub(super) fn of(kept: KeptClients) -> Self {
        PlanningClient {
            client: Arc::default(),
            kept,
        }
    }

    /// The client for look-ups. It stays here for the first scan that reads.
    pub(crate) fn lend(&self, table: &TableDefinition) -> Result<Arc<Client>> {
        let mut own = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match own.take() {
            Some(client) => client,
            None => self.another(table, Budget::CLIENT_BYTES)?,
        };
        Ok(Arc::clone(own.insert(client)))
    }

    /// The client for reading with at most `memory` bytes per partition, which is another one
    /// unless this one is still here and suits.
    pub(crate) fn take(&self, table: &TableDefinition, memory: usize) -> Result<Arc<Client>> {
        let mut own = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        match own.take().filter(|client| client.memory() <= memory) {
            Some(client) => Ok(client),
            None => self.another(table, memory),
        }
    }

    /// Another client for a scan: one that the session has kept, or else a new one. An unbounded
    /// scan has a new one, which is not kept.
    pub(super) fn another(&self, table: &TableDefinition, memory: usize) -> Result<Arc<Client>> {
        let (topic, options) = (&table.topic, &table.options);
        let client = match table.unbounded {
            true => Client::with_memory(topic, options, memory)?,
            false => Client::of_scan(topic, options, memory, &self.kept)?,
        };
        Ok(Arc::new(client))
    }
}

impl fmt::Debug for PlanningClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlanningClient")
    }
}
