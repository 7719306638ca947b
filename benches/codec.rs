//! The cost of a record on one core: decoding and encoding, as ratios to arrow-json, and
//! deduplicating by key.
//!
//! `cargo bench --bench codec`. `CODEC_ROUNDS` (default 101) is the number of rounds.
//!
//! arrow-json is used as a message consumer would use it: its decoder gets one payload after the
//! other and is flushed every 8192 rows; its writer gets whole batches.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{Fields, Schema};
use arrow::record_batch::RecordBatch;
use arrow_json::LineDelimitedWriter;
use arrow_json::reader::{Decoder, ReaderBuilder};
use datafusion_kafka::json::{DecodeOptions, EncodeOptions, RowDecoder, RowEncoder};

use crate::deduplicate::SeenKeys;
use crate::support::rounds::{median, median_ratio};
use crate::support::{from_env, orders};

/// The set of keys of the library, which is not public.
#[path = "../src/source/deduplicate.rs"]
#[allow(dead_code, unused_imports)]
mod deduplicate;
mod support;

const ROWS: usize = 8192;

fn main() {
    if support::words().is_none() {
        return;
    }
    let rounds = from_env("CODEC_ROUNDS", 101);
    let payloads = payloads();
    let bytes: usize = payloads.iter().map(String::len).sum();
    let megabytes = bytes as f64 / 1e6;
    println!();
    println!("{ROWS} orders of {} bytes on one core", bytes / ROWS);
    println!("| work | speed, as a ratio to arrow-json | MB/s | arrow-json, MB/s |");
    println!("|---|---|---|---|");
    for (name, pair) in [
        (
            "decode all 11 columns",
            decode(&payloads, orders::fields(), rounds),
        ),
        (
            "decode 2 of 11 columns",
            decode(&payloads, two_fields(), rounds),
        ),
        (
            "decode no column",
            decode(&payloads, Fields::empty(), rounds),
        ),
        ("encode all 11 columns", encode(&payloads, rounds)),
    ] {
        let rate = |seconds: &[f64]| megabytes / median(seconds.iter().copied());
        println!(
            "| {name} | {:.2} | {:.0} | {:.0} |",
            median_ratio(&pair.theirs, &pair.ours),
            rate(&pair.ours),
            rate(&pair.theirs)
        );
    }
    println!();
    println!("| fold, writes per key | ns per record |\n|---|---|");
    for writes in [1, 20, 1000] {
        println!("| {writes} | {:.0} |", fold(writes, rounds.min(11)));
    }
}

fn payloads() -> Vec<String> {
    let mut payloads = vec![String::new(); ROWS];
    for (i, payload) in payloads.iter_mut().enumerate() {
        orders::write_order(i as u64, payload);
    }
    payloads
}

/// The columns that a typical aggregation reads.
fn two_fields() -> Fields {
    let fields = orders::fields();
    [2, 3]
        .map(|i: usize| Arc::clone(&fields[i]))
        .into_iter()
        .collect()
}

/// The seconds of each round.
struct Pair {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Pair {
    fn measure<T, U>(
        rounds: usize,
        mut ours: impl FnMut() -> T,
        mut theirs: impl FnMut() -> U,
    ) -> Self {
        let mut pair = Pair {
            ours: Vec::new(),
            theirs: Vec::new(),
        };
        for _ in 0..rounds.max(1) {
            pair.ours.push(seconds(&mut ours));
            pair.theirs.push(seconds(&mut theirs));
        }
        pair
    }
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    // The measured time includes dropping the result, as a query drops its batches.
    drop(black_box(work()));
    start.elapsed().as_secs_f64()
}

fn decode(payloads: &[String], fields: Fields, rounds: usize) -> Pair {
    let mut ours = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    let schema = Arc::new(Schema::new(fields));
    let reader = ReaderBuilder::new(schema).with_batch_size(ROWS);
    let mut theirs = reader.build_decoder().unwrap();

    let batch = decoded_by_arrow(&mut theirs, payloads);
    assert_eq!(batch.num_rows(), payloads.len());
    assert_eq!(decoded(&mut ours, payloads), batch.columns());
    Pair::measure(
        rounds,
        || decoded(&mut ours, payloads),
        || decoded_by_arrow(&mut theirs, payloads),
    )
}

fn decoded(decoder: &mut RowDecoder, payloads: &[String]) -> Vec<ArrayRef> {
    for payload in black_box(payloads) {
        decoder.append(payload.as_bytes()).unwrap();
    }
    decoder.finish().unwrap()
}

fn decoded_by_arrow(decoder: &mut Decoder, payloads: &[String]) -> RecordBatch {
    for payload in black_box(payloads) {
        let read = decoder.decode(payload.as_bytes()).unwrap();
        assert_eq!(read, payload.len());
    }
    decoder.flush().unwrap().unwrap()
}

fn encode(payloads: &[String], rounds: usize) -> Pair {
    let fields = orders::fields();
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    let columns = decoded(&mut decoder, payloads);
    let batch = RecordBatch::from(StructArray::new(fields.clone(), columns.clone(), None));
    let encoder = RowEncoder::try_new(&fields, &EncodeOptions::default()).unwrap();

    for lines in [encoded(&encoder, &columns), encoded_by_arrow(&batch)] {
        let lines = String::from_utf8(lines).unwrap();
        let lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        assert_eq!(decoded(&mut decoder, &lines), columns);
    }
    Pair::measure(
        rounds,
        || encoded(&encoder, &columns),
        || encoded_by_arrow(&batch),
    )
}

fn encoded(encoder: &RowEncoder, columns: &[ArrayRef]) -> Vec<u8> {
    let rows = encoder.batch(black_box(columns)).unwrap();
    let mut out = Vec::new();
    for row in 0..ROWS {
        rows.write(row, &mut out).unwrap();
        out.push(b'\n');
    }
    out
}

fn encoded_by_arrow(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(black_box(batch)).unwrap();
    writer.finish().unwrap();
    writer.into_inner()
}

fn fold(writes: usize, rounds: usize) -> f64 {
    const RECORDS: usize = 1_000_000;
    let keys: Vec<String> = (0..RECORDS)
        .map(|i| format!("order-{:08}", i % (RECORDS / writes)))
        .collect();
    let rounds = (0..rounds).map(|_| {
        seconds(|| {
            let mut seen = SeenKeys::default();
            keys.iter()
                .filter(|key| seen.insert(key.as_bytes()))
                .count()
        })
    });
    median(rounds) * 1e9 / RECORDS as f64
}
