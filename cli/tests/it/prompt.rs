//! The prompt, on a pseudo-terminal.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;
use expectrl::{ControlCode, Expect as _};

use crate::broker::{self, Rec};
use crate::program::{PROGRAM, surroundings};

/// The program at its prompt.
fn prompt(arguments: &[&str]) -> OsSession {
    let mut program = Command::new(PROGRAM);
    program
        .envs(surroundings())
        .env("TERM", "xterm")
        .env_remove("KAFKA_BOOTSTRAP_SERVERS")
        .args(arguments);
    let mut session = OsSession::spawn(program).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    session.expect("> ").unwrap();
    session
}

/// The program at its prompt, after it has run these statements. A line that is typed while another
/// statement runs may be lost, and a statement without an answer does not show when it has ended.
fn prompt_after(statements: &str, arguments: &[&str]) -> OsSession {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(statements.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    prompt(&[arguments, &["--rc", path]].concat())
}

/// Types a line and waits for an answer.
#[track_caller]
fn ask(session: &mut OsSession, line: &str, answer: &str) {
    session.send_line(line).unwrap();
    session
        .expect(answer)
        .unwrap_or_else(|error| panic!("{line}: no {answer}: {error}"));
    session.expect("> ").unwrap();
}

fn leave(mut session: OsSession) {
    session.send_line("\\q").unwrap();
    let ended = session.get_process().wait().unwrap();
    assert!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
}

#[test]
fn statements_and_commands_are_answered() {
    let mut session = prompt(&["--demo"]);
    ask(
        &mut session,
        "SELECT count(*) AS orders FROM orders;",
        "380",
    );
    ask(
        &mut session,
        "SELECT * FROM ordrs;",
        "did you mean `orders`?",
    );
    ask(
        &mut session,
        "DROP TABLE orders;",
        "The topic `orders` stays",
    );
    ask(&mut session, "\\pset format csv", "Output format is Csv.");
    ask(&mut session, "SELECT 40 + 2 AS answer;", "42");
    ask(&mut session, "\\nothing", "is not a command");
    // A typing mistake is reported like any other error, and the line can be typed again.
    ask(
        &mut session,
        "SELCT 1;",
        "Error: Expected: an SQL statement",
    );
    session.send_line("SELECT 20 +").unwrap();
    ask(&mut session, "21;", "41");
    ask(&mut session, "help", "list tables");
    session.send_line("quit").unwrap();
    let ended = session.get_process().wait().unwrap();
    assert!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
}

#[test]
fn names_are_completed() {
    let mut session = prompt(&["--demo", "-q"]);
    for (typed, completed) in [
        ("SELECT * FROM cus\t", "customers"),
        ("SELECT newsl\t FROM customers", "newsletter"),
        ("SET kafka.retry\t", "kafka.retry_timeout"),
        ("SELECT * FROM kafka_log('ord\t", "orders"),
    ] {
        let line = typed.split_once('\t').unwrap();
        // The columns belong to the table that comes after the cursor.
        session.send(format!("{}{}", line.0, line.1)).unwrap();
        for _ in 0..line.1.len() {
            session.send("\x1b[D").unwrap();
        }
        session.send("\t").unwrap();
        session
            .expect(completed)
            .unwrap_or_else(|error| panic!("{typed}: {error}"));
        session.send(ControlCode::EndOfText).unwrap();
        session.expect("^C").unwrap();
        session.expect("> ").unwrap();
    }
    leave(session);
}

#[test]
fn history_is_kept_in_the_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let mut program = Command::new(PROGRAM);
    program
        .envs(surroundings())
        .env("XDG_DATA_HOME", data)
        .arg("-q");
    let mut session = OsSession::spawn(program).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    session.expect("> ").unwrap();
    ask(&mut session, "SELECT 41 + 1;", "42");
    leave(session);
    let history = directory
        .path()
        .join("datafusion-kafka-cli")
        .join("history");
    assert!(
        std::fs::read_to_string(history)
            .unwrap()
            .contains("SELECT 41 + 1;")
    );
}

/// Unbounded rows are printed as they come, and Ctrl-C ends only the statement.
#[test]
fn an_endless_query_is_ended_by_ctrl_c() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("feed.csv");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    // A table keeps the batch size of its creation.
    let create = format!(
        "SET datafusion.execution.batch_size = 1;\n\
         CREATE UNBOUNDED EXTERNAL TABLE feed (n INT) STORED AS CSV LOCATION '{}';",
        pipe.display()
    );
    let mut session = prompt_after(&create, &["-q"]);
    session
        .send_line("SELECT 1000 + n AS row FROM feed;")
        .unwrap();
    // Opened for reading too, so that the open does not wait for another reader.
    let mut feed = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .unwrap();
    feed.write_all(b"1\n2\n3\n").unwrap();
    session.expect("1001").unwrap();
    session.send(ControlCode::EndOfText).unwrap();
    session.expect("> ").unwrap();
    ask(&mut session, "SELECT 40 + 2;", "42");
    leave(session);
}

