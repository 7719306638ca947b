//! What a running query shows to its observers: metrics and answers to probes.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::broker::{self, PATIENCE, Rec, topic_name};
use crate::program::{failure, file, program};
use crate::running::{Running, copied, statements, value};

/// A query whose metrics are served.
struct Served {
    running: Running,
    address: String,
}

/// The response of a server.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Served {
    fn start(servers: &str, path: &str, name: &str, arguments: &[&str]) -> Self {
        let mut command = Running::command(servers, path, name);
        command.args(["--metrics", "127.0.0.1:0"]).args(arguments);
        let running = Running::spawn(command);
        let line = running.line_with("metrics: ");
        let (_, url) = line.split_once("http://").unwrap();
        let address = url.strip_suffix("/metrics").unwrap().to_owned();
        Served { running, address }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path)
    }

    fn ask(&self, method: &str, path: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    fn metrics(&self) -> Metrics {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200);
        Metrics(answer.body)
    }

    /// Waits until the metrics satisfy a condition.
    fn until(&self, what: &str, mut holds: impl FnMut(&Metrics) -> bool) -> Metrics {
        let mut metrics = self.metrics();
        broker::wait_until(PATIENCE, what, || {
            metrics = self.metrics();
            holds(&metrics)
        });
        metrics
    }

    /// Waits until `/readyz` answers with this status. Returns the response's body.
    fn until_ready_is(&self, status: u16) -> String {
        let mut answer = self.get("/readyz");
        broker::wait_until(PATIENCE, &format!("/readyz to be {status}"), || {
            answer = self.get("/readyz");
            answer.status == status
        });
        answer.body
    }
}

/// A text in Prometheus' format.
struct Metrics(String);

impl Metrics {
    /// The value of the only sample with these labels.
    fn get(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let start = format!("datafusion_kafka_{name}{{");
        let mut samples = self.0.lines().filter(|line| {
            line.starts_with(&start) && labels.iter().all(|label| line.contains(label))
        });
        let value = samples.next()?.rsplit_once(' ').unwrap().1;
        assert_eq!(samples.next(), None, "{name} {labels:?}");
        Some(value.parse().unwrap())
    }

    #[track_caller]
    fn value(&self, name: &str, labels: &[&str]) -> f64 {
        let value = self.get(name, labels);
        value.unwrap_or_else(|| panic!("{name} {labels:?} in {}", self.0))
    }
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs_f64()
}

