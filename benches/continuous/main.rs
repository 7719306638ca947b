//! Continuous queries: the throughput of queued changes, the delay of the output, and the cost of a
//! refresh.
//!
//! `cargo bench --bench continuous` starts a broker as the tests do (or uses
//! `KAFKA_BOOTSTRAP_SERVERS`) and prints three tables; `-- passing`, `-- latency`, `-- refresh` and
//! `-- endurance` choose one. `CONTINUOUS_RECORDS` (default 1000000), `CONTINUOUS_ROUNDS` (default
//! 5) and `CONTINUOUS_SECONDS` (default 20; 300 for `endurance`) change the size.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

mod endurance;
mod latency;
mod passing;
mod query;
mod refresh;
#[path = "../support/mod.rs"]
mod support;

use tokio::runtime::Runtime;

fn main() {
    let Some(words) = support::words() else {
        return;
    };
    let Some(broker) = support::broker() else {
        return;
    };
    let is_wanted = |name: &str, always| match words.as_slice() {
        [] => always,
        words => words.iter().any(|word| word == name),
    };
    let runtime = Runtime::new().unwrap();
    if is_wanted("passing", true) {
        passing::print(broker, &runtime);
    }
    if is_wanted("latency", true) {
        latency::print(broker, &runtime);
    }
    if is_wanted("refresh", true) {
        refresh::print(broker, &runtime);
    }
    if is_wanted("endurance", false) {
        endurance::print(broker, &runtime);
    }
}
