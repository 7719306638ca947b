//! [`Ends`]: the offsets that a scan reads, looked up once.
//!
//! The scans of a topic in one plan share one look-up of the topic, so that they agree. Each scan
//! then resolves its own `kafka.start` and `kafka.end`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rdkafka_extra::TopicId;

use crate::client::{Cancel, Client, OffsetRange};
use crate::definition::TableDefinition;
use crate::error::{Error, Result};
use crate::options::TableOptions;
use crate::source::once::Once;
use crate::source::snapshot::Snapshot;

/// The offsets that a scan reads, once they are fixed: when its first stream starts, or by
/// [`fix_ends`](crate::fix_ends).
///
/// Clones share the offsets. Fixed offsets stay, so a plan that runs again returns the same rows.
#[derive(Clone, Default)]
pub(crate) struct Ends {
    /// Shared by the scans of the topic in a plan.
    state: Arc<SharedTopicState>,
    fixed: Arc<Once<FixedEnds>>,
}

/// The topic at one instant, for all scans that share the instant.
pub(crate) type SharedTopicState = Once<TopicState>;

/// A topic at one instant.
#[derive(Clone)]
pub(crate) struct TopicState {
    topic_id: Option<TopicId>,
    watermarks: BTreeMap<i32, OffsetRange>,
}

/// The offsets that a scan reads of one topic.
#[derive(Clone)]
pub(crate) struct FixedEnds {
    /// `None` where the brokers do not reveal the id.
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) snapshot: Snapshot,
}

impl TopicState {
    /// The topic now, or once it has the offsets of `kafka.wait_for`.
    fn now(client: &Client, options: &TableOptions, cancel: &Cancel) -> Result<Self> {
        // The id is looked up before the offsets. In the other order, the offsets could belong to
        // an earlier topic of the same name.
        let topic = client.topic(cancel)?;
        let partitions = topic.partitions();
        let watermarks = client.watermarks_behind(&partitions, &options.wait_for, cancel)?;
        Ok(TopicState {
            topic_id: topic.id,
            watermarks,
        })
    }
}

impl Ends {
    /// Ends that are not fixed yet, of a scan that shares the topic's state with other scans.
    pub(crate) fn sharing(state: Arc<SharedTopicState>) -> Self {
        Ends {
            state,
            fixed: Arc::default(),
        }
    }

    /// The offsets, if they are fixed.
    pub(crate) fn fixed(&self) -> Option<FixedEnds> {
        self.fixed.made()
    }

    /// The topic at the instant of the scan, if it was looked up.
    pub(crate) fn state(&self) -> Option<TopicState> {
        self.state.made()
    }

    /// The offsets, which are looked up unless they are fixed. `planned` are the partitions that
    /// the query was planned for.
    pub(crate) fn get(
        &self,
        client: &Client,
        table: &TableDefinition,
        planned: &BTreeMap<i32, OffsetRange>,
        cancel: &Cancel,
    ) -> Result<FixedEnds> {
        self.fixed.get(|| {
            let now = || TopicState::now(client, &table.options, cancel);
            let state = self.state.get(now)?;
            resolve(state, client, table, planned, cancel)
        })
    }

    /// The same, where the look-up of the topic is shared with the scans of `others` too.
    pub(crate) fn get_at(
        &self,
        others: &SharedTopicState,
        client: &Client,
        table: &TableDefinition,
        planned: &BTreeMap<i32, OffsetRange>,
        cancel: &Cancel,
    ) -> Result<FixedEnds> {
        let now = || TopicState::now(client, &table.options, cancel);
        self.state.get(|| others.get(now))?;
        self.get(client, table, planned, cancel)
    }
}

fn resolve(
    state: TopicState,
    client: &Client,
    table: &TableDefinition,
    planned: &BTreeMap<i32, OffsetRange>,
    cancel: &Cancel,
) -> Result<FixedEnds> {
    let TopicState {
        topic_id,
        mut watermarks,
    } = state;
    if table.unbounded {
        // Partitions that were added since planning are read like any that are added later.
        watermarks.retain(|partition, _| planned.contains_key(partition));
    }
    if !watermarks.keys().eq(planned.keys()) {
        return Err(Error::Request {
            act: "read the partitions",
            topic: table.topic.clone(),
            code: None,
            reason: "they have changed since the query was planned; plan it again".to_owned(),
        });
    }
    let snapshot = Snapshot::resolve(client, &table.topic, &table.options, &watermarks, cancel)?;
    Ok(FixedEnds { topic_id, snapshot })
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ends")
    }
}
