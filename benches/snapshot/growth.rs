//! Topics from small to large: the cost of a record, relative to the smallest topic.

use crate::query::{ALL, COUNT, LIMIT, bare_consume, query};
use crate::support::from_env;
use crate::support::process::{Figures, or_dash};
use crate::support::rounds::{median, median_ratio};
use crate::support::topic::{Content, Topic};
use kafka_test_broker::Broker;

pub fn print(broker: &'static Broker, rounds: usize) {
    let largest: u64 = from_env("SNAPSHOT_RECORDS", 8_000_000);
    let topics: Vec<Topic> = [16, 8, 4, 2, 1]
        .map(|part| Content::new(largest / part).written(1))
        .map(|content| content.fill(broker))
        .into();
    let mut runs: Vec<Runs> = topics.iter().map(|_| Runs::default()).collect();
    for _ in 0..rounds.max(1) {
        for (topic, runs) in topics.iter().zip(&mut runs) {
            runs.bare.push(bare_consume(topic));
            runs.all.push(query(topic, ALL));
            runs.count.push(query(topic, COUNT));
            runs.limit.push(query(topic, LIMIT));
        }
    }
    println!();
    println!("Keys written once, 4 partitions: time per record, relative to the smallest topic");
    println!(
        "| records | bare consume | all 11 columns | `count(*)` | LIMIT 10, all of its time | \
         peak memory over idle, all columns |"
    );
    println!("|---|---|---|---|---|---|");
    for (topic, here) in topics.iter().zip(&runs) {
        let records = topic.content.records;
        let growth = records as f64 / topics[0].content.records as f64;
        let per_record = |of: fn(&Runs) -> &[Figures]| {
            median_ratio(&seconds(of(here)), &seconds(of(&runs[0]))) / growth
        };
        println!(
            "| {records} | {:.2} | {:.2} | {:.2} | {:.3} s | {} MB |",
            per_record(|runs| &runs.bare),
            per_record(|runs| &runs.all),
            per_record(|runs| &runs.count),
            median(seconds(&here.limit)),
            or_dash(here.all.iter().map(|run| run.peak_mb).max().flatten()),
        );
    }
}

/// The results of one topic.
#[derive(Default)]
struct Runs {
    bare: Vec<Figures>,
    all: Vec<Figures>,
    count: Vec<Figures>,
    limit: Vec<Figures>,
}

fn seconds(runs: &[Figures]) -> Vec<f64> {
    runs.iter().map(|run| run.seconds).collect()
}
