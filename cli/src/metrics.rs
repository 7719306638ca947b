//! The metrics of a running query, in Prometheus' text format.

use std::borrow::Cow;
use std::fmt;
use std::iter;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datafusion_kafka::{InputProgress, QueryProgress};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text;
pub(crate) use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The progress of a query, and the state of the program that runs it.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) progress: QueryProgress,
    pub(crate) is_ready: bool,
    /// Bytes that are reserved in the session's memory pool.
    pub(crate) memory_reserved: usize,
    /// The limit of the pool, in bytes; `None` for a pool without a limit.
    pub(crate) memory_limit: Option<usize>,
}

/// The prefix of every metric's name.
const PREFIX: &str = "datafusion_kafka";

/// The metrics of the query with this name, in Prometheus' text format.
pub(crate) fn text(query: &str, figures: Figures) -> String {
    let query = (Cow::Borrowed("query"), Cow::Owned(query.to_owned()));
    let mut registry = Registry::with_prefix_and_labels(PREFIX, iter::once(query));
    registry.register_collector(Box::new(figures));
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Families(encoder);
        self.state(&mut out)?;
        self.inputs(&mut out)?;
        self.outputs(&mut out)?;
        self.memory(&mut out)?;
        self.brokers(&mut out)
    }
}

impl Figures {
    fn state(&self, out: &mut Families<'_>) -> fmt::Result {
        let progress = &self.progress;
        let version = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        out.gauges(
            "build_info",
            "The version of the program; always 1.",
            [(version, 1_u32)],
        )?;
        out.gauge(
            "ready",
            "Whether /readyz answers that the query is ready: 1 or 0.",
            Some(u32::from(self.is_ready)),
        )?;
        out.counter(
            "restarts",
            "How often the query began again after a failure.",
            progress.restarts,
        )?;
        out.counter(
            "commits",
            "How often something was committed.",
            progress.commits,
        )?;
        out.gauge(
            "last_commit_timestamp_seconds",
            "When something was last committed.",
            seconds_since_epoch(progress.last_commit),
        )?;
        out.counter(
            "refreshes",
            "How often a query that is refreshed has run as a whole.",
            progress.refreshes,
        )?;
        out.gauge(
            "last_refresh_timestamp_seconds",
            "When the query last ran as a whole.",
            seconds_since_epoch(progress.last_refresh),
        )?;
        out.gauge(
            "last_refresh_duration_seconds",
            "How long it took to run the query as a whole, with the commit.",
            progress.refresh_time.map(|time| time.as_secs_f64()),
        )
    }

    fn inputs(&self, out: &mut Families<'_>) -> fmt::Result {
        let progress = &self.progress;
        let of_partitions = |figure: fn(&InputProgress) -> Option<i64>| {
            progress.inputs.iter().filter_map(move |input| {
                let partition = input.partition.to_string();
                let labels = [("topic", input.topic.clone()), ("partition", partition)];
                Some((labels, figure(input)?))
            })
        };
        out.gauges(
            "lag_records",
            "Offsets of a partition that are still to be read.",
            of_partitions(|input| i64::try_from(input.lag()).ok()),
        )?;
        out.gauges(
            "position_offset",
            "The next offset of a partition to be read; all before it are committed.",
            of_partitions(|input| input.position),
        )?;
        out.gauges(
            "end_offset",
            "Where a partition ends.",
            of_partitions(|input| Some(input.end)),
        )?;
        out.gauge(
            "ends_age_seconds",
            "How long ago the brokers said where the partitions end.",
            progress.ends_age.map(|age| age.as_secs_f64()),
        )?;
        out.counter(
            "records_read",
            "Records that were read from topics.",
            progress.records_read,
        )?;
        out.counter(
            "bytes_read",
            "Bytes of the keys and payloads that were read.",
            progress.bytes_read,
        )?;
        out.counter(
            "dead_letters",
            "Records that did not fit and went to the dead letter topic.",
            progress.dead_letters,
        )
    }

    fn outputs(&self, out: &mut Families<'_>) -> fmt::Result {
        let progress = &self.progress;
        out.counters(
            "records_written",
            "Records that were written, and committed.",
            [
                ([("kind", "upsert".to_owned())], progress.upserts),
                ([("kind", "tombstone".to_owned())], progress.tombstones),
            ],
        )?;
        out.counter(
            "bytes_written",
            "Bytes of the keys and payloads that were written, before compression.",
            progress.bytes_written,
        )?;
        out.counter(
            "rows_unchanged",
            "Rows that the output held already, for which nothing was written.",
            progress.unchanged,
        )?;
        out.gauge(
            "producer_queue_records",
            "Records that are not sent or not acknowledged.",
            Some(progress.queued_records),
        )?;
        out.gauge(
            "producer_queue_bytes",
            "Bytes of the records that are not sent or not acknowledged.",
            Some(progress.queued_bytes),
        )
    }

    fn memory(&self, out: &mut Families<'_>) -> fmt::Result {
        out.gauge(
            "kept_bytes",
            "Memory of the rows and keys that the query keeps.",
            Some(self.progress.kept_bytes),
        )?;
        out.gauge(
            "memory_pool_reserved_bytes",
            "Memory that is reserved in the pool, including kept rows and keys.",
            Some(self.memory_reserved),
        )?;
        out.gauge(
            "memory_pool_limit_bytes",
            "Memory that may be reserved in the pool; absent where there is no limit.",
            self.memory_limit,
        )
    }

    fn brokers(&self, out: &mut Families<'_>) -> fmt::Result {
        let times = self.progress.round_trips.iter().flat_map(|trips| {
            let quantiles = [("0.5", trips.p50), ("0.95", trips.p95), ("0.99", trips.p99)];
            quantiles.map(|(quantile, time): (&str, Duration)| {
                let labels = [
                    ("client", trips.client.to_string()),
                    ("topic", trips.topic.clone()),
                    ("broker", trips.broker.clone()),
                    ("quantile", quantile.to_owned()),
                ];
                (labels, time.as_secs_f64())
            })
        });
        out.gauges(
            "broker_round_trip_seconds",
            "How long a broker took to answer a client, in the last seconds.",
            times,
        )
    }
}

fn seconds_since_epoch(time: Option<SystemTime>) -> Option<f64> {
    let since = time?.duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_secs_f64())
}

/// Writes metrics, each with its help text and type. The encoder appends `_total` to the name of a
/// counter.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let kind = MetricType::Counter;
        let family = self.0.encode_descriptor(name, help, None, kind)?;
        ConstCounter::new(value).encode(family)
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, String); N], u64)>,
    ) -> fmt::Result {
        let kind = MetricType::Counter;
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: Option<impl EncodeGaugeValue>,
    ) -> fmt::Result {
        let kind = MetricType::Gauge;
        let family = self.0.encode_descriptor(name, help, None, kind)?;
        match value {
            Some(value) => ConstGauge::new(value).encode(family),
            None => Ok(()),
        }
    }

    fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, String); N], impl EncodeGaugeValue)>,
    ) -> fmt::Result {
        let kind = MetricType::Gauge;
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
