//! Shared by all benches: the broker, topics of orders, a bare consumer, and measuring runs.

// No bench uses all of this module.
#![allow(dead_code, unreachable_pub)]

pub mod bare;
pub mod orders;
pub mod process;
pub mod rounds;
pub mod topic;

use std::str::FromStr;

use kafka_test_broker::Broker;

/// The arguments after `cargo bench --bench NAME --`; `None` if this is not a bench run. `cargo
/// test --benches` only checks that the program starts.
pub fn words() -> Option<Vec<String>> {
    let (options, words): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|word| word.starts_with("--"));
    options.contains(&"--bench".to_owned()).then_some(words)
}

/// The broker as the tests find it; `None`, with a note on standard error, if there is no broker.
pub fn broker() -> Option<&'static Broker> {
    kafka_test_broker::broker()
        .inspect_err(|why| println!("left out: no Kafka broker: {why}"))
        .ok()
}

pub fn from_env<T: FromStr>(name: &str, default: T) -> T {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| {
        let parsed = value.parse().ok();
        parsed.unwrap_or_else(|| panic!("{name}={value} is not a number"))
    })
}
