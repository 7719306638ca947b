//! Random changes while queries run: their final output, and every state that they wrote on the
//! way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use datafusion_kafka::{ContinuousOptions, ContinuousQuery};

use super::{EXACTLY_ONCE, caught_up, stopped, value};
use crate::broker::{self, Broker, Rec, Stored, topic_name};
use crate::declared::Declared;
use crate::random::Random;

/// For how many seconds changes are made. A minute finds more bugs.
const SECONDS: &str = "DATAFUSION_KAFKA_RANDOM_SECONDS";
const KEYS: u64 = 10_000;
const PARTITIONS: i32 = 4;

/// The history of what was written, from which all states that existed are known.
#[derive(Default)]
struct History {
    /// For each key, the values that it has had. Each value was written once.
    values: HashMap<String, HashSet<i64>>,
    latest: BTreeMap<String, i64>,
    /// For each partition, the sum and the number of its rows after each record.
    sums: Vec<Vec<(i64, i64)>>,
    next: i64,
}

impl History {
    fn change(&mut self, random: &mut Random) -> Rec {
        let number = random.below(KEYS);
        let partition = (number % PARTITIONS as u64) as usize;
        let key = format!("k{number}");
        let (mut sum, mut count) = self.sums[partition].last().copied().unwrap_or_default();
        if let Some(old) = self.latest.remove(&key) {
            (sum, count) = (sum - old, count - 1);
        }
        let record = match random.below(4) {
            0 => Rec::tombstone(&key),
            _ => {
                self.next += 1;
                let v = self.next;
                (sum, count) = (sum + v, count + 1);
                self.latest.insert(key.clone(), v);
                self.values.entry(key.clone()).or_default().insert(v);
                value(&key, v)
            }
        };
        self.sums[partition].push((sum, count));
        record.partition(partition as i32)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_equal_their_queries_and_were_never_in_between() {
    let test = "continuous::outputs_equal_their_queries_and_were_never_in_between";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let seconds = std::env::var(SECONDS).ok().and_then(|s| s.parse().ok());
    let feed = broker.new_topic("feed", PARTITIONS, &[]);
    let names = broker.new_topic("names", 1, &[]);
    let columns = "_key VARCHAR, v BIGINT, _partition INT";
    let declared = Declared::new(broker, &feed, columns, &[]).await;
    declared
        .add("names", &names, "_key VARCHAR, v BIGINT", &[])
        .await
        .unwrap();

    let selects = [
        ("projected", "SELECT _key, v AS w, 'x' AS x FROM t"),
        ("filtered", "SELECT _key, v AS w FROM t WHERE v % 3 = 0"),
        (
            "joined",
            "SELECT t._key AS _key, t.v AS w, names.v AS n FROM t JOIN names ON right(t._key, 1) = names._key",
        ),
        (
            "summed",
            "SELECT CAST(_partition AS VARCHAR) AS _key, sum(v) AS w, count(*) AS n FROM t GROUP BY _partition",
        ),
    ];
    let mut queries = Vec::new();
    for (name, select) in selects {
        let out = broker.new_topic(name, 2, &[]);
        let columns = "_key VARCHAR, w BIGINT, n BIGINT, x VARCHAR";
        let used = match name {
            "projected" => "_key VARCHAR, w BIGINT, x VARCHAR",
            "filtered" => "_key VARCHAR, w BIGINT",
            _ => &columns[..columns.len() - ", x VARCHAR".len()],
        };
        declared
            .add(name, &out, used, &[EXACTLY_ONCE])
            .await
            .unwrap();
        let options = ContinuousOptions::new().with_refresh_interval(Duration::from_millis(200));
        let sql = format!("INSERT INTO {name} {select}");
        let id = topic_name(name);
        let query = ContinuousQuery::start(&declared.ctx, &id, &sql, options).await;
        queries.push((name, select, out, query.unwrap()));
    }

    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut history = History {
        sums: vec![vec![(0, 0)]; PARTITIONS as usize],
        ..History::default()
    };
    let mut names_seen = HashSet::new();
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(5));
    while Instant::now() < end {
        let records: Vec<Rec> = (0..300).map(|_| history.change(&mut random)).collect();
        let mut about_names = Vec::new();
        if random.below(8) == 0 {
            let key = random.below(10).to_string();
            history.next += 1;
            names_seen.insert((key.clone(), history.next));
            about_names.push(match random.below(5) {
                0 => Rec::tombstone(&key),
                _ => value(&key, history.next),
            });
        }
        let (feed, names) = (feed.clone(), names.clone());
        let produced = tokio::task::spawn_blocking(move || {
            broker.produce(&feed, &records);
            broker.produce(&names, &about_names);
        });
        produced.await.unwrap();
    }

    for (name, select, out, query) in &queries {
        let inputs: &[&str] = match *name {
            "joined" => &[&feed, &names],
            _ => &[&feed],
        };
        caught_up(broker, query, inputs).await;
        stopped(broker, query, out).await;
        let mut expected = declared.rows(select).await;
        expected.sort();
        let records = read_committed(broker, out);
        assert_eq!(latest(&records), expected, "{name}");
        in_no_other_state(name, &records, &history, &names_seen);
        let progress = query.progress();
        broker::say(&format!(
            "{name}: {} rows, {} records, {} commits, {} refreshes",
            expected.len(),
            records.len(),
            progress.commits,
            progress.refreshes
        ));
    }
    assert!(history.next > 500, "{}", history.next);
}

fn read_committed(broker: &Broker, topic: &str) -> Vec<Stored> {
    broker.read_all(topic)
}

/// The latest row of each key, as `SELECT` returns it.
fn latest(records: &[Stored]) -> Vec<String> {
    let mut rows = BTreeMap::new();
    for record in records {
        let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
        match &record.payload {
            None => rows.remove(&key),
            Some(payload) => {
                let values = properties(payload);
                let values = values.iter().map(|(_, value)| match value {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                let values: Vec<String> = values.collect();
                rows.insert(key.clone(), format!("{key}|{}", values.join("|")))
            }
        };
    }
    let mut rows: Vec<String> = rows.into_values().collect();
    rows.sort();
    rows
}

fn properties(payload: &[u8]) -> Vec<(String, serde_json::Value)> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(payload).unwrap();
    // The properties in a fixed order, since the parsed object may have sorted them by name.
    let order = |name: &str| ["w", "n", "x"].iter().position(|known| *known == name);
    let mut all: Vec<_> = object.into_iter().collect();
    all.sort_by_key(|(name, _)| order(name));
    all
}

/// Checks that every committed row belongs to a state that existed, and that later rows belong to
/// later states.
fn in_no_other_state(
    name: &str,
    records: &[Stored],
    history: &History,
    names: &HashSet<(String, i64)>,
) {
    let mut last: HashMap<String, i64> = HashMap::new();
    let mut at = vec![0; history.sums.len()];
    for record in records {
        let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
        let Some(payload) = &record.payload else {
            continue;
        };
        let row: HashMap<_, _> = properties(payload).into_iter().collect();
        let w = row["w"].as_i64().unwrap();
        if name == "summed" {
            let partition: usize = key.parse().unwrap();
            let states = &history.sums[partition];
            let state = (w, row["n"].as_i64().unwrap());
            let found = states[at[partition]..].iter().position(|s| *s == state);
            at[partition] += found.unwrap_or_else(|| panic!("{name} {key}: no state {state:?}"));
            continue;
        }
        assert!(
            history.values[&key].contains(&w),
            "{name} {key}: no value {w}"
        );
        if let Some(before) = last.insert(key.clone(), w) {
            assert!(before <= w, "{name} {key}: {w} after {before}");
        }
        match name {
            "filtered" => assert_eq!(w % 3, 0, "{key}"),
            "joined" => {
                let n = row["n"].as_i64().unwrap();
                let id = key[key.len() - 1..].to_owned();
                assert!(names.contains(&(id, n)), "{key}: no name {n}");
            }
            _ => {}
        }
    }
}
