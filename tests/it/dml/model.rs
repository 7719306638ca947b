//! Random statements on random topics, compared with a model: the same rows as an independent
//! consumer reads, the same counts, and exactly as many records as the statement needs.

use std::collections::BTreeMap;

use super::{Changing, latest};
use crate::broker::{self, Rec};
use crate::random::Random;

/// A row's columns `v` and `w`.
type Row = (Option<i64>, Option<i64>);
type Table = BTreeMap<String, Row>;

impl Random {
    fn value(&mut self) -> Option<i64> {
        (self.below(6) > 0).then(|| i64::try_from(self.below(8)).unwrap())
    }

    fn key(&mut self) -> String {
        format!("k{}", self.below(14))
    }
}

/// A predicate in SQL, and its value for a row.
struct Predicate {
    sql: String,
    of: Holds,
}

type Holds = Box<dyn Fn(&str, &Row) -> bool>;

fn predicate(random: &mut Random, table: &Table) -> Predicate {
    let n = i64::try_from(random.below(8)).unwrap();
    let key = random.key();
    let vs: Vec<Option<i64>> = table.values().map(|row| row.0).collect();
    let new = |sql: String, of: Holds| Predicate { sql, of };
    match random.below(12) {
        0 => new("true".into(), Box::new(|_, _| true)),
        1 => new("1 = 0".into(), Box::new(|_, _| false)),
        2 => new(
            format!("v > {n}"),
            Box::new(move |_, row| row.0.is_some_and(|v| v > n)),
        ),
        3 => new(
            format!("NOT v > {n}"),
            Box::new(move |_, row| row.0.is_some_and(|v| v <= n)),
        ),
        4 => new("w IS NULL".into(), Box::new(|_, row| row.1.is_none())),
        5 => new(format!("_key = '{key}'"), Box::new(move |k, _| k == key)),
        6 => new(format!("v IN (SELECT w FROM t WHERE w < {n})"), {
            let ws: Vec<i64> = table
                .values()
                .filter_map(|row| row.1)
                .filter(|w| *w < n)
                .collect();
            Box::new(move |_, row| row.0.is_some_and(|v| ws.contains(&v)))
        }),
        7 => new("v = (SELECT max(v) FROM t)".into(), {
            let max = vs.iter().copied().flatten().max();
            Box::new(move |_, row| row.0.is_some() && row.0 == max)
        }),
        8 => new("v NOT IN (SELECT w FROM t)".into(), {
            let ws: Vec<Option<i64>> = table.values().map(|row| row.1).collect();
            Box::new(move |_, row| {
                row.0
                    .is_some_and(|v| ws.iter().all(|w| w.is_some_and(|w| w != v)))
                    || ws.is_empty()
            })
        }),
        9 => new("EXISTS (SELECT 1 FROM t o WHERE o.w = t.v)".into(), {
            let ws: Vec<i64> = table.values().filter_map(|row| row.1).collect();
            Box::new(move |_, row| row.0.is_some_and(|v| ws.contains(&v)))
        }),
        10 => new(
            format!("v = {n} OR w = {n}"),
            Box::new(move |_, row| row.0 == Some(n) || row.1 == Some(n)),
        ),
        _ => new(
            format!("v <> w AND _key >= '{key}'"),
            Box::new(move |k, row| {
                row.0.zip(row.1).is_some_and(|(v, w)| v != w) && k >= key.as_str()
            }),
        ),
    }
}

fn sql_of(value: Option<i64>) -> String {
    value.map_or("CAST(NULL AS BIGINT)".to_owned(), |value| value.to_string())
}

fn source(random: &mut Random) -> (Table, String) {
    let table: Table = (0..random.below(6))
        .map(|_| (random.key(), (random.value(), random.value())))
        .collect();
    let mut rows: Vec<String> = table
        .iter()
        .map(|(key, (v, w))| {
            format!(
                "SELECT '{key}' AS _key, {} AS v, {} AS w",
                sql_of(*v),
                sql_of(*w)
            )
        })
        .collect();
    rows.push(
        "SELECT CAST(NULL AS VARCHAR) AS _key, CAST(NULL AS BIGINT) AS v, \
         CAST(NULL AS BIGINT) AS w WHERE false"
            .to_owned(),
    );
    (table, rows.join(" UNION ALL "))
}

