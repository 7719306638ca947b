//! The guide and the README: every block that can be run is run.
//!
//! A page says in a comment where it runs: `<!-- runs: demo -->` in the demo's Kafka, `<!-- runs:
//! broker -->` in a broker of its own with the demo's topics. In both, `localhost:9092` stands for
//! the servers and `127.0.0.1:9464` for a free port. The blocks of a page run in order: `sql` in
//! one session of the program, `sh` line by line in one directory. A `text` block after a block is
//! its expected output, with `..` for the parts that differ from run to run. If it starts with
//! `Error: `, the command before it must fail with that error. A comment that starts with
//! `prepare:` holds SQL that readers need not see.

mod blocks;
mod shell;
mod sql;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::broker::{self, Broker};
use crate::program::{printed, program};
pub use blocks::matches;
use blocks::{Block, Kind, Page};
use shell::Shell;
use sql::Sql;

/// The servers, as the pages name them.
const SERVERS: [&str; 2] = ["localhost:9092", "broker:9093"];

/// Where metrics are served.
const METRICS: &str = "127.0.0.1:9464";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages of the guide and the README, by path from the repository's root.
fn pages() -> Vec<Page> {
    let mut paths: Vec<_> = fs::read_dir(root().join("docs/src"))
        .unwrap()
        .map(|entry| format!("docs/src/{}", entry.unwrap().file_name().display()))
        .collect();
    paths.push("README.md".to_owned());
    paths.sort();
    let read = |path: &String| Page::parse(path, &fs::read_to_string(root().join(path)).unwrap());
    paths.iter().map(read).collect()
}

#[test]
fn what_the_guide_says_of_the_demo_is_so() {
    for page in pages().iter().filter(|page| page.runs_on("demo")) {
        let demo = sql::Demo::start();
        run(page, &demo.servers);
    }
}

#[test]
fn what_the_guide_and_the_readme_say_of_a_broker_is_so() {
    const NAME: &str = "what_the_guide_and_the_readme_say_of_a_broker_is_so";
    if broker::required(NAME).is_none() {
        return;
    }
    // The topics have plain names, so the broker is not shared with other tests.
    let broker = match broker::own() {
        Ok(broker) => broker,
        Err(why) => return broker::say(&format!("left out: {NAME} ({why})")),
    };
    let demo = sql::Demo::start();
    for page in pages().iter().filter(|page| page.runs_on("broker")) {
        fill(&broker, &demo);
        run(page, &broker.servers);
        clear(&broker);
    }
}

#[test]
fn every_block_is_run() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for page in pages() {
        let runs = page.runs_on("demo") || page.runs_on("broker");
        assert!(
            runs || page.blocks.is_empty(),
            "{}: no comment says where its blocks run",
            page.path
        );
        let is_doc_test = library.contains(&format!("include_str!(\"../{}\")", page.path));
        for block in &page.blocks {
            assert!(
                is_doc_test || block.kind != Kind::Rust,
                "{}: the page is not among the doc tests of src/lib.rs",
                block.place
            );
        }
    }
}

#[test]
fn the_summary_names_every_page_and_links_lead_somewhere() {
    let summary = fs::read_to_string(root().join("docs/src/SUMMARY.md")).unwrap();
    for page in pages() {
        let directory = root().join(&page.path).parent().unwrap().to_owned();
        let name = page.path.rsplit('/').next().unwrap();
        let listed = summary.contains(&format!("({name})"));
        assert!(
            listed || name == "SUMMARY.md" || name == "README.md",
            "{name} is not in SUMMARY.md"
        );
        for link in &page.links {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root().join(&page.path),
                file => directory.join(file),
            };
            assert!(target.exists(), "{}: {link} leads nowhere", page.path);
            let leaves_book = page.path.starts_with("docs/") && link.starts_with("..");
            assert!(!leaves_book, "{}: {link} leaves the book", page.path);
            if !anchor.is_empty() {
                let anchors = blocks::anchors(&fs::read_to_string(target).unwrap());
                assert!(
                    anchors.iter().any(|known| known == anchor),
                    "{}: {link} leads nowhere",
                    page.path
                );
            }
        }
    }
}

/// Copies the demo's topics to a broker, with their whole history.
fn fill(broker: &Broker, demo: &sql::Demo) {
    for (topic, columns) in [
        ("customers", "name, country, newsletter"),
        (
            "orders",
            "customer, item, pieces, amount, status, placed_at",
        ),
    ] {
        broker.create_topic(topic, 3, &[("cleanup.policy", "compact")]);
        let log = format!(
            "CREATE EXTERNAL TABLE log STORED AS KAFKA LOCATION 'kafka://{}/{topic}'
             OPTIONS ('kafka.mode' 'append', 'kafka.metadata' 'all')",
            demo.servers
        );
        let copy =
            format!("INSERT INTO {topic} SELECT _key, _partition, _tombstone, {columns} FROM log");
        printed(program().args(["-b", &broker.servers, "-c", &log, &copy]));
    }
}

fn clear(broker: &Broker) {
    let topics = printed(
        program()
            .args(["-b", &broker.servers, "--format", "csv"])
            .args(["-c", "SELECT topic FROM kafka_topics() WHERE NOT internal"]),
    );
    for topic in topics.lines().skip(1) {
        broker.delete_topic(topic);
    }
}

fn run(page: &Page, servers: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mut sql = Sql::start(servers, directory.path());
    let shell = Shell::new(servers, directory.path());
    let metrics = free_address();
    let with_servers = |text: &str| {
        let replace = |text: String, name: &&str| text.replace(name, servers);
        SERVERS
            .iter()
            .fold(text.replace(METRICS, &metrics), replace)
    };
    let mut answer = None;
    let mut blocks = page.blocks.iter().peekable();
    while let Some(block) = blocks.next() {
        let text = with_servers(&block.text);
        answer = match block.kind {
            Kind::Prepare | Kind::Sql => Some(sql.run(&text, block)),
            Kind::Sh if shell.leaves_out(block) => {
                blocks.next_if(|next| next.kind == Kind::Text);
                None
            }
            Kind::Sh => {
                let fails = blocks.peek().is_some_and(|next| next.is_error());
                shell.run(&text, fails, block)
            }
            Kind::Properties => {
                shell.check_properties(&text, block);
                None
            }
            Kind::Text => {
                let answer = answer
                    .take()
                    .unwrap_or_else(|| panic!("{}: nothing prints this", block.place));
                compare(block, &block.text, &answer);
                None
            }
            Kind::Rust => None,
        };
    }
    sql.end();
}

/// An address that nothing listens on.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Compares output line by line; `..` stands for any text.
fn compare(block: &Block, expected: &str, answer: &str) {
    let lines = |text: &str| text.trim_end().lines().map(str::trim_end).count();
    let same = lines(expected) == lines(answer)
        && expected
            .trim_end()
            .lines()
            .zip(answer.trim_end().lines())
            .all(|(expected, line)| blocks::matches(expected.trim_end(), line.trim_end()));
    assert!(same, "{}: what is printed is\n{answer}", block.place);
}
