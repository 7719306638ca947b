//! Records as Debezium's connectors write them.
//!
//! Source: <https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events>

use serde_json::{Value, json};

use crate::broker::Rec;

/// How a connector is set up.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// `value.converter.schemas.enable`
    pub schemas: bool,
    /// `tombstones.on.delete`
    pub tombstones: bool,
}

impl Variant {
    pub const ALL: [Variant; 4] = [
        Variant::new(false, false),
        Variant::new(false, true),
        Variant::new(true, false),
        Variant::new(true, true),
    ];

    const fn new(schemas: bool, tombstones: bool) -> Self {
        Variant {
            schemas,
            tombstones,
        }
    }

    /// The records of one change. `op` is `c`, `u`, `r` or `d`.
    pub fn change(self, op: &str, id: i64, before: Value, after: Value, at: i64) -> Vec<Rec> {
        let event = json!({
            "before": before,
            "after": after,
            "source": {
                "version": "3.0.0.Final",
                "connector": "postgresql",
                "name": "shop",
                "ts_ms": at,
                "snapshot": if op == "r" { "true" } else { "false" },
                "db": "shop",
                "sequence": "[\"24023119\",\"24023128\"]",
                "schema": "public",
                "table": "customers",
                "txId": 555,
                "lsn": 24_023_128,
                "xmin": null,
            },
            "transaction": null,
            "op": op,
            "ts_ms": at + 17,
            "ts_us": (at + 17) * 1000,
        });
        let key = self.key(id);
        let mut records = vec![Rec::new(key.clone(), self.enveloped(event, &customers()))];
        if op == "d" && self.tombstones {
            records.push(Rec::tombstone(key));
        }
        records
    }

    pub fn key(self, id: i64) -> String {
        let schema = json!({
            "type": "struct",
            "fields": [{"type": "int32", "optional": false, "default": 0, "field": "id"}],
            "optional": false,
            "name": "shop.public.customers.Key",
        });
        self.enveloped(json!({"id": id}), &schema)
    }

    /// A heartbeat, or anything else that has no row.
    pub fn other(self, message: Value) -> String {
        let schema = json!({"type": "struct", "fields": [], "optional": false});
        self.enveloped(message, &schema)
    }

    fn enveloped(self, payload: Value, schema: &Value) -> String {
        match self.schemas {
            true => json!({"schema": schema, "payload": payload}).to_string(),
            false => payload.to_string(),
        }
    }
}

/// A row of the table.
pub fn customer(id: i64, name: &str, spent: f64) -> Value {
    json!({"id": id, "name": name, "spent": spent})
}

/// The schema of the events.
fn customers() -> Value {
    let row = |field: &str| {
        json!({
            "type": "struct",
            "fields": [
                {"type": "int32", "optional": false, "default": 0, "field": "id"},
                {"type": "string", "optional": true, "field": "name"},
                {"type": "double", "optional": true, "field": "spent"},
            ],
            "optional": true,
            "name": "shop.public.customers.Value",
            "field": field,
        })
    };
    json!({
        "type": "struct",
        "fields": [
            row("before"),
            row("after"),
            {
                "type": "struct",
                "fields": [
                    {"type": "string", "optional": false, "field": "version"},
                    {"type": "int64", "optional": false, "field": "ts_ms"},
                ],
                "optional": false,
                "name": "io.debezium.connector.postgresql.Source",
                "field": "source",
            },
            {"type": "string", "optional": false, "field": "op"},
            {"type": "int64", "optional": true, "field": "ts_ms"},
        ],
        "optional": false,
        "name": "shop.public.customers.Envelope",
    })
}
