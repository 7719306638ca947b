//! The client that planning connects, handed on to the first who reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::Result as DataFusionResult;

use crate::client::{Client, OffsetRange, blocking};
use crate::definition::TableDefinition;
use crate::source::chunk_sizes::ChunkSizes;

/// A client that is connected already, while nobody has taken it.
///
/// To connect takes as long as to read some megabytes. A plan that is kept and never
/// executed keeps it, as what it is: a connection on which nothing is asked.
#[derive(Clone, Default)]
pub(crate) struct PlanningClient(Arc<Mutex<Option<Arc<Client>>>>);

impl PlanningClient {
    /// For the first scan that reads.
    pub(crate) fn new(client: Arc<Client>) -> Self {
        PlanningClient(Arc::new(Mutex::new(Some(client))))
    }

    /// The client, where it takes no more than so many bytes for a partition.
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

/// How many partitions the client has room for; those of a topic with more of them
/// get less each, and another client.
const USUAL_PARTITIONS: usize = 4;

/// What the partitions of a topic hold now, and who has asked.
pub(crate) async fn held(
    table: &Arc<TableDefinition>,
) -> DataFusionResult<(BTreeMap<i32, OffsetRange>, PlanningClient)> {
    let table = Arc::clone(table);
    blocking(move |cancel| {
        let memory = ChunkSizes::of(USUAL_PARTITIONS).client_bytes();
        let client = Client::with_memory(&table.topic, &table.options, memory)?;
        let held = client.watermarks(&client.partitions(cancel)?, cancel)?;
        Ok((held, PlanningClient::new(Arc::new(client))))
    })
    .await
}
