//! Statements from files and standard input, and results for pipes.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::program::{PROGRAM, failure, file, printed, program, said, surroundings};

const SCRIPT: &str = "\
#!/usr/bin/env -S datafusion-kafka-cli -f
-- A comment; with a semicolon.
CREATE TABLE items AS VALUES (1, 'tea; green'), (2, 'mug');

SELECT column2 AS name
FROM items /* ; */
WHERE column1 = 1; SELECT 'it''s' AS \"a;b\";
SELECT 3 AS last";

#[test]
fn a_file_and_standard_input_are_run_statement_by_statement() {
    let expected = "count\n2\nname\ntea; green\na;b\nit's\nlast\n3\n";
    let expected = expected.strip_prefix("count\n2\n").unwrap();
    let script = file(".sql", SCRIPT);
    let path = script.path().to_str().unwrap();
    for answer in [
        printed(program().args(["-q", "--format", "csv", "-f", path])),
        printed(program().args(["--format", "csv"]).write_stdin(SCRIPT)),
        printed(
            program()
                .args(["--format", "csv", "-f", "/dev/stdin"])
                .write_stdin(SCRIPT),
        ),
        printed(
            program()
                .args(["--format", "csv"])
                .write_stdin(format!("\\i {path}\n")),
        ),
    ] {
        assert_eq!(answer, expected);
    }
}

#[test]
fn the_first_error_ends_a_script() {
    let script = "SELECT 1 AS one;\nSELECT nothing;\nSELECT 2 AS two;\n";
    let output = program()
        .args(["--format", "csv"])
        .write_stdin(script)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one\n1\n");
    assert!(said(&output).contains("nothing"), "{}", said(&output));
    let error = failure(program().args(["-c", "SELECT 'open"]));
    assert!(error.contains("Unterminated string"), "{error}");
    let error = failure(program().write_stdin("\\nothing\n"));
    assert!(error.contains("`\\nothing` is not a command"), "{error}");
}

/// A semicolon at the end of a line does not end a string, a name or a comment.
#[test]
fn what_is_open_goes_on_in_the_next_line() {
    for (open, rest, expected) in [
        ("SELECT 'a;", "b' AS x;", "x\n\"a;\nb\"\n"),
        ("SELECT 1 AS \"a;", "b\";", "\"a;\nb\"\n1\n"),
        ("/* a;", "b; */ SELECT 1 AS x;", "x\n1\n"),
        ("/* a /* b */ c;", "*/ SELECT 1 AS x;", "x\n1\n"),
        ("SELECT $t$a;", "b$t$ AS x;", "x\n\"a;\nb\"\n"),
    ] {
        let script = format!("{open}\n{rest}\n");
        let answer = printed(program().args(["--format", "csv"]).write_stdin(script));
        assert_eq!(answer, expected, "{open}");
    }
}

#[test]
fn backslash_commands_work_in_scripts() {
    let script = "\\pset format csv\nSELECT 1 AS one;\n\\?\n\\q\nSELECT 2;";
    let answer = printed(program().write_stdin(script));
    assert!(answer.contains("one\n1\n"), "{answer}");
    assert!(answer.contains("\\pset"), "{answer}");
}

#[test]
fn nothing_but_results_is_on_standard_output() {
    let answer = printed(program().args(["--demo", "--format", "tsv", "-c", "SELECT 1 AS one"]));
    assert_eq!(answer, "one\n1\n");
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let mut child = Command::new(PROGRAM)
        .envs(surroundings())
        .args([
            "-q",
            "--format",
            "csv",
            "-c",
            "SELECT * FROM generate_series(1, 100000000)",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "value");
    drop(lines);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    assert_eq!(said(&output), "");
}
