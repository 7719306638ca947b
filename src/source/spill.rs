//! Records on disk: those whose keys memory has no room for.
//!
//! A scan that walks newest first appends the records of keys that it cannot hold any more. They
//! are divided into parts by the hashes of their keys. Each part is read back on its own, in the
//! order in which its records were appended, with a set of keys that has the memory to itself.
//!
//! ```text
//! append ─► one buffer per part ─► blocks of one temporary file ─► finish ─► Part ─► Block
//! ```
//!
//! All parts share one file, since a file per part would need many file descriptors. A block is an
//! Arrow IPC stream of one batch, as in DataFusion's own temporary files. The file is deleted when
//! its last part is dropped.

mod buffer;

use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use datafusion::common::{human_readable_size, resources_datafusion_err};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::DiskManager;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::spill_file::{SpillFile, SpillWriter};
use datafusion::physical_plan::metrics::SpillMetrics;
use rdkafka_extra::Record;

pub(crate) use self::buffer::Block;
use self::buffer::Buffer;
use crate::source::rows::RecordParts;

/// The disk that takes the records of a scan.
#[derive(Clone)]
pub(crate) struct Disk {
    manager: Arc<DiskManager>,
    options: IpcWriteOptions,
    metrics: SpillMetrics,
    /// Whose records these are, for messages.
    place: String,
}

/// The part of the memory that the buffers of a spill take.
const MEMORY_PART: usize = 8;
/// More memory for the buffers does not make writing any faster.
const MOST_MEMORY: usize = 4 * 1024 * 1024;
/// The memory per part below which there are fewer parts. Each part has a buffer of its own.
const MEMORY_PER_PART: usize = 64 * 1024;
/// The number of parts, as a number of bits of the hash.
const LEAST_BITS: u32 = 2;
const MOST_BITS: u32 = 5;

impl Disk {
    /// The disk that the session's disk manager offers; `None` where the session allows no
    /// temporary files.
    pub(crate) fn of(
        context: &TaskContext,
        metrics: &SpillMetrics,
        topic: &str,
    ) -> DataFusionResult<Option<Self>> {
        let manager = &context.runtime_env().disk_manager;
        if !manager.tmp_files_enabled() || manager.max_temp_directory_size() == 0 {
            return Ok(None);
        }
        let compression = context.session_config().spill_compression();
        let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?
            .try_with_compression(compression.into())?;
        Ok(Some(Disk {
            manager: Arc::clone(manager),
            options,
            metrics: metrics.clone(),
            place: format!("topic `{topic}`"),
        }))
    }

    /// The same disk, for the records of one partition.
    pub(crate) fn of_partition(&self, partition: i32) -> Self {
        let place = format!("{} partition {partition}", self.place);
        Disk {
            place,
            ..self.clone()
        }
    }

    /// The memory that a spill of a scan with this much memory reserves.
    pub(crate) fn memory(memory_share: usize) -> usize {
        (memory_share / MEMORY_PART).min(MOST_MEMORY)
    }

    /// Starts a spill. The keys' hashes are equal in their upper `skipped_bits` bits, so the bits
    /// below them divide the keys.
    ///
    /// `None` where the pool has no room for the buffers, or where temporary files are not local
    /// files.
    pub(crate) fn start(
        &self,
        parts: RecordParts,
        skipped_bits: u32,
        memory_share: usize,
        pool: &MemoryReservation,
    ) -> DataFusionResult<Option<Spill>> {
        let budget = Self::memory(memory_share);
        let memory = pool.new_empty();
        if memory.try_grow(budget).is_err() {
            return Ok(None);
        }
        let file = self
            .manager
            .create_tmp_file("writing the keys that memory has no room for")
            .map_err(|error| self.error(error))?;
        if file.path().is_none() {
            return Ok(None);
        }
        let bits = (budget / MEMORY_PER_PART).checked_ilog2().unwrap_or(0);
        let bits = bits.clamp(LEAST_BITS, MOST_BITS);
        let bits = bits.min(u32::BITS - skipped_bits.min(u32::BITS));
        let parts_count = 1usize << bits;
        let writer = file.open_writer().map_err(|error| self.error(error))?;
        self.metrics.spill_file_count.add(1);
        Ok(Some(Spill {
            // A growing buffer has up to twice the size of its content. Writing a block takes
            // its batch, its encoded form and the bytes for the file.
            block_bytes: budget / (2 * parts_count + 4),
            buffers: (0..parts_count).map(|_| Buffer::new(parts)).collect(),
            blocks: vec![Vec::new(); parts_count],
            schema: buffer::schema(parts),
            skipped_bits,
            bits,
            file,
            writer,
            written: 0,
            encoded: Vec::new(),
            memory,
            disk: self.clone(),
        }))
    }

