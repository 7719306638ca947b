//! Lists all topics of a cluster.

use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::blocking::Cancel;
use super::create::consumer;
use super::drop_on_thread::DropOnThread;
use super::error_log::ErrorLog;
use super::kept::{KeptClients, Place, Reuse};
use super::retry::{retry, serve_waiting};
use crate::error::{Error, ErrorCode, Result};
use crate::options::TableOptions;

/// A topic in the list of all topics.
pub(crate) struct ListedTopic {
    pub(crate) partitions: i32,
    /// The number of replicas of the first partition.
    pub(crate) replication: Option<i32>,
}

/// All topics of the cluster, by name.
///
/// # Errors
/// [`Error::Connect`] after `kafka.timeout`, [`Error::ListTopics`].
pub(crate) fn topics(
    options: &TableOptions,
    kept: &KeptClients,
    cancel: &Cancel,
) -> Result<BTreeMap<String, ListedTopic>> {
    let servers = options.client.bootstrap_servers()?;
    let config = options.client.consumer_config(options.isolation)?;
    let place = kept.place(None, &config, options);
    let consumer = match place.as_ref().and_then(Place::take) {
        Some(consumer) => consumer,
        None => DropOnThread::new(consumer(config, options.timeout)?),
    };
    let listed = retry(&consumer, servers, options.timeout, cancel, |wait| {
        let metadata = consumer.fetch_metadata(None, wait)?;
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let topics = metadata.topics().iter().map(|topic| {
            let partitions = topic.partitions();
            let listed = ListedTopic {
                partitions: count(partitions.len()),
                replication: partitions
                    .first()
                    .map(|first| count(first.replicas().len())),
            };
            (topic.name().to_owned(), listed)
        });
        Ok(topics.collect())
    });
    let listed = listed.map_err(|failure| {
        let heard = consumer.context();
        failure.into_error(servers, options.timeout, heard, None, |code| {
            Error::ListTopics {
                servers: servers.to_owned(),
                code: ErrorCode::of(code),
                reason: code.to_string(),
            }
        })
    })?;
    if let Some(place) = place {
        place.give_back(consumer);
    }
    Ok(listed)
}

impl Reuse for DropOnThread<BaseConsumer<ErrorLog>> {
    fn renew(&self) -> bool {
        serve_waiting(self);
        self.context().renew()
    }
}
