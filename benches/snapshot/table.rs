//! Two topics in detail: one in which each key is written 20 times, and one in which it is written
//! once.

use crate::query::{ALL, COUNT, GROUPED, LIMIT};
use crate::ratios::{Ratios, Row};
use crate::support::from_env;
use crate::support::process::or_dash;
use crate::support::topic::{Content, key};
use kafka_test_broker::Broker;

pub fn print(broker: &'static Broker, rounds: usize) {
    let records = from_env("SNAPSHOT_RECORDS", 2_000_000);
    for writes in [20, 1] {
        let content = Content::new(records).written(writes);
        let queries = queries(&content);
        let sql: Vec<&str> = queries.iter().map(|(_, sql)| sql.as_str()).collect();
        let ratios = Ratios::measure(&content.fill(broker), &sql, rounds);
        println!();
        println!(
            "{records} records over {} keys, {} partitions; bare consume {:.2} s",
            content.keys, content.partitions, ratios.bare.seconds
        );
        println!("| query | ratio to bare consume | rows | peak memory over idle |");
        println!("|---|---|---|---|");
        let names = queries.iter().map(|(name, _)| *name);
        print_row("bare consume", &ratios.bare);
        for (name, row) in names.zip(&ratios.queries) {
            print_row(name, row);
        }
    }
}

fn print_row(name: &str, row: &Row) {
    let (ratio, rows) = (row.ratio, row.rows);
    println!(
        "| {name} | {ratio:.2} | {rows} | {} MB |",
        or_dash(row.peak_mb)
    );
}

fn queries(content: &Content) -> Vec<(&'static str, String)> {
    let wanted = key(content.keys / 2 + 1);
    vec![
        ("all 11 columns", ALL.to_owned()),
        ("2 of 11 columns, grouped", GROUPED.to_owned()),
        ("`count(*)`", COUNT.to_owned()),
        ("one `_key`", format!("{ALL} WHERE _key = '{wanted}'")),
        ("LIMIT 10", LIMIT.to_owned()),
        ("`_key` of all", "SELECT _key FROM orders".to_owned()),
        ("one key written last, promised", promised("last")),
        ("one key written halfway, promised", promised("halfway")),
        ("one key written first, promised", promised("first")),
    ]
}

fn promised(key: &str) -> String {
    format!("SELECT * FROM promised WHERE _key = '{key}'")
}
