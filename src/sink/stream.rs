//! [`StreamWriter`]: writes unbounded rows and commits them at intervals.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use futures::StreamExt;
use tokio::time::Instant;

use crate::client::{Client, blocking};
use crate::definition::TableDefinition;
use crate::error::Error;
use crate::options::{Deletes, TableOptions};
use crate::sink::encode_row::{EncodedRecord, headers};
use crate::sink::instance::{Positions, RENEWED};
use crate::sink::key_set::KeySet;
use crate::sink::observer::StreamingQuery;
use crate::sink::producer::Sendable;
use crate::sink::record_encoder::RecordEncoder;
use crate::sink::record_writer::{RecordWriter, arrow_error};
use crate::sink::refused::Place;
use crate::sink::time_limit::check_commit_time;

// The position of the record that a row was made from.
pub(crate) const SOURCE_PARTITION: &str = "__source_partition";
pub(crate) const SOURCE_OFFSET: &str = "__source_offset";
// Its contents, for a dead letter.
pub(crate) const SOURCE_KEY: &str = "__source_key";
pub(crate) const SOURCE_PAYLOAD: &str = "__source_payload";
pub(crate) const SOURCE_HEADERS: &str = "__source_headers";
pub(crate) const SOURCE_ERROR: &str = "__source_error";

/// How an unbounded input is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamWrite {
    /// The topic that is read, if the rows have the positions of their records.
    pub(crate) source: Option<String>,
    /// The position of [`Change::DeadLetter`](crate::sink::change::Change) in the list of
    /// changes, and the dead letter topic.
    pub(crate) dead_letters: Option<(usize, String)>,
    /// Rows may be tombstones for keys that were never written.
    pub(crate) retracts: bool,
    /// The continuous query that the rows are written for.
    pub(crate) query: Option<Arc<dyn StreamingQuery>>,
}

/// Writes one unbounded stream of rows.
pub(super) struct StreamWriter<'a> {
    stream: &'a StreamWrite,
    encoder: &'a RecordEncoder,
    writer: &'a mut RecordWriter,
    table: &'a Arc<TableDefinition>,
    context: &'a Arc<TaskContext>,
    /// The keys that the output holds, kept only where rows may be retractions. A tombstone
    /// for a retraction is sent only if its key is among them. Otherwise a selective WHERE
    /// would write a tombstone for nearly every record that it leaves out.
    known: Option<KeySet<()>>,
    /// The offsets up to which the rows are written, or no row is left to write.
    read: Positions,
    /// The offsets that were committed last.
    committed: Positions,
    committed_at: Instant,
    row: u64,
    /// The partitions and offsets of the records that were written since the last commit, by
    /// batch, each with the number of its first row.
    places: Vec<(u64, ArrayRef, ArrayRef)>,
}

/// The interval at which the scan's progress is committed when no row comes. Tombstones,
/// skipped records and transaction markers move the scan forward without giving rows.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

impl<'a> StreamWriter<'a> {
    pub(super) fn new(
        stream: &'a StreamWrite,
        encoder: &'a RecordEncoder,
        writer: &'a mut RecordWriter,
        table: &'a Arc<TableDefinition>,
        context: &'a Arc<TaskContext>,
    ) -> Self {
        StreamWriter {
            stream,
            encoder,
            writer,
            table,
            context,
            known: None,
            read: Positions::new(),
            committed: Positions::new(),
            committed_at: Instant::now(),
            row: 0,
            places: Vec::new(),
        }
    }

    /// Writes until the query is stopped or the input ends. The input of a continuous query
    /// does not end by itself.
    ///
    /// # Cancellation
    /// Records that are not committed are discarded in a transaction. Without a transaction
    /// they may or may not be in the topic.
    pub(super) async fn write(
        mut self,
        mut data: SendableRecordBatchStream,
    ) -> DataFusionResult<()> {
        let producer = self.stream.query.as_ref().and_then(|q| q.take_producer());
        if let Some(producer) = producer {
            self.writer.use_producer(producer);
        }
        check_commit_time(&self.table.options)?;
        if let Some((_, topic)) = &self.stream.dead_letters {
            check_topic(topic, &self.table.options).await?;
        }
        let options = &self.table.options;
        if self.stream.retracts && options.deletes == Deletes::Known {
            let known = KeySet::of_topic(self.table, self.context).await?;
            if let Some(query) = &self.stream.query {
                query.keeps(known.memory());
            }
            self.known = Some(known);
        }
        if let Some(query) = &self.stream.query {
            self.read = query.positions();
            self.committed = self.read.clone();
            query.running();
        }
        let mut stopped = self.stream.query.as_ref().map(|query| query.stopped());
        // When to commit the rows that were written; `None` if all rows are committed.
        let mut due: Option<Instant> = None;
        let interval = options.commit_time.max(PROGRESS_INTERVAL);
        let mut next_progress = self
            .stream
            .query
            .as_ref()
            .map(|_| Instant::now() + interval);
        loop {
            let next = tokio::select! {
                biased;
                () = until_stopped(&mut stopped) => break,
                () = until(due.or(next_progress)) => None,
                batch = data.next() => match batch {
                    Some(batch) => Some(batch?),
                    None => break,
                },
            };
            match next {
                Some(batch) => {
                    let written = self.rows(&batch).await;
                    written.map_err(|error| self.refused(error))?;
                    due.get_or_insert_with(|| Instant::now() + options.commit_time);
                }
                None => {
                    self.commit(due.is_some()).await?;
                    due = None;
                    next_progress = next_progress.map(|_| Instant::now() + interval);
                }
            }
        }
        self.commit(due.is_some()).await
    }

