//! The guide's commands.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use super::blocks::Block;
use crate::broker;
use crate::program::{PROGRAM, printed, program, said, surroundings};

/// Commands that are not run here, because they build or measure for minutes.
const KNOWN: [&str; 4] = [
    "cargo install --path cli",
    "cargo run --example quickstart",
    "cargo bench --bench snapshot",
    "cargo bench --bench compare",
];

/// A shell in which the program is on the path.
pub struct Shell {
    servers: String,
    directory: PathBuf,
}

impl Shell {
    pub fn new(servers: &str, directory: &Path) -> Self {
        fs::write(directory.join("client.properties"), "client.id=guide\n").unwrap();
        Shell {
            servers: servers.to_owned(),
            directory: directory.to_owned(),
        }
    }

    /// Runs commands in order, all of which succeed, or fail. Returns their output; `None` if no
    /// command was run. A command that ends with `&` runs until the end of the text.
    pub fn run(&self, text: &str, fails: bool, block: &Block) -> Option<String> {
        let mut answer = None;
        let mut behind = Vec::new();
        for command in commands(text, block) {
            if let Some(command) = command.trim_end().strip_suffix('&') {
                assert!(
                    command.contains(" run "),
                    "{}: nobody ends `{command}`",
                    block.place
                );
                behind.push(UpToDate::wait_for(self.command(&format!("exec {command}"))));
                continue;
            }
            let words = command.split('#').next().unwrap_or_default().trim();
            if KNOWN.contains(&words) {
                continue;
            }
            // A pipe starts with an `echo`, so its second command is the program.
            let pipe = words
                .strip_prefix("echo ")
                .and_then(|rest| rest.split_once(" | "));
            let program = pipe.map_or(words, |(_, program)| program);
            let program = program.split(' ').next().unwrap_or_default();
            assert!(
                ["datafusion-kafka-cli", "kcat", "curl", "echo"].contains(&program),
                "{}: nobody runs `{program}`",
                block.place
            );
            let output = match words.contains(" run ") {
                true => UpToDate::wait_for(self.command(&format!("exec {command}"))).end(),
                false => self.output(&command),
            };
            let said = said(&output);
            let printed = match output.status.code() {
                Some(0) if !fails => String::from_utf8_lossy(&output.stdout).into_owned(),
                Some(1) if fails => said,
                code => panic!("{}: `{command}` ends with {code:?}: {said}", block.place),
            };
            let printed = printed.replace(&self.servers, super::SERVERS[0]);
            answer.get_or_insert_with(String::new).push_str(&printed);
        }
        for program in behind {
            let output = program.end();
            let said = said(&output);
            assert_eq!(output.status.code(), Some(0), "{}: {said}", block.place);
        }
        answer
    }

    /// Whether a block needs a program that this machine does not have.
    pub fn leaves_out(&self, block: &Block) -> bool {
        let is_missing =
            |program: &&str| block.text.contains(&format!("{program} ")) && !have(program);
        let missing = ["kcat", "curl"].into_iter().find(is_missing);
        if let Some(missing) = missing {
            let in_ci = env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!in_ci, "{} needs {missing}", block.place);
            broker::say(&format!("left out: {} (no {missing})", block.place));
        }
        missing.is_some()
    }

    /// The program takes the properties as a file.
    pub fn check_properties(&self, text: &str, block: &Block) {
        let file = self.directory.join("client.properties");
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let answer =
            printed(program().args(["-F", file, "--format", "csv", "-c", "SELECT 1 AS n"]));
        assert_eq!(answer, "n\n1\n", "{}", block.place);
    }

    fn output(&self, command: &str) -> Output {
        self.command(command).output().unwrap()
    }

    fn command(&self, text: &str) -> Command {
        let programs = Path::new(PROGRAM).parent().unwrap().to_owned();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([programs].into_iter().chain(env::split_paths(&path))).unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", text])
            .envs(surroundings())
            .env("PATH", path)
            .env_remove("KAFKA_BOOTSTRAP_SERVERS")
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        command
    }
}

/// A continuous query that has caught up.
struct UpToDate {
    program: Child,
    said: String,
    says: BufReader<ChildStderr>,
}

impl UpToDate {
    /// Starts the program and waits until it has caught up or has ended.
    fn wait_for(mut command: Command) -> Self {
        let mut program = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut says = BufReader::new(program.stderr.take().unwrap());
        while says.read_line(&mut said).unwrap() > 0 && !said.contains("up to date") {}
        UpToDate {
            program,
            said,
            says,
        }
    }

    fn end(mut self) -> Output {
        if self.said.contains("up to date") {
            let id = self.program.id().to_string();
            let told = Command::new("kill").args(["-TERM", &id]).status();
            assert!(told.unwrap().success());
        }
        self.says.read_to_string(&mut self.said).unwrap();
        let mut output = self.program.wait_with_output().unwrap();
        output.stderr = self.said.into_bytes();
        output
    }
}

/// The commands of a text. A command may span several lines.
fn commands(text: &str, block: &Block) -> Vec<String> {
    let mut commands = Vec::new();
    let mut command = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        command.push_str(line);
        command.push('\n');
        let is_complete = !line.ends_with('\\') && sh_takes(&command);
        if is_complete && !command.trim().is_empty() {
            commands.push(std::mem::take(&mut command));
        }
    }
    assert_eq!(command.trim(), "", "{}: an open command", block.place);
    commands
}

fn sh_takes(command: &str) -> bool {
    let parsed = Command::new("sh").args(["-n", "-c", command]).output();
    parsed.unwrap().status.success()
}

fn have(program: &str) -> bool {
    Command::new(program).arg("-V").output().is_ok()
}
