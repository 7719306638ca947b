//! How the program ends: whatever it did, it exits by itself and no signal ends it.

use std::collections::BTreeMap;
use std::hint;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::broker::{self, Broker, PATIENCE, Rec};
use crate::program::{PROGRAM, said, surroundings};

/// How often the program is run. More runs find more bugs.
const RUNS: &str = "DATAFUSION_KAFKA_RUNS";
const USUAL: usize = 30;

/// How many programs run at the same time.
const AT_ONCE: usize = 2;

pub fn runs(usual: usize) -> usize {
    let runs = std::env::var(RUNS).ok().and_then(|runs| runs.parse().ok());
    runs.unwrap_or(usual)
}

/// What a program does before it ends.
struct Kind {
    name: &'static str,
    arguments: Vec<String>,
    exit_code: i32,
}

impl Kind {
    fn new(name: &'static str, arguments: &[&str], exit_code: i32) -> Self {
        Kind {
            name,
            arguments: arguments
                .iter()
                .map(|argument| (*argument).to_owned())
                .collect(),
            exit_code,
        }
    }

    fn all(broker: &Broker, topic: &str) -> Vec<Self> {
        let plain = ["-b", &broker.servers, "-X", "kafka.timeout=20s", "-c"];
        let query = format!("SELECT count(*) FROM \"{topic}\"");
        let nobody = [
            "-b",
            "127.0.0.1:1",
            "-X",
            "kafka.timeout=300ms",
            "-c",
            &query,
        ];
        let mut all = vec![
            Kind::new("SELECT 1", &[&plain[..], &["SELECT 1"]].concat(), 0),
            Kind::new("topic", &[&plain[..], &[&query]].concat(), 0),
            Kind::new("refused", &nobody, 1),
        ];
        if let Some(tls) = &broker.tls {
            // The client rejects the certificate: no authority that it trusts has signed it.
            let tls = [
                "-b",
                &tls.servers,
                "-X",
                "security.protocol=SSL",
                "-c",
                &query,
            ];
            all.push(Kind::new("refused by TLS", &tls, 1));
        }
        all
    }

    fn run(&self) -> Output {
        let mut program = Command::new(PROGRAM);
        program.envs(surroundings()).args(["-q", "--format", "csv"]);
        program.args(&self.arguments).output().unwrap()
    }
}

/// Keeps the machine busy until dropped.
struct Busy<'a>(&'a AtomicBool);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Clients are destroyed on threads of their own, some of them while the program exits.
#[test]
fn it_is_never_ended_by_a_signal_on_its_way_out() {
    let Some(broker) = broker::required("exit::it_is_never_ended_by_a_signal_on_its_way_out")
    else {
        return;
    };
    let topic = broker.new_topic("small", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"n":1}"#)]);
    let kinds = Kind::all(broker, &topic);
    let runs = runs(USUAL);
    let next = AtomicUsize::new(0);
    let idle = AtomicBool::new(false);
    let ends: Mutex<BTreeMap<(usize, String), (usize, String)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !idle.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        let busy = Busy(&idle);
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let run_number = next.fetch_add(1, Ordering::Relaxed);
                        if run_number >= runs {
                            break;
                        }
                        let kind = run_number % kinds.len();
                        let output = kinds[kind].run();
                        let end = (kind, output.status.to_string());
                        let mut ends = ends.lock().unwrap();
                        let count = ends.entry(end).or_insert_with(|| (0, said(&output)));
                        count.0 += 1;
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .for_each(|worker| worker.join().unwrap());
        drop(busy);
    });
    let ends = ends.into_inner().unwrap();
    let all: Vec<String> = ends
        .iter()
        .map(|((kind, end), (count, said))| {
            format!("{}: {count} times {end}: {said}", kinds[*kind].name)
        })
        .collect();
    let all = all.join("\n");
    if runs > USUAL {
        broker::say(&all);
    }
    let expected = kinds
        .iter()
        .map(|kind| format!("exit status: {}", kind.exit_code));
    let ends: Vec<String> = ends.into_keys().map(|(_, end)| end).collect();
    assert!(expected.eq(ends), "{all}");
}

