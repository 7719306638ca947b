//! Tests what is written to disk and read back.

use std::path::{Path, PathBuf};
use std::pin::Pin;

use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::spill_file::TempFileFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::prelude::SessionConfig;
use proptest::prelude::*;
use rdkafka_extra::VisitHeader;

use super::*;
use crate::source::fetch::Chunk;

#[derive(Debug, Clone, PartialEq)]
struct Stored {
    offset: i64,
    key: Vec<u8>,
    payload: Option<Vec<u8>>,
    timestamp: Option<i64>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Record for &Stored {
    fn offset(&self) -> i64 {
        self.offset
    }
    fn key(&self) -> Option<&[u8]> {
        Some(&self.key)
    }
    fn payload(&self) -> Option<&[u8]> {
        self.payload.as_deref()
    }
    fn timestamp(&self) -> Option<i64> {
        self.timestamp
    }
    fn visit_headers(&self, visit: VisitHeader<'_>) {
        for (name, value) in &self.headers {
            visit(name, value.as_deref());
        }
    }
}

fn copy(record: &impl Record) -> Stored {
    let mut headers = Vec::new();
    record
        .visit_headers(&mut |name, value| headers.push((name.to_vec(), value.map(<[u8]>::to_vec))));
    Stored {
        offset: record.offset(),
        key: record.key().unwrap().to_vec(),
        payload: record.payload().map(<[u8]>::to_vec),
        timestamp: record.timestamp(),
        headers,
    }
}

const ALL: RecordParts = RecordParts {
    payload: true,
    timestamp: true,
    headers: true,
};

fn context(builder: DiskManagerBuilder, compression: &str) -> Arc<TaskContext> {
    let runtime = RuntimeEnvBuilder::new().with_disk_manager_builder(builder);
    let key = "datafusion.execution.spill_compression";
    let context = TaskContext::default()
        .with_session_config(SessionConfig::new().set_str(key, compression))
        .with_runtime(runtime.build_arc().unwrap());
    Arc::new(context)
}

fn disk(context: &TaskContext) -> (Disk, SpillMetrics) {
    let metrics = SpillMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
    let disk = Disk::of(context, &metrics, "t")
        .unwrap()
        .unwrap()
        .of_partition(7);
    (disk, metrics)
}

fn memory(bytes: usize) -> MemoryReservation {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(bytes));
    MemoryConsumer::new("test").register(&pool)
}

/// The records of each part, in the order in which they are read.
fn read(parts: Vec<Part>) -> Vec<Vec<Stored>> {
    let read = |mut part: Part| {
        let mut records = Vec::new();
        while part.next_bytes() > 0 {
            let block = part.next().unwrap().unwrap();
            records.extend((0..block.len()).rev().map(|i| copy(&block.get(i).unwrap())));
            assert!(block.get(block.len()).is_none());
        }
        assert!(part.next().unwrap().is_none());
        records
    };
    parts.into_iter().map(read).collect()
}

