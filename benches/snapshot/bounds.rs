//! Costs that must not grow with what a query does not need: partitions, keys that exceed the memory
//! pool, and connections for a small statement.

use crate::query::{ALL, COUNT, GROUPED, query_within};
use crate::small;
use crate::support::from_env;
use crate::support::process::{Figures, or_dash};
use crate::support::rounds::{median, median_ratio};
use crate::support::topic::{Content, Topic, key};
use kafka_test_broker::Broker;

pub fn print(broker: &'static Broker, rounds: usize, wanted: &[&str]) {
    type Part = fn(&'static Broker, usize);
    let parts: [(&str, Part); 4] = [
        ("partitions", partitions),
        ("partitions-large", partitions_large),
        ("pool", pool),
        ("small", small::print),
    ];
    if let Some(unknown) = wanted
        .iter()
        .find(|name| parts.iter().all(|(known, _)| known != *name))
    {
        let known = parts.map(|(name, _)| name).join(", ");
        println!("no part {unknown}: {known}");
        return;
    }
    for (name, part) in parts {
        if wanted.is_empty() || wanted.contains(&name) {
            println!();
            part(broker, rounds.max(1));
        }
    }
}

/// A query, and the memory pool in megabytes that it runs in.
type Run<'a> = (&'a str, Option<usize>);

/// Runs each query on its topic in turn, in every round.
fn measure(runs: &[(&Topic, Run<'_>)], rounds: usize) -> Vec<Vec<Figures>> {
    let mut figures: Vec<Vec<Figures>> = runs.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((topic, (sql, pool)), figures) in runs.iter().zip(&mut figures) {
            figures.push(query_within(topic, sql, *pool));
        }
    }
    figures
}

fn print_rows(names: &[&str], figures: &[Vec<Figures>]) {
    println!("| query | seconds | ratio to the first | rows | memory over idle | threads |");
    println!("|---|---|---|---|---|---|");
    let seconds = |nth: usize| {
        figures[nth]
            .iter()
            .map(|run| run.seconds)
            .collect::<Vec<_>>()
    };
    for (nth, (name, runs)) in names.iter().zip(figures).enumerate() {
        println!(
            "| {name} | {:.3} | {:.2} | {} | {} MB | {} |",
            median(seconds(nth)),
            median_ratio(&seconds(nth), &seconds(0)),
            runs[0].rows,
            or_dash(runs.iter().map(|run| run.peak_mb).max().flatten()),
            or_dash(runs.iter().map(|run| run.threads).max().flatten()),
        );
    }
}

fn partitions(broker: &'static Broker, rounds: usize) {
    let content = |partitions| Content {
        partitions,
        ..Content::new(20_000).written(1)
    };
    let topics = [10, 1_000].map(|partitions| content(partitions).fill(broker));
    let one_key = format!("{ALL} WHERE _key = '{}'", key(7));
    let queries = [
        ("`count(*)`", COUNT),
        ("LIMIT 5", "SELECT * FROM orders LIMIT 5"),
        ("one `_key`", &one_key),
    ];
    for topic in &topics {
        println!();
        println!("20 000 records in {} partitions", topic.content.partitions);
        let runs = queries.map(|(_, sql)| (topic, (sql, None)));
        print_rows(&queries.map(|(name, _)| name), &measure(&runs, rounds));
    }
}

fn partitions_large(broker: &'static Broker, rounds: usize) {
    let records = from_env("SNAPSHOT_RECORDS", 2_000_000);
    let topics = [4, 100].map(|partitions| {
        let content = Content {
            partitions,
            ..Content::new(records)
        };
        content.fill(broker)
    });
    println!("{records} records, all columns");
    let runs: Vec<_> = topics.iter().map(|topic| (topic, (ALL, None))).collect();
    print_rows(&["4 partitions", "100 partitions"], &measure(&runs, rounds));
}

fn pool(broker: &'static Broker, rounds: usize) {
    let keys = from_env("SNAPSHOT_RECORDS", 2_000_000);
    let once = Content::new(keys).written(1);
    let often = Content {
        keys: keys / 2 * 5,
        tombstones: 0,
        ..Content::new(keys * 3)
    };
    let names = ["no limit", "64 MB", "32 MB"];
    for (content, pools) in [
        (once, vec![None, Some(64), Some(32)]),
        (often, vec![None, Some(64)]),
    ] {
        let topic = content.fill(broker);
        let Content { records, keys, .. } = content;
        println!();
        println!("{records} records over {keys} keys, 2 of 11 columns, grouped");
        let runs: Vec<_> = pools
            .iter()
            .map(|pool| (&topic, (GROUPED, *pool)))
            .collect();
        print_rows(&names, &measure(&runs, rounds));
    }
}