#[test]
fn metrics_say_what_was_read_written_and_committed() {
    let test = "metrics::metrics_say_what_was_read_written_and_committed";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 2, &[]),
        broker.new_topic("out", 1, &[]),
    );
    let before = now();
    let fed = [
        value("a", 1).partition(0),
        value("b", 2).partition(1),
        value("c", 3).partition(0),
        Rec::tombstone("a").partition(0),
    ];
    broker.produce(&feed, &fed);
    let statements = file(".sql", &copied(&feed, &out));
    let path = statements.path().to_str().unwrap();
    let name = topic_name("query");
    let served = Served::start(
        &broker.servers,
        path,
        &name,
        &["-X", "statistics.interval.ms=1000"],
    );
    served.until_ready_is(200);

    let metrics = served.until("all records", |metrics| {
        metrics.get("records_written_total", &["kind=\"tombstone\""]) == Some(1.0)
            && metrics.get("producer_queue_records", &[]) == Some(0.0)
    });
    assert_eq!(metrics.value("ready", &[]), 1.0);
    assert_eq!(
        metrics.value("records_written_total", &["kind=\"upsert\""]),
        3.0
    );
    assert_eq!(metrics.value("records_read_total", &[]), 4.0);
    // Each key has one byte and each payload seven.
    assert_eq!(metrics.value("bytes_read_total", &[]), 25.0);
    assert_eq!(metrics.value("bytes_written_total", &[]), 25.0);
    assert_eq!(metrics.value("restarts_total", &[]), 0.0);
    assert_eq!(metrics.value("producer_queue_records", &[]), 0.0);
    assert!(metrics.value("commits_total", &[]) >= 1.0);
    let committed = metrics.value("last_commit_timestamp_seconds", &[]);
    assert!(
        (before - 1.0..now() + 1.0).contains(&committed),
        "{committed}"
    );
    for (partition, end) in [("partition=\"0\"", 3.0), ("partition=\"1\"", 1.0)] {
        let topic = format!("topic=\"{feed}\"");
        let of_partition = |figure| metrics.value(figure, &[&topic, partition]);
        assert_eq!(of_partition("lag_records"), 0.0);
        assert_eq!(of_partition("end_offset"), end);
        assert_eq!(of_partition("position_offset"), end);
    }
    let clients = [("consumer", &feed), ("producer", &out)]
        .map(|(client, topic)| format!("client=\"{client}\",topic=\"{topic}\",broker=\""));
    let metrics = served.until("the figures of both clients", |metrics| {
        // A producer without records to write sends no requests.
        broker.produce(&feed, &[value("a", 1)]);
        clients.iter().all(|client| metrics.0.contains(client))
    });
    for client in &clients {
        let times: Vec<&str> = metrics
            .0
            .lines()
            .filter(|line| line.contains(client))
            .collect();
        assert!(!times.is_empty(), "{client}: {}", metrics.0);
        for line in times {
            let time: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
            assert!(time > 0.0 && time < 60.0, "{line}");
        }
    }
    let labelled = format!("query=\"{name}\"");
    for line in metrics.0.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.contains(&labelled), "{line}");
    }

    served.running.signal("-TERM");
    let (code, said) = served.running.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn metrics_say_what_a_refreshed_query_keeps() {
    let test = "metrics::metrics_say_what_a_refreshed_query_keeps";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 2, &[]),
        broker.new_topic("out", 1, &[]),
    );
    broker.produce(&feed, &[value("a", 1), value("b", 2)]);
    let totals = statements(
        &feed,
        &out,
        "_key VARCHAR, total BIGINT",
        "SELECT 'all' AS _key, sum(v) AS total FROM feed",
    );
    let statements = file(".sql", &totals);
    let path = statements.path().to_str().unwrap();
    let served = Served::start(&broker.servers, path, &topic_name("query"), &["-m", "1g"]);
    served.until_ready_is(200);
    broker.produce(&feed, &[value("a", 3)]);
    let metrics = served.until("the second refresh", |metrics| {
        metrics.get("records_written_total", &["kind=\"upsert\""]) == Some(2.0)
    });
    assert_eq!(metrics.value("records_read_total", &[]), 3.0);
    assert_eq!(
        metrics.value("refreshes_total", &[]),
        metrics.value("commits_total", &[])
    );
    assert!(metrics.value("last_refresh_duration_seconds", &[]) > 0.0);
    let refreshed = metrics.value("last_refresh_timestamp_seconds", &[]);
    assert!(
        (now() - 60.0..now() + 1.0).contains(&refreshed),
        "{refreshed}"
    );
    let kept = metrics.value("kept_bytes", &[]);
    assert!(kept > 0.0);
    assert!(metrics.value("memory_pool_reserved_bytes", &[]) >= kept);
    assert_eq!(
        metrics.value("memory_pool_limit_bytes", &[]),
        f64::from(1 << 30)
    );
}

#[test]
fn a_query_may_be_ready_while_it_is_behind() {
    let test = "metrics::a_query_may_be_ready_while_it_is_behind";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 1, &[]),
        broker.new_topic("out", 1, &[]),
    );
    broker.produce(&feed, &[value("a", 1)]);
    let totals = statements(
        &feed,
        &out,
        "_key VARCHAR, total BIGINT",
        "SELECT 'all' AS _key, sum(v) AS total FROM feed",
    );
    let statements = file(".sql", &totals);
    let path = statements.path().to_str().unwrap();
    // The query refreshes once, and is behind from then on.
    let arguments = ["--refresh-interval", "3600000", "--ready-lag", "2"];
    let served = Served::start(&broker.servers, path, &topic_name("query"), &arguments);
    assert_eq!(served.until_ready_is(200), "ready\n");
    broker.produce(&feed, &[value("b", 1), value("c", 1)]);
    served.until("the lag", |metrics| {
        metrics.get("lag_records", &[]) == Some(2.0)
    });
    assert_eq!(served.get("/readyz").status, 200);
    broker.produce(&feed, &[value("d", 1)]);
    assert_eq!(served.until_ready_is(503), "not ready: 3 records behind\n");
    assert_eq!(served.metrics().value("ready", &[]), 0.0);
    assert_eq!(served.get("/healthz").body, "alive\n");
}

