//! Continuous queries: a topic that is kept equal to a query over other topics.

mod events;
mod fences;
mod figures;
mod inserts;
mod loops;
mod names;
mod not_null;
mod offsets;
mod progress;
mod queries;
mod random;
mod refreshed;
mod refusals;

use std::time::Duration;

use datafusion_kafka::{ContinuousOptions, ContinuousQuery, QueryProgress, QueryStatus};

use crate::broker::{self, Broker, PATIENCE, Rec, Stored};
use crate::declared::{Declared, in_time};

const EXACTLY_ONCE: (&str, &str) = ("kafka.delivery", "exactly_once");

/// An upsert with the payload `{"v": ..}`.
fn value(key: &str, v: i64) -> Rec {
    Rec::new(key, format!("{{\"v\":{v}}}"))
}

/// All records of a topic as `key=payload`, in log order.
fn log(broker: &Broker, topic: &str) -> Vec<String> {
    broker.read_all(topic).iter().map(text).collect()
}

fn text(record: &Stored) -> String {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "null".to_owned(),
    };
    format!("{}={}", text(&record.key), text(&record.payload))
}

/// Waits until the topic has this many records.
fn wait_for(broker: &Broker, topic: &str, records: usize) -> Vec<String> {
    broker::wait_until(PATIENCE, "the records of the output", || {
        broker.read_all(topic).len() >= records
    });
    log(broker, topic)
}

/// The same as [`wait_for`], without blocking the runtime.
async fn written(broker: &'static Broker, topic: &str, records: usize) -> Vec<String> {
    let topic = topic.to_owned();
    let waited = tokio::task::spawn_blocking(move || wait_for(broker, &topic, records));
    waited.await.unwrap()
}

/// A statement that runs until it is dropped.
struct Forever(tokio::task::JoinHandle<Result<(), String>>);

impl Forever {
    async fn start(declared: &Declared, sql: &str) -> Self {
        let frame = datafusion_kafka::sql(&declared.ctx, sql).await.unwrap();
        Forever(tokio::spawn(async move {
            frame
                .collect()
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        }))
    }
}

impl Drop for Forever {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn start(declared: &Declared, name: &str, sql: &str) -> ContinuousQuery {
    let options = ContinuousOptions::new().with_refresh_interval(Duration::from_millis(50));
    ContinuousQuery::start(&declared.ctx, name, sql, options)
        .await
        .unwrap()
}

/// Topic `feed` as table `t`, with these options, and topic `out` as the table of that name.
async fn feed_and_out(
    broker: &Broker,
    [feed, out]: [&str; 2],
    columns: &str,
    delivery: &str,
    options: &[(&str, &str)],
) -> Declared {
    let declared = Declared::new(broker, feed, columns, options).await;
    let options = [("kafka.delivery", delivery)];
    declared.add("out", out, columns, &options).await.unwrap();
    declared
}

/// Waits until the progress of the query satisfies a condition.
async fn until(what: &str, query: &ContinuousQuery, mut holds: impl FnMut(&QueryProgress) -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds(&query.progress()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    if waited.await.is_err() {
        panic!("{what}: {:?} {:?}", query.status(), query.progress());
    }
}

/// Stops the query, and waits for the markers of its last transaction. Brokers write the markers
/// after they have acknowledged the commit.
async fn stopped(broker: &Broker, query: &ContinuousQuery, out: &str) {
    in_time("stopping", query.stop()).await.unwrap();
    broker::wait_until(PATIENCE, "the marks of the last transaction", || {
        broker.read_all(out).len() == broker.read_uncommitted(out).len()
    });
}

/// Waits until the query has started to read.
async fn running(query: &ContinuousQuery) {
    in_time("running", async {
        while !matches!(query.status(), QueryStatus::Running) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Waits until all current records of the topics are read and committed.
async fn caught_up(broker: &'static Broker, query: &ContinuousQuery, topics: &[&str]) {
    let mut ends = Vec::new();
    for topic in topics {
        let topic = (*topic).to_owned();
        let records = tokio::task::spawn_blocking(move || (broker.read_all(&topic), topic));
        let (records, topic) = records.await.unwrap();
        for record in records {
            ends.push((topic.clone(), record.partition, record.offset + 1));
        }
    }
    until("it does not catch up", query, |progress| {
        ends.iter().all(|(topic, partition, end)| {
            let mut inputs = progress.inputs.iter();
            let input = inputs.find(|i| i.topic == *topic && i.partition == *partition);
            input.is_some_and(|input| input.position >= Some(*end))
        })
    })
    .await;
}
