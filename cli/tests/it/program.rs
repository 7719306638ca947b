//! Starting the program, and the effect of its flags.

use std::io::Write as _;
use std::process::Output;

use assert_cmd::Command;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_datafusion-kafka-cli");

/// The program, isolated from the settings and files of the user who runs the tests.
pub fn program() -> Command {
    let mut program = Command::new(PROGRAM);
    for (name, value) in surroundings() {
        program.env(name, value);
    }
    program.env_remove("KAFKA_BOOTSTRAP_SERVERS");
    program
}

/// A home directory for the tests, without `.datafusionrc` and without a history.
pub fn surroundings() -> [(&'static str, &'static str); 3] {
    let home = env!("CARGO_TARGET_TMPDIR");
    [("HOME", home), ("XDG_DATA_HOME", home), ("RUST_LOG", "off")]
}

/// The standard output of a program that succeeds.
#[track_caller]
pub fn printed(program: &mut Command) -> String {
    let output = program.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The error of a program that fails: one line, exit code 1, nothing on standard output.
#[track_caller]
pub fn failure(program: &mut Command) -> String {
    let output = program.output().unwrap();
    let error = said(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{error}");
    assert!(error.starts_with("Error: "), "{error}");
    error
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A file with this text.
pub fn file(name: &str, text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(name).tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn help_shows_five_examples() {
    let help = printed(program().arg("--help"));
    let examples = help.split_once("Examples:").unwrap().1;
    let commands = examples
        .lines()
        .filter(|line| line.trim_start().starts_with("datafusion-kafka-cli"));
    assert_eq!(commands.count(), 5, "{examples}");
    for flag in [
        "--bootstrap-servers",
        "--topics",
        "--demo",
        "--no-progress",
        "--maxrows",
    ] {
        assert!(help.contains(flag), "{flag}: {help}");
    }
    assert!(printed(program().arg("--version")).starts_with("datafusion-kafka-cli "));
}

#[test]
fn every_flag_of_datafusion_cli_is_taken() {
    let script = file(".sql", "SELECT 1;");
    let path = script.path().to_str().unwrap();
    let answer = printed(program().args([
        "--data-path",
        ".",
        "--batch-size",
        "100",
        "--memory-limit",
        "1g",
        "--mem-pool-type",
        "fair",
        "--top-memory-consumers",
        "2",
        "--disk-limit",
        "10g",
        "--maxrows",
        "inf",
        "--color",
        "--object-store-profiling",
        "disabled",
        "--quiet",
        "--format",
        "csv",
        "--command",
        "SELECT 2 AS n",
    ]));
    assert_eq!(answer, "n\n2\n");
    let answer = printed(program().args(["-q", "-f", path, "--format", "csv"]));
    assert_eq!(answer, "Int64(1)\n1\n");
}

#[test]
fn a_wrong_flag_is_a_usage_error() {
    for (arguments, expected) in [
        (vec!["-b", "4096"], "--batch-size 4096"),
        (vec!["-X", "sasl.password"], "property=value"),
        (vec!["-F", "/no/such/file"], "there is no such file"),
        (vec!["-m", "much"], "512m"),
        (vec!["--format", "xml"], "possible values"),
        (vec!["--demo", "--topics", "a"], "cannot be used with"),
        (
            vec!["--demo", "-b", "host:1"],
            "leave --bootstrap-servers out",
        ),
    ] {
        let output = program().args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = said(&output);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn the_man_page_and_completions_are_generated() {
    for (what, expected) in [
        ("man", ".TH datafusion-kafka-cli"),
        ("bash", "complete -F"),
        ("zsh", "#compdef datafusion-kafka-cli"),
        ("fish", "complete -c datafusion-kafka-cli"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let page = printed(program().args(["--generate", what]));
        assert!(page.contains(expected), "{what}: {page}");
        assert!(
            page.contains("bootstrap-servers") || page.contains("bootstrap\\-servers"),
            "{what}"
        );
    }
}

#[test]
fn a_wrong_option_says_which_it_could_be() {
    for (given, expected) in [
        ("kafka.mod=append", "did you mean `kafka.mode`?"),
        (
            "fetch.wait.maxms=1",
            "did you mean `kafka.client.fetch.wait.max.ms`?",
        ),
        ("kafka.mode=all", "upsert"),
        ("group.id=mine", "group.id"),
    ] {
        let error = failure(program().args(["-X", given, "-c", "SELECT 1"]));
        assert!(error.contains(expected), "{given}: {error}");
    }
    let error = failure(program().args(["-b", "localhost:1", "--topics", "(", "-c", "SELECT 1"]));
    assert!(
        error.contains("--topics is not a regular expression"),
        "{error}"
    );
}

#[test]
fn a_flag_without_effect_is_an_error() {
    let error = failure(program().args(["--topics", "a", "-c", "SELECT 1"]));
    assert!(error.contains("--topics needs the servers"), "{error}");
}

#[test]
fn without_servers_it_is_datafusion_cli() {
    let csv = file(".csv", "id,name\n1,tea\n2,mug\n");
    let path = csv.path().to_str().unwrap();
    let create = format!(
        "CREATE EXTERNAL TABLE items STORED AS CSV LOCATION '{path}' OPTIONS ('format.has_header' 'true')"
    );
    let count = format!("SELECT count(*) AS n FROM '{path}'");
    let answer = printed(program().args([
        "-q",
        "--format",
        "csv",
        "-c",
        &create,
        &count,
        "SELECT name FROM items WHERE id = 2",
    ]));
    assert_eq!(answer, "n\n2\nname\nmug\n");
    let error = failure(program().args(["-c", "SELECT * FROM orders"]));
    assert!(
        error.contains("'datafusion.public.orders' not found"),
        "{error}"
    );
    assert!(error.contains("--bootstrap-servers"), "{error}");
}
