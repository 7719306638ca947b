//! Long-running queries. The programs are killed, stay idle longer than brokers keep their offsets,
//! and read topics that lose their oldest records. Brokers are killed, and some records are in
//! transactions.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{self, Broker, End, PATIENCE, Rec, topic_name};
use crate::program::file;
use crate::running::Running;

/// How long the topics are changed. Ten minutes find more bugs, and include idle times longer than
/// brokers keep offsets.
const SECONDS: &str = "DATAFUSION_KAFKA_ENDURANCE_SECONDS";

/// Brokers that forget the offsets and the transactional ids of anything idle for a minute.
const FORGETFUL: &str = "
offsets.retention.minutes=1
offsets.retention.check.interval.ms=1000
transactional.id.expiration.ms=45000
transaction.remove.expired.transaction.cleanup.interval.ms=1000
";

/// Longer than the brokers keep offsets.
const IDLE: Duration = Duration::from_secs(80);

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The topics that are changed, and what was committed to them.
struct Feeds {
    /// Every record is copied, and the oldest records are deleted after that.
    events: String,
    copied: Vec<(Vec<u8>, Vec<u8>)>,
    /// A topic of upserts and deletes.
    rows: String,
    latest: BTreeMap<String, i64>,
    next: i64,
}

impl Feeds {
    fn event(&mut self) -> Rec {
        self.next += 1;
        Rec::new(
            format!("k{}", self.next % 50),
            format!("{{\"v\":{}}}", self.next),
        )
    }

    fn change(&mut self, broker: &Broker, random: &mut Random) {
        let events: Vec<Rec> = (0..20).map(|_| self.event()).collect();
        let written = |events: Vec<Rec>| {
            events
                .into_iter()
                .map(|r| (r.key.unwrap(), r.payload.unwrap()))
        };
        match random.below(4) {
            0 => {
                broker.transaction(&self.events, &events, End::Abort);
            }
            1 => {
                broker.transaction(&self.events, &events, End::Commit);
                self.copied.extend(written(events));
            }
            _ => {
                broker.produce(&self.events, &events);
                self.copied.extend(written(events));
            }
        }
        let mut rows = Vec::new();
        let mut latest = self.latest.clone();
        for _ in 0..10 {
            let key = format!("r{}", random.below(40));
            if random.below(4) == 0 {
                latest.remove(&key);
                rows.push(Rec::tombstone(&key));
            } else {
                self.next += 1;
                latest.insert(key.clone(), self.next);
                rows.push(Rec::new(&key, format!("{{\"v\":{}}}", self.next)));
            }
        }
        match random.below(4) {
            0 => {
                broker.transaction(&self.rows, &rows, End::Abort);
            }
            1 => {
                broker.transaction(&self.rows, &rows, End::Commit);
                self.latest = latest;
            }
            _ => {
                broker.produce(&self.rows, &rows);
                self.latest = latest;
            }
        }
    }
}

fn table(name: &str, topic: &str, columns: &str, options: &str) -> String {
    format!(
        "CREATE EXTERNAL TABLE {name} ({columns}) STORED AS KAFKA LOCATION '{topic}'\n\
         OPTIONS ('kafka.delivery' 'exactly_once'{options});\n"
    )
}

