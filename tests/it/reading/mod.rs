//! How a table shows its records: columns, formats, bounds, policies, filters and limits, and its
//! errors.

mod bad_records;
mod bounds;
#[cfg(target_os = "linux")]
mod dropped_anywhere;
mod ends;
mod failures;
mod formats;
mod lenient;
mod metadata;
mod queries;
mod raw_payload;
mod runs;
mod spilling;

use crate::broker::{Broker, Rec};

const ALL: &str = "SELECT * FROM t";

const COUNT: &str = "SELECT count(*) FROM t";

const COLUMNS: &str = "_key VARCHAR, v BIGINT";

const SKIP: (&str, &str) = ("kafka.on_bad_record", "skip");

const NULL: (&str, &str) = ("kafka.on_bad_record", "null");

fn number(key: &str, value: i64) -> Rec {
    Rec::new(key, format!("{{\"v\":{value}}}"))
}

/// Records from the past are kept.
const FOREVER: &[(&str, &str)] = &[("retention.ms", "-1")];

/// A topic of one partition that contains these records.
fn topic_of(broker: &Broker, prefix: &str, records: &[Rec]) -> String {
    let topic = broker.new_topic(prefix, 1, FOREVER);
    broker.produce(&topic, records);
    topic
}
