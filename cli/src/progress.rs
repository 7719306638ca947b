//! The progress line of a statement.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use datafusion::datasource::sink::DataSinkExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{MetricValue, MetricsSet};
use datafusion_kafka::KafkaScanExec;
use indicatif::{
    HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle,
};

/// Statements that end within this time show no progress line.
const PATIENCE: Duration = Duration::from_millis(500);
const REDRAW: Duration = Duration::from_millis(100);

/// A line on standard error that is shown until this value is dropped.
pub(crate) struct ProgressLine(Option<(Sender<()>, JoinHandle<()>)>);

impl ProgressLine {
    /// The progress line of a plan that is about to run.
    pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        if KafkaScanExec::all_in(plan).is_empty() && sink(plan).is_none() {
            return ProgressLine(None);
        }
        let plan = Arc::clone(plan);
        let (ended, end) = mpsc::channel();
        // A thread and not a task, because the plan may keep all of the runtime's workers busy.
        let line = thread::Builder::new().name("progress".to_owned());
        let line = line.spawn(move || {
            let start = Instant::now();
            let waited = |time| end.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            if !waited(PATIENCE) {
                return;
            }
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let template = ProgressStyle::with_template("{spinner} {msg}");
            bar.set_style(template.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            loop {
                bar.set_message(Figures::of(&plan).line(start.elapsed()));
                bar.tick();
                if !waited(REDRAW) {
                    break;
                }
            }
            bar.finish_and_clear();
        });
        // Without a thread the statement runs without a progress line.
        ProgressLine(line.ok().map(|line| (ended, line)))
    }

    /// No progress line.
    pub(crate) fn none() -> Self {
        ProgressLine(None)
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if let Some((ended, line)) = self.0.take() {
            drop(ended);
            // The line is cleared before the next output is printed.
            let _ = line.join();
        }
    }
}

/// The progress of a plan.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    records: u64,
    bytes: u64,
    /// The number of records to read; `None` if a LIMIT may end the scan early.
    total: Option<u64>,
    /// Rows of the result.
    rows: u64,
    acknowledged: Option<u64>,
    /// For how long a broker's quota has held back the writes.
    throttled: Duration,
}

impl Figures {
    fn of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        let mut figures = Figures {
            total: Some(0),
            rows: output_rows(plan),
            ..Figures::default()
        };
        for scan in KafkaScanExec::all_in(plan) {
            if let Some(metrics) = scan.metrics() {
                figures.records += counter(&metrics, "records_fetched");
                figures.bytes += counter(&metrics, "bytes_fetched");
            }
            let records = match scan.fetch() {
                None => scan.records_at_most(),
                Some(_) => None,
            };
            figures.total = figures
                .total
                .zip(records)
                .map(|(total, records)| total + records);
        }
        if let Some(metrics) = sink(plan).and_then(ExecutionPlan::metrics) {
            figures.acknowledged = find_counter(&metrics, "records_acknowledged");
            figures.throttled = time(&metrics, "throttle_time");
        }
        figures
    }

    fn line(&self, elapsed: Duration) -> String {
        let mut parts = Vec::new();
        if self.records > 0 || self.total.is_some_and(|total| total > 0) {
            let total = self.total.map(|total| total.max(self.records));
            let of = total.map_or_else(String::new, |total| format!(" of {}", HumanCount(total)));
            parts.push(format!("{}{of} records", HumanCount(self.records)));
            parts.push(self.bytes_read(total));
            let rate = per_second(self.records, elapsed);
            parts.push(format!("{}/s", HumanCount(rate)));
            if let Some(left) = total.map(|total| total - self.records)
                && left > 0
                && rate > 0
            {
                let left = Duration::from_secs(left.div_ceil(rate));
                parts.push(format!("{} left", HumanDuration(left)));
            }
        }
        match self.acknowledged {
            Some(acknowledged) => {
                parts.push(format!("{} acknowledged", HumanCount(acknowledged)));
            }
            None => parts.push(format!("{} rows out", HumanCount(self.rows))),
        }
        if self.throttled > Duration::ZERO {
            parts.push(format!("throttled for {}", HumanDuration(self.throttled)));
        }
        parts.join(" · ")
    }

    /// The bytes that were read, and an estimate of all bytes. Kafka does not tell the size of
    /// records that were not read yet.
    fn bytes_read(&self, total: Option<u64>) -> String {
        let read = HumanBytes(self.bytes);
        let estimated = total.and_then(|total| {
            let bytes = u128::from(self.bytes) * u128::from(total);
            u64::try_from(bytes.checked_div(u128::from(self.records))?).ok()
        });
        match estimated {
            Some(estimated) => format!("{read} of about {}", HumanBytes(estimated)),
            None => read.to_string(),
        }
    }
}

