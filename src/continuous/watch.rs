//! [`watch`]: monitors a continuous query while it runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::common::DataFusionError;

use crate::client::{Client, ClientKind, blocking};
use crate::continuous::state::QueryState;
use crate::definition::TableDefinition;
use crate::error::{Error, Result};
use crate::sink::instance::QueryInstance;

/// The pause between two requests for the end offsets.
const PAUSE: Duration = Duration::from_secs(1);

/// The interval at which to check that no other instance has taken over. A commit would
/// notice that too, but an idle query has nothing to commit.
const CHECKED: Duration = Duration::from_secs(3);

/// How often progress is logged.
const LOGGED: Duration = Duration::from_secs(60);

/// Updates the end offsets of the topics every second, and logs the query's progress.
///
/// Returns an error if new records come but the query processes none of them, if another
/// instance has taken over, or if the output was deleted and created again.
pub(super) async fn watch(
    state: &Arc<QueryState>,
    inputs: Vec<Arc<TableDefinition>>,
    output: &TableDefinition,
    stall_timeout: Duration,
) -> DataFusionError {
    state.watches(inputs.iter().map(|table| table.topic.clone()));
    let clients = inputs.iter().map(|table| {
        let measure = state.measurements().of(ClientKind::Consumer, &table.topic);
        Client::measured(&table.topic, &table.options, measure).map(Arc::new)
    });
    let clients: Vec<Arc<Client>> = match clients.collect::<Result<_>>() {
        Ok(clients) => clients,
        Err(error) => return error.into(),
    };
    let written = match Client::new(&output.topic, &output.options) {
        Ok(client) => Arc::new(client),
        Err(error) => return error.into(),
    };
    let [mut moved, mut logged, mut checked] = [Instant::now(); 3];
    // Batches and commits so far, and the sum of the end offsets, at the last progress.
    let mut last = (0, 0);
    loop {
        let instance = match checked.elapsed() >= CHECKED {
            true => state.instance(),
            false => None,
        };
        if let Some(instance) = instance.clone() {
            checked = Instant::now();
            if let Some(error) = recreated_output(&written, instance).await {
                return error.into();
            }
        }
        for client in &clients {
            let (asked, instance) = (Arc::clone(client), instance.clone());
            let ends = blocking(move |cancel| {
                let partitions = asked.partitions(cancel)?;
                let checked = instance
                    .map(|instance| instance.check(asked.topic_name(), &partitions, cancel));
                match checked {
                    Some(Err(fenced @ Error::Fenced { .. })) => Err(fenced),
                    _ => asked.watermarks(&partitions, cancel),
                }
            });
            match ends.await {
                Ok(held) => state.holds(client.topic_name(), held),
                Err(error) if matches!(Error::find(&error), Some(Error::Fenced { .. })) => {
                    return error;
                }
                // The scan of the topic fails for the same reason, and reports it.
                Err(_) => {}
            }
        }
        let now = state.progress();
        let done = state.batches() + now.commits;
        let ends: i64 = now.inputs.iter().map(|input| input.end).sum();
        if done != last.0 || now.lag() == 0 || last.1 == 0 {
            moved = Instant::now();
            last = (done, ends);
        } else if ends > last.1 && moved.elapsed() >= stall_timeout {
            return Error::Stalled {
                query: state.name().to_owned(),
                lag: now.lag(),
                timeout: stall_timeout,
            }
            .into();
        }
        if logged.elapsed() >= LOGGED {
            logged = Instant::now();
            log::info!(
                "continuous query `{}`: lag {}, {} upserts, {} tombstones, {} commits, {} dead letters",
                state.name(),
                now.lag(),
                now.upserts,
                now.tombstones,
                now.commits,
                now.dead_letters
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The error if the output was deleted and created again.
async fn recreated_output(output: &Arc<Client>, instance: Arc<QueryInstance>) -> Option<Error> {
    let asked = Arc::clone(output);
    let topic = blocking(move |cancel| asked.topic(cancel)).await.ok()?;
    topic.is_another(instance.output()).then(|| Error::Request {
        act: "go on with the output",
        topic: output.topic_name().to_owned(),
        code: None,
        reason: "it was deleted and created again".to_owned(),
    })
}