/// Readers of committed records would wait for the transaction's end.
#[cfg(unix)]
#[test]
fn an_insert_that_is_interrupted_leaves_no_transaction_open() {
    let test = "exit::an_insert_that_is_interrupted_leaves_no_transaction_open";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let (from, to) = (
        broker.new_topic("from", 1, &[]),
        broker.new_topic("to", 1, &[]),
    );
    broker.produce(&from, &[Rec::new("a", r#"{"n":1}"#)]);
    let feed = format!(
        "CREATE UNBOUNDED EXTERNAL TABLE feed (_key VARCHAR, n INT, _tombstone BOOLEAN)
         STORED AS KAFKA LOCATION '{from}'"
    );
    let out = format!(
        "CREATE EXTERNAL TABLE out (_key VARCHAR, n INT) STORED AS KAFKA LOCATION '{to}'
         OPTIONS ('kafka.delivery' 'exactly_once', 'kafka.commit.ms' '300000',
                  'kafka.producer.transaction.timeout.ms' '600000')"
    );
    let insert = "INSERT INTO out SELECT _key, n FROM feed";
    let mut child = Command::new(PROGRAM)
        .envs(surroundings())
        .args(["-b", &broker.servers, "-c", &feed, &out, insert])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    broker::wait_until(PATIENCE, "the record", || {
        !broker.read_uncommitted(&to).is_empty()
    });
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(sent.success());
    let code = child.wait().unwrap().code();
    let said = said(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("nothing was written"), "{said}");
    broker.produce(&to, &[Rec::new("b", r#"{"n":2}"#)]);
    broker::wait_until(PATIENCE, "the record behind the transaction", || {
        broker.read_all(&to).len() == 1
    });
}

/// The program ends before the threads of its query do, and these own the files.
#[cfg(unix)]
#[test]
fn no_temporary_files_are_left_however_a_query_ends() {
    let test = "exit::no_temporary_files_are_left";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let topic = broker.new_topic("many", 1, &[]);
    let records = (0..150_000).map(|n| Rec::new(format!("key-{n:060}"), format!("{{\"n\":{n}}}")));
    broker.produce(&topic, &records.collect::<Vec<_>>());
    let create = format!(
        "CREATE EXTERNAL TABLE t (_key VARCHAR, n BIGINT) STORED AS KAFKA LOCATION '{topic}'"
    );
    let sum = "SELECT sum(n) FROM t";
    // Fails at the oldest record, when the keys have been on disk for long.
    let failing = "SELECT sum(1000 / n) FROM t";
    for (sql, signal, code) in [
        (failing, None, Some(1)),
        (sum, None, Some(0)),
        (sum, Some("-INT"), Some(130)),
        (sum, Some("-TERM"), Some(143)),
    ] {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().display();
        let set = format!("SET datafusion.runtime.temp_directory = '{directory}'");
        let mut child = Command::new(PROGRAM)
            .envs(surroundings())
            .args(["-b", &broker.servers, "-m", "8m", "-c", &create, &set, sql])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if let Some(signal) = signal {
            broker::wait_until(PATIENCE, "a temporary file", || files(temporary.path()) > 0);
            let id = child.id().to_string();
            let sent = Command::new("kill").args([signal, &id]).status().unwrap();
            assert!(sent.success());
        }
        let ended = child.wait().unwrap().code();
        let said = said(&child.wait_with_output().unwrap());
        assert_eq!(ended, code, "{sql} {signal:?}: {said}");
        assert_eq!(files(temporary.path()), 0, "{sql} {signal:?}");
    }
}

/// The number of files in the directories of a directory.
#[cfg(unix)]
fn files(directory: &std::path::Path) -> usize {
    let inside = |path: &std::path::Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    inside(directory)
        .map(|entry| inside(&entry.path()).count())
        .sum()
}

/// A full disk. Only Linux has a device for it.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_is_an_error() {
    for arguments in [&["-c", "SELECT 1"][..], &["--generate", "man"]] {
        let full = std::fs::File::create("/dev/full").unwrap();
        let output = Command::new(PROGRAM)
            .envs(surroundings())
            .args(arguments)
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = said(&output);
        assert!(
            said.starts_with("Error: cannot write to standard output: "),
            "{arguments:?}: {said}"
        );
    }
}

/// Lines that cannot be written to standard error do not make the program fail.
#[test]
#[cfg(target_os = "linux")]
fn a_full_standard_error_changes_nothing() {
    for (statement, code) in [("SELECT 1", 0), ("SELECT nothing", 1)] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut program = Command::new(PROGRAM);
        program.envs(surroundings()).args(["-c", statement]);
        let status = program.stderr(full).stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{statement}");
    }
}
