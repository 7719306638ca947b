//! [`LatestRows`]: the latest rows of a topic, in memory.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::{BatchCoalescer, filter_record_batch};
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::memory_pool::MemoryReservation;
use foldhash::fast::RandomState;

/// The latest row of every key.
///
/// A row that is replaced or deleted is only marked as such, so the cost of a change does not
/// depend on the number of rows. Batches with few rows left are combined when there are many
/// such batches.
pub(super) struct LatestRows {
    /// The columns of a row. Batches have two more: the Kafka partition and the raw key.
    schema: SchemaRef,
    batches: Vec<KeptBatch>,
    /// The batch and the index of the row of each key, by Kafka partition and raw key.
    places: BTreeMap<i32, HashMap<Box<[u8]>, Place, RandomState>>,
    key_bytes: usize,
    memory: MemoryReservation,
}

struct KeptBatch {
    rows: RecordBatch,
    is_live: Vec<bool>,
    live: usize,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Place {
    batch: u32,
    row: u32,
}

/// The rows of a batch that small batches are combined to.
const ROWS: usize = 8192;

/// A batch with fewer rows left is small.
const FEW: usize = ROWS / 2;
/// The number of small batches above which they are combined.
const SMALL_BATCHES: usize = 64;

/// An estimate of the allocator's overhead per key, in bytes.
const ALLOCATION: usize = 16;

impl LatestRows {
    /// No rows yet, with these columns.
    pub(super) fn new(schema: SchemaRef, memory: MemoryReservation) -> Self {
        LatestRows {
            schema,
            batches: Vec::new(),
            places: BTreeMap::new(),
            key_bytes: 0,
            memory,
        }
    }

    /// Applies records. Their columns are those of the rows, then the Kafka partition and the raw
    /// key, and for records that may be tombstones a column that says so.
    pub(super) fn apply(&mut self, records: &RecordBatch) -> DataFusionResult<()> {
        let columns = self.schema.fields().len();
        let keys = records.columns().get(columns + 1);
        let keys = keys.and_then(|column| column.as_binary_view_opt());
        let partitions = records.columns().get(columns);
        let partitions = partitions.and_then(|column| column.as_primitive_opt::<Int32Type>());
        let (Some(keys), Some(partitions)) = (keys, partitions) else {
            return datafusion::common::internal_err!("records without their keys");
        };
        let tombstones = records.columns().get(columns + 2);
        let tombstones = tombstones.and_then(|column| column.as_boolean_opt());
        let batch = u32::try_from(self.batches.len()).unwrap_or(u32::MAX);
        let mut is_live = vec![false; records.num_rows()];
        for (index, partition) in partitions.values().iter().enumerate() {
            let key = match keys.is_valid(index) {
                true => keys.value(index),
                false => continue,
            };
            let is_tombstone = tombstones.is_some_and(|t| t.value(index));
            let places = self.places.entry(*partition).or_default();
            let row = u32::try_from(index).unwrap_or(u32::MAX);
            let place = Place { batch, row };
            let old = match is_tombstone {
                true => {
                    let old = places.remove(key);
                    self.key_bytes -= old.map_or(0, |_| key.len());
                    old
                }
                false => match places.get_mut(key) {
                    Some(known) => Some(std::mem::replace(known, place)),
                    None => {
                        self.key_bytes += key.len();
                        places.insert(key.into(), place);
                        None
                    }
                },
            };
            if let Some(live) = is_live.get_mut(index) {
                *live = !is_tombstone;
            }
            match old {
                Some(old) if old.batch == batch => {
                    if let Some(live) = is_live.get_mut(old.row as usize) {
                        *live = false;
                    }
                }
                Some(old) => self.mark_replaced(old),
                None => {}
            }
        }
        let rows = records.project(&(0..columns + 2).collect::<Vec<_>>())?;
        self.push(rows, is_live);
        self.merge_small_ones()?;
        self.reserve()
    }

    fn mark_replaced(&mut self, place: Place) {
        if let Some(kept) = self.batches.get_mut(place.batch as usize)
            && let Some(live) = kept.is_live.get_mut(place.row as usize)
            && *live
        {
            *live = false;
            kept.live -= 1;
        }
    }

