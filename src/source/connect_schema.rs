//! [`ConnectSchema`]: the types that Kafka Connect's description of a payload names.
//!
//! `JsonConverter` writes such a description into each record. Source:
//! [`JsonSchema`](https://github.com/apache/kafka/blob/trunk/connect/json/src/main/java/org/apache/kafka/connect/json/JsonSchema.java),
//! Kafka Connect's [logical types], and [Debezium's].
//!
//! [logical types]: https://kafka.apache.org/documentation/#connect_schemas
//! [Debezium's]: https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-data-types

use std::sync::Arc;

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef, Fields, TimeUnit,
};
use arrow_json_codec::{number_unit, with_days, with_unit};
use serde_json::Value;

use crate::definition::column_options::fields_within;
use crate::json::{TextEncoding, check_type};
use crate::options::Envelope;

/// The types of the descriptions that were read so far.
#[derive(Debug, Default)]
pub(crate) struct ConnectSchema {
    /// The description that was read last, since most records have the same one.
    last: Vec<u8>,
    /// The types at the place that is asked for, by the name of their fields.
    fields: Vec<FieldRef>,
}

impl ConnectSchema {
    /// Reads the description of the payloads in an envelope.
    pub(crate) fn add(&mut self, description: &[u8], envelope: Envelope) {
        if self.last == description {
            return;
        }
        self.last = description.to_vec();
        let Ok(schema) = serde_json::from_slice::<Value>(description) else {
            return;
        };
        let row = match envelope {
            Envelope::Debezium => struct_fields(&schema)
                .iter()
                .find(|field| field["field"] == "after"),
            Envelope::None | Envelope::Connect => Some(&schema),
        };
        for field in row.map_or(&[][..], struct_fields) {
            if let Some(name) = field["field"].as_str() {
                self.add_field(column(name, field), field);
            }
        }
    }

    /// Reads the description of a value that is no row.
    pub(crate) fn add_value(&mut self, description: &[u8], name: &str) {
        if self.last != description {
            self.last = description.to_vec();
            if let Ok(schema) = serde_json::from_slice(description) {
                self.add_field(column(name, &schema), &schema);
            }
        }
    }

    /// Notes a column. What is described as a struct without fields is left to the values.
    fn add_field(&mut self, field: Field, schema: &Value) {
        if schema["type"] == "struct" && struct_fields(schema).is_empty() {
            return;
        }
        let known = self.fields.iter_mut().find(|it| it.name() == field.name());
        match known {
            None => self.fields.push(Arc::new(field)),
            Some(known) => *known = Arc::new(both(known, field)),
        }
    }

    /// The column that was described first.
    pub(crate) fn into_first(self) -> Option<Field> {
        let first = self.fields.into_iter().next()?;
        Some(Arc::unwrap_or_clone(first))
    }

    /// The described columns, then those of `found` that are not described.
    pub(crate) fn typed(&self, found: &Fields) -> Fields {
        let is_described =
            |field: &&FieldRef| self.fields.iter().any(|it| it.name() == field.name());
        let others = found.iter().filter(|field| !is_described(field));
        self.fields.iter().chain(others).cloned().collect()
    }
}

/// Checks that columns take the numbers of a record as the record describes them.
///
/// A number of milliseconds and one of microseconds look alike, and so do decimals of two scales.
#[derive(Debug)]
pub(crate) struct DescriptionCheck {
    columns: Fields,
    envelope: Envelope,
    /// The descriptions that were checked last, and what is wrong with each.
    known: Vec<(Vec<u8>, Option<String>)>,
}

/// How many descriptions are remembered: those of a few writers at the same time.
const KNOWN: usize = 8;

impl DescriptionCheck {
    /// A check for these columns of payloads in an envelope; `None` where no description can
    /// contradict them.
    pub(crate) fn of(columns: &Fields, envelope: Envelope) -> Option<Self> {
        let may_differ = envelope != Envelope::None && columns.iter().any(|it| has_form(it));
        may_differ.then(|| DescriptionCheck {
            columns: columns.clone(),
            envelope,
            known: Vec::new(),
        })
    }

