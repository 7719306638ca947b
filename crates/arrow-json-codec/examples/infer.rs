//! Finds the columns of documents that were not described, and reads them by it.
//!
//! `cargo run -p arrow-json-codec --example infer`

use arrow_json_codec::{DecodeOptions, RowDecoder, SchemaInference, TextEncoding};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let documents = [
        r#"{"id": 1, "price": 2, "ref": "a-7", "tags": ["new"]}"#,
        r#"{"id": 2, "price": 2.5, "ref": 8, "customer": {"name": "Ada"}}"#,
    ];
    let mut inference = SchemaInference::new();
    for document in documents {
        inference.add(document.as_bytes())?;
    }
    let fields = inference.finish();
    for field in &fields {
        let encoding = TextEncoding::of(field).name();
        println!("{}: {} ({encoding})", field.name(), field.data_type());
    }

    // Later documents may hold numbers that a Float64 does not keep: these are refused.
    let options = DecodeOptions::default().with_exact_doubles(true);
    let mut decoder = RowDecoder::try_new(&fields, &options)?;
    for document in documents {
        decoder.append(document.as_bytes())?;
    }
    let later = r#"{"id": 3, "price": 9007199254740993}"#;
    match decoder.append(later.as_bytes()) {
        Ok(()) => println!("{later}: taken"),
        Err(error) => println!("{later}: {error}"),
    }
    println!("{} rows", decoder.len());
    Ok(())
}
