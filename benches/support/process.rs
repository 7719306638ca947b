//! Runs in processes of their own. Memory that an earlier run left in the allocator does not count
//! for a later run.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The result of one run.
#[derive(Debug)]
pub struct Figures {
    pub seconds: f64,
    pub rows: u64,
    /// The peak of resident memory minus the resident memory before the run, in MB, if the system
    /// reports them.
    pub peak_mb: Option<u64>,
}

/// Runs this program again with other arguments. The new process must call [`report`].
pub fn fresh(words: &[&str]) -> Figures {
    let output = Command::new(std::env::current_exe().unwrap())
        .arg("--bench")
        .args(words)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?} failed");
    let output = String::from_utf8(output.stdout).unwrap();
    let mut figures = output.split_whitespace();
    Figures {
        seconds: figures.next().unwrap().parse().unwrap(),
        rows: figures.next().unwrap().parse().unwrap(),
        peak_mb: figures.next().unwrap().parse().ok(),
    }
}

/// Does the work and prints its figures, in the form that [`fresh`] reads.
pub fn report(work: impl FnOnce() -> usize) {
    let idle = memory_kb("self", "VmRSS");
    let start = Instant::now();
    let rows = work();
    let seconds = start.elapsed().as_secs_f64();
    let peak = memory_kb("self", "VmHWM");
    let peak_mb = idle
        .zip(peak)
        .map(|(idle, peak)| peak.saturating_sub(idle) / 1024);
    println!("{seconds} {rows} {}", megabytes(peak_mb));
}

/// A value from `/proc/PID/status`, on systems that have it.
pub fn memory_kb(process: &str, figure: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(figure))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

pub fn megabytes(mb: Option<u64>) -> String {
    mb.map_or("-".to_owned(), |mb| mb.to_string())
}
