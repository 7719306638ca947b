//! The guide's SQL, in one session of the program.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use expectrl::session::OsSession;
use expectrl::{Expect as _, Regex};

use super::blocks::Block;
use crate::broker::PATIENCE;
use crate::program::{PROGRAM, surroundings};

/// The program at its prompt with the demo's Kafka, which stops with it.
pub struct Demo {
    pub servers: String,
    _prompt: OsSession,
}

impl Demo {
    pub fn start() -> Self {
        let mut program = Command::new(PROGRAM);
        program
            .envs(surroundings())
            .env("TERM", "xterm")
            .arg("--demo");
        program.env_remove("KAFKA_BOOTSTRAP_SERVERS");
        let mut prompt = OsSession::spawn(program).unwrap();
        prompt.set_expect_timeout(Some(PATIENCE));
        let found = prompt.expect(Regex(r"find it at ([0-9.:]+)\.\s")).unwrap();
        let servers = String::from_utf8(found.get(1).unwrap().to_vec()).unwrap();
        Demo {
            servers,
            _prompt: prompt,
        }
    }
}

/// The program, reading statements from a pipe.
pub struct Sql {
    servers: String,
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    errors: PathBuf,
    blocks: usize,
}

impl Sql {
    pub fn start(servers: &str, directory: &Path) -> Self {
        let errors = directory.join("errors");
        let mut child = Command::new(PROGRAM)
            .envs(surroundings())
            .env("KAFKA_PASSWORD", "secret")
            .args(["-b", servers])
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Sql {
            servers: servers.to_owned(),
            child,
            input,
            lines,
            errors,
            blocks: 0,
        }
    }

    /// Runs the statements of a block and returns their output.
    pub fn run(&mut self, text: &str, block: &Block) -> String {
        self.blocks += 1;
        let end = format!("end of block {}", self.blocks);
        let sent = writeln!(self.input, "{text}\n;\nSELECT '{end}' AS \"end\";");
        let mut lines = Vec::new();
        while let (Ok(()), Ok(line)) = (&sent, self.lines.recv_timeout(PATIENCE)) {
            if line.contains(&end) {
                // The last line of the table with the end marker.
                let _ = self.lines.recv_timeout(PATIENCE);
                lines.truncate(lines.len().saturating_sub(3));
                return lines.join("\n").replace(&self.servers, super::SERVERS[0]);
            }
            lines.push(line);
        }
        let errors = fs::read_to_string(&self.errors).unwrap();
        panic!("{}: {errors}", block.place);
    }

    pub fn end(mut self) {
        drop(self.input);
        assert!(self.child.wait().unwrap().success());
    }
}
