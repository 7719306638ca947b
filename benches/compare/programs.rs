//! The programs that are compared, as far as the machine can run them.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::process::status;
use crate::support::topic::Topic;
use kafka_test_broker as broker;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/compare");

/// A program that reads a topic.
pub struct Program {
    pub name: &'static str,
    pub title: &'static str,
    /// Whether the program prints the answer, or only reads.
    pub answers: bool,
    command: Box<dyn Fn(&Topic) -> Command>,
}

/// The result of one run of a program.
pub struct Run {
    pub seconds: f64,
    pub output: String,
    pub peak_mb: Option<u64>,
}

/// The programs that can run here. For each of the others it prints why not.
pub fn found() -> Vec<Program> {
    [
        kcat("kcat", "`kcat` to /dev/null", &[]),
        kcat("kcat, tuned", "`kcat` to /dev/null, tuned", TUNED),
        Ok(bare_consume()),
        Ok(this_library()),
        java(),
        python(),
    ]
    .into_iter()
    .filter_map(|program| program.inspect_err(|why| println!("left out: {why}")).ok())
    .collect()
}

/// `fetch.queue.backoff.ms` would be the better setting, but many versions of `kcat` do not have
/// it. Instead the queue is made so long that it cannot fill.
const TUNED: &[&str] = &[
    "-X",
    "queued.min.messages=10000000",
    "-X",
    "queued.max.messages.kbytes=2000000",
    "-X",
    "fetch.message.max.bytes=10485760",
    // The end is known only when a request for more records comes back empty.
    "-X",
    "fetch.wait.max.ms=10",
];

fn kcat(
    name: &'static str,
    title: &'static str,
    settings: &'static [&str],
) -> Result<Program, String> {
    works(Command::new("kcat").arg("-V"), "kcat")?;
    let command = move |topic: &Topic| {
        let mut command = Command::new("kcat");
        command
            .args([
                "-C",
                "-e",
                "-q",
                "-o",
                "beginning",
                "-X",
                "isolation.level=read_committed",
            ])
            .args(settings)
            .args(["-b", topic.servers(), "-t", &topic.name]);
        command
    };
    Ok(Program {
        name,
        title,
        answers: false,
        command: Box::new(command),
    })
}

fn bare_consume() -> Program {
    let command = |topic: &Topic| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--bench", "bare", topic.servers(), &topic.name])
            .arg(topic.content.partitions.to_string())
            .arg(topic.content.records.to_string());
        command
    };
    Program {
        name: "bare consume",
        title: "bare librdkafka batch consume",
        answers: false,
        command: Box::new(command),
    }
}

fn this_library() -> Program {
    let command = |topic: &Topic| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--bench", "narrow", topic.servers(), &topic.name]);
        command
    };
    Program {
        name: "datafusion-kafka",
        title: "datafusion-kafka",
        answers: true,
        command: Box::new(command),
    }
}

/// Compiled once, before anything is measured, against the jars of the tests' own Kafka.
fn java() -> Result<Program, String> {
    let jars = broker::jars().map_err(|why| format!("Java: {why}"))?;
    works(Command::new("javac").arg("-version"), "javac")?;
    let classes = tempfile::tempdir().map_err(|why| why.to_string())?;
    let jars = jars.join("*");
    let compiled = Command::new("javac")
        .arg("-cp")
        .arg(&jars)
        .arg("-d")
        .arg(classes.path())
        .arg(Path::new(SOURCES).join("Narrow.java"))
        .status();
    assert!(compiled.is_ok_and(|status| status.success()), "Narrow.java");
    let mut class_path = OsString::from(classes.path());
    class_path.push(":");
    class_path.push(&jars);
    let command = move |topic: &Topic| {
        let _kept = &classes;
        let mut command = Command::new("java");
        command.arg("-cp").arg(&class_path);
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
        command.args(["Narrow", topic.servers(), &topic.name]);
        command
    };
    Ok(Program {
        name: "Java",
        title: "Java: `KafkaConsumer`, `HashMap`, Jackson",
        answers: true,
        command: Box::new(command),
    })
}

fn python() -> Result<Program, String> {
    let mut imports = Command::new("python3");
    imports.args(["-c", "import confluent_kafka, orjson"]);
    works(&mut imports, "Python with confluent-kafka and orjson")?;
    let command = |topic: &Topic| {
        let mut command = Command::new("python3");
        command.arg(Path::new(SOURCES).join("narrow.py"));
        command.args([topic.servers(), &topic.name]);
        command
    };
    Ok(Program {
        name: "Python",
        title: "Python: confluent-kafka, `dict`, orjson",
        answers: true,
        command: Box::new(command),
    })
}

fn works(command: &mut Command, name: &str) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{name}: {}", output.status)),
        Err(why) => Err(format!("{name}: {why}")),
    }
}

impl Program {
    pub fn run(&self, topic: &Topic) -> Run {
        let mut command = (self.command)(topic);
        let start = Instant::now();
        let stdout = match self.answers {
            true => Stdio::piped(),
            false => Stdio::null(),
        };
        let mut child = command.stdout(stdout).spawn().unwrap();
        let ended = AtomicBool::new(false);
        let pid = child.id();
        thread::scope(|scope| {
            let peak = scope.spawn(|| peak_mb(pid, &ended));
            let output = output(&mut child);
            let status = child.wait().unwrap();
            let seconds = start.elapsed().as_secs_f64();
            ended.store(true, Ordering::Relaxed);
            assert!(status.success(), "{} failed: {status}", self.name);
            Run {
                seconds,
                output,
                peak_mb: peak.join().unwrap(),
            }
        })
    }
}

fn output(child: &mut Child) -> String {
    let mut output = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut output).unwrap();
    }
    output
}

/// The peak of a process's memory, read until just before the process ends. Afterwards only `wait4`
/// could tell, but its figure includes the memory of the parent process.
fn peak_mb(pid: u32, ended: &AtomicBool) -> Option<u64> {
    let mut peak = None;
    while !ended.load(Ordering::Relaxed) {
        peak = status(&pid.to_string(), "VmHWM").or(peak);
        thread::sleep(Duration::from_millis(5));
    }
    peak.map(|kb| kb / 1024)
}
