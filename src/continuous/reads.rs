//! [`Reads`]: counts what the scans of a continuous query read.

use std::ops::AddAssign;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::physical_plan::ExecutionPlan;

use crate::source::exec::KafkaScanExec;

/// What the scans of a query have read since it was started.
#[derive(Default)]
pub(crate) struct Reads(Mutex<Plans>);

#[derive(Default)]
struct Plans {
    running: Vec<Arc<dyn ExecutionPlan>>,
    /// What plans that have ended have read.
    ended: ReadCount,
}

/// Records and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReadCount {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Reads {
    /// Counts what a plan reads until the guard is dropped.
    pub(crate) fn by(&self, plan: &Arc<dyn ExecutionPlan>) -> Reading<'_> {
        self.plans().running.push(Arc::clone(plan));
        Reading {
            reads: self,
            plan: Arc::clone(plan),
        }
    }

    pub(crate) fn count(&self) -> ReadCount {
        let plans = self.plans();
        let mut count = plans.ended;
        for plan in &plans.running {
            count += ReadCount::of(plan);
        }
        count
    }

    fn plans(&self) -> MutexGuard<'_, Plans> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running plan, whose metrics are counted as long as this guard lives.
#[must_use]
pub(crate) struct Reading<'a> {
    reads: &'a Reads,
    plan: Arc<dyn ExecutionPlan>,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut plans = self.reads.plans();
        plans.running.retain(|plan| !Arc::ptr_eq(plan, &self.plan));
        plans.ended += ReadCount::of(&self.plan);
    }
}

impl ReadCount {
    fn of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        let mut count = ReadCount::default();
        for scan in KafkaScanExec::all_in(plan) {
            let metrics = scan.metrics();
            let sum = |name| {
                let value = metrics.as_ref()?.sum_by_name(name)?;
                u64::try_from(value.as_usize()).ok()
            };
            count += ReadCount {
                records: sum("records_fetched").unwrap_or(0),
                bytes: sum("bytes_fetched").unwrap_or(0),
            };
        }
        count
    }
}

impl AddAssign for ReadCount {
    fn add_assign(&mut self, more: Self) {
        self.records += more.records;
        self.bytes += more.bytes;
    }
}