    /// Commits the rows, if there are new ones, and the offsets.
    ///
    /// The offsets are not those of the last rows. Once all rows that the scan has returned
    /// are written, they move on to where the scan has read, past records that are no rows.
    async fn commit(&mut self, has_rows: bool) -> DataFusionResult<()> {
        if let (Some(query), Some(topic)) = (&self.stream.query, &self.stream.source) {
            let mut positions = self.read.remove(topic).unwrap_or_default();
            query.passed().advance(&mut positions);
            if !positions.is_empty() {
                self.read.insert(topic.clone(), positions);
            }
        }
        let is_new = has_rows || self.read != self.committed;
        let is_old = self.stream.query.is_some() && self.committed_at.elapsed() >= RENEWED;
        if !is_new && !is_old {
            return Ok(());
        }
        let committed = self.writer.commit(self.row, &self.read).await;
        committed.map_err(|error| self.refused(error))?;
        self.places.clear();
        if let (Some(query), Some(topic)) = (&self.stream.query, &self.stream.source)
            && let Some(positions) = self.read.get(topic)
        {
            query.refused().pass(positions);
        }
        self.committed_at = Instant::now();
        self.committed.clone_from(&self.read);
        match &self.stream.query {
            Some(query) if is_new => query.committed(&self.read, &self.writer.report),
            Some(query) => query.renewed(),
            None => {}
        }
        Ok(())
    }

    async fn rows(&mut self, batch: &RecordBatch) -> DataFusionResult<()> {
        let columns = self.encoder.columns(batch, self.row)?;
        let rows = self.encoder.batch(&columns).map_err(arrow_error)?;
        self.remember_places(batch);
        let mut record = EncodedRecord::default();
        for index in 0..batch.num_rows() {
            let row = self.row;
            self.row += 1;
            let (refused, is_alone) = self.refusal(row);
            if let Some((change, topic)) = &self.stream.dead_letters
                && (columns.source_records.change(index) == *change || refused.is_some())
            {
                let letter = self.dead_letter(batch, index, refused);
                self.writer
                    .send_elsewhere(topic, row, &letter.record())
                    .await?;
                continue;
            }
            rows.encode(index, row, &mut record)?;
            if record.unchanged {
                continue;
            }
            if let Some(known) = &mut self.known
                && !record.keyless
            {
                if record.tombstone {
                    let is_known = known.remove(&record.key);
                    if record.retracts && !is_known {
                        continue;
                    }
                } else {
                    known.insert(&record.key, ());
                }
            }
            record = self.writer.write(row, record).await?;
            if is_alone {
                self.writer.settle().await?;
            }
        }
        self.writer.flush(self.row).await?;
        if let Some(known) = &self.known {
            known.reserve()?;
        }
        self.record_positions(batch);
        if let Some(query) = &self.stream.query {
            query.batch();
            query.keeps(self.known.as_ref().map_or(0, KeySet::memory));
        }
        Ok(())
    }

    /// The query, if records that the brokers refuse become dead letters. With a hook they do
    /// not, since it is then unknown which row a record belongs to.
    fn refused_are_dead_letters(&self) -> Option<&dyn StreamingQuery> {
        let is_known = self.stream.dead_letters.is_some() && self.table.extensions.hook.is_none();
        self.stream.query.as_deref().filter(|_| is_known)
    }

    fn remember_places(&mut self, batch: &RecordBatch) {
        let column = |name| self.encoder.column(batch, name).map(Arc::clone);
        if self.refused_are_dead_letters().is_some()
            && let (Some(partitions), Some(offsets)) =
                (column(SOURCE_PARTITION), column(SOURCE_OFFSET))
        {
            self.places.push((self.row, partitions, offsets));
        }
    }

    /// The position of the record of a row that was written since the last commit.
    fn place(&self, row: u64) -> Option<Place> {
        let (first, partitions, offsets) =
            self.places.iter().rev().find(|(first, ..)| *first <= row)?;
        let index = usize::try_from(row - first).ok()?;
        let partitions = partitions.as_primitive_opt::<Int32Type>()?;
        let offsets = offsets.as_primitive_opt::<Int64Type>()?;
        Some((
            *partitions.values().get(index)?,
            *offsets.values().get(index)?,
        ))
    }

    /// Why the brokers refuse the record of a row, if they are known to refuse it, and whether
    /// the record must be sent one at a time.
    fn refusal(&self, row: u64) -> (Option<String>, bool) {
        match (self.refused_are_dead_letters(), self.place(row)) {
            (Some(query), Some(place)) => {
                let refused = query.refused();
                (refused.reason(place), refused.is_alone(place))
            }
            _ => (None, false),
        }
    }

