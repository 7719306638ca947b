//! The data that the benches share: orders, in three sizes, and events of orders.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};

/// The size of an order, and what is around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// 6 properties, about 100 bytes.
    Small,
    /// 11 properties, about 300 bytes, including an array and an object.
    Order,
    /// An order with 40 more properties, about 2000 bytes.
    Wide,
    /// The event of an update of an order, as Debezium writes it, about 900 bytes.
    Event,
    /// The same with Kafka Connect's description of the event, about 4000 bytes.
    Described,
}

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Shape::Small => "small",
            Shape::Order => "order",
            Shape::Wide => "wide",
            Shape::Event => "event",
            Shape::Described => "described",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Shape::Small,
            Shape::Order,
            Shape::Wide,
            Shape::Event,
            Shape::Described,
        ];
        all.into_iter().find(|shape| shape.name() == name)
    }

    /// The columns, without `_key`.
    pub fn fields(self) -> Fields {
        match self {
            Shape::Small => small_fields(),
            Shape::Order | Shape::Event | Shape::Described => fields(),
            Shape::Wide => fields().iter().cloned().chain(attributes()).collect(),
        }
    }

    /// The value of `kafka.value.envelope`.
    pub fn envelope(self) -> &'static str {
        match self {
            Shape::Small | Shape::Order | Shape::Wide => "none",
            Shape::Event | Shape::Described => "debezium",
        }
    }

    /// Order `i` of a deterministic sequence.
    pub fn write(self, i: u64, out: &mut String) {
        match self {
            Shape::Small => write_small(i, out),
            Shape::Order => write_order(i, out),
            Shape::Wide => write_wide(i, out),
            Shape::Event => write_event(i, out),
            Shape::Described => write_described(i, out),
        }
    }
}

/// The columns of [`Shape::Order`].
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

fn small_fields() -> Fields {
    let wanted = [
        "order_id",
        "customer_id",
        "status",
        "amount",
        "items",
        "express",
    ];
    let is_wanted = |field: &&FieldRef| wanted.contains(&field.name().as_str());
    fields().iter().filter(is_wanted).cloned().collect()
}

/// The additional properties of [`Shape::Wide`]: alternating texts and numbers.
fn attributes() -> impl Iterator<Item = FieldRef> {
    (0..ATTRIBUTES).map(|nth| {
        let data_type = match nth % 2 {
            0 => DataType::Utf8View,
            _ => DataType::Int64,
        };
        Arc::new(Field::new(format!("attribute_{nth:02}"), data_type, true))
    })
}

const ATTRIBUTES: u64 = 40;
const STATUS: [&str; 4] = ["new", "paid", "shipped", "returned"];

fn random(i: u64) -> u64 {
    i.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

fn write_small(i: u64, out: &mut String) {
    let random = random(i);
    out.clear();
    write!(
        out,
        r#"{{"order_id":{i},"customer_id":{},"status":"{}","amount":{}.{:02},"items":{},"express":{}}}"#,
        random % 1_000_000,
        STATUS[(random % 4) as usize],
        random % 5_000,
        random % 100,
        random % 20,
        random.is_multiple_of(3),
    )
    .expect("writing to a string");
}

fn write_wide(i: u64, out: &mut String) {
    write_order(i, out);
    out.pop();
    for nth in 0..ATTRIBUTES {
        let random = random(i * ATTRIBUTES + nth);
        match nth % 2 {
            0 => write!(
                out,
                r#","attribute_{nth:02}":"{random:020} as entered by clerk {}""#,
                random % 100,
            ),
            _ => write!(out, r#","attribute_{nth:02}":{}"#, random % 1_000_000_000),
        }
        .expect("writing to a string");
    }
    out.push('}');
}

fn write_event(i: u64, out: &mut String) {
    let mut order = |i| {
        write_order(i, out);
        out.clone()
    };
    let (before, after) = (order(i.saturating_sub(1)), order(i));
    let time = 1_700_000_000_000 + i;
    out.clear();
    write!(
        out,
        r#"{{"before":{before},"after":{after},"source":{{"version":"3.0.0.Final","connector":"postgresql","name":"shop","ts_ms":{time},"snapshot":"false","db":"shop","sequence":"[null,\"{i}\"]","schema":"public","table":"orders","txId":{i},"lsn":{i},"xmin":null}},"transaction":null,"op":"u","ts_ms":{time}}}"#,
    )
    .expect("writing to a string");
}

fn write_described(i: u64, out: &mut String) {
    write_event(i, out);
    let described = |field: &FieldRef| {
        let name = field.name();
        format!(r#"{{"type":"string","optional":true,"field":"{name}"}}"#)
    };
    let columns: Vec<String> = fields().iter().map(described).collect();
    let columns = columns.join(",");
    let row = |name: &str| {
        format!(
            r#"{{"type":"struct","fields":[{columns}],"optional":true,"name":"shop.public.orders.Value","field":"{name}"}}"#
        )
    };
    *out = format!(
        r#"{{"schema":{{"type":"struct","fields":[{},{}],"optional":false,"name":"shop.public.orders.Envelope"}},"payload":{out}}}"#,
        row("before"),
        row("after"),
    );
}

/// Order `i` with the properties of [`Shape::Order`].
pub fn write_order(i: u64, out: &mut String) {
    const CITIES: [&str; 5] = ["Berlin", "Lyon", "Göteborg", "Porto", "Kraków"];
    let random = random(i);
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