    /// Says what to raise where there is no more space, and otherwise what was read.
    fn error(&self, error: DataFusionError) -> DataFusionError {
        let place = &self.place;
        let first: &(dyn StdError + 'static) = &error;
        let chain = std::iter::successors(Some(first), |error| (*error).source());
        let is_full = chain
            .filter_map(|error| error.downcast_ref::<io::Error>())
            .any(|error| {
                matches!(
                    error.kind(),
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded
                )
            });
        match is_full {
            true => {
                log::debug!("{place}: {error}");
                resources_datafusion_err!(
                    "{place}: the keys do not fit into memory, and \
                     the disk of the temporary files is full; free space there, choose another \
                     directory (`datafusion.runtime.temp_directory`), or raise the memory limit \
                     (`datafusion.runtime.memory_limit`, `--memory-limit` on the command line)"
                )
            }
            false => error.context(format!(
                "{place}: temporary file, in the directory that `datafusion.runtime.temp_directory` \
                 chooses"
            )),
        }
    }

    /// Fails where the temporary files of the session would become larger than they may be.
    fn check_limit(&self, more: usize) -> DataFusionResult<()> {
        let limit = self.manager.max_temp_directory_size();
        if self.manager.used_disk_space().saturating_add(more as u64) <= limit {
            return Ok(());
        }
        let place = &self.place;
        let limit = human_readable_size(usize::try_from(limit).unwrap_or(usize::MAX));
        Err(resources_datafusion_err!(
            "{place}: the keys do not fit into memory, and temporary \
             files have reached their limit of {limit}; raise that limit \
             (`datafusion.runtime.max_temp_directory_size`, `--disk-limit` on the command line) or \
             the memory limit (`datafusion.runtime.memory_limit`, `--memory-limit`)"
        ))
    }
}

/// Records on their way to disk, divided by the hashes of their keys.
pub(crate) struct Spill {
    buffers: Vec<Buffer>,
    /// The places of each part's blocks, in the order in which they were written.
    blocks: Vec<Vec<Place>>,
    /// The size from which on a buffer is written.
    block_bytes: usize,
    schema: SchemaRef,
    skipped_bits: u32,
    bits: u32,
    file: Arc<dyn SpillFile>,
    writer: Box<dyn SpillWriter>,
    /// The size of the file.
    written: u64,
    /// The bytes of a block. The allocation is used again for the next block.
    encoded: Vec<u8>,
    memory: MemoryReservation,
    disk: Disk,
}

/// Where a block is in the file.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: u64,
    length: u64,
    /// The size of the records in memory.
    bytes: usize,
}

impl Spill {
    /// Appends a record. `hash` is the hash of its key.
    pub(crate) fn append(&mut self, record: &impl Record, hash: u32) -> DataFusionResult<()> {
        let part = self.part(hash);
        let Some(buffer) = self.buffers.get_mut(part) else {
            return Ok(());
        };
        buffer.append(record);
        match buffer.bytes() >= self.block_bytes {
            true => self.write(part),
            false => Ok(()),
        }
    }

