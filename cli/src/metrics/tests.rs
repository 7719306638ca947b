use std::collections::{BTreeMap, BTreeSet};

use datafusion_kafka::{ClientKind, InputProgress, RoundTrips};
use regex::Regex;
use serde_json::Value;

use super::*;

const GUIDE: &str = include_str!("../../../docs/src/watching.md");
const DASHBOARD: &str = include_str!("../../dashboards/continuous-query.json");

fn figures() -> Figures {
    let mut input = InputProgress::default();
    input.topic = "orders".to_owned();
    (input.partition, input.position, input.end) = (2, Some(40), 42);
    let mut trips = RoundTrips::default();
    trips.client = ClientKind::Producer;
    trips.topic = "totals".to_owned();
    trips.broker = "kafka:9092/1".to_owned();
    (trips.p50, trips.p99) = (Duration::from_micros(1500), Duration::from_millis(20));
    let mut progress = QueryProgress::default();
    progress.inputs = vec![input];
    progress.ends_age = Some(Duration::from_millis(250));
    (progress.records_read, progress.bytes_read) = (40, 400);
    (progress.upserts, progress.tombstones, progress.unchanged) = (5, 6, 7);
    (progress.bytes_written, progress.dead_letters) = (110, 8);
    (progress.commits, progress.refreshes, progress.restarts) = (3, 2, 1);
    progress.last_commit = Some(UNIX_EPOCH + Duration::from_millis(1_700_000_000_500));
    progress.last_refresh = Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    progress.refresh_time = Some(Duration::from_millis(1250));
    progress.kept_bytes = 4096;
    (progress.queued_records, progress.queued_bytes) = (9, 90);
    progress.round_trips = vec![trips];
    Figures {
        progress,
        is_ready: true,
        memory_reserved: 8192,
        memory_limit: Some(1 << 20),
    }
}

