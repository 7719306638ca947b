//! What a running query shows to its observers: metrics for Prometheus, and answers to probes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool};
use datafusion_kafka::{ContinuousQuery, QueryProgress, QueryStatus};
use hyper::StatusCode;

use crate::http::Page;
use crate::metrics::{self, Figures};

/// A query, from before it is started until it has ended.
pub(crate) struct Watched {
    name: String,
    ready_lag: u64,
    memory: Arc<dyn MemoryPool>,
    query: OnceLock<Arc<ContinuousQuery>>,
    stops: AtomicBool,
}

impl Watched {
    pub(crate) fn new(name: &str, ready_lag: u64, memory: &Arc<dyn MemoryPool>) -> Self {
        Watched {
            name: name.to_owned(),
            ready_lag,
            memory: Arc::clone(memory),
            query: OnceLock::new(),
            stops: AtomicBool::new(false),
        }
    }

    /// Records that the query was started.
    pub(crate) fn starts(&self, query: &Arc<ContinuousQuery>) {
        // The query is set once, so this cannot fail.
        let _ = self.query.set(Arc::clone(query));
    }

    /// Records that the query was told to stop.
    pub(crate) fn stops(&self) {
        self.stops.store(true, Ordering::Relaxed);
    }

    /// The page at a path.
    pub(crate) fn page(&self, path: &str) -> Option<Page> {
        match path {
            "/metrics" => Some(Page {
                status: StatusCode::OK,
                content_type: metrics::CONTENT_TYPE,
                body: metrics::text(&self.name, self.figures()),
            }),
            "/healthz" => Some(Page::plain(StatusCode::OK, "alive")),
            "/readyz" => Some(match self.why_not_ready(&self.progress()) {
                None => Page::plain(StatusCode::OK, "ready"),
                Some(reason) => {
                    let text = format!("not ready: {reason}");
                    Page::plain(StatusCode::SERVICE_UNAVAILABLE, &text)
                }
            }),
            _ => None,
        }
    }

    fn figures(&self) -> Figures {
        let progress = self.progress();
        Figures {
            is_ready: self.why_not_ready(&progress).is_none(),
            progress,
            memory_reserved: self.memory.reserved(),
            memory_limit: match self.memory.memory_limit() {
                MemoryLimit::Finite(bytes) => Some(bytes),
                _ => None,
            },
        }
    }

    fn progress(&self) -> QueryProgress {
        let query = self.query.get();
        query.map(|query| query.progress()).unwrap_or_default()
    }

    fn why_not_ready(&self, progress: &QueryProgress) -> Option<String> {
        if self.stops.load(Ordering::Relaxed) {
            return Some("the query is stopping".to_owned());
        }
        match self.query.get() {
            None => Some("the statements before the query are running".to_owned()),
            Some(query) => behind(&query.status(), progress, self.ready_lag),
        }
    }
}

/// End offsets that are older than this say nothing about the topics now.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// Why the output is, or may be, more than `allowed` records behind the query's topics; `None` when
/// it is not.
pub(crate) fn behind(
    status: &QueryStatus,
    progress: &QueryProgress,
    allowed: u64,
) -> Option<String> {
    match status {
        QueryStatus::Running => {}
        QueryStatus::Starting => return Some("the query is starting".to_owned()),
        QueryStatus::Retrying { error, .. } => {
            return Some(format!("the query is restarting after a failure: {error}"));
        }
        _ => return Some("the query has ended".to_owned()),
    }
    let lag = progress.lag();
    match progress.ends_age {
        None => Some("the brokers have not said yet where the topics end".to_owned()),
        Some(age) if age > KNOWN_FOR => Some(format!(
            "the brokers have not said for {} s where the topics end",
            age.as_secs()
        )),
        Some(_) if lag > allowed => Some(format!("{lag} records behind")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion_kafka::{Error, InputProgress};

    fn progress(lag: i64, age: Duration) -> QueryProgress {
        let mut input = InputProgress::default();
        (input.position, input.end) = (Some(10), 10 + lag);
        let mut progress = QueryProgress::default();
        progress.inputs = vec![input];
        progress.ends_age = Some(age);
        progress
    }

    #[test]
    fn a_query_is_ready_when_it_is_known_to_be_up_to_date() {
        let now = Duration::from_millis(900);
        let running = QueryStatus::Running;
        let is_behind = |lag, age, allowed| behind(&running, &progress(lag, age), allowed);
        assert_eq!(is_behind(0, now, 0), None);
        assert_eq!(is_behind(5, now, 5), None);
        assert_eq!(is_behind(6, now, 5).as_deref(), Some("6 records behind"));
        assert_eq!(
            is_behind(0, Duration::from_millis(12_300), 5).as_deref(),
            Some("the brokers have not said for 12 s where the topics end")
        );
        assert_eq!(is_behind(0, KNOWN_FOR, 0), None);
    }

    #[test]
    fn a_query_that_does_not_run_is_not_ready() {
        let error = Error::Unsupported("reason".to_owned());
        let retrying = QueryStatus::Retrying { error, attempts: 1 };
        for (status, expected) in [
            (QueryStatus::Starting, "is starting"),
            (retrying, "is restarting after a failure: reason"),
            (QueryStatus::Stopped, "ended"),
        ] {
            let reason = behind(&status, &progress(0, Duration::ZERO), u64::MAX).unwrap();
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn a_query_is_not_ready_before_it_is_known_where_topics_end() {
        let mut progress = QueryProgress::default();
        let reason = behind(&QueryStatus::Running, &progress, u64::MAX).unwrap();
        assert!(reason.contains("not said yet"), "{reason}");
        // A query without topics.
        progress.ends_age = Some(Duration::ZERO);
        assert_eq!(behind(&QueryStatus::Running, &progress, 0), None);
    }
}
