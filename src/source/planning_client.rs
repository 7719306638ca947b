//! The client that planning connects, passed on to the first scan that reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::Result as DataFusionResult;

use crate::client::{Client, OffsetRange, blocking};
use crate::definition::TableDefinition;
use crate::source::chunk_sizes::Budget;

/// A connected client, until a scan takes it.
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

    /// Takes the client, if it uses at most `memory` bytes per partition.
    pub(crate) fn take(&self, memory: usize) -> Option<Arc<Client>> {
        let mut client = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        client.take().filter(|client| client.memory() <= memory)
    }
}

impl fmt::Debug for PlanningClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlanningClient")
    }
}

/// The current watermarks of a topic's partitions, and the client that looked them up.
pub(crate) async fn watermarks(
    table: &Arc<TableDefinition>,
) -> DataFusionResult<(BTreeMap<i32, OffsetRange>, PlanningClient)> {
    let table = Arc::clone(table);
    blocking(move |cancel| {
        let memory = Budget::CLIENT_BYTES;
        let client = Client::with_memory(&table.topic, &table.options, memory)?;
        let watermarks = client.watermarks(&client.partitions(cancel)?, cancel)?;
        Ok((watermarks, PlanningClient::new(Arc::new(client))))
    })
    .await
}
