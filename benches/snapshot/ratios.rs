//! Queries over one topic, each alternating with a bare consume.

use crate::query::{bare_consume, query};
use crate::support::process::Figures;
use crate::support::rounds::{median, median_ratio};
use crate::support::topic::Topic;

/// The results of several queries.
pub struct Ratios {
    /// The bare consume: the median of its seconds, and its highest peak of memory.
    pub bare: Row,
    /// The results, in the order of the queries.
    pub queries: Vec<Row>,
}

pub struct Row {
    pub seconds: f64,
    /// The ratio to the bare consume.
    pub ratio: f64,
    pub rows: u64,
    pub peak_mb: Option<u64>,
}

impl Ratios {
    pub fn measure(topic: &Topic, queries: &[&str], rounds: usize) -> Self {
        let mut bare: Vec<Vec<Figures>> = queries.iter().map(|_| Vec::new()).collect();
        let mut runs: Vec<Vec<Figures>> = queries.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds.max(1) {
            for (nth, sql) in queries.iter().enumerate() {
                bare[nth].push(bare_consume(topic));
                runs[nth].push(query(topic, sql));
            }
        }
        let queries = runs.iter().zip(&bare).map(|(run, bare)| Row::of(run, bare));
        let queries = queries.collect();
        let bare: Vec<Figures> = bare.into_iter().flatten().collect();
        Ratios {
            bare: Row::of(&bare, &bare),
            queries,
        }
    }
}

impl Row {
    fn of(runs: &[Figures], bare: &[Figures]) -> Self {
        let seconds = |runs: &[Figures]| runs.iter().map(|run| run.seconds).collect::<Vec<_>>();
        Row {
            seconds: median(seconds(runs)),
            ratio: median_ratio(&seconds(runs), &seconds(bare)),
            rows: runs[0].rows,
            peak_mb: runs.iter().map(|run| run.peak_mb).max().flatten(),
        }
    }
}
