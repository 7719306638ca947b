//! The command line client that judges beside rdkafka.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use crate::broker::Broker;
use crate::missing::{in_ci, say};

impl Broker {
    /// What `kcat -b SERVERS args` writes, given `input` to read; nothing where `kcat` is not on
    /// the `PATH`.
    ///
    /// # Panics
    ///
    /// Where `kcat` fails, and with `CI=true` where there is none.
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
            // Beside the reading: either pipe may fill up. What kcat does not want to read is
            // its business.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
            kcat.wait_with_output().unwrap()
        });
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kcat {args:?}: {errors}");
        Some(String::from_utf8(output.stdout).unwrap())
    }
}
