//! `run FILE --name NAME`: a continuous query that is stopped or killed.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::broker::{self, Broker, PATIENCE, Rec, Stored, topic_name};
use crate::program::{failure, file, program};
use crate::running::{Running, copied, statements, value};

/// How often a program is killed. More kills find more bugs.
const KILLS: &str = "DATAFUSION_KAFKA_KILLS";

fn wait_for(broker: &Broker, topic: &str, records: usize) {
    broker::wait_until(PATIENCE, "the records of the output", || {
        broker.read_all(topic).len() >= records
    });
}

#[test]
fn a_query_goes_on_until_it_is_told_to_stop() {
    let Some(broker) = broker::required("run::a_query_goes_on_until_it_is_told_to_stop") else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 2, &[]),
        broker.new_topic("out", 1, &[]),
    );
    let statements = file(".sql", &copied(&feed, &out));
    let path = statements.path().to_str().unwrap();
    let name = topic_name("query");
    for (round, signal) in ["-TERM", "-INT"].into_iter().enumerate() {
        broker.produce(&feed, &[value("a", 1)]);
        let running = Running::start(broker, path, &name);
        wait_for(broker, &out, 2 * round + 1);
        broker.produce(&feed, &[Rec::tombstone("a")]);
        wait_for(broker, &out, 2 * round + 2);
        running.signal(signal);
        let (code, said) = running.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.contains("up to date: ") && said.contains("stopped: "),
            "{said}"
        );
        assert!(!said.contains("Error"), "{said}");
    }
    assert_eq!(broker.read_all(&out).len(), 4);
}

#[test]
fn what_cannot_go_on_ends_with_one_line() {
    let Some(broker) = broker::required("run::what_cannot_go_on_ends_with_one_line") else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 2, &[]),
        broker.new_topic("out", 1, &[]),
    );
    for (text, says) in [
        ("", "contains no statement"),
        ("SELECT 1", "INSERT INTO a topic"),
        (&copied("no-such-topic", &out), "does not exist"),
    ] {
        let statements = file(".sql", text);
        let path = statements.path().to_str().unwrap();
        let error = failure(program().args(["run", path, "--name", "q", "-b", &broker.servers]));
        assert!(error.contains(says), "{text}: {error}");
    }
    let statements = file(".sql", &copied(&feed, &out));
    let path = statements.path().to_str().unwrap();
    let output = program().args(["run", path]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--name"));

    let name = topic_name("query");
    broker.produce(&feed, &[value("a", 1)]);
    let older = Running::start(broker, path, &name);
    wait_for(broker, &out, 1);
    let _newer = Running::start(broker, path, &name);
    let stop = Arc::new(AtomicBool::new(false));
    let writing = write_on(&feed, &stop);
    let (code, said) = older.end();
    stop.store(true, Ordering::Relaxed);
    writing.join().unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another instance of the same name"), "{said}");
}

#[test]
fn only_one_insert_into_a_topic_goes_on() {
    let Some(broker) = broker::required("run::only_one_insert_into_a_topic_goes_on") else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 1, &[]),
        broker.new_topic("out", 1, &[]),
    );
    broker.produce(&feed, &[value("a", 1)]);
    let copied = copied(&feed, &out);
    let (declared, insert) = copied.rsplit_once("INSERT").unwrap();
    let twice = format!("{declared} INSERT {insert}; INSERT {insert}");
    let statements = file(".sql", &twice);
    let path = statements.path().to_str().unwrap();
    let name = topic_name("query");
    let error = failure(program().args(["run", path, "--name", &name, "-b", &broker.servers]));
    assert!(error.contains("more than one INSERT"), "{error}");
    assert!(error.contains("UNION ALL"), "{error}");
    assert!(broker.read_all(&out).is_empty());
    // INSERTs into a table of the session are allowed, since each start creates the table again.
    let memory = "CREATE TABLE known (k VARCHAR); INSERT INTO known VALUES ('a'), ('b');";
    let statements = file(".sql", &format!("{memory} {copied}"));
    let running = Running::start(broker, statements.path().to_str().unwrap(), &name);
    wait_for(broker, &out, 1);
    running.signal("-TERM");
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
}

