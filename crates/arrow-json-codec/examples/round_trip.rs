//! Reads documents into columns, says what is wrong with the bad ones, and writes the good
//! rows again.
//!
//! `cargo run -p arrow-json-codec --example round_trip`

use arrow::array::BooleanArray;
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use arrow_json_codec::{DecodeOptions, EncodeOptions, Nulls, RowDecoder, RowEncoder};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let fields = Fields::from(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]);
    let documents = [
        r#"{"id": 1, "price": 19.9, "at": "2026-11-24T09:30:00Z"}"#,
        r#"{"id": 2, "price": "a lot"}"#,
        r#"{"ID": 3, "note": "columns that are not wanted are passed over"}"#,
        r#"{"id": 4"#,
    ];
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default())?;
    let mut good = Vec::new();
    for document in documents {
        let result = decoder.append(document.as_bytes());
        if let Err(error) = &result {
            println!("{document}: {error}");
        }
        good.push(result.is_ok());
    }

    // A bad document is a row of NULLs, which is left out here.
    let good = BooleanArray::from(good);
    let columns = decoder.finish()?;
    let columns = columns.iter().map(|column| filter(column, &good));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;

    let options = EncodeOptions::default().with_nulls(Nulls::Omit);
    let encoder = RowEncoder::try_new(&fields, &options)?;
    let rows = encoder.batch(&columns)?;
    for row in 0..good.true_count() {
        let mut out = Vec::new();
        rows.write(row, &mut out)?;
        println!("{}", String::from_utf8(out)?);
    }
    Ok(())
}
