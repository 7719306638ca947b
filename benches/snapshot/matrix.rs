//! Topics that differ from the first topic in one dimension each.

use crate::query::{ALL, COUNT, GROUPED, LIMIT};
use crate::ratios::Ratios;
use crate::support::from_env;
use crate::support::orders::Shape;
use crate::support::process::or_dash;
use crate::support::topic::Content;
use kafka_test_broker::Broker;

/// A dimension, and the topics that vary along it.
type Dimension = (&'static str, Vec<(&'static str, Content)>);

pub fn print(broker: &'static Broker, rounds: usize, wanted: &[&str]) {
    let records = from_env("SNAPSHOT_RECORDS", 1_000_000);
    let base = Content::new(records);
    let dimensions = dimensions(base);
    if let Some(unknown) = wanted
        .iter()
        .find(|name| dimensions.iter().all(|(known, _)| known != *name))
    {
        let known: Vec<&str> = dimensions.iter().map(|(name, _)| *name).collect();
        println!("no dimension {unknown}: {}", known.join(", "));
        return;
    }
    println!();
    println!(
        "{records} records each; unless the row says otherwise 20 writes per key, 1 % tombstones, \
         300 B payloads, no codec, 4 partitions"
    );
    println!(
        "| topic | bare consume | all columns | 2 columns, grouped | `count(*)` | LIMIT 10 | \
         peak memory over idle, all columns |"
    );
    println!("|---|---|---|---|---|---|---|");
    print_row("as above", base, broker, rounds);
    for (name, topics) in dimensions {
        if wanted.is_empty() || wanted.contains(&name) {
            for (name, content) in topics {
                print_row(name, content, broker, rounds);
            }
        }
    }
}

fn print_row(name: &str, content: Content, broker: &'static Broker, rounds: usize) {
    let topic = content.fill(broker);
    let ratios = Ratios::measure(&topic, &[ALL, GROUPED, COUNT, LIMIT], rounds);
    let columns: Vec<String> = ratios
        .queries
        .iter()
        .map(|row| format!("{:.2}", row.ratio))
        .collect();
    println!(
        "| {name} | {:.2} s | {} | {} MB |",
        ratios.bare.seconds,
        columns.join(" | "),
        or_dash(ratios.queries[0].peak_mb)
    );
}

fn dimensions(base: Content) -> Vec<Dimension> {
    let tombstones = |tombstones| Content { tombstones, ..base };
    let shape = |shape| Content { shape, ..base };
    let codec = |codec| Content { codec, ..base };
    let partitions = |partitions| Content { partitions, ..base };
    vec![
        (
            "keys",
            vec![
                ("1 write per key", base.written(1)),
                ("1000 writes per key", base.written(1000)),
            ],
        ),
        (
            "tombstones",
            vec![
                ("0 % tombstones", tombstones(0)),
                ("50 % tombstones", tombstones(50)),
            ],
        ),
        (
            "payload",
            vec![
                ("100 B payloads, 6 columns", shape(Shape::Small)),
                ("2 KB payloads, 51 columns", shape(Shape::Wide)),
            ],
        ),
        (
            "envelope",
            vec![
                ("1 write per key", base.written(1)),
                ("events of Debezium", shape(Shape::Event).written(1)),
                ("the same, described", shape(Shape::Described).written(1)),
            ],
        ),
        (
            "codec",
            vec![("lz4", codec("lz4")), ("zstd", codec("zstd"))],
        ),
        (
            "partitions",
            vec![
                ("1 partition", partitions(1)),
                ("16 partitions", partitions(16)),
            ],
        ),
    ]
}