    fn push(&mut self, rows: RecordBatch, is_live: Vec<bool>) {
        self.batches.push(KeptBatch {
            live: is_live.iter().filter(|live| **live).count(),
            bytes: rows.get_array_memory_size(),
            rows,
            is_live,
        });
    }

    fn merge_small_ones(&mut self) -> DataFusionResult<()> {
        let is_small = |kept: &KeptBatch| kept.live < FEW;
        if self.batches.iter().filter(|kept| is_small(kept)).count() <= SMALL_BATCHES {
            return Ok(());
        }
        let (small, large) = std::mem::take(&mut self.batches)
            .into_iter()
            .partition(is_small);
        let small: Vec<KeptBatch> = small;
        self.batches = large;
        for (number, kept) in self.batches.iter().enumerate() {
            set_places(&mut self.places, &kept.rows, &kept.is_live, number);
        }
        let Some(schema) = small.first().map(|kept| kept.rows.schema()) else {
            return Ok(());
        };
        let mut together = BatchCoalescer::new(schema, ROWS);
        for kept in small {
            together.push_batch(kept.live_rows(&kept.rows)?)?;
        }
        together.finish_buffered_batch()?;
        while let Some(rows) = together.next_completed_batch() {
            let is_live = vec![true; rows.num_rows()];
            set_places(&mut self.places, &rows, &is_live, self.batches.len());
            self.push(rows, is_live);
        }
        Ok(())
    }

    /// The reserved bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory.size()
    }

    /// Reserves the memory that the rows and their keys use now.
    fn reserve(&self) -> DataFusionResult<()> {
        let rows: usize = self
            .batches
            .iter()
            .map(|kept| kept.bytes + kept.is_live.len())
            .sum();
        let entry = size_of::<(Box<[u8]>, Place)>() + 1;
        let places: usize = self
            .places
            .values()
            .map(|p| p.capacity() * 8 / 7 * entry)
            .sum();
        let keys: usize = self.places.values().map(HashMap::len).sum();
        self.memory
            .try_resize(rows + places + self.key_bytes + keys * ALLOCATION)
    }

    /// These columns of all rows.
    pub(super) fn batches(&self, columns: &[usize]) -> DataFusionResult<Vec<RecordBatch>> {
        let live = self.batches.iter().filter(|kept| kept.live > 0);
        live.map(|kept| kept.live_rows(&kept.rows.project(columns)?))
            .collect()
    }
}

impl KeptBatch {
    fn live_rows(&self, rows: &RecordBatch) -> DataFusionResult<RecordBatch> {
        if self.live == self.is_live.len() {
            return Ok(rows.clone());
        }
        let is_live = BooleanArray::from(self.is_live.clone());
        filter_record_batch(rows, &is_live)
            .map_err(|error| DataFusionError::ArrowError(Box::new(error), None))
    }
}

/// Updates the places of a batch's rows after the batch has moved.
fn set_places(
    places: &mut BTreeMap<i32, HashMap<Box<[u8]>, Place, RandomState>>,
    rows: &RecordBatch,
    is_live: &[bool],
    batch: usize,
) {
    let columns = rows.num_columns();
    let keys = columns
        .checked_sub(1)
        .and_then(|last| rows.columns().get(last));
    let partitions = columns
        .checked_sub(2)
        .and_then(|last| rows.columns().get(last));
    let keys = keys.and_then(|column| column.as_binary_view_opt());
    let partitions = partitions.and_then(|column| column.as_primitive_opt::<Int32Type>());
    let (Some(keys), Some(partitions)) = (keys, partitions) else {
        return;
    };
    let batch = u32::try_from(batch).unwrap_or(u32::MAX);
    for (index, live) in is_live.iter().enumerate() {
        if *live
            && let Some(places) = places.get_mut(&partitions.value(index))
            && let Some(place) = places.get_mut(keys.value(index))
        {
            *place = Place {
                batch,
                row: u32::try_from(index).unwrap_or(u32::MAX),
            };
        }
    }
}