#[test]
fn a_query_is_not_ready_while_brokers_are_away() {
    const NAME: &str = "metrics::a_query_is_not_ready_while_brokers_are_away";
    if broker::required(NAME).is_none() {
        return;
    }
    // The broker is frozen, so no other test may use it.
    let broker = match broker::own() {
        Ok(broker) => broker,
        Err(why) => return broker::say(&format!("left out: {NAME} ({why})")),
    };
    let (feed, out) = (
        broker.new_topic("feed", 1, &[]),
        broker.new_topic("out", 1, &[]),
    );
    broker.produce(&feed, &[value("a", 1)]);
    let statements = file(".sql", &copied(&feed, &out));
    let path = statements.path().to_str().unwrap();
    let served = Served::start(&broker.servers, path, "query", &[]);
    served.until_ready_is(200);

    let frozen = broker.freeze();
    let reason = served.until_ready_is(503);
    assert!(
        reason.contains("the brokers have not said for ") || reason.contains("is restarting after"),
        "{reason}"
    );
    assert_eq!(served.metrics().value("ready", &[]), 0.0);
    assert!(served.metrics().value("ends_age_seconds", &[]) > 10.0);
    assert_eq!(served.get("/healthz").status, 200);

    drop(frozen);
    served.until_ready_is(200);
    broker.produce(&feed, &[value("b", 2)]);
    served.until("the record after it", |metrics| {
        metrics.get("records_written_total", &["kind=\"upsert\""]) >= Some(2.0)
    });
}

#[test]
fn only_what_is_there_is_served_and_nobody_holds_it_up() {
    let test = "metrics::only_what_is_there_is_served_and_nobody_holds_it_up";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 1, &[]),
        broker.new_topic("out", 1, &[]),
    );
    let statements = file(".sql", &copied(&feed, &out));
    let path = statements.path().to_str().unwrap();
    let served = Served::start(&broker.servers, path, &topic_name("query"), &[]);
    // A client that sends nothing and keeps its connection.
    let _silent = TcpStream::connect(&served.address).unwrap();

    let metrics = served.get("/metrics");
    assert!(
        metrics
            .head
            .contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{}",
        metrics.head
    );
    assert!(
        metrics.head.contains("connection: close"),
        "{}",
        metrics.head
    );
    let head = served.ask("HEAD", "/metrics");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(served.get("/").status, 404);
    let post = served.ask("POST", "/metrics");
    assert_eq!(post.status, 405);
    assert!(post.head.contains("allow: get, head"), "{}", post.head);
    let mut nonsense = TcpStream::connect(&served.address).unwrap();
    nonsense
        .write_all(b"\x16\x03\x01\x00\xff nonsense\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    // The client may read the refusal, or find the connection closed.
    let _ = nonsense.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));

    served.until_ready_is(200);
    served.running.signal("-TERM");
    let (code, said) = served.running.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(TcpStream::connect(&served.address).is_err());
}

#[test]
fn a_port_in_use_is_an_error_before_anything_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let written = directory.path().join("written.csv");
    let text = format!(
        "COPY (SELECT 1 AS n) TO '{}';\nINSERT INTO out SELECT 'a' AS _key;\n",
        written.display()
    );
    let statements = file(".sql", &text);
    let path = statements.path().to_str().unwrap();
    let arguments = ["run", path, "--name", "q", "--metrics", &address];
    let error = failure(program().args(arguments));
    let expected = format!("Error: cannot serve metrics at {address}: ");
    assert!(error.starts_with(&expected), "{error}");
    assert!(
        error.ends_with("; give --metrics another port, where nothing listens yet\n"),
        "{error}"
    );
    assert!(!written.exists());
    drop(taken);
    let output = program().args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&format!("metrics: http://{address}/metrics")),
        "{said}"
    );
    assert!(written.exists());
}

#[test]
fn metrics_are_asked_for_with_an_address() {
    let statements = file(".sql", "SELECT 1");
    let path = statements.path().to_str().unwrap();
    for (arguments, expected) in [
        (vec!["--metrics", "9464"], "127.0.0.1:9464"),
        (vec!["--ready-lag", "5"], "--metrics"),
    ] {
        let output = program()
            .args(["run", path, "--name", "q"])
            .args(&arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}