    /// Ends the writing. The parts are disjoint: a key is in one of them.
    pub(crate) fn finish(mut self) -> DataFusionResult<Vec<Part>> {
        for part in 0..self.buffers.len() {
            self.write(part)?;
        }
        self.writer
            .finish()
            .map_err(|error| self.disk.error(error))?;
        let Some(path) = self.file.path() else {
            return Ok(Vec::new());
        };
        let file = File::open(path).map_err(|error| self.disk.error(error.into()))?;
        let file = Arc::new(SpilledFile {
            file,
            _temporary: Arc::clone(&self.file),
        });
        let parts = self.blocks.into_iter().filter(|blocks| !blocks.is_empty());
        Ok(parts
            .map(|blocks| Part {
                file: Arc::clone(&file),
                blocks: blocks.into_iter(),
                equal_bits: self.skipped_bits + self.bits,
                disk: self.disk.clone(),
            })
            .collect())
    }

    fn part(&self, hash: u32) -> usize {
        let rest = hash.checked_shl(self.skipped_bits).unwrap_or(0);
        rest.checked_shr(u32::BITS - self.bits).unwrap_or(0) as usize
    }

    /// Writes the buffer of a part as a block.
    fn write(&mut self, part: usize) -> DataFusionResult<()> {
        let (Some(buffer), Some(blocks)) = (self.buffers.get_mut(part), self.blocks.get_mut(part))
        else {
            return Ok(());
        };
        if buffer.is_empty() {
            return Ok(());
        }
        let bytes = buffer.bytes();
        // A record may be far larger than a block. Its copies need memory of their own.
        let own = self.memory.new_empty();
        own.try_grow(4 * bytes.saturating_sub(2 * self.block_bytes))?;
        let batch = buffer.finish(&self.schema)?;
        self.encoded.clear();
        let options = self.disk.options.clone();
        let mut stream =
            StreamWriter::try_new_with_options(&mut self.encoded, &self.schema, options)?;
        stream.write(&batch)?;
        stream.finish()?;
        drop(stream);
        let length = self.encoded.len();
        self.disk.check_limit(length)?;
        self.writer
            .write_all(&self.encoded)
            .map_err(|error| self.disk.error(error.into()))?;
        blocks.push(Place {
            start: self.written,
            length: length as u64,
            bytes,
        });
        self.written += length as u64;
        if length > 2 * self.block_bytes {
            self.encoded = Vec::new();
        }
        let metrics = &self.disk.metrics;
        metrics.spilled_bytes.add(length);
        metrics.spilled_rows.add(batch.num_rows());
        Ok(())
    }
}

struct SpilledFile {
    file: File,
    /// Deletes the file when it is dropped.
    _temporary: Arc<dyn SpillFile>,
}

/// The records of some of the keys, in the order in which they were appended.
pub(crate) struct Part {
    file: Arc<SpilledFile>,
    blocks: std::vec::IntoIter<Place>,
    equal_bits: u32,
    disk: Disk,
}

impl Part {
    /// How many upper bits the hashes of all keys of this part have in common.
    pub(crate) fn equal_bits(&self) -> u32 {
        self.equal_bits
    }

    /// The memory that reading the next block takes.
    pub(crate) fn next_bytes(&self) -> usize {
        // The bytes of the file, and the arrays where the file is compressed.
        self.blocks
            .as_slice()
            .first()
            .map_or(0, |place| 2 * place.bytes)
    }

    /// Reads the next block.
    pub(crate) fn next(&mut self) -> DataFusionResult<Option<Block>> {
        let Some(place) = self.blocks.next() else {
            return Ok(None);
        };
        let block = self.read(place);
        block.map(Some).map_err(|error| {
            self.disk
                .error(DataFusionError::ArrowError(Box::new(error), None))
        })
    }

    fn read(&self, place: Place) -> Result<Block, ArrowError> {
        let mut file = &self.file.file;
        file.seek(SeekFrom::Start(place.start))?;
        let mut batches = StreamReader::try_new(file.take(place.length), None)?;
        match batches.next() {
            Some(batch) => Block::try_new(&batch?),
            None => Err(ArrowError::IpcError("a block is empty".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;