    /// Turns the error of a refused record into a retriable one, if the record may become a
    /// dead letter when the query restarts.
    fn refused(&self, error: DataFusionError) -> DataFusionError {
        let Some(query) = self.refused_are_dead_letters() else {
            return error;
        };
        let Some(row) = Error::find(&error).and_then(Error::refused_row) else {
            return error;
        };
        let Some(place) = self.place(row) else {
            return error;
        };
        let mut sent = BTreeMap::new();
        for (_, partitions, offsets) in &self.places {
            advance(&mut sent, partitions, offsets);
        }
        let reason = Error::find(&error)
            .map(Error::to_string)
            .unwrap_or_default();
        match query.refused().meet(place, &reason, &sent) {
            true => Error::Request {
                act: "write a record",
                topic: self.table.topic.clone(),
                code: Error::find(&error).and_then(Error::code),
                reason: format!("the brokers refuse it, and it may become a dead letter: {reason}"),
            }
            .into(),
            false => error,
        }
    }

    /// The dead letter of a row. `refused` is the brokers' reason; without it the record does
    /// not fit its table, and the reason is that of the column.
    fn dead_letter<'b>(
        &self,
        batch: &'b RecordBatch,
        index: usize,
        refused: Option<String>,
    ) -> DeadLetter<'b> {
        let column = |name: &str| {
            let column = self.encoder.column(batch, name);
            column.filter(|column| column.is_valid(index))
        };
        let bytes = |name: &str| -> Option<&'b [u8]> {
            Some(column(name)?.as_binary_view_opt()?.value(index))
        };
        let lists = column(SOURCE_HEADERS).and_then(|column| column.as_list_opt());
        let partition = column(SOURCE_PARTITION).and_then(|c| c.as_primitive_opt::<Int32Type>());
        let offset = column(SOURCE_OFFSET).and_then(|c| c.as_primitive_opt::<Int64Type>());
        let reason = column(SOURCE_ERROR).and_then(|column| column.as_string_view_opt());
        let mut headers = lists
            .and_then(|lists| headers(lists, index))
            .unwrap_or_default();
        for (name, value) in [
            ("topic", self.stream.source.clone()),
            ("partition", partition.map(|p| p.value(index).to_string())),
            ("offset", offset.map(|o| o.value(index).to_string())),
            (
                "reason",
                refused.or(reason.map(|r| r.value(index).to_owned())),
            ),
        ] {
            let name = format!("kafka.dead_letter.{name}");
            headers.push((name, value.map(String::into_bytes)));
        }
        DeadLetter {
            key: bytes(SOURCE_KEY),
            payload: bytes(SOURCE_PAYLOAD),
            headers,
        }
    }

    /// Moves `read` past the records of a batch.
    fn record_positions(&mut self, batch: &RecordBatch) {
        let Some(topic) = &self.stream.source else {
            return;
        };
        let partitions = self.encoder.column(batch, SOURCE_PARTITION);
        let offsets = self.encoder.column(batch, SOURCE_OFFSET);
        if let (Some(partitions), Some(offsets)) = (partitions, offsets) {
            advance(
                self.read.entry(topic.clone()).or_default(),
                partitions,
                offsets,
            );
        }
    }
}

/// Moves positions past records.
fn advance(positions: &mut BTreeMap<i32, i64>, partitions: &ArrayRef, offsets: &ArrayRef) {
    let partitions = partitions.as_primitive_opt::<Int32Type>();
    let offsets = offsets.as_primitive_opt::<Int64Type>();
    let (Some(partitions), Some(offsets)) = (partitions, offsets) else {
        return;
    };
    for (partition, offset) in partitions.values().iter().zip(offsets.values()) {
        let position = positions.entry(*partition).or_default();
        *position = (*position).max(offset + 1);
    }
}

/// Checks that the dead letter topic exists before the first dead letter comes.
///
/// # Errors
/// [`Error::TopicNotFound`]
async fn check_topic(topic: &str, options: &TableOptions) -> DataFusionResult<()> {
    let client = Client::new(topic, options)?;
    blocking(move |cancel| client.partitions(cancel).map(drop)).await
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn until_stopped(stopped: &mut Option<tokio::sync::watch::Receiver<bool>>) {
    if let Some(stopped) = stopped
        && stopped.wait_for(|stopped| *stopped).await.is_ok()
    {
        return;
    }
    // The sender is gone, so the query can no longer be stopped.
    std::future::pending().await
}

/// A record that does not fit its table or that the brokers refuse. Its key and payload are
/// unchanged. Headers name its position and the reason.
struct DeadLetter<'a> {
    key: Option<&'a [u8]>,
    payload: Option<&'a [u8]>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl DeadLetter<'_> {
    fn record(&self) -> Sendable<'_> {
        Sendable {
            key: self.key,
            payload: self.payload,
            partition: None,
            timestamp: None,
            headers: &self.headers,
        }
    }
}
