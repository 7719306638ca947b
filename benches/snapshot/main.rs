//! Queries over topics on a real broker, as ratios to a bare consume of the same topic.
//!
//! `cargo bench --bench snapshot` starts a broker as the tests do (or uses
//! `KAFKA_BOOTSTRAP_SERVERS`), fills topics and prints the tables that CONTRIBUTING.md lists. Every
//! run is a new session in a process of its own, like a program that runs a single query. All
//! figures come from one run of the bench; only the ratios mean anything on another machine.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

mod bounds;
mod growth;
mod matrix;
mod query;
mod ratios;
mod small;
#[path = "../support/mod.rs"]
mod support;
mod table;

fn main() {
    let Some(words) = support::words() else {
        return;
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["run", what @ ..] = words.as_slice() {
        return query::run(what);
    }
    let Some(broker) = support::broker() else {
        return;
    };
    let rounds = support::from_env("SNAPSHOT_ROUNDS", 5);
    match words.as_slice() {
        [] => table::print(broker, rounds),
        ["matrix", dimensions @ ..] => matrix::print(broker, rounds, dimensions),
        ["growth"] => growth::print(broker, rounds),
        ["bounds", parts @ ..] => bounds::print(broker, rounds, parts),
        _ => println!(
            "usage: cargo bench --bench snapshot [-- matrix [dimension ..] | -- growth | -- bounds [part ..]]"
        ),
    }
}
