//! [`EnvelopeReader`]: finds the row in a payload, and what the payload says about its key.

use std::ops::Range;

use arrow_json_codec::{PropertyFinder, string_value};
use serde_json::{Map, Value};

use crate::json::{DecodeError, DecodeErrorKind};
use crate::options::{Envelope, Framing, TableOptions};

/// What a payload says about its key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    /// Where the row is in the payload.
    pub(crate) row: Range<usize>,
    /// The letter of a Debezium event: `c`, `u`, `r` or `d`.
    pub(crate) op: Option<&'static str>,
    /// When the change was made in the source, in milliseconds since 1970.
    pub(crate) source_timestamp: Option<i64>,
    /// Where the row before the change is in the payload.
    pub(crate) before: Option<Range<usize>>,
    /// Where Kafka Connect's description of the payload is, if the payload has one.
    pub(crate) schema: Option<Range<usize>>,
}

impl Event {
    /// An event without a row.
    fn of(kind: EventKind) -> Self {
        Event {
            kind,
            ..Event::default()
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum EventKind {
    /// The payload has a row.
    #[default]
    Row,
    /// The key is deleted.
    Delete,
    /// The payload says nothing about its key: as if the record had never been written.
    PassedOver,
}

/// Finds the rows of the payloads of one table.
#[derive(Debug)]
pub(crate) struct EnvelopeReader {
    framing: Framing,
    opener: Opener,
    /// Finds the property that marks a deleted row.
    deleted_by: Option<PropertyFinder>,
}

/// Finds what an envelope consists of.
#[derive(Debug)]
enum Opener {
    None,
    Connect(PropertyFinder),
    Debezium {
        event: PropertyFinder,
        /// For the time of a change, where that is read.
        source: Option<Box<PropertyFinder>>,
    },
}

/// The properties of Kafka Connect's envelope.
const CONNECT: [&str; 2] = ["schema", "payload"];
/// The properties of Debezium's envelope that are read.
const DEBEZIUM: [&str; 6] = ["op", "after", "before", "source", "schema", "payload"];

impl EnvelopeReader {
    /// A reader for rows in this envelope.
    pub(crate) fn new(envelope: Envelope, options: &TableOptions) -> Self {
        let finder =
            |names: &[&str]| PropertyFinder::new(names).with_lenient(options.decode.lenient);
        EnvelopeReader {
            framing: options.framing,
            opener: match envelope {
                Envelope::None => Opener::None,
                Envelope::Connect => Opener::Connect(finder(&CONNECT)),
                Envelope::Debezium => Opener::Debezium {
                    event: finder(&DEBEZIUM),
                    source: None,
                },
            },
            deleted_by: None,
        }
    }

    /// A reader for the payloads of a table.
    pub(crate) fn for_payloads(options: &TableOptions) -> Self {
        let finder = |name: &String| {
            PropertyFinder::new(&[name])
                .with_names(options.decode.names)
                .with_lenient(options.decode.lenient)
        };
        EnvelopeReader {
            deleted_by: options.deleted_by.as_ref().map(finder),
            ..EnvelopeReader::new(options.value_envelope(), options)
        }
    }

    /// A reader for the keys of a table.
    pub(crate) fn for_keys(options: &TableOptions) -> Self {
        EnvelopeReader::new(options.key_envelope(), options)
    }

    /// Also reads when a change was made in the source.
    #[must_use]
    pub(crate) fn with_source_timestamp(mut self) -> Self {
        if let Opener::Debezium { source, .. } = &mut self.opener {
            *source = Some(Box::new(PropertyFinder::new(&["ts_ms"])));
        }
        self
    }

    /// Finds the row in a payload.
    ///
    /// # Errors
    /// A payload that is not JSON, or does not have the shape of the envelope.
    pub(crate) fn open(&mut self, payload: &[u8]) -> Result<Event, DecodeError> {
        let start = self.framing.split(payload).0.len();
        let whole = start..payload.len();
        let mut event = match &mut self.opener {
            Opener::None => Event {
                row: whole,
                ..Event::default()
            },
            Opener::Connect(finder) => open_connect(finder, payload, &whole)?,
            Opener::Debezium { event, source } => {
                open_debezium(event, source.as_deref_mut(), payload, whole)?
            }
        };
        if let (EventKind::Row, Some(finder)) = (event.kind, &mut self.deleted_by) {
            let [Some(mark)] = find(finder, payload, &event.row)? else {
                return Ok(event);
            };
            let mark = text(payload, &mark);
            if mark == b"true" || string_value(mark).is_some_and(|text| text == "true") {
                event.kind = EventKind::Delete;
            }
        }
        Ok(event)
    }
}

fn open_connect(
    finder: &mut PropertyFinder,
    payload: &[u8],
    whole: &Range<usize>,
) -> Result<Event, DecodeError> {
    let [Some(schema), Some(row)] = find(finder, payload, whole)? else {
        return Err(unlike(
            "there are no `schema` and `payload`, as Kafka Connect writes them",
        ));
    };
    let kind = match text(payload, &row) {
        b"null" => EventKind::Delete,
        _ => EventKind::Row,
    };
    Ok(Event {
        kind,
        row,
        schema: Some(schema).filter(|schema| is_object(payload, schema)),
        ..Event::default()
    })
}

fn open_debezium(
    finder: &mut PropertyFinder,
    source_finder: Option<&mut PropertyFinder>,
    payload: &[u8],
    whole: Range<usize>,
) -> Result<Event, DecodeError> {
    let mut found: [_; DEBEZIUM.len()] = find(finder, payload, &whole)?;
    let mut schema = None;
    let mut inner = whole;
    if let [None, _, _, _, outer, Some(row)] = found.clone() {
        inner = row;
        if text(payload, &inner) == b"null" {
            return Ok(Event::of(EventKind::Delete));
        }
        schema = outer.filter(|schema| is_object(payload, schema));
        found = find(finder, payload, &inner)?;
    }
    let [op, after, before, source, ..] = found;
    let Some(op) = op else {
        return match is_message(text(payload, &inner)) {
            true => Ok(Event::of(EventKind::PassedOver)),
            false => Err(unlike("there is no `op`, as Debezium writes it")),
        };
    };
    let (kind, op) = match string_value(text(payload, &op)).as_deref() {
        Some("c") => (EventKind::Row, "c"),
        Some("u") => (EventKind::Row, "u"),
        Some("r") => (EventKind::Row, "r"),
        Some("d") => (EventKind::Delete, "d"),
        // A table was truncated, or a message was logged: neither is about a key.
        Some("t" | "m") => return Ok(Event::of(EventKind::PassedOver)),
        _ => return Err(unlike("`op` is not c, u, r, d, t or m")),
    };
    let after = after.filter(|after| is_object(payload, after));
    if kind == EventKind::Row && after.is_none() {
        return Err(unlike("`after` is not an object, which this `op` needs"));
    }
    let source = source.filter(|source| is_object(payload, source));
    let source_timestamp = match source_finder.zip(source) {
        Some((finder, source)) => {
            let [time] = find(finder, payload, &source)?;
            time.and_then(|time| std::str::from_utf8(text(payload, &time)).ok()?.parse().ok())
        }
        None => None,
    };
    Ok(Event {
        kind,
        row: after.unwrap_or_default(),
        op: Some(op),
        source_timestamp,
        before: before.filter(|before| is_object(payload, before)),
        schema,
    })
}

/// Whether an object without `op` is another message of Debezium: a heartbeat, a schema change, or
/// the beginning or end of a transaction.
#[cold]
fn is_message(object: &[u8]) -> bool {
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(object) else {
        return false;
    };
    let has = |name: &str| object.contains_key(name);
    let only = |names: &[&str]| object.keys().all(|name| names.contains(&name.as_str()));
    let is_timed = object.get("ts_ms").is_some_and(Value::is_number);
    let times = ["ts_ms", "ts_us", "ts_ns"];
    let is_heartbeat = is_timed && only(&times);
    let is_schema_change = has("source") && (has("ddl") || has("tableChanges"));
    let transaction = ["status", "id", "event_count", "data_collections"];
    let is_transaction =
        has("status") && has("id") && only(&[&transaction[..], &times[..]].concat());
    is_heartbeat || is_schema_change || is_transaction
}

fn text<'a>(payload: &'a [u8], place: &Range<usize>) -> &'a [u8] {
    payload.get(place.clone()).unwrap_or_default()
}

fn is_object(payload: &[u8], place: &Range<usize>) -> bool {
    text(payload, place).starts_with(b"{")
}

/// The places of some properties of the object at `within`.
fn find<const N: usize>(
    finder: &mut PropertyFinder,
    payload: &[u8],
    within: &Range<usize>,
) -> Result<[Option<Range<usize>>; N], DecodeError> {
    let start = within.start;
    let found = finder.find(text(payload, within)).map_err(|mut error| {
        if matches!(error.kind, DecodeErrorKind::NotAnObject(_)) {
            return unlike("expected an object, as every row and its envelope is");
        }
        error.position += start;
        error
    })?;
    let mut places = found.iter();
    Ok(std::array::from_fn(|_| {
        let place = places.next()?.as_ref()?;
        Some(start + place.start..start + place.end)
    }))
}

/// The error of a payload that does not have the shape of its envelope.
fn unlike(reason: &str) -> DecodeError {
    DecodeError::new(0, DecodeErrorKind::Custom(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(envelope: Envelope, payload: &str) -> Event {
        let mut reader =
            EnvelopeReader::new(envelope, &TableOptions::default()).with_source_timestamp();
        reader.open(payload.as_bytes()).unwrap()
    }

    fn part(payload: &str, place: Option<Range<usize>>) -> &str {
        place.and_then(|place| payload.get(place)).unwrap()
    }

    #[test]
    fn the_parts_of_an_event_are_found_within_all_that_surrounds_it() {
        let event = r#"{"op":"u","source":{"ts_ms":5},"before":{"id":1},"after":{"id":2}}"#;
        let schema = r#"{"type":"struct"}"#;
        for payload in [
            event.to_owned(),
            format!(r#"{{"schema":{schema},"payload":{event}}}"#),
            format!("\0\0\0\0\u{7} {{\"payload\": {event}, \"schema\": {schema}}}"),
        ] {
            let found = open(Envelope::Debezium, &payload);
            assert_eq!(found.kind, EventKind::Row);
            assert_eq!(part(&payload, Some(found.row)), r#"{"id":2}"#);
            assert_eq!(part(&payload, found.before), r#"{"id":1}"#);
            assert_eq!((found.op, found.source_timestamp), (Some("u"), Some(5)));
            if payload != event {
                assert_eq!(part(&payload, found.schema), schema);
            }
        }
    }

    #[test]
    fn what_is_not_about_a_key_is_passed_over() {
        let mut reader = EnvelopeReader::new(Envelope::Debezium, &TableOptions::default());
        for payload in [
            r#"{"id":1,"ts_ms":5}"#,
            r#"{"ts_ms":"x"}"#,
            r#"{"status":"new","id":1,"amount":2}"#,
            r#"{"ddl":"x"}"#,
        ] {
            assert!(reader.open(payload.as_bytes()).is_err(), "{payload}");
        }
        for payload in [
            r#"{"ts_ms":1}"#,
            r#"{"ts_ms":1,"ts_us":1000,"ts_ns":1000000}"#,
            r#"{"status":"END","id":"571","event_count":2,"data_collections":[],"ts_ms":1}"#,
            r#"{"source":{},"ts_ms":1,"ddl":"CREATE TABLE a","tableChanges":[]}"#,
            r#"{"op":"t","source":{},"ts_ms":1}"#,
            r#"{"op":"m","message":{"prefix":"x"}}"#,
            r#"{"schema":{},"payload":{"ts_ms":1}}"#,
        ] {
            let found = open(Envelope::Debezium, payload);
            assert_eq!(found.kind, EventKind::PassedOver, "{payload}");
        }
        for payload in [r#"{"schema":null,"payload":null}"#, r#"{"op":"d"}"#] {
            let found = open(Envelope::Debezium, payload);
            assert_eq!(found.kind, EventKind::Delete, "{payload}");
        }
    }
}
