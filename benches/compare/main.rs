//! One narrow query over the latest rows of a topic, each time in a fresh process: with this
//! library, and with the programs that users would write instead.
//!
//! `cargo bench --bench compare` starts a broker as the tests do (or uses
//! `KAFKA_BOOTSTRAP_SERVERS`) and fills two topics: in `20x` each key is written 20 times, in `1x`
//! once. `-- 1x` uses only that topic. `COMPARE_RECORDS` (default 2000000) and `COMPARE_ROUNDS`
//! (default 5) change the size.
//!
//! Every program reads committed records up to the end offsets of its start, keeps the latest value
//! of each key, and prints `status,count,sum of amount`, sorted. All answers must be equal. `kcat`
//! and the bare consume only read the topic: they show the cost of reading.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

mod narrow;
mod programs;
#[path = "../support/mod.rs"]
mod support;

use kafka_test_broker::Broker;
use programs::{Program, Run};
use support::process::or_dash;
use support::rounds::{median, median_ratio};
use support::topic::{Content, Topic};

fn main() {
    let Some(words) = support::words() else {
        return;
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["narrow", servers, topic] => return narrow::run(servers, topic),
        ["bare", servers, topic, partitions, records] => {
            let (partitions, records) = (partitions.parse().unwrap(), records.parse().unwrap());
            support::bare::consume(servers, topic, partitions, records);
            return;
        }
        _ => {}
    }
    let topics = [("20x", 20), ("1x", 1)];
    let is_topic = |word: &&str| topics.iter().any(|(name, _)| name == word);
    if !words.iter().all(is_topic) {
        println!("usage: cargo bench --bench compare [-- 20x | 1x]");
        return;
    }
    let Some(broker) = support::broker() else {
        return;
    };
    let programs = programs::found();
    for (name, writes) in topics {
        if words.is_empty() || words.contains(&name) {
            compare(broker, &programs, writes);
        }
    }
}

fn compare(broker: &'static Broker, programs: &[Program], writes: u64) {
    let records = support::from_env("COMPARE_RECORDS", 2_000_000);
    let rounds: usize = support::from_env("COMPARE_ROUNDS", 5);
    let content = Content::new(records).written(writes);
    let topic = content.fill(broker);
    let mut runs: Vec<Vec<Run>> = programs.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds.max(1) {
        for (program, runs) in programs.iter().zip(&mut runs) {
            runs.push(program.run(&topic));
        }
    }
    check_answers(programs, &runs);
    print(&topic, programs, &runs);
}

fn check_answers(programs: &[Program], runs: &[Vec<Run>]) {
    let answers = programs
        .iter()
        .zip(runs)
        .filter(|(program, _)| program.answers)
        .flat_map(|(program, runs)| runs.iter().map(move |run| (program.name, &run.output)));
    let mut first = None;
    for (name, answer) in answers {
        assert!(!answer.is_empty(), "{name} said nothing");
        let (first_name, first) = *first.get_or_insert((name, answer));
        assert_eq!(first, answer, "{first_name} and {name} differ");
    }
}

fn print(topic: &Topic, programs: &[Program], runs: &[Vec<Run>]) {
    let bases = ["kcat", "kcat, tuned", "datafusion-kafka"]
        .map(|base| programs.iter().position(|program| program.name == base));
    let seconds = |nth: usize| runs[nth].iter().map(|run| run.seconds).collect::<Vec<_>>();
    let ratio = |nth, base: Option<usize>| {
        base.map_or("-".to_owned(), |base| {
            format!("{:.2}", median_ratio(&seconds(nth), &seconds(base)))
        })
    };
    println!();
    println!(
        "{} records over {} keys, {} partitions; whole processes, read_committed",
        topic.content.records, topic.content.keys, topic.content.partitions
    );
    println!(
        "| program | seconds | ratio to `kcat` | to tuned `kcat` | to datafusion-kafka | \
         peak memory |"
    );
    println!("|---|---|---|---|---|---|");
    for (nth, program) in programs.iter().enumerate() {
        println!(
            "| {} | {:.2} | {} | {} MB |",
            program.title,
            median(seconds(nth)),
            bases.map(|base| ratio(nth, base)).join(" | "),
            or_dash(runs[nth].iter().map(|run| run.peak_mb).max().flatten()),
        );
    }
}