/// A statement, the table after it, and the number of records that it needs.
fn statement(random: &mut Random, before: &Table) -> (String, Table, usize) {
    let mut after = before.clone();
    match random.below(9) {
        0 => {
            let p = predicate(random, before);
            after.retain(|key, row| !(p.of)(key, row));
            let sent = before.len() - after.len();
            (format!("DELETE FROM t WHERE {}", p.sql), after, sent)
        }
        1 | 2 => {
            let p = predicate(random, before);
            let n = i64::try_from(random.below(5)).unwrap();
            let mut sent = 0;
            for (_, row) in after.iter_mut().filter(|(key, row)| (p.of)(key, row)) {
                *row = (row.0.map(|v| (v + n) % 8), row.0);
                sent += 1;
            }
            (
                format!("UPDATE t SET v = (v + {n}) % 8, w = v WHERE {}", p.sql),
                after,
                sent,
            )
        }
        3 => {
            let (new, query) = source(random);
            let sent = changes(before, &new);
            (format!("INSERT OVERWRITE t {query}"), new, sent)
        }
        4 => {
            let p = predicate(random, before);
            after.retain(|key, row| (p.of)(key, row));
            let sent = changes(before, &after);
            (
                format!("INSERT OVERWRITE t SELECT * FROM t WHERE {}", p.sql),
                after,
                sent,
            )
        }
        5 => {
            let (new, query) = source(random);
            let mut sent = new.len();
            for (key, row) in &new {
                match before.get(key) {
                    Some(_) if row.0.is_none() => after.remove(key),
                    Some(old) => after.insert(key.clone(), (row.0, old.1)),
                    None => after.insert(key.clone(), *row),
                };
            }
            for (key, row) in before.iter().filter(|(key, _)| !new.contains_key(*key)) {
                if row.1 == Some(3) {
                    after.remove(key);
                    sent += 1;
                }
            }
            let sql = format!(
                "MERGE INTO t USING ({query}) AS s ON t._key = s._key \
                 WHEN MATCHED AND s.v IS NULL THEN DELETE \
                 WHEN MATCHED THEN UPDATE SET v = s.v \
                 WHEN NOT MATCHED THEN INSERT (w, v, _key) VALUES (s.w, s.v, s._key) \
                 WHEN NOT MATCHED BY SOURCE AND t.w = 3 THEN DELETE"
            );
            (sql, after, sent)
        }
        6 if random.below(2) == 0 => ("TRUNCATE TABLE t".to_owned(), Table::new(), before.len()),
        n => {
            let (new, query) = source(random);
            let sent = new.len();
            after.extend(new);
            let verb = if n == 7 { "REPLACE" } else { "INSERT" };
            (format!("{verb} INTO t {query}"), after, sent)
        }
    }
}

fn changes(before: &Table, after: &Table) -> usize {
    let vanished = before
        .keys()
        .filter(|key| !after.contains_key(*key))
        .count();
    let others = after
        .iter()
        .filter(|(key, row)| before.get(*key) != Some(row));
    vanished + others.count()
}

/// The table by its payloads, regardless of the order and spelling of properties.
fn table_of(state: &BTreeMap<String, String>) -> Table {
    let row = |payload: &String| {
        let object: serde_json::Value = serde_json::from_str(payload).unwrap();
        let number = |name: &str| {
            let value = object.get(name).and_then(serde_json::Value::as_f64);
            value.map(|value| value as i64)
        };
        (number("v"), number("w"))
    };
    state
        .iter()
        .map(|(key, payload)| (key.clone(), row(payload)))
        .collect()
}

async fn random_statements(name: &str, seed: u64, options: &[(&str, &str)]) {
    let Some(broker) = broker::required(name) else {
        return;
    };
    let mut random = Random(seed);
    let columns = "_key VARCHAR NOT NULL, v BIGINT, w BIGINT";
    let json = |value: Option<i64>| value.map_or("null".to_owned(), |value| format!("{value}.0"));
    let mut records = Vec::new();
    for _ in 0..40 {
        let key = random.key();
        records.push(match random.below(5) {
            0 => Rec::tombstone(key),
            _ => {
                let (v, w) = (json(random.value()), json(random.value()));
                Rec::new(
                    key,
                    format!(r#"{{"w": {w}, "more":"kept", "v":{v}, "x": [{w}]}}"#),
                )
            }
        });
    }
    let mut t = Changing::with(broker, 3, columns, &records, options).await;
    for _ in 0..40 {
        let state = latest(broker.read_all(&t.topic));
        let before = table_of(&state);
        let (sql, after, sent) = statement(&mut random, &before);
        let (count, stored, report) = t.run_reported(&sql).await;
        assert_eq!(count, sent as u64, "{sql}");
        assert_eq!(stored.len(), sent, "{sql}");
        assert_eq!(table_of(&t.state()), after, "{sql}");
        if !sql.starts_with("INSERT OVERWRITE") {
            assert_eq!(report.unchanged, 0);
        }
    }
    broker.delete_topic(&t.topic);
}

#[tokio::test]
async fn random_statements_do_what_the_model_does() {
    random_statements("random_statements_do", 7, &[]).await;
    random_statements("random_statements_do", 77, &[("kafka.json.nulls", "omit")]).await;
}

#[tokio::test]
async fn random_statements_in_transactions_do_what_the_model_does() {
    let exactly_once = [("kafka.delivery", "exactly_once")];
    random_statements("random_statements_in_transactions", 11, &exactly_once).await;
}