#[test]
fn a_topic_without_end_is_shown_as_it_grows_until_control_c() {
    let test = "a_topic_without_end_is_shown_as_it_grows_until_control_c";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let topic = broker.new_topic("feed", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"n":1}"#)]);
    let create = format!(
        "CREATE UNBOUNDED EXTERNAL TABLE feed (n INT, _tombstone BOOLEAN) STORED AS KAFKA LOCATION '{topic}';"
    );
    let mut session = prompt_after(&create, &["-q", "-b", &broker.servers]);
    session
        .send_line("SELECT 1000 + n AS row, _tombstone FROM feed;")
        .unwrap();
    session.expect("1001,false").unwrap();
    // Written while the query runs.
    broker.produce(&topic, &[Rec::new("a", r#"{"n":2}"#)]);
    session.expect("1002,false").unwrap();
    broker.produce(&topic, &[Rec::tombstone("a")]);
    session.expect(",true").unwrap();
    session.send(ControlCode::EndOfText).unwrap();
    session.expect("> ").unwrap();
    ask(&mut session, "SELECT 40 + 2;", "42");
    leave(session);
}

#[test]
fn work_that_takes_its_time_has_a_progress_line() {
    let Some(broker) = broker::required("work_that_takes_its_time_has_a_progress_line") else {
        return;
    };
    let topic = broker.new_topic("slow", 1, &[]);
    broker.produce(
        &topic,
        &[Rec::new("a", r#"{"n":1}"#), Rec::new("b", r#"{"n":2}"#)],
    );
    let arguments = |last| format!("kafka.wait_for=offsets:{{\"0\":{last}}}");
    let wait_for = arguments(3);
    let mut session = prompt(&[
        "-b",
        &broker.servers,
        "-X",
        &wait_for,
        "-X",
        "kafka.timeout=60s",
    ]);
    let query = format!("SELECT sum(n) + 100 AS total FROM \"{topic}\";");
    session.send_line(&query).unwrap();
    session.expect("0 of 2 records").unwrap();
    // The records that the query waits for.
    broker.produce(&topic, &[Rec::new("c", r#"{"n":3}"#)]);
    session.expect("106").unwrap();
    session.expect("> ").unwrap();
    leave(session);

    let wait_for = arguments(4);
    let silent = [
        "-b",
        &broker.servers,
        "-X",
        &wait_for,
        "-X",
        "kafka.timeout=1s",
        "--no-progress",
    ];
    let mut session = prompt(&silent);
    session.send_line(&query).unwrap();
    let before = session.expect("kafka.wait_for").unwrap();
    let before = String::from_utf8_lossy(before.before()).into_owned();
    assert!(!before.contains(" of 3 records"), "{before}");
    session.expect("> ").unwrap();
    leave(session);
}

#[test]
fn an_insert_that_control_c_ends_says_what_was_acknowledged() {
    let test = "an_insert_that_control_c_ends_says_what_was_acknowledged";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let from = broker.new_topic("from", 1, &[]);
    let to = broker.new_topic("to", 1, &[]);
    let record = |n: i32| Rec::new(format!("k{n}"), format!(r#"{{"n":{n}}}"#));
    broker.produce(&from, &[record(1), record(2)]);
    for (delivery, commit, written, expected) in [
        ("at_least_once", 100, 2, "2 records had been acknowledged"),
        ("exactly_once", 50_000, 2, "nothing was written"),
        ("exactly_once", 100, 4, "2 records had been committed"),
    ] {
        let setup = format!(
            "CREATE UNBOUNDED EXTERNAL TABLE feed (n INT, _key VARCHAR NOT NULL, _tombstone BOOLEAN) STORED AS KAFKA LOCATION '{from}';
             CREATE EXTERNAL TABLE out (_key VARCHAR, n INT) STORED AS KAFKA LOCATION '{to}' OPTIONS ('kafka.delivery' '{delivery}', 'kafka.commit.ms' '{commit}');"
        );
        let mut session = prompt_after(&setup, &["-b", &broker.servers]);
        session
            .send_line("INSERT INTO out SELECT _key, n FROM feed;")
            .unwrap();
        session.expect("2 acknowledged").unwrap();
        broker::wait_until(Duration::from_secs(60), "the records", || {
            broker.read_all(&to).len() >= written
        });
        session.send(ControlCode::EndOfText).unwrap();
        session.expect("interrupted: ").unwrap();
        session.expect(expected).unwrap();
        session.expect("> ").unwrap();
        leave(session);
        assert_eq!(broker.read_all(&to).len(), written);
    }
}
