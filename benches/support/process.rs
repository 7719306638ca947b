//! Runs in processes of their own. Memory that an earlier run left in the allocator does not count
//! for a later run.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The result of one run.
#[derive(Debug)]
pub struct Figures {
    pub seconds: f64,
    pub rows: u64,
    /// The peak of resident memory minus the resident memory before the run, in MB, if the system
    /// reports them.
    pub peak_mb: Option<u64>,
    /// The highest number of threads that was seen, minus the threads before the run.
    pub threads: Option<u64>,
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
        threads: figures.next().unwrap().parse().ok(),
    }
}

/// Does the work and prints its figures, in the form that [`fresh`] reads.
pub fn report(work: impl FnOnce() -> usize) {
    let idle = (status("self", "VmRSS"), status("self", "Threads"));
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads = scope.spawn(|| most_threads(&is_done));
        let start = Instant::now();
        let rows = work();
        let seconds = start.elapsed().as_secs_f64();
        is_done.store(true, Ordering::Relaxed);
        let over = |before: Option<u64>, peak: Option<u64>| Some(peak?.saturating_sub(before?));
        let peak_kb = over(idle.0, status("self", "VmHWM"));
        // The thread that counts is one of them.
        let threads = over(idle.1.map(|before| before + 1), threads.join().unwrap());
        let [peak_mb, threads] = [peak_kb.map(|kb| kb / 1024), threads].map(or_dash);
        println!("{seconds} {rows} {peak_mb} {threads}");
    });
}

fn most_threads(is_done: &AtomicBool) -> Option<u64> {
    let mut most = None;
    while !is_done.load(Ordering::Relaxed) {
        most = most.max(status("self", "Threads"));
        thread::sleep(Duration::from_millis(5));
    }
    most
}

/// A value from `/proc/PID/status`, on systems that have it. Memory is in units of 1024 bytes.
pub fn status(process: &str, figure: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(figure))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

pub fn or_dash(figure: Option<u64>) -> String {
    figure.map_or("-".to_owned(), |figure| figure.to_string())
}