/// The samples of a text, by name with labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// The names of a text's metrics, each with the labels of its samples.
fn names(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let label = Regex::new(r#"(\w+)="(?:[^"\\]|\\.)*""#).unwrap();
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sample in samples(text).keys() {
        let (name, labels) = sample.split_once('{').unwrap();
        let labels = label.captures_iter(labels).map(|found| found[1].to_owned());
        names.entry(name.to_owned()).or_default().extend(labels);
    }
    names
}

#[test]
fn every_figure_has_its_name_and_labels() {
    let expected = [
        (r#"build_info{query="q",version="0.1.0"}"#, 1.0),
        (r#"ready{query="q"}"#, 1.0),
        (r#"restarts_total{query="q"}"#, 1.0),
        (r#"commits_total{query="q"}"#, 3.0),
        (
            r#"last_commit_timestamp_seconds{query="q"}"#,
            1_700_000_000.5,
        ),
        (r#"refreshes_total{query="q"}"#, 2.0),
        (
            r#"last_refresh_timestamp_seconds{query="q"}"#,
            1_700_000_000.0,
        ),
        (r#"last_refresh_duration_seconds{query="q"}"#, 1.25),
        (
            r#"lag_records{query="q",topic="orders",partition="2"}"#,
            2.0,
        ),
        (
            r#"position_offset{query="q",topic="orders",partition="2"}"#,
            40.0,
        ),
        (
            r#"end_offset{query="q",topic="orders",partition="2"}"#,
            42.0,
        ),
        (r#"ends_age_seconds{query="q"}"#, 0.25),
        (r#"records_read_total{query="q"}"#, 40.0),
        (r#"bytes_read_total{query="q"}"#, 400.0),
        (r#"dead_letters_total{query="q"}"#, 8.0),
        (r#"records_written_total{query="q",kind="upsert"}"#, 5.0),
        (r#"records_written_total{query="q",kind="tombstone"}"#, 6.0),
        (r#"bytes_written_total{query="q"}"#, 110.0),
        (r#"rows_unchanged_total{query="q"}"#, 7.0),
        (r#"producer_queue_records{query="q"}"#, 9.0),
        (r#"producer_queue_bytes{query="q"}"#, 90.0),
        (r#"kept_bytes{query="q"}"#, 4096.0),
        (r#"memory_pool_reserved_bytes{query="q"}"#, 8192.0),
        (r#"memory_pool_limit_bytes{query="q"}"#, 1_048_576.0),
        (
            r#"broker_round_trip_seconds{query="q",client="producer",topic="totals",broker="kafka:9092/1",quantile="0.5"}"#,
            0.0015,
        ),
        (
            r#"broker_round_trip_seconds{query="q",client="producer",topic="totals",broker="kafka:9092/1",quantile="0.95"}"#,
            0.0,
        ),
        (
            r#"broker_round_trip_seconds{query="q",client="producer",topic="totals",broker="kafka:9092/1",quantile="0.99"}"#,
            0.02,
        ),
    ];
    let expected: BTreeMap<String, f64> = expected
        .into_iter()
        .map(|(name, value)| (format!("datafusion_kafka_{name}"), value))
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    let text = text("q", figures()).replace(version, "0.1.0");
    assert_eq!(samples(&text), expected, "{text}");
}

#[test]
fn names_are_as_prometheus_wants_them() {
    for figures in [figures(), Figures::default()] {
        let text = text("q", figures);
        let mut described = BTreeSet::new();
        let mut lines = text.lines().peekable();
        while let Some(help) = lines.next() {
            let (name, help) = help
                .strip_prefix("# HELP ")
                .unwrap()
                .split_once(' ')
                .unwrap();
            assert!(help.ends_with('.'), "{name}: {help}");
            let kind = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
            let (typed, kind) = kind.split_once(' ').unwrap();
            assert_eq!(typed, name);
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} {kind}");
            assert!(described.insert(name.to_owned()), "{name} twice");
            while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
                assert_eq!(sample.split_once('{').unwrap().0, name);
            }
        }
    }
}

#[test]
fn a_label_holds_any_text() {
    let mut figures = figures();
    figures.progress.inputs[0].topic = "o".to_owned();
    let text = text("a \"b\\c\"\nd", figures);
    let lag = r#"datafusion_kafka_lag_records{query="a \"b\\c\"\nd",topic="o",partition="2"} 2"#;
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("_lag_records{"))
        .collect();
    let [line] = lines[..] else { panic!("{text}") };
    assert_eq!(line, lag);
}

#[test]
fn what_is_not_known_has_no_sample() {
    let names = names(&text("q", Figures::default()));
    for name in [
        "last_commit_timestamp_seconds",
        "ends_age_seconds",
        "lag_records",
        "memory_pool_limit_bytes",
        "broker_round_trip_seconds",
    ] {
        assert!(
            !names.contains_key(&format!("datafusion_kafka_{name}")),
            "{name}"
        );
    }
    assert!(names.contains_key("datafusion_kafka_commits_total"));
}

#[test]
fn the_guide_names_every_metric() {
    let table = Regex::new(r"`(datafusion_kafka_\w+)`").unwrap();
    let told = table.captures_iter(GUIDE).map(|found| found[1].to_owned());
    let told: BTreeSet<String> = told.collect();
    let names: BTreeSet<String> = names(&text("q", figures())).into_keys().collect();
    assert_eq!(told, names);
}

/// Every value of this key in a document, with the objects that contain the key.
fn objects_with<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    let (own, below): (_, Vec<&Value>) = match value {
        Value::Object(object) => (object.contains_key(key), object.values().collect()),
        Value::Array(values) => (false, values.iter().collect()),
        _ => (false, Vec::new()),
    };
    let own = own.then_some(value).into_iter();
    own.chain(below.into_iter().flat_map(|value| objects_with(value, key)))
        .collect()
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let names = names(&text("q", figures()));
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let metric = Regex::new(r"\bdatafusion_kafka_\w+").unwrap();
    let matched = Regex::new(r#"(\w+)\s*(?:=~|!~|!=|=)\s*""#).unwrap();
    let grouped = Regex::new(r"\bby \(([^)]*)\)").unwrap();
    let shown = Regex::new(r"\{\{(\w+)\}\}").unwrap();

    let check = |query: &str, legend: &str| {
        let metrics: Vec<&str> = metric
            .find_iter(query)
            .map(|found| found.as_str())
            .collect();
        assert!(!metrics.is_empty(), "{query}");
        let mut labels: Vec<String> = Vec::new();
        for found in matched
            .captures_iter(query)
            .chain(shown.captures_iter(legend))
        {
            labels.push(found[1].to_owned());
        }
        for found in grouped.captures_iter(query) {
            labels.extend(found[1].split(',').map(|label| label.trim().to_owned()));
        }
        for metric in metrics {
            let known = names
                .get(metric)
                .unwrap_or_else(|| panic!("{metric}: {query}"));
            for label in &labels {
                assert!(
                    known.contains(label),
                    "{metric} has no label {label}: {query}"
                );
            }
        }
    };
    let targets = objects_with(&dashboard["panels"], "expr");
    assert!(targets.len() > 15, "{}", targets.len());
    for target in &targets {
        check(
            target["expr"].as_str().unwrap(),
            target["legendFormat"].as_str().unwrap(),
        );
    }
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels {
        assert!(
            !objects_with(panel, "expr").is_empty(),
            "{}",
            panel["title"]
        );
    }
    let variables = objects_with(&dashboard["templating"], "definition");
    assert_eq!(variables.len(), 1);
    for variable in variables {
        let query = variable["query"].as_str().unwrap();
        assert_eq!(query, "label_values(datafusion_kafka_ready, query)");
        check(query, "{{query}}");
    }

    // The dashboard shows every metric about the health of a query.
    let asked: BTreeSet<&str> = targets
        .iter()
        .flat_map(|target| metric.find_iter(target["expr"].as_str().unwrap()))
        .map(|found| found.as_str())
        .collect();
    let rest: Vec<&str> = names
        .keys()
        .map(String::as_str)
        .filter(|name| !asked.contains(name))
        .collect();
    assert_eq!(
        rest,
        [
            "build_info",
            "end_offset",
            "position_offset",
            "producer_queue_bytes"
        ]
        .map(|name| format!("datafusion_kafka_{name}"))
    );
}
