//! The metrics of a scan, shown by EXPLAIN ANALYZE.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::physical_plan::metrics::{
    Count, CustomMetricValue, ExecutionPlanMetricsSet, MetricBuilder, MetricValue, SpillMetrics,
    Time,
};

/// The counters and times of one output partition's scan.
#[derive(Debug, Clone)]
pub(crate) struct ScanMetrics {
    pub(crate) records_fetched: Count,
    pub(crate) bytes_fetched: Count,
    pub(crate) tombstones: Count,
    pub(crate) superseded: Count,
    /// Records whose keys the query does not ask for.
    pub(crate) keys_skipped: Count,
    pub(crate) bad_records: Count,
    pub(crate) null_keys: Count,
    /// How often a partition was read, at most: more than once where memory is scarce and there
    /// is no disk.
    pub(crate) passes: Arc<Most>,
    /// Records on disk, whose keys memory has no room for.
    pub(crate) spill: SpillMetrics,
    /// Waiting for records.
    pub(crate) fetch_time: Time,
    /// Finding the latest record of each key.
    pub(crate) deduplicate_time: Time,
    /// Decoding records into rows, and filtering the rows.
    pub(crate) decode_time: Time,
}

impl ScanMetrics {
    pub(crate) fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let counter = |name: &'static str| MetricBuilder::new(metrics).counter(name, partition);
        let time = |name: &'static str| MetricBuilder::new(metrics).subset_time(name, partition);
        let passes = Arc::new(Most::default());
        MetricBuilder::new(metrics)
            .with_partition(partition)
            .build(MetricValue::Custom {
                name: "passes".into(),
                value: Arc::clone(&passes) as Arc<dyn CustomMetricValue>,
            });
        ScanMetrics {
            records_fetched: counter("records_fetched"),
            bytes_fetched: counter("bytes_fetched"),
            tombstones: counter("tombstones"),
            superseded: counter("superseded"),
            keys_skipped: counter("keys_skipped"),
            bad_records: counter("bad_records"),
            null_keys: counter("null_keys"),
            passes,
            spill: SpillMetrics::new(metrics, partition),
            fetch_time: time("fetch_time"),
            deduplicate_time: time("deduplicate_time"),
            decode_time: time("decode_time"),
        }
    }
}

/// The largest of several values.
#[derive(Debug, Default)]
pub(crate) struct Most(AtomicUsize);

impl Most {
    pub(crate) fn at_least(&self, value: usize) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

impl fmt::Display for Most {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_usize())
    }
}

impl CustomMetricValue for Most {
    fn new_empty(&self) -> Arc<dyn CustomMetricValue> {
        Arc::new(Most::default())
    }

    fn aggregate(&self, other: Arc<dyn CustomMetricValue>) {
        self.0.fetch_max(other.as_usize(), Ordering::Relaxed);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_usize(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn is_eq(&self, other: &Arc<dyn CustomMetricValue>) -> bool {
        other.as_any().is::<Most>() && self.as_usize() == other.as_usize()
    }
}
