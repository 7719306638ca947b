//! What a record costs on one core: decoding, encoding, folding.
//!
//! `cargo bench --bench codec`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use arrow::array::ArrayRef;
use arrow::datatypes::Fields;
use datafusion_kafka::SeenKeys;
use datafusion_kafka::json::{DecodeOptions, EncodeOptions, RowDecoder, RowEncoder};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

#[allow(dead_code)]
#[path = "support/orders.rs"]
mod orders;

const ROWS: usize = 8192;

fn main() {
    divan::main();
}

fn payloads() -> Vec<String> {
    let mut payloads = vec![String::new(); ROWS];
    for (i, payload) in payloads.iter_mut().enumerate() {
        orders::write_order(i as u64, payload);
    }
    payloads
}

fn bytes(payloads: &[String]) -> BytesCount {
    BytesCount::new(payloads.iter().map(String::len).sum::<usize>())
}

fn decoded(payloads: &[String], fields: &Fields) -> Vec<ArrayRef> {
    let mut decoder = RowDecoder::try_new(fields, &DecodeOptions::default()).unwrap();
    for payload in payloads {
        decoder.append(payload.as_bytes()).unwrap();
    }
    decoder.finish().unwrap()
}

/// How many of the 11 columns are read; 0 only checks that the payload is JSON.
#[divan::bench(args = [0, 2, 11])]
fn decode(bencher: Bencher, columns: usize) {
    let payloads = payloads();
    let fields: Fields = match columns {
        // The ones that a typical aggregation reads.
        2 => [2, 3]
            .map(|i: usize| orders::fields()[i].clone())
            .into_iter()
            .collect(),
        n => orders::fields().iter().take(n).cloned().collect(),
    };
    bencher
        .counter(bytes(&payloads))
        .counter(ItemsCount::new(ROWS))
        .bench(|| decoded(black_box(&payloads), &fields));
}

#[divan::bench]
fn encode(bencher: Bencher) {
    let payloads = payloads();
    let columns = decoded(&payloads, &orders::fields());
    let encoder = RowEncoder::try_new(&orders::fields(), &EncodeOptions::default()).unwrap();
    let mut out = Vec::new();
    bencher
        .counter(bytes(&payloads))
        .counter(ItemsCount::new(ROWS))
        .bench_local(move || {
            let rows = encoder.batch(&columns).unwrap();
            for row in 0..ROWS {
                out.clear();
                rows.write(row, &mut out).unwrap();
                black_box(&out);
            }
        });
}

/// How many records there are per key.
#[divan::bench(args = [1, 20, 1000])]
fn fold(bencher: Bencher, records_per_key: usize) {
    const RECORDS: usize = 1_000_000;
    let keys: Vec<String> = (0..RECORDS)
        .map(|i| format!("order-{:08}", i % (RECORDS / records_per_key)))
        .collect();
    bencher.counter(ItemsCount::new(RECORDS)).bench(|| {
        let mut seen = SeenKeys::new();
        let new = keys
            .iter()
            .filter(|key| seen.insert(key.as_bytes()))
            .count();
        black_box(new)
    });
}
