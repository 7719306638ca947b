//! [`LookUps`]: what planning asks the brokers, once per topic of a statement.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::Result as DataFusionResult;
use tokio::sync::OnceCell;

use crate::client::{KeptClients, OffsetRange, blocking};
use crate::definition::TableDefinition;
use crate::source::ends::{Ends, SharedTopicState};
use crate::source::planning_client::PlanningClient;

/// The topics that one statement reads. Several references to a topic share one look-up of its
/// partitions, the client that made the look-up, and the instant at which they are read.
#[derive(Default)]
pub(crate) struct LookUps {
    topics: ByTable<OnceCell<LookUp>>,
    states: ByTable<SharedTopicState>,
}

/// Values by the table for which they were made first.
type ByTable<T> = Mutex<Vec<(Arc<TableDefinition>, Arc<T>)>>;

/// What planning looked up.
#[derive(Clone)]
struct LookUp {
    watermarks: BTreeMap<i32, OffsetRange>,
    client: PlanningClient,
}

/// What a scan of a topic is planned with.
pub(crate) struct PlannedTopic {
    /// The partitions and their watermarks at planning time.
    pub(crate) watermarks: BTreeMap<i32, OffsetRange>,
    pub(crate) client: PlanningClient,
    pub(crate) ends: Ends,
}

impl LookUps {
    /// Looks up the topic of a table, unless another reference to the topic has done so. `kept` are
    /// the clients of the session.
    pub(crate) async fn topic(
        &self,
        table: &Arc<TableDefinition>,
        kept: &KeptClients,
    ) -> DataFusionResult<PlannedTopic> {
        let look_up = of_table(&self.topics, table, |one, other| {
            one.topic == other.topic && one.options.same_client(&other.options)
        });
        let LookUp { watermarks, client } = look_up
            .get_or_try_init(|| look_up_now(table, kept))
            .await?
            .clone();
        Ok(PlannedTopic {
            watermarks,
            client,
            ends: Ends::sharing(self.state(table)),
        })
    }

    /// The state that all scans of the topic share: of the same topic on the same brokers, with
    /// the same isolation and `kafka.wait_for`.
    pub(crate) fn state(&self, table: &Arc<TableDefinition>) -> Arc<SharedTopicState> {
        of_table(&self.states, table, |one, other| {
            let (options, others) = (&one.options, &other.options);
            let servers = options.client.bootstrap_servers().ok();
            one.topic == other.topic
                && options.isolation == others.isolation
                && options.wait_for == others.wait_for
                && servers == others.client.bootstrap_servers().ok()
        })
    }
}

/// The value of the first table that is the `same` as this one, or otherwise a new value.
fn of_table<T: Default>(
    values: &ByTable<T>,
    table: &Arc<TableDefinition>,
    same: impl Fn(&TableDefinition, &TableDefinition) -> bool,
) -> Arc<T> {
    let mut values = values.lock().unwrap_or_else(PoisonError::into_inner);
    match values.iter().find(|(other, _)| same(table, other)) {
        Some((_, value)) => Arc::clone(value),
        None => {
            let value = Arc::default();
            values.push((Arc::clone(table), Arc::clone(&value)));
            value
        }
    }
}

async fn look_up_now(table: &Arc<TableDefinition>, kept: &KeptClients) -> DataFusionResult<LookUp> {
    let table = Arc::clone(table);
    let client = PlanningClient::of(kept.clone());
    blocking(move |cancel| {
        let lent = client.lend(&table)?;
        let watermarks = lent.watermarks(&lent.partitions(cancel)?, cancel)?;
        Ok(LookUp { watermarks, client })
    })
    .await
}