#[test]
fn a_query_that_runs_for_long_neither_loses_nor_repeats_nor_deletes() {
    let test = "endurance::a_query_that_runs_for_long_neither_loses_nor_repeats_nor_deletes";
    if broker::required(test).is_none() {
        return;
    }
    let mut own = match broker::own_with(FORGETFUL) {
        Ok(own) => own,
        Err(why) => return broker::say(&format!("left out: {test} ({why})")),
    };
    let seconds = std::env::var(SECONDS).ok().and_then(|s| s.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(20));

    let mut feeds = Feeds {
        events: own.new_topic("events", 1, &[]),
        copied: Vec::new(),
        rows: own.new_topic("rows", 1, &[]),
        latest: BTreeMap::new(),
        next: 0,
    };
    let (copy, counts, kept) = (
        own.new_topic("copy", 1, &[]),
        own.new_topic("counts", 1, &[]),
        own.new_topic("kept", 1, &[]),
    );
    let columns = "_key VARCHAR, v BIGINT";
    let append = ", 'kafka.mode' 'append'";
    let events = table("events", &feeds.events, columns, append);
    let rows = table("rows_of", &feeds.rows, columns, "");
    let statements = [
        // Record by record, a log.
        format!(
            "{events}{}INSERT INTO copy SELECT _key, v FROM events;",
            table("copy", &copy, columns, append)
        ),
        // Refreshed, over a log.
        format!(
            "{events}{}INSERT INTO counts SELECT right(_key, 1) AS _key, count(*) AS n, sum(v) AS v \
             FROM events GROUP BY right(_key, 1);",
            table("counts", &counts, "_key VARCHAR, n BIGINT, v BIGINT", "")
        ),
        // Record by record, upserts and deletes.
        format!(
            "{rows}{}INSERT INTO kept SELECT _key, v FROM rows_of WHERE v % 2 = 0;",
            table("kept", &kept, columns, "")
        ),
    ];
    let files = statements.map(|text| file(".sql", &text));
    let names = ["copy", "counts", "kept"].map(topic_name);
    let quiet = AtomicBool::new(false);
    let stop = AtomicBool::new(false);
    let servers = own.servers.clone();
    let kills = Mutex::new(0);
    let mut restarts = 0;
    let mut idle = 0;
    thread::scope(|scope| {
        for (number, (file, name)) in files.iter().zip(&names).enumerate() {
            let (quiet, stop, servers, kills) = (&quiet, &stop, &servers, &kills);
            scope.spawn(move || {
                let broker = Broker::elsewhere(servers);
                let mut random = Random(number as u64 + 1);
                while !stop.load(Ordering::Relaxed) {
                    let running = Running::start(&broker, file.path().to_str().unwrap(), name);
                    let time = Duration::from_millis(500 + random.below(6_000));
                    let killed = Instant::now() + time;
                    // The program is not ended while the topics are idle.
                    while !stop.load(Ordering::Relaxed)
                        && (Instant::now() < killed || quiet.load(Ordering::Relaxed))
                    {
                        thread::sleep(Duration::from_millis(20));
                    }
                    match random.below(3) {
                        0 => {
                            running.signal("-TERM");
                            let (code, said) = running.end();
                            // The signal may have ended the program before it handled signals, or the broker may be
                            // away.
                            let is_away = said.contains("did not answer its last commit");
                            assert!(matches!(code, Some(0) | None) || is_away, "{said}");
                        }
                        _ => running.kill(),
                    }
                    *kills.lock().unwrap() += 1;
                }
            });
        }
        let mut random = Random(7);
        let mut next_idle = Instant::now() + Duration::from_secs(60);
        let mut next_restart = Instant::now() + Duration::from_secs(10);
        let mut changed = || {
            while Instant::now() < end {
                feeds.change(&own, &mut random);
                thread::sleep(Duration::from_millis(30));
                // The copy no longer needs the records that it has read.
                if random.below(100) == 0
                    && let [(0, read)] = own.committed(&names[0], &feeds.events)[..]
                {
                    own.delete_records(&feeds.events, 0, read);
                }
                if Instant::now() >= next_restart && Instant::now() + Duration::from_secs(5) < end {
                    own.restart();
                    restarts += 1;
                    // The programs meet a broker that is away; the writer waits for it.
                    thread::sleep(Duration::from_millis(500));
                    broker::wait_until(PATIENCE * 2, "the broker", || own.is_there());
                    next_restart = Instant::now() + Duration::from_secs(25);
                }
                if Instant::now() >= next_idle && Instant::now() + IDLE < end {
                    quiet.store(true, Ordering::Relaxed);
                    // Programs that are just ending are started again before the idle time begins.
                    thread::sleep(IDLE);
                    quiet.store(false, Ordering::Relaxed);
                    idle += 1;
                    next_idle = Instant::now() + Duration::from_secs(40);
                }
            }
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut changed));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });

    // The broker may have been killed a moment ago.
    thread::sleep(Duration::from_millis(500));
    broker::wait_until(PATIENCE, "the broker", || own.is_there());
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
    let running: Vec<Running> = files
        .iter()
        .zip(&names)
        .map(|(file, name)| Running::start(&own, &path(file), name))
        .collect();
    let copied = || -> Vec<(Vec<u8>, Vec<u8>)> {
        let records = own.read_all(&copy).into_iter();
        records
            .map(|r| (r.key.unwrap(), r.payload.unwrap()))
            .collect()
    };
    broker::wait_until(PATIENCE, "the copy of all events", || {
        copied().len() >= feeds.copied.len()
    });
    let expected_counts = {
        let mut counts: BTreeMap<Vec<u8>, (i64, i64)> = BTreeMap::new();
        for record in own.read_all(&feeds.events) {
            let key = record.key.unwrap();
            let payload = String::from_utf8(record.payload.unwrap()).unwrap();
            let v: i64 = payload["{\"v\":".len()..payload.len() - 1].parse().unwrap();
            let count = counts.entry(key[key.len() - 1..].to_vec()).or_default();
            *count = (count.0 + 1, count.1 + v);
        }
        let text = |(n, v): (i64, i64)| format!("{{\"n\":{n},\"v\":{v}}}").into_bytes();
        counts
            .into_iter()
            .map(|(key, count)| (key, text(count)))
            .collect()
    };
    let expected_kept: BTreeMap<Vec<u8>, Vec<u8>> = feeds
        .latest
        .iter()
        .filter(|(_, v)| **v % 2 == 0)
        .map(|(key, v)| {
            (
                key.clone().into_bytes(),
                format!("{{\"v\":{v}}}").into_bytes(),
            )
        })
        .collect();
    for (topic, expected) in [(&counts, &expected_counts), (&kept, &expected_kept)] {
        let what = format!("the rows of {topic}: {expected:?}");
        broker::wait_until(PATIENCE * 3, &what, || latest(&own, topic) == *expected);
    }
    let copied = copied();
    assert_eq!(copied.len(), feeds.copied.len(), "copies");
    assert!(copied == feeds.copied, "another order of the copies");
    broker::say(&format!(
        "{} events, {} ends of programs, {restarts} restarts of the broker, {idle} idle times",
        copied.len(),
        kills.lock().unwrap()
    ));
    for running in running {
        running.signal("-TERM");
        let (code, said) = running.end();
        assert_eq!(code, Some(0), "{said}");
    }
}

fn latest(broker: &Broker, topic: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    for record in broker.read_all(topic) {
        let key = record.key.unwrap();
        match record.payload {
            Some(payload) => rows.insert(key, payload),
            None => rows.remove(&key),
        };
    }
    rows
}
