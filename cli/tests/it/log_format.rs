//! JSON lines on standard error.

use serde_json::Value;

use crate::broker::{self, topic_name};
use crate::program::{file, program};
use crate::running::{Running, copied};

/// Each line as an object.
fn objects(said: &str) -> Vec<Value> {
    let object = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    let objects: Vec<Value> = said.lines().map(object).collect();
    for object in &objects {
        for key in ["time", "level", "target", "message"] {
            assert!(object[key].is_string(), "{object}");
        }
    }
    objects
}

#[test]
fn lines_are_json_where_that_is_asked_for() {
    let Some(broker) = broker::required("log_format::lines_are_json_where_that_is_asked_for")
    else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 1, &[]),
        broker.new_topic("out", 1, &[]),
    );
    let statements = file(".sql", &copied(&feed, &out));
    let path = statements.path().to_str().unwrap();
    let name = topic_name("query");
    let mut command = Running::command(&broker.servers, path, &name);
    command
        .args(["--log-format", "json"])
        .env("RUST_LOG", "datafusion_kafka=info");
    let running = Running::spawn(command);
    running.line_with("up to date: ");
    running.signal("-TERM");
    let (code, said) = running.end();
    // The statements before the query print nothing.
    assert_eq!(code, Some(0), "{said}");
    let objects = objects(&said);
    let find = |start: &str| {
        let starts = |object: &&Value| object["message"].as_str().unwrap().starts_with(start);
        objects
            .iter()
            .find(starts)
            .unwrap_or_else(|| panic!("{start}: {said}"))
    };
    assert_eq!(find("up to date: ")["target"], "datafusion_kafka_cli::run");
    assert_eq!(find("stopped: ")["level"], "INFO");
    let logged = find(&format!("continuous query `{name}` stopped"));
    assert_eq!(logged["target"], "datafusion_kafka::continuous::run");
}

#[test]
fn an_error_is_json_too() {
    let missing = file(".sql", &copied("no-such-topic", "out"));
    let path = missing.path().to_str().unwrap();
    for arguments in [
        vec!["run", path, "--name", "q"],
        vec!["-c", "SELECT nothing\nFROM nowhere"],
    ] {
        let output = program()
            .args(["--log-format", "json"])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        let objects = objects(&said);
        let [error] = &objects[..] else {
            panic!("{said}")
        };
        assert_eq!(error["level"], "ERROR");
        let message = error["message"].as_str().unwrap();
        assert!(!message.starts_with("Error"), "{message}");
    }
}

#[test]
fn another_format_is_a_usage_error() {
    let output = program().args(["--log-format", "xml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("text, json"), "{said}");
}
