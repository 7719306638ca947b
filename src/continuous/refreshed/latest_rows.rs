//! The rows of a topic in memory, brought up to date with its new records.

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
/// A row that is replaced or deleted is only marked, so that a change costs as
/// much as its own record. Batches that have few rows left are put together when
/// there are many of them.
pub(super) struct LatestRows {
    /// Of the rows; batches have two more columns behind it.
    schema: SchemaRef,
    batches: Vec<Kept>,
    /// Where the row of a key is, by Kafka partition and raw key.
    places: BTreeMap<i32, HashMap<Box<[u8]>, Place, RandomState>>,
    key_bytes: usize,
    memory: MemoryReservation,
}

struct Kept {
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

/// Rows of a batch that is put together.
const ROWS: usize = 8192;

/// Batches with fewer rows left,
const FEW: usize = ROWS / 2;
/// so many of which are put up with.
const SMALL_BATCHES: usize = 64;

/// What an allocator takes for a key beside its bytes.
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

    /// Takes records in: the columns of the rows, then the Kafka partition, the raw
    /// key, and, where tombstones are among them, whether it is one.
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
                Some(old) => self.kill(old),
                None => {}
            }
        }
        let rows = records.project(&(0..columns + 2).collect::<Vec<_>>())?;
        self.push(rows, is_live);
        self.merge_small_ones()?;
        self.reserve()
    }

    fn kill(&mut self, place: Place) {
        if let Some(kept) = self.batches.get_mut(place.batch as usize)
            && let Some(live) = kept.is_live.get_mut(place.row as usize)
            && *live
        {
            *live = false;
            kept.live -= 1;
        }
    }

    fn push(&mut self, rows: RecordBatch, is_live: Vec<bool>) {
        self.batches.push(Kept {
            live: is_live.iter().filter(|live| **live).count(),
            bytes: rows.get_array_memory_size(),
            rows,
            is_live,
        });
    }

    fn merge_small_ones(&mut self) -> DataFusionResult<()> {
        let is_small = |kept: &Kept| kept.live < FEW;
        if self.batches.iter().filter(|kept| is_small(kept)).count() <= SMALL_BATCHES {
            return Ok(());
        }
        let (small, large) = std::mem::take(&mut self.batches)
            .into_iter()
            .partition(is_small);
        let small: Vec<Kept> = small;
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

    /// The bytes that are reserved.
    pub(super) fn memory(&self) -> usize {
        self.memory.size()
    }

    /// Reserves the memory that the rows and their keys hold by now.
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

impl Kept {
    fn live_rows(&self, rows: &RecordBatch) -> DataFusionResult<RecordBatch> {
        if self.live == self.is_live.len() {
            return Ok(rows.clone());
        }
        let is_live = BooleanArray::from(self.is_live.clone());
        filter_record_batch(rows, &is_live)
            .map_err(|error| DataFusionError::ArrowError(Box::new(error), None))
    }
}

/// Says where the rows of a batch are now.
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