    /// What is wrong with a description, if anything is.
    pub(crate) fn check(&mut self, description: &[u8]) -> Option<&str> {
        let known = self
            .known
            .iter()
            .position(|(known, _)| known == description);
        let place = known.unwrap_or_else(|| {
            let mut schema = ConnectSchema::default();
            schema.add(description, self.envelope);
            let wrong = self.columns.iter().find_map(|column| {
                let described = schema.fields.iter();
                let mut same = described.filter(|it| it.name().eq_ignore_ascii_case(column.name()));
                contradiction(column, same.next()?)
            });
            if self.known.len() == KNOWN {
                self.known.remove(0);
            }
            self.known.push((description.to_vec(), wrong));
            self.known.len() - 1
        });
        self.known.get(place)?.1.as_deref()
    }
}

/// Whether the numbers of a column, or of a field within, have a unit or a scale.
fn has_form(field: &Field) -> bool {
    number_unit(field).is_some()
        || TextEncoding::of(field) == TextEncoding::Base64Decimal
        || fields_within(field).any(|(_, field)| has_form(field))
}

/// How a description contradicts a column, or a field within.
fn contradiction(column: &Field, described: &Field) -> Option<String> {
    let within = || {
        fields_within(column).find_map(|(selector, field)| {
            let (_, other) = fields_within(described).find(|(other, _)| *other == selector)?;
            contradiction(field, other)
        })
    };
    contradicts(column, described).or_else(within)
}

fn contradicts(column: &Field, described: &Field) -> Option<String> {
    let name = column.name();
    if let (Some(own), Some(unit)) = (number_unit(column), number_unit(described))
        && own != unit
    {
        return Some(format!(
            "the record describes `{name}` as a number of `{unit}`, and the column takes `{own}`"
        ));
    }
    let scale = |field: &Field| match field.data_type() {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => Some(*scale),
        _ => None,
    };
    let is_base64 = |field: &Field| TextEncoding::of(field) == TextEncoding::Base64Decimal;
    match (scale(column), scale(described)) {
        (Some(own), Some(scale)) if own != scale && is_base64(column) && is_base64(described) => {
            Some(format!(
                "the record describes `{name}` with {scale} decimal places, and the column has {own}"
            ))
        }
        _ => None,
    }
}

/// The fields of a struct.
fn struct_fields(schema: &Value) -> &[Value] {
    match schema["fields"].as_array() {
        Some(fields) if schema["type"] == "struct" => fields,
        _ => &[],
    }
}

/// A column that takes what is described.
///
/// The column may be NULL even where the description says that the value is not optional: older
/// records need not have the field.
fn column(name: &str, schema: &Value) -> Field {
    let of = |data_type| Field::new(name, data_type, true);
    let json = || TextEncoding::Json.mark(of(DataType::Utf8View));
    let logical = schema["name"].as_str().unwrap_or_default();
    let field = match (schema["type"].as_str().unwrap_or_default(), logical) {
        ("bytes", "org.apache.kafka.connect.data.Decimal") => match decimal(schema) {
            Some(data_type) => TextEncoding::Base64Decimal.mark(of(data_type)),
            None => json(),
        },
        ("int32", "org.apache.kafka.connect.data.Date" | "io.debezium.time.Date") => {
            with_days(&of(DataType::Date32))
        }
        ("int32", "org.apache.kafka.connect.data.Time" | "io.debezium.time.Time") => {
            time(name, TimeUnit::Millisecond)
        }
        ("int64", "org.apache.kafka.connect.data.Timestamp" | "io.debezium.time.Timestamp") => {
            timestamp(name, TimeUnit::Millisecond)
        }
        ("int64", "io.debezium.time.MicroTimestamp") => timestamp(name, TimeUnit::Microsecond),
        ("int64", "io.debezium.time.NanoTimestamp") => timestamp(name, TimeUnit::Nanosecond),
        ("int64", "io.debezium.time.MicroTime") => time(name, TimeUnit::Microsecond),
        ("int64", "io.debezium.time.NanoTime") => time(name, TimeUnit::Nanosecond),
        ("int8", _) => of(DataType::Int8),
        ("int16", _) => of(DataType::Int16),
        ("int32", _) => of(DataType::Int32),
        ("int64", _) => of(DataType::Int64),
        ("float", _) => of(DataType::Float32),
        ("double", _) => of(DataType::Float64),
        ("boolean", _) => of(DataType::Boolean),
        ("string", _) => of(DataType::Utf8View),
        ("bytes", _) => of(DataType::Binary),
        ("array", _) => {
            let item = column(Field::LIST_FIELD_DEFAULT_NAME, &schema["items"]);
            of(DataType::List(Arc::new(item)))
        }
        ("struct", _) => {
            let fields = struct_fields(schema)
                .iter()
                .filter_map(|field| Some(column(field["field"].as_str()?, field)));
            match fields.collect::<Fields>() {
                // Nothing can be selected from a struct without fields.
                fields if fields.is_empty() => json(),
                fields => of(DataType::Struct(fields)),
            }
        }
        ("map", _) if schema.pointer("/keys/type") == Some(&Value::from("string")) => {
            let key = Field::new("keys", DataType::Utf8, false);
            let value = column("values", &schema["values"]);
            Field::new_map(name, "entries", key, value, false, true)
        }
        // A map with other keys is an array of pairs.
        _ => json(),
    };
    match check_type(&field) {
        Ok(()) => field,
        Err(_) => json(),
    }
}

