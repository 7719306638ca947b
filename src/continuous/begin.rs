//! [`Begin`]: determines where a continuous query begins to read.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::Result as DataFusionResult;
use rdkafka_extra::TopicId;

use crate::client::{Cancel, Client, Topic, blocking};
use crate::continuous::state::{Checkpoint, QueryState};
use crate::definition::TableDefinition;
use crate::error::{Error, Result};
use crate::options::{Bound, OnRecreatedOutput};
use crate::sink::instance::{OwnOffset, Positions, QueryInstance};
use crate::sink::producer::Producer;
use crate::source::snapshot::{Snapshot, going_on, uncommitted};

/// The topics of a query, and how its committed offsets are used.
pub(super) struct Begin {
    pub(super) inputs: Vec<Arc<TableDefinition>>,
    pub(super) output: Arc<TableDefinition>,
    /// The query's whole result is compared with the rows that the output holds. Such a query
    /// loses nothing if retention has deleted records that it had not read. A topic that was
    /// deleted and created again is simply read or written again.
    pub(super) compares: bool,
}

/// What this instance knows of a topic from an earlier attempt.
struct Before {
    id: Option<TopicId>,
    positions: BTreeMap<i32, i64>,
    starts: BTreeMap<i32, i64>,
}

/// How often to claim offsets at most. A claim fails if an older instance commits between
/// reading the offsets and committing them.
const CLAIMS: u32 = 5;

impl Begin {
    /// Claims the offsets of the query's consumer group.
    ///
    /// It reads the committed offsets and commits them again with the mark of this instance,
    /// after which an older instance is fenced. Waits for brokers.
    ///
    /// # Errors
    /// [`Error::ContinuousQuery`] if the group belongs to another program, or if the output was
    /// deleted and created again; [`Error::LostOffsets`].
    pub(super) async fn claim(
        self,
        state: &Arc<QueryState>,
        instance: &Arc<QueryInstance>,
        producer: &mut Producer,
    ) -> DataFusionResult<Checkpoint> {
        let this = Arc::new(self);
        let mut claims = 0;
        loop {
            let (begin, instance, known) = (Arc::clone(&this), Arc::clone(instance), state.begun());
            let begun = blocking(move |cancel| begin.resolve(&instance, &known, cancel)).await?;
            claims += 1;
            match producer.commit(&begun.positions).await {
                Err(Error::Fenced { .. }) if claims < CLAIMS => {}
                committed => {
                    committed?;
                    state.set_begun(begun.clone());
                    return Ok(begun);
                }
            }
        }
    }

    /// The offsets to begin at. `known` is the checkpoint of an earlier attempt.
    fn resolve(
        &self,
        instance: &QueryInstance,
        known: &Checkpoint,
        cancel: &Cancel,
    ) -> Result<Checkpoint> {
        instance.check_name(&self.output.topic, cancel)?;
        let output = Client::new(&self.output.topic, &self.output.options)?.topic(cancel)?;
        instance.set_output(output.id);
        let mut begun = Checkpoint::default();
        // Several tables may read the same topic, and the last one decides. Tables whose start
        // must be stored come last.
        let mut inputs: Vec<&Arc<TableDefinition>> = self.inputs.iter().collect();
        inputs.sort_by_key(|input| matches!(input.options.start, Bound::Latest | Bound::Group(_)));
        for input in inputs {
            let of_topic = |all: &Positions| all.get(&input.topic).cloned().unwrap_or_default();
            let before = Before {
                id: known.sources.get(&input.topic).copied(),
                positions: of_topic(&known.positions),
                starts: of_topic(&known.starts),
            };
            let (positions, starts) =
                self.resolve_topic(input, &output, instance, before, cancel)?;
            if !positions.is_empty() {
                begun.positions.insert(input.topic.clone(), positions);
            }
            begun.starts.insert(input.topic.clone(), starts);
        }
        begun.sources = instance.sources();
        Ok(begun)
    }

    /// The positions at which the query goes on in a topic, and those at which it began at its
    /// first start.
    fn resolve_topic(
        &self,
        input: &TableDefinition,
        output: &Topic,
        instance: &QueryInstance,
        before: Before,
        cancel: &Cancel,
    ) -> Result<(BTreeMap<i32, i64>, BTreeMap<i32, i64>)> {
        let Before {
            id: known_id,
            positions: mut known,
            mut starts,
        } = before;
        let topic = input.topic.as_str();
        let client = Client::new(topic, &input.options)?;
        let described = client.topic(cancel)?;
        let partitions = described.partitions();
        let held = client.watermarks(&partitions, cancel)?;
        let mut committed = instance.claim_offsets(topic, &partitions, cancel)?;
        let id_before = known_id.or(committed.values().find_map(|offset| offset.mark.source));
        let is_another = described.is_another(id_before);
        if is_another {
            // Brokers delete the offsets of a deleted topic, but not immediately.
            committed.clear();
            known.clear();
            starts.clear();
        }
        let kept = committed.iter();
        starts.extend(kept.filter_map(|(partition, kept)| Some((*partition, kept.mark.start?))));
        if self.writes_again(&committed, output, instance)? {
            for (partition, offset) in &mut committed {
                let low = held.get(partition).map_or(0, |held| held.start);
                offset.offset = offset.mark.start.map_or(low, |start| start.max(low));
            }
            known.clear();
        }
        let mut positions = BTreeMap::new();
        for (partition, held) in &held {
            let position = committed.get(partition).map(|committed| committed.offset);
            // The brokers may have deleted the offsets while this instance was idle.
            let Some(position) = position.or(known.get(partition).copied()) else {
                continue;
            };
            let position = match self.compares {
                true => position.clamp(held.start, held.end),
                false => going_on(topic, &input.options, *partition, *held, position)?,
            };
            positions.insert(*partition, position);
        }
        let mut options = input.options.clone();
        // A topic that was created again is read from its beginning: everything in it is new.
        let has_others = !positions.is_empty() || is_another;
        let start = match options.start {
            // The table names the query's own group.
            Bound::Group(otherwise) if options.group_id.as_deref() == Some(instance.query()) => {
                *otherwise
            }
            start => start,
        };
        options.start = uncommitted(&start, has_others).clone();
        let begin = Snapshot::resolve(&client, topic, &options, &held, cancel)?;
        for partition in partitions {
            if let Some(begin) = begin.extent(partition)
                && begin.starts_at.is_none()
                && !positions.contains_key(&partition)
            {
                positions.insert(partition, begin.range.start);
                starts.insert(partition, begin.range.start);
            }
        }
        instance.set_source(topic, described.id, starts.clone());
        Ok((positions, starts))
    }

    /// Whether everything must be written again, because the output was deleted and created
    /// again.
    fn writes_again(
        &self,
        committed: &BTreeMap<i32, OwnOffset>,
        output: &Topic,
        instance: &QueryInstance,
    ) -> Result<bool> {
        let is_another = |offset: &OwnOffset| output.is_another(offset.mark.output);
        if self.compares || !committed.values().any(is_another) {
            return Ok(false);
        }
        match self.output.options.on_recreated_output {
            OnRecreatedOutput::Rewrite => Ok(true),
            OnRecreatedOutput::Fail => Err(instance.refused(format!(
                "topic `{}` was deleted and created again since the query wrote it; set \
                 `kafka.on_recreated_output` = `rewrite` to write all of it again, or give the \
                 query another name to begin as a new one",
                self.output.topic
            ))),
        }
    }
}
