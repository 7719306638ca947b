//! The data that the benches share: orders of about 300 bytes with 11 properties.

use std::fmt::Write as _;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

/// The columns of an order, `_key` not among them.
pub fn fields() -> Fields {
    let address = Fields::from(vec![
        Field::new("city", DataType::Utf8View, true),
        Field::new("zip", DataType::Utf8View, true),
    ]);
    Fields::from(vec![
        Field::new("order_id", DataType::Int64, true),
        Field::new("customer_id", DataType::Int64, true),
        Field::new("status", DataType::Utf8View, true),
        Field::new("amount", DataType::Decimal128(12, 2), true),
        Field::new("currency", DataType::Utf8View, true),
        Field::new(
            "created_at",
            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            true,
        ),
        Field::new("items", DataType::Int32, true),
        Field::new("express", DataType::Boolean, true),
        Field::new("tags", DataType::new_list(DataType::Utf8View, true), true),
        Field::new("address", DataType::Struct(address), true),
        Field::new("note", DataType::Utf8View, true),
    ])
}

/// The `i`th order of a deterministic sequence.
pub fn write_order(i: u64, out: &mut String) {
    const STATUS: [&str; 4] = ["new", "paid", "shipped", "returned"];
    const CITIES: [&str; 5] = ["Berlin", "Lyon", "Göteborg", "Porto", "Kraków"];
    let random = i.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    let status = STATUS[(random % 4) as usize];
    let city = CITIES[(random % 5) as usize];
    out.clear();
    write!(
        out,
        r#"{{"order_id":{i},"customer_id":{},"status":"{status}","amount":{}.{:02},"currency":"EUR","created_at":"2026-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z","items":{},"express":{},"tags":["online","region-{}"],"address":{{"city":"{city}","zip":"{:05}"}},"note":"leave the parcel with the neighbour at number {}"}}"#,
        random % 1_000_000,
        random % 5_000,
        random % 100,
        random % 12 + 1,
        random % 28 + 1,
        random % 24,
        random % 60,
        random % 59,
        random % 1000,
        random % 20,
        random.is_multiple_of(3),
        random % 40,
        random % 100_000,
        random % 200,
    )
    .expect("writing to a string");
}