fn records() -> impl Strategy<Value = Vec<(u32, Stored)>> {
    let bytes = |length| prop::collection::vec(any::<u8>(), 0..length);
    let headers = prop::collection::vec((bytes(5), prop::option::of(bytes(9))), 0..3);
    let record = (
        any::<u32>(),
        bytes(20),
        prop::option::of(bytes(300)),
        prop::option::of(any::<i64>()),
        headers,
    );
    prop::collection::vec(record, 0..200).prop_map(|records| {
        let stored = |(offset, (hash, key, payload, timestamp, headers))| {
            let record = Stored {
                offset,
                key,
                payload,
                timestamp,
                headers,
            };
            (hash, record)
        };
        (0..).zip(records).map(stored).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn records_come_back_as_they_were_in_the_part_of_their_hash(
        records in records(),
        compression in prop::sample::select(vec!["uncompressed", "lz4_frame", "zstd"]),
        share in prop::sample::select(vec![1_000usize, 100_000, 10_000_000]),
        skipped in prop::sample::select(vec![0u32, 5, 30, 32]),
        parts in (any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let parts = RecordParts { payload: parts.0, timestamp: parts.1, headers: parts.2 };
        let context = context(DiskManagerBuilder::default(), compression);
        let (disk, metrics) = disk(&context);
        let memory = memory(usize::MAX);
        let mut spill = disk.start(parts, skipped, share, &memory).unwrap().unwrap();
        for (hash, record) in &records {
            spill.append(&record, *hash).unwrap();
        }
        let read = read(spill.finish().unwrap());
        prop_assert_eq!(metrics.spilled_rows.value(), records.len());
        prop_assert!(read.iter().all(|part| part.is_sorted_by_key(|record| record.offset)));
        let mut all: Vec<&Stored> = read.iter().flatten().collect();
        all.sort_by_key(|record| record.offset);
        prop_assert_eq!(all.len(), records.len());
        for (found, (_, record)) in all.into_iter().zip(&records) {
            let mut expected = record.clone();
            if !parts.payload {
                expected.payload = expected.payload.map(|_| Vec::new());
            }
            if !parts.timestamp {
                expected.timestamp = None;
            }
            if !parts.headers {
                expected.headers.clear();
            }
            prop_assert_eq!(found, &expected);
        }
        // Records of the same hash are in the same part, also those of the same lower bits.
        let part = |hash: u32| {
            let offset = records.iter().find(|(h, _)| *h == hash).map(|(_, r)| r.offset);
            read.iter().position(|part| part.iter().any(|r| Some(r.offset) == offset))
        };
        let mut hashes: Vec<u32> = records.iter().map(|(hash, _)| *hash).collect();
        if skipped == 0 {
            hashes.sort_unstable();
            let places: Vec<_> = hashes.iter().map(|hash| part(*hash)).collect();
            prop_assert!(places.is_sorted());
        }
        let progress = context.runtime_env().disk_manager.spilling_progress();
        prop_assert_eq!((progress.current_bytes, progress.active_files_count), (0, 0));
        prop_assert_eq!(memory.size(), 0);
    }
}

#[test]
fn compression_makes_the_file_smaller() {
    let written = |compression| {
        let context = context(DiskManagerBuilder::default(), compression);
        let (disk, metrics) = disk(&context);
        let mut spill = disk
            .start(ALL, 0, 10_000_000, &memory(usize::MAX))
            .unwrap()
            .unwrap();
        for offset in 0..20_000 {
            let record = Stored {
                offset,
                key: offset.to_string().into_bytes(),
                payload: Some(br#"{"customer":"a customer","amount":1}"#.to_vec()),
                timestamp: Some(1_700_000_000_000),
                headers: Vec::new(),
            };
            spill
                .append(&&record, (offset as u32).wrapping_mul(0x9E37_79B9))
                .unwrap();
        }
        let held = context.runtime_env().disk_manager.used_disk_space();
        let parts = spill.finish().unwrap();
        assert!(context.runtime_env().disk_manager.used_disk_space() >= held);
        assert_eq!(read(parts).iter().flatten().count(), 20_000);
        metrics.spilled_bytes.value()
    };
    let (plain, zstd) = (written("uncompressed"), written("zstd"));
    assert!(plain > 20_000 * 50 && zstd < plain / 3, "{plain}, {zstd}");
}

#[test]
fn the_buffers_are_reserved_and_a_large_record_needs_memory_of_its_own() {
    let context = context(DiskManagerBuilder::default(), "uncompressed");
    let (disk, _) = disk(&context);
    let memory = memory(1_000_000);
    assert!(disk.start(ALL, 0, 16_000_000, &memory).unwrap().is_none());
    let mut spill = disk.start(ALL, 0, 800_000, &memory).unwrap().unwrap();
    assert_eq!(spill.memory.size(), 100_000);
    let record = |length| Stored {
        offset: 0,
        key: b"k".to_vec(),
        payload: Some(vec![b'x'; length]),
        timestamp: None,
        headers: Vec::new(),
    };
    spill.append(&&record(200_000), 0).unwrap();
    assert!(matches!(
        spill.append(&&record(300_000), 0).unwrap_err(),
        DataFusionError::ResourcesExhausted(_)
    ));
    drop(spill);
    assert!(memory.try_grow(1_000_000).is_ok());
}

/// Creates files that are full after some bytes, or that have no path.
struct Full {
    directory: PathBuf,
    local: bool,
}

struct FullFile {
    path: PathBuf,
    local: bool,
}

struct FullWriter(usize);

impl TempFileFactory for Full {
    fn create_temp_file(&self, _: &str) -> DataFusionResult<Arc<dyn SpillFile>> {
        Ok(Arc::new(FullFile {
            path: self.directory.join("spill"),
            local: self.local,
        }))
    }
}

impl SpillFile for FullFile {
    fn path(&self) -> Option<&Path> {
        self.local.then_some(self.path.as_path())
    }
    fn size(&self) -> Option<u64> {
        None
    }
    fn read_stream(
        &self,
    ) -> DataFusionResult<Pin<Box<dyn futures::Stream<Item = DataFusionResult<bytes::Bytes>> + Send>>>
    {
        unreachable!("the file is read by its path")
    }
    fn open_writer(&self) -> DataFusionResult<Box<dyn SpillWriter>> {
        Ok(Box::new(FullWriter(100_000)))
    }
}

impl io::Write for FullWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| {
            // As DataFusion's own writer wraps the error.
            io::Error::from(DataFusionError::IoError(ErrorKind::StorageFull.into()))
        })?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SpillWriter for FullWriter {
    fn finish(&mut self) -> DataFusionResult<()> {
        Ok(())
    }
}

fn full(local: bool) -> (tempfile::TempDir, Arc<TaskContext>) {
    let directory = tempfile::tempdir().unwrap();
    let factory = Full {
        directory: directory.path().to_owned(),
        local,
    };
    let builder = DiskManagerBuilder::default().with_temp_file_factory(Arc::new(factory));
    (directory, context(builder, "uncompressed"))
}

#[test]
fn a_full_disk_is_an_error_that_says_what_to_do() {
    let (_directory, context) = full(true);
    let (disk, _) = disk(&context);
    let mut spill = disk
        .start(ALL, 0, 1_000_000, &memory(usize::MAX))
        .unwrap()
        .unwrap();
    let record = Stored {
        offset: 0,
        key: b"k".to_vec(),
        payload: Some(vec![b'x'; 60_000]),
        timestamp: None,
        headers: Vec::new(),
    };
    spill.append(&&record, 0).unwrap();
    let error = spill.append(&&record, 0).unwrap_err();
    assert!(matches!(error, DataFusionError::ResourcesExhausted(_)));
    let error = error.to_string();
    for part in [
        "topic `t` partition 7: the keys do not fit into memory",
        "the disk of the temporary files is full",
        "`datafusion.runtime.temp_directory`",
        "`datafusion.runtime.memory_limit`",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn another_failure_names_the_partition_and_keeps_its_cause() {
    let (directory, context) = full(true);
    let (disk, _) = disk(&context);
    let spill = disk
        .start(ALL, 0, 1_000_000, &memory(usize::MAX))
        .unwrap()
        .unwrap();
    drop(directory);
    let error = spill.finish().err().unwrap();
    assert!(
        error
            .to_string()
            .contains("topic `t` partition 7: temporary file"),
        "{error}"
    );
    let cause = error.find_root();
    assert!(matches!(cause, DataFusionError::IoError(e) if e.kind() == ErrorKind::NotFound));
}

#[test]
fn temporary_files_that_are_not_local_are_not_used() {
    let (_directory, context) = full(false);
    let (disk, metrics) = disk(&context);
    let memory = memory(usize::MAX);
    assert!(disk.start(ALL, 0, 1_000_000, &memory).unwrap().is_none());
    assert_eq!(memory.size(), 0);
    assert_eq!(metrics.spill_file_count.value(), 0);
}