/// Times of all units have the type that SQL calls `TIME`.
fn time(name: &str, unit: TimeUnit) -> Field {
    let data_type = DataType::Time64(TimeUnit::Nanosecond);
    with_unit(&Field::new(name, data_type, true), unit)
}

fn timestamp(name: &str, unit: TimeUnit) -> Field {
    with_unit(
        &Field::new(name, DataType::Timestamp(unit, None), true),
        unit,
    )
}

/// The type of a decimal, whose parameters are text.
fn decimal(schema: &Value) -> Option<DataType> {
    let parameters = schema.get("parameters")?;
    let parameter = |name: &str| parameters.get(name)?.as_str()?.parse::<u8>().ok();
    let scale = parameter("scale")?;
    let precision = parameter("connect.decimal.precision").unwrap_or(DECIMAL128_MAX_PRECISION);
    if scale > precision || precision > DECIMAL256_MAX_PRECISION {
        return None;
    }
    let scale = i8::try_from(scale).ok()?;
    Some(match precision <= DECIMAL128_MAX_PRECISION {
        true => DataType::Decimal128(precision, scale),
        false => DataType::Decimal256(precision, scale),
    })
}

/// A column that takes what two descriptions of a field say.
fn both(known: &Field, other: Field) -> Field {
    use DataType::{Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, Struct};
    let width = |data_type: &DataType| {
        [Int8, Int16, Int32, Int64]
            .iter()
            .position(|it| it == data_type)
    };
    if *known == other {
        return other;
    }
    let is_plain = known.metadata().is_empty() && other.metadata().is_empty();
    let is_described_as =
        |encoding| TextEncoding::of(known) == encoding && TextEncoding::of(&other) == encoding;
    match (known.data_type(), other.data_type()) {
        (Decimal128(one, scale), Decimal128(two, other_scale))
            if scale == other_scale && is_described_as(TextEncoding::Base64Decimal) =>
        {
            let data_type = Decimal128(*one.max(two), *scale);
            other.with_data_type(data_type)
        }
        (Struct(one), Struct(two)) if is_plain => {
            let mut fields: Vec<FieldRef> = one.iter().cloned().collect();
            for field in two {
                match fields.iter_mut().find(|it| it.name() == field.name()) {
                    Some(known) => *known = Arc::new(both(known, field.as_ref().clone())),
                    None => fields.push(Arc::clone(field)),
                }
            }
            let data_type = Struct(fields.into());
            other.with_data_type(data_type)
        }
        (Int8 | Int16 | Int32, Float32 | Float64) | (Float32 | Float64, Int8 | Int16 | Int32)
            if is_plain =>
        {
            other.with_data_type(Float64)
        }
        (one, two) if is_plain && width(one).is_some() && width(two).is_some() => {
            match width(one) > width(two) {
                true => known.clone(),
                false => other,
            }
        }
        (Float32, Float64) | (Float64, Float32) if is_plain => other.with_data_type(Float64),
        // As where values of several kinds are inferred.
        _ => TextEncoding::Mixed.mark(Field::new(other.name(), DataType::Utf8View, true)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn described(fields: Value) -> ConnectSchema {
        let mut schema = ConnectSchema::default();
        let text = json!({"type": "struct", "fields": fields}).to_string();
        schema.add(text.as_bytes(), Envelope::Connect);
        schema
    }

    #[test]
    fn every_type_has_a_column() {
        let time = "io.debezium.time";
        let decimal = "org.apache.kafka.connect.data.Decimal";
        let schema = described(json!([
            {"field": "a", "type": "int16"},
            {"field": "b", "type": "bytes"},
            {"field": "c", "type": "int32", "name": format!("{time}.Date")},
            {"field": "d", "type": "int64", "name": format!("{time}.MicroTimestamp")},
            {"field": "e", "type": "bytes", "name": decimal,
             "parameters": {"scale": "2", "connect.decimal.precision": "10"}},
            {"field": "f", "type": "bytes", "name": decimal, "parameters": {"scale": "40"}},
            {"field": "g", "type": "array", "items": {"type": "double"}},
            {"field": "h", "type": "map", "keys": {"type": "string"}, "values": {"type": "int8"}},
            {"field": "i", "type": "struct", "fields": [{"field": "x", "type": "boolean"}]},
            {"field": "j", "type": "struct", "fields": []},
            {"field": "k", "type": "int64", "name": format!("{time}.NanoTime")},
        ]));
        let fields = schema.typed(&Fields::empty());
        let types: Vec<_> = fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let x = Field::new("x", DataType::Boolean, true);
        let key = Field::new("keys", DataType::Utf8, false);
        let value = Field::new("values", DataType::Int8, true);
        let map = Field::new_map("h", "entries", key, value, false, true);
        let map = map.data_type().clone();
        assert_eq!(
            types,
            [
                DataType::Int16,
                DataType::Binary,
                DataType::Date32,
                DataType::Timestamp(TimeUnit::Microsecond, None),
                DataType::Decimal128(10, 2),
                DataType::Utf8View,
                DataType::new_list(DataType::Float64, true),
                map,
                DataType::Struct(vec![x].into()),
                DataType::Time64(TimeUnit::Nanosecond),
            ]
        );
    }

    #[test]
    fn descriptions_that_differ_are_joined() {
        let decimal = "org.apache.kafka.connect.data.Decimal";
        let mut schema = described(json!([
            {"field": "a", "type": "int32"},
            {"field": "b", "type": "string"},
            {"field": "c", "type": "double"},
            {"field": "e", "type": "struct", "fields": [{"field": "x", "type": "int16"}]},
            {"field": "f", "type": "bytes", "name": decimal,
             "parameters": {"scale": "2", "connect.decimal.precision": "5"}},
        ]));
        let other = json!({"type": "struct", "fields": [
            {"field": "after", "type": "struct", "fields": [
                {"field": "a", "type": "int64"},
                {"field": "b", "type": "int8"},
                {"field": "c", "type": "float"},
                {"field": "d", "type": "boolean"},
                {"field": "e", "type": "struct", "fields": [
                    {"field": "x", "type": "int32"}, {"field": "y", "type": "int8"}]},
                {"field": "f", "type": "bytes", "name": decimal,
                 "parameters": {"scale": "2", "connect.decimal.precision": "12"}},
            ]},
        ]});
        schema.add(other.to_string().as_bytes(), Envelope::Debezium);
        for broken in ["{", "7", "{\"type\":\"struct\",\"fields\":[{}]}"] {
            schema.add(broken.as_bytes(), Envelope::Debezium);
        }
        let found = Fields::from(vec![
            Field::new("b", DataType::Int64, true),
            Field::new("z", DataType::Int64, true),
        ]);
        let fields = schema.typed(&found);
        let joined = vec![
            Field::new("x", DataType::Int32, true),
            Field::new("y", DataType::Int8, true),
        ];
        let types: Vec<_> = fields
            .iter()
            .map(|field| (field.name().as_str(), field.data_type().clone()))
            .collect();
        assert_eq!(
            types,
            [
                ("a", DataType::Int64),
                ("b", DataType::Utf8View),
                ("c", DataType::Float64),
                ("e", DataType::Struct(joined.into())),
                ("f", DataType::Decimal128(12, 2)),
                ("d", DataType::Boolean),
                ("z", DataType::Int64),
            ]
        );
        let mixed = fields.find("b").unwrap().1;
        assert_eq!(TextEncoding::of(mixed), TextEncoding::Mixed);
    }
}
