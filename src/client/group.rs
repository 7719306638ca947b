//! The committed offsets of a consumer group. The client never joins the group.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_extra::{group_member_count, group_offsets};

use super::blocking::Cancel;
use super::create::consumer;
use super::denied::Needs;
use super::drop_on_thread::DropOnThread;
use super::error_log::ErrorLog;
use super::failure::RequestFailure;
use super::retry::{ATTEMPT_TIMEOUT, retry};
use crate::error::{Error, ErrorCode, Result};
use crate::options::{Isolation, TableOptions};

/// A consumer group by its name, with the positions it has committed.
pub(crate) struct Group {
    consumer: DropOnThread<BaseConsumer<ErrorLog>>,
    name: String,
    servers: String,
    timeout: Duration,
}

/// The committed position of a group in one partition.
pub(crate) struct Committed {
    /// The next offset to read.
    pub(crate) offset: i64,
    /// The metadata that was committed with the offset.
    pub(crate) metadata: String,
}

/// The prefix of the ids of librdkafka's in-process clusters, such as that of
/// [`EmbeddedKafka`](crate::EmbeddedKafka).
const IN_PROCESS: &str = "mockCluster";

/// Why brokers that answer may still not return offsets.
const UNDECIDED: &str = "perhaps a transaction that commits them has not ended; Kafka ends it \
                         after its time-out, and `kafka-transactions.sh find-hanging` shows a \
                         transaction that Kafka has lost";

impl Group {
    /// Creates the client, without connecting.
    pub(crate) fn new(name: &str, options: &TableOptions) -> Result<Self> {
        // Waits for the end of transactions that commit offsets.
        let mut config = options.client.consumer_config(Isolation::ReadCommitted)?;
        config.set("group.id", name);
        Ok(Group {
            consumer: DropOnThread::new(consumer(config, options.timeout)?),
            name: name.to_owned(),
            servers: options.client.bootstrap_servers()?.to_owned(),
            timeout: options.timeout,
        })
    }

    /// The offsets of the partitions for which the group has committed any.
    pub(crate) fn committed(
        &self,
        topic: &str,
        partitions: &[i32],
        cancel: &Cancel,
    ) -> Result<BTreeMap<i32, i64>> {
        let all = self.all_committed(topic, partitions, cancel)?;
        Ok(all.into_iter().map(|(p, c)| (p, c.offset)).collect())
    }

    /// The same, with the metadata that was committed with each offset.
    pub(crate) fn all_committed(
        &self,
        topic: &str,
        partitions: &[i32],
        cancel: &Cancel,
    ) -> Result<BTreeMap<i32, Committed>> {
        let servers = &self.servers;
        let found = retry(&self.consumer, servers, self.timeout, cancel, |wait| {
            let mut list = TopicPartitionList::with_capacity(partitions.len());
            for partition in partitions {
                list.add_partition(topic, *partition);
            }
            let list = self.consumer.committed_offsets(list, wait)?;
            let mut found = BTreeMap::new();
            for element in list.elements() {
                element.error()?;
                if let Offset::Offset(offset) = element.offset() {
                    let metadata = element.metadata().to_owned();
                    found.insert(element.partition(), Committed { offset, metadata });
                }
            }
            Ok(found)
        });
        found.map_err(|failure| match failure {
            RequestFailure::Timeout(_) if self.answers(topic) => {
                let reason = format!("none came for {:?}; {UNDECIDED}", self.timeout);
                self.error("read the committed offsets", topic, None, &reason)
            }
            failure => failure.into_error(
                &self.servers,
                self.timeout,
                self.consumer.context(),
                Some(self.needs("DESCRIBE", topic)),
                |code| self.refused("read the committed offsets", topic, code),
            ),
        })
    }

    /// Describes how other programs use the group, as the end of a sentence: the group has
    /// members, or it has committed offsets, of any topic, without metadata of our own.
    pub(crate) fn use_by_others(
        &self,
        topic: &str,
        cancel: &Cancel,
        is_own: impl Fn(&str) -> bool,
    ) -> Result<Option<String>> {
        // The in-process cluster closes the connection of a client that asks for groups.
        let cluster = self.consumer.client().fetch_cluster_id(self.timeout);
        if cluster.is_some_and(|id| id.starts_with(IN_PROCESS)) {
            return Ok(None);
        }
        let members = self.retry(topic, cancel, |wait| {
            group_member_count(&self.consumer, &self.name, wait)
        })?;
        if members > 0 {
            return Ok(Some("it has members".to_owned()));
        }
        let offsets = self.retry(topic, cancel, |wait| {
            group_offsets(&self.consumer, &self.name, wait)
        })?;
        let foreign = offsets.into_iter().find(|offset| !is_own(&offset.metadata));
        Ok(foreign.map(|offset| {
            format!(
                "it has committed offsets of topic `{}` that no continuous query has written",
                offset.topic
            )
        }))
    }

    fn retry<T>(
        &self,
        topic: &str,
        cancel: &Cancel,
        request: impl Fn(Duration) -> Result<T, RDKafkaErrorCode>,
    ) -> Result<T> {
        let servers = &self.servers;
        let answer = retry(&self.consumer, servers, self.timeout, cancel, |wait| {
            request(wait).map_err(KafkaError::GroupListFetch)
        });
        answer.map_err(|failure| {
            failure.into_error(
                servers,
                self.timeout,
                self.consumer.context(),
                Some(self.needs("DESCRIBE", topic)),
                |code| self.refused("inspect the consumer group", topic, code),
            )
        })
    }

    fn needs<'a>(&'a self, operation: &'static str, topic: &'a str) -> Needs<'a> {
        Needs {
            group: Some(&self.name),
            ..Needs::on(operation, topic)
        }
    }

    /// Whether the brokers answer at all.
    fn answers(&self, topic: &str) -> bool {
        self.consumer
            .fetch_metadata(Some(topic), ATTEMPT_TIMEOUT)
            .is_ok()
    }

    /// Commits the offsets.
    pub(crate) fn commit(&self, topic: &str, offsets: &TopicPartitionList) -> Result<()> {
        let committed = self.consumer.commit(offsets, CommitMode::Sync);
        committed.map_err(|error| {
            let needs = self.needs("READ", topic);
            let principal = self.consumer.context().principal();
            let code = error.rdkafka_error_code();
            let denied = code.and_then(|code| needs.denied(code, principal));
            denied.unwrap_or_else(|| {
                let said = error.to_string();
                let reason = match code {
                    Some(RDKafkaErrorCode::UnknownMemberId) => {
                        format!("{said}; the group has members, which belong to another program")
                    }
                    _ => said,
                };
                self.error("commit the offsets", topic, code, &reason)
            })
        })
    }

    /// The metadata that a transaction needs to commit offsets of the group.
    pub(crate) fn metadata(&self, topic: &str) -> Result<ConsumerGroupMetadata> {
        let metadata = self.consumer.group_metadata();
        metadata.ok_or_else(|| self.error("use the consumer group", topic, None, "it is unknown"))
    }

    fn refused(&self, act: &'static str, topic: &str, code: RDKafkaErrorCode) -> Error {
        self.error(act, topic, Some(code), &code.to_string())
    }

    fn error(
        &self,
        act: &'static str,
        topic: &str,
        code: Option<RDKafkaErrorCode>,
        reason: &str,
    ) -> Error {
        Error::Request {
            act,
            topic: topic.to_owned(),
            code: code.and_then(ErrorCode::of),
            reason: format!("group `{}`: {reason}", self.name),
        }
    }
}
