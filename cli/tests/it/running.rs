//! `run FILE --name NAME` as a running process.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::broker::{self, Broker, PATIENCE, Rec};
use crate::program::{PROGRAM, surroundings};

/// A program that runs until it is ended.
pub struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
    listening: Vec<JoinHandle<()>>,
}

impl Running {
    pub fn start(broker: &Broker, path: &str, name: &str) -> Self {
        let mut command = Self::command(&broker.servers, path, name);
        command.args(["--refresh-interval", "100"]);
        Self::spawn(command)
    }

    /// The command of the program, for tests that add arguments.
    pub fn command(servers: &str, path: &str, name: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .envs(surroundings())
            .args(["run", path, "--name", name, "-b", servers]);
        command
    }

    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::default();
        let listening = vec![
            listen(child.stdout.take().unwrap(), &said),
            listen(child.stderr.take().unwrap(), &said),
        ];
        Running {
            child,
            said,
            listening,
        }
    }

    /// Waits for a line that contains this text, and returns the first.
    pub fn line_with(&self, text: &str) -> String {
        let mut line = None;
        broker::wait_until(PATIENCE, text, || {
            let said = self.said.lock().unwrap();
            line = said
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned);
            line.is_some()
        });
        line.unwrap()
    }

    /// Signals the process, and then its whole process group, as supervisors do.
    pub fn signal(&self, signal: &str) {
        let both = "kill $0 $1; sleep 0.02; kill $0 $1 2>&-; true";
        let id = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", both, signal, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the end. Returns the exit code and all lines of standard error.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut status = None;
        broker::wait_until(PATIENCE, "the end of the program", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        for listening in self.listening.drain(..) {
            listening.join().unwrap();
        }
        let said = std::mem::take(&mut *self.said.lock().unwrap());
        (status.and_then(|status| status.code()), said)
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects the lines that a program writes.
fn listen(pipe: impl Read + Send + 'static, said: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let said = Arc::clone(said);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let line = line.unwrap();
            said.lock().unwrap().push_str(&format!("{line}\n"));
        }
    })
}

/// Statements that keep topic `out` equal to a query over topic `feed`.
pub fn statements(feed: &str, out: &str, columns: &str, select: &str) -> String {
    let create = |table: &str, topic: &str, columns: &str| {
        format!(
            "CREATE EXTERNAL TABLE {table} ({columns}) STORED AS KAFKA LOCATION '{topic}'\n\
             OPTIONS ('kafka.delivery' 'exactly_once');\n"
        )
    };
    let feed = create("feed", feed, "_key VARCHAR, v BIGINT");
    let out = create("result", out, columns);
    format!("-- Both tables, then the query.\n{feed}{out}INSERT INTO result {select};\n")
}

pub fn copied(feed: &str, out: &str) -> String {
    statements(
        feed,
        out,
        "_key VARCHAR, v BIGINT",
        "SELECT _key, v FROM feed",
    )
}

pub fn value(key: &str, v: i64) -> Rec {
    Rec::new(key, format!("{{\"v\":{v}}}"))
}
