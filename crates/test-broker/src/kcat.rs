//! `kcat`, a second client beside rdkafka to check results with.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use crate::broker::Broker;
use crate::missing::{in_ci, say};

impl Broker {
    /// The output of `kcat -b SERVERS args`, with `input` on its standard input; `None` if `kcat`
    /// is not on the `PATH`.
    ///
    /// # Panics
    ///
    /// If `kcat` fails, or with `CI=true` if `kcat` is missing.
    pub fn kcat(&self, args: &[&str], input: &str) -> Option<String> {
        let kcat = Command::new("kcat")
            .args(["-b", &self.servers])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut kcat = match kcat {
            Ok(kcat) => kcat,
            Err(error) if in_ci() => panic!("kcat: {error}"),
            Err(error) => {
                say(&format!("left out: a check with kcat ({error})"));
                return None;
            }
        };
        let mut stdin = kcat.stdin.take().unwrap();
        let output = thread::scope(|scope| {
            // Writing on a thread of its own, because either pipe may fill up. A write error is
            // ignored: `kcat` need not read all of the input.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
            kcat.wait_with_output().unwrap()
        });
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kcat {args:?}: {errors}");
        Some(String::from_utf8(output.stdout).unwrap())
    }
}
