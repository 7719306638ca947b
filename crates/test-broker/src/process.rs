//! A Kafka process that ends with the test process that started it.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::users::{SASL_PASSWORD, SASL_USER};
use crate::wait::nanos;

/// Runs Kafka (in directory `$1`, jars in `$2`, cluster id `$3`, with user `$4` and memory `$5`)
/// until standard input closes. A line on standard input kills Kafka and starts it again.
///
/// A Rust test process runs no code at its end, and it may be killed. The kernel, however, always
/// closes the process's end of the pipe. Nothing needs to be saved then: Kafka gets SIGKILL and its
/// directory is removed.
const SHELL: &str = r#"
cd "$1" || exit
# A background command's standard input is /dev/null unless it comes from somewhere else.
exec 3<&0
{
    while read -r _; do touch restarting; kill -KILL "$(cat pid)"; done
    touch stopped; kill -KILL "$(cat pid)"
} <&3 2>/dev/null &
reader=$!
{
    java -Xmx128m -cp "$2/*" kafka.tools.StorageTool format -t "$3" --add-scram "$4" \
        -c server.properties >log 2>&1 &&
    while [ ! -e stopped ]; do
        java $5 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
            -Dorg.slf4j.simpleLogger.showDateTime=true -cp "$2/*" kafka.Kafka server.properties \
            >>log 2>&1 &
        echo $! >pid
        wait $! 2>/dev/null # which would say "Killed"
        [ -e restarting ] && rm restarting || break
    done
} </dev/null 2>/dev/null
kill $reader 2>/dev/null
[ -e stopped ] || { echo "Apache Kafka ended by itself; its last words:"; tail -n 30 log; } >&2
cd / && rm -rf "$1"
"#;

/// The shell that runs the JVM, and the pipe that keeps both alive.
#[derive(Debug)]
pub(crate) struct Process {
    shell: Child,
}

impl Process {
    /// Starts the Kafka whose `server.properties` are in the directory, with these memory options
    /// of Java. The directory is removed when Kafka has ended.
    pub(crate) fn start(
        dir: TempDir,
        jars: &Path,
        cluster_id: &str,
        memory: &str,
    ) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", SHELL, "kafka"])
            .args([dir.path(), jars])
            .arg(cluster_id)
            .arg(format!(
                "SCRAM-SHA-512=[name={SASL_USER},password={SASL_PASSWORD}]"
            ))
            .arg(memory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        // In its own process group, the terminal's Ctrl-C does not reach the shell, which still has
        // to remove the directory.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let shell = shell.spawn()?;
        let _removed_by_the_shell = dir.keep();
        Ok(Process { shell })
    }

    /// Kills Kafka and starts it again, with everything that it had on disk.
    pub(crate) fn restart(&mut self) {
        let stdin = self.shell.stdin.as_mut();
        stdin.unwrap().write_all(b"\n").unwrap();
    }

    #[cfg(unix)]
    pub(crate) fn freeze(&self) -> Frozen {
        let shell = self.shell.id();
        let frozen = Frozen { shell };
        frozen.signal("-STOP");
        frozen
    }

    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.shell.try_wait()?.is_some())
    }
}

/// A Kafka that is frozen until this is dropped.
#[derive(Debug)]
#[cfg(unix)]
pub struct Frozen {
    /// The id of the process group.
    shell: u32,
}

#[cfg(unix)]
impl Frozen {
    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.shell);
        let sent = Command::new("kill").args([signal, "--", &group]).status();
        assert!(sent.unwrap().success());
    }
}

#[cfg(unix)]
impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

/// A unique cluster id: 16 bytes in base64, in which the last character carries only two bits.
pub(crate) fn cluster_id() -> String {
    format!("{:021x}A", nanos() << 22 | u128::from(std::process::id()))
}