/// Writes upserts and tombstones until it is told to stop. Returns what it wrote.
fn write_on(feed: &str, stop: &Arc<AtomicBool>) -> thread::JoinHandle<Vec<Rec>> {
    let (feed, stop) = (feed.to_owned(), Arc::clone(stop));
    thread::spawn(move || {
        let broker = broker::required("run").unwrap();
        let mut written = Vec::new();
        for round in 0_i64.. {
            let records: Vec<Rec> = (0..20)
                .map(|n| {
                    let number = (round * 31 + n * 7) % 50;
                    let record = match (round + n) % 5 {
                        0 => Rec::tombstone(format!("k{number}")),
                        _ => value(&format!("k{number}"), round * 20 + n),
                    };
                    record.partition((number % 2) as i32)
                })
                .collect();
            broker.produce(&feed, &records);
            written.extend(records);
            if stop.load(Ordering::Relaxed) {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        written
    })
}

/// The records of each key, in their order.
fn by_key(records: &[Stored]) -> BTreeMap<Vec<u8>, Vec<Option<Vec<u8>>>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records {
        let key = record.key.clone().unwrap();
        all.entry(key).or_default().push(record.payload.clone());
    }
    all
}

#[test]
fn killed_at_any_moment_it_neither_loses_nor_repeats() {
    let test = "run::killed_at_any_moment_it_neither_loses_nor_repeats";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let kills: u32 = std::env::var(KILLS)
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(5);
    let feed = broker.new_topic("feed", 2, &[]);
    let (copy, sums) = (
        broker.new_topic("copy", 2, &[]),
        broker.new_topic("sums", 1, &[]),
    );
    let totals = statements(
        &feed,
        &sums,
        "_key VARCHAR, total BIGINT, n BIGINT",
        "SELECT right(_key, 1) AS _key, sum(v) AS total, count(*) AS n FROM feed GROUP BY right(_key, 1)",
    );
    let stop = Arc::new(AtomicBool::new(false));
    let writing = write_on(&feed, &stop);
    let files = [file(".sql", &copied(&feed, &copy)), file(".sql", &totals)];
    let names = ["copy", "sums"].map(topic_name);
    let (done, killed) = mpsc::channel();
    thread::scope(|scope| {
        for (file, name) in files.iter().zip(&names) {
            let path = file.path().to_str().unwrap();
            let done = done.clone();
            scope.spawn(move || {
                let mut state = 0x9E37_79B9_u32;
                for _ in 0..kills {
                    let running = Running::start(broker, path, name);
                    // The kill comes at any time, from before the program has connected until it
                    // has committed often.
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    thread::sleep(Duration::from_millis(u64::from(state >> 16) % 2500));
                    running.kill();
                }
                done.send(()).unwrap();
            });
        }
        killed.recv().unwrap();
        killed.recv().unwrap();
    });
    stop.store(true, Ordering::Relaxed);
    let written = writing.join().unwrap();
    assert!(written.len() > 100);

    let running =
        [0, 1].map(|n| Running::start(broker, files[n].path().to_str().unwrap(), &names[n]));
    wait_for(broker, &copy, written.len());
    let fed = broker.read_all(&feed);
    assert_eq!(fed.len(), written.len());
    let copies = broker.read_all(&copy);
    assert_eq!(copies.len(), fed.len(), "after {kills} kills");
    assert_eq!(by_key(&copies), by_key(&fed));

    let mut latest = HashMap::new();
    for record in &fed {
        latest.insert(record.key.clone().unwrap(), record.payload.clone());
    }
    let mut expected: BTreeMap<Vec<u8>, (i64, i64)> = BTreeMap::new();
    for (key, payload) in latest {
        let Some(payload) = payload else { continue };
        let text = String::from_utf8(payload).unwrap();
        let v: i64 = text["{\"v\":".len()..text.len() - 1].parse().unwrap();
        let sum = expected.entry(key[key.len() - 1..].to_vec()).or_default();
        *sum = (sum.0 + v, sum.1 + 1);
    }
    let expected: BTreeMap<Vec<u8>, Option<Vec<u8>>> = expected
        .into_iter()
        .map(|(key, (total, n))| (key, Some(format!("{{\"total\":{total},\"n\":{n}}}").into())))
        .collect();
    broker::wait_until(PATIENCE, "the sums to be those of the feed", || {
        let mut found = BTreeMap::new();
        for record in broker.read_all(&sums) {
            found.insert(record.key.unwrap(), record.payload);
        }
        found.retain(|_, payload| payload.is_some());
        found == expected
    });
    for running in running {
        running.signal("-TERM");
        let (code, said) = running.end();
        assert_eq!(code, Some(0), "{said}");
    }
}
