//! `run FILE --name NAME` while it runs.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::broker::{self, Broker, Rec};
use crate::program::{PROGRAM, surroundings};

pub const DEADLINE: Duration = Duration::from_secs(60);

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

    /// For those who add to it.
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

    /// The first line that holds this, once it was said.
    pub fn line_with(&self, text: &str) -> String {
        let mut line = None;
        broker::wait_until(DEADLINE, text, || {
            let said = self.said.lock().unwrap();
            line = said
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned);
            line.is_some()
        });
        line.unwrap()
    }

    /// As supervisors do: to the process, and then to all of its group.
    pub fn signal(&self, signal: &str) {
        let both = "kill $0 $1; sleep 0.02; kill $0 $1 2>&-; true";
        let id = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", both, signal, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Its exit code and all that it said, once it has ended.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut status = None;
        broker::wait_until(DEADLINE, "the end of the program", || {
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

/// Takes down what a program says, line by line.
fn listen(pipe: impl Read + Send + 'static, said: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let said = Arc::clone(said);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let line = line.unwrap();
            said.lock().unwrap().push_str(&format!("{line}\n"));
        }
    })
}

/// The statements that keep topic `out` equal to a query over topic `feed`.
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
