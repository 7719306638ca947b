//! Table functions on a real broker: topics, offsets, the log, snapshots and changes.

mod arguments;
mod cluster;
mod columns;
mod json;
mod log;

use datafusion::prelude::SessionContext;
use datafusion_kafka::KafkaTopics;

use crate::broker::{Broker, End, Rec, Stored};
use crate::session::{cells, rows, session};

/// Records from the past are kept.
const FOREVER: &[(&str, &str)] = &[("retention.ms", "-1")];

const T0: i64 = 1_700_000_000_000; // 2023-11-14T22:13:20Z

fn number(key: &str, value: i64, seconds: i64) -> Rec {
    Rec::new(key, format!("{{\"v\":{value}}}")).timestamp(T0 + seconds * 1000)
}

fn nothing(broker: &Broker) -> SessionContext {
    session(broker, KafkaTopics::new())
}

/// The rows as text, with `|` between values, sorted.
async fn lines(ctx: &SessionContext, sql: &str) -> Vec<String> {
    let cells = cells(&rows(ctx, sql).await);
    let mut lines: Vec<String> = cells.iter().map(|row| row.join("|")).collect();
    lines.sort_unstable();
    lines
}

// kafka_log, kafka_snapshot, kafka_changes.

/// Everything that a log can contain, on three partitions, one of which is empty.
fn history(broker: &Broker, prefix: &str) -> String {
    let topic = broker.new_topic(prefix, 3, FOREVER);
    broker.produce(
        &topic,
        &[
            number("a", 1, 0).partition(0),
            number("b", 2, 1).partition(1),
            number("a", 3, 2).partition(0).header("h", Some(b"x")),
        ],
    );
    broker.transaction(&topic, &[number("c", 4, 3).partition(1)], End::Commit);
    broker.transaction(&topic, &[number("c", 99, 4).partition(1)], End::Abort);
    broker.produce(
        &topic,
        &[
            Rec::tombstone("b").partition(1).timestamp(T0 + 5000),
            Rec {
                key: None,
                ..number("", 5, 6).partition(0)
            },
            number("a", 6, 7).partition(0),
        ],
    );
    topic
}

/// What Kafka's own consumer reads, as the lines of [`LOG`].
fn stored_lines<'a>(stored: impl IntoIterator<Item = &'a Stored>) -> Vec<String> {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        None => "NULL".to_owned(),
    };
    let value = |record: &Stored| match text(&record.payload).as_str() {
        "NULL" => "NULL".to_owned(),
        json => json.replace("{\"v\":", "").replace('}', ""),
    };
    let line = |record: &Stored| {
        format!(
            "{}|{}|{}|{}|{}|{}",
            record.partition,
            record.offset,
            record.timestamp.unwrap(),
            text(&record.key),
            value(record),
            record.payload.is_none(),
        )
    };
    let mut lines: Vec<String> = stored.into_iter().map(line).collect();
    lines.sort_unstable();
    lines
}