fn per_second(count: u64, time: Duration) -> u64 {
    let millis = time.as_millis().max(1);
    u64::try_from(u128::from(count) * 1000 / millis).unwrap_or(u64::MAX)
}

/// The number of rows of the topmost operator that counts them.
fn output_rows(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let counted = plan.metrics().and_then(|metrics| metrics.output_rows());
    match (counted, plan.children().as_slice()) {
        (Some(rows), _) => rows as u64,
        (None, [only]) => output_rows(only),
        (None, _) => 0,
    }
}

/// The plan's sink, if the plan writes.
fn sink(plan: &Arc<dyn ExecutionPlan>) -> Option<&dyn ExecutionPlan> {
    match plan.downcast_ref::<DataSinkExec>() {
        Some(sink) => Some(sink),
        None => plan.children().into_iter().find_map(sink),
    }
}

/// What an interrupted plan has written to its topic, if it writes to one.
pub(crate) fn left_behind(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let metrics = sink(plan)?.metrics()?;
    let acknowledged = find_counter(&metrics, "records_acknowledged")?;
    // The metric exists only where records are written in transactions.
    Some(match find_counter(&metrics, "records_committed") {
        Some(0) => "interrupted: nothing was written, since the transaction did not end".to_owned(),
        Some(committed) => format!(
            "interrupted: {} records had been committed, and those of the last transaction were not written",
            HumanCount(committed)
        ),
        None => format!(
            "interrupted: {} records had been acknowledged, and some on their way may still be",
            HumanCount(acknowledged)
        ),
    })
}

fn counter(metrics: &MetricsSet, name: &str) -> u64 {
    find_counter(metrics, name).unwrap_or(0)
}

fn find_counter(metrics: &MetricsSet, name: &str) -> Option<u64> {
    let sum = metrics.sum(|metric| {
        matches!(metric.value(), MetricValue::Count { name: counted, .. } if counted == name)
    });
    sum.map(|value| value.as_usize() as u64)
}

fn time(metrics: &MetricsSet, name: &str) -> Duration {
    let sum = metrics.sum(
        |metric| matches!(metric.value(), MetricValue::Time { name: timed, .. } if timed == name),
    );
    Duration::from_nanos(sum.map_or(0, |nanos| nanos.as_usize() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_is_done_and_left() {
        let figures = Figures {
            records: 250_000,
            bytes: 50 << 20,
            total: Some(1_000_000),
            rows: 12,
            ..Figures::default()
        };
        assert_eq!(
            figures.line(Duration::from_secs(5)),
            "250,000 of 1,000,000 records · 50.00 MiB of about 200.00 MiB · 50,000/s · 15 seconds left · 12 rows out"
        );
    }

    #[test]
    fn a_line_says_what_was_acknowledged() {
        let figures = Figures {
            total: Some(0),
            acknowledged: Some(4321),
            ..Figures::default()
        };
        assert_eq!(figures.line(Duration::from_secs(1)), "4,321 acknowledged");
    }

    #[test]
    fn a_line_says_for_how_long_a_quota_has_held_writing_back() {
        let figures = Figures {
            total: Some(0),
            acknowledged: Some(4321),
            throttled: Duration::from_millis(12_300),
            ..Figures::default()
        };
        let line = figures.line(Duration::from_secs(20));
        assert_eq!(line, "4,321 acknowledged · throttled for 12 seconds");
    }

    #[test]
    fn without_a_total_nothing_is_left() {
        let figures = Figures {
            records: 10,
            bytes: 100,
            ..Figures::default()
        };
        let line = figures.line(Duration::from_secs(2));
        assert_eq!(line, "10 records · 100 B · 5/s · 0 rows out");
    }
}
