//! The client that planning connects, passed on to the first scan that reads.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::client::Client;
use crate::definition::TableDefinition;
use crate::error::Result;
use crate::source::chunk_sizes::Budget;

/// A client, until a scan takes it.
///
/// Connecting takes as long as reading some megabytes, so execution reuses the connection of
/// planning. A plan that is kept without being executed keeps an idle connection.
#[derive(Clone, Default)]
pub(crate) struct PlanningClient(Arc<Mutex<Option<Arc<Client>>>>);

impl PlanningClient {
    /// Keeps the client for the first scan that reads.
    pub(crate) fn new(client: Arc<Client>) -> Self {
        PlanningClient(Arc::new(Mutex::new(Some(client))))
    }

    /// The client for look-ups. It stays here for the first scan that reads.
    pub(crate) fn lend(&self, table: &TableDefinition) -> Result<Arc<Client>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match kept.take() {
            Some(client) => client,
            None => new_client(table, Budget::CLIENT_BYTES)?,
        };
        Ok(Arc::clone(kept.insert(client)))
    }

    /// The client for reading with at most `memory` bytes per partition, which is a new one unless
    /// this one is still here and suits.
    pub(crate) fn take(&self, table: &TableDefinition, memory: usize) -> Result<Arc<Client>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match kept.filter(|client| client.memory() <= memory) {
            Some(client) => Ok(client),
            None => new_client(table, memory),
        }
    }
}

/// Makes a client for a scan.
pub(super) fn new_client(table: &TableDefinition, memory: usize) -> Result<Arc<Client>> {
    Client::with_memory(&table.topic, &table.options, memory).map(Arc::new)
}

impl fmt::Debug for PlanningClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlanningClient")
    }
}
