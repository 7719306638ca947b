//! Finding properties of objects without decoding them.

use std::borrow::Cow;
use std::ops::Range;

use arrow::datatypes::{DataType, Field, Fields};

use crate::decode::indexed::IndexedDocument;
use crate::decode::properties::{FieldValues, ObjectReader};
use crate::decode::structural_index::StructuralIndex;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::options::NameMatching;
use crate::text::document::document;
use crate::text::scan::Scanner;
use crate::text::value::Kind;

/// Finds where the values of some properties lie in JSON objects, for readers of envelopes: the
/// wanted part of a message is found first, and then decoded on its own.
///
/// Names are compared exactly unless [`with_names`](Self::with_names) says otherwise. Of several
/// properties of one name the last counts, as in [`RowDecoder`](crate::RowDecoder).
///
/// ```
/// use arrow_json_codec::PropertyFinder;
///
/// let mut finder = PropertyFinder::new(&["op", "after"]);
/// let event = br#"{"before": null, "after": {"id": 7}, "op": "c"}"#;
/// let [op, after] = finder.find(event)? else { unreachable!() };
/// assert_eq!(after.clone().map(|range| &event[range]), Some(&br#"{"id": 7}"#[..]));
/// assert_eq!(op.clone().map(|range| &event[range]), Some(&br#""c""#[..]));
/// # Ok::<(), arrow_json_codec::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct PropertyFinder {
    fields: Fields,
    reader: ObjectReader,
    index: StructuralIndex,
    lenient: bool,
    found: Vec<Option<Range<usize>>>,
}

impl PropertyFinder {
    /// Prepares to find properties of these names. Of a name that is there twice, both places
    /// get the value.
    pub fn new(names: &[&str]) -> Self {
        let field = |name: &&str| Field::new(*name, DataType::Null, true);
        let fields: Fields = names.iter().map(field).collect();
        Self {
            reader: ObjectReader::new(&fields, NameMatching::Exact),
            fields,
            index: StructuralIndex::default(),
            lenient: false,
            found: vec![None; names.len()],
        }
    }

    /// How names are compared.
    #[must_use]
    pub fn with_names(mut self, names: NameMatching) -> Self {
        self.reader = ObjectReader::new(&self.fields, names);
        self
    }

    /// Whether documents are taken as [`DecodeOptions::lenient`](crate::DecodeOptions::lenient)
    /// says. By default they are not.
    #[must_use]
    pub fn with_lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// Checks a document as a whole, and returns the place of the value of each property, in the
    /// order of the names: `None` for a property that is not there. A place has the value as it
    /// stands in the document, without white space around it.
    ///
    /// # Errors
    /// A payload that is not exactly one JSON object in UTF-8.
    pub fn find(&mut self, payload: &[u8]) -> Result<&[Option<Range<usize>>], DecodeError> {
        if self.find_fast(payload).is_none() {
            self.find_checked(payload)?;
        }
        Ok(&self.found)
    }

    fn find_fast(&mut self, payload: &[u8]) -> Option<()> {
        self.found.fill(None);
        let document = IndexedDocument::new(payload, &mut self.index, self.lenient)?;
        let start = document.start();
        if document.byte(start) != Some(b'{') {
            return None;
        }
        let inner = document.within()?;
        let found = &mut self.found;
        let visited = self.reader.visit_fast(&inner, start + 1, |targets, value| {
            let end = inner.skip(value)?;
            for target in targets {
                // Which of two properties counts is left to the checked way.
                let place = found.get_mut(target.field)?;
                if place.replace(value..end).is_some() {
                    return None;
                }
            }
            Some(end)
        });
        document.ends(visited?).then_some(())
    }

    fn find_checked(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        let value = document(payload, self.lenient)?;
        if value.kind() != Kind::Object {
            let kind = DecodeErrorKind::NotAnObject(value.kind().found());
            return Err(DecodeError::new(value.position(), kind));
        }
        let mut values = FieldValues::new(self.found.len());
        self.reader
            .visit_checked(&mut Scanner::of_value(&value), |targets, scanner| {
                values.fill(targets, scanner.value_token()?);
                Ok(())
            })?;
        for (found, token) in self.found.iter_mut().zip(values.tokens()) {
            *found = token.map(|token| token.span());
        }
        Ok(())
    }
}

/// The text of a JSON value that is a string; `None` for any other value, and for what is not
/// JSON.
///
/// ```
/// use arrow_json_codec::string_value;
///
/// assert_eq!(string_value(br#""\u0064""#).as_deref(), Some("d"));
/// assert_eq!(string_value(b"7"), None);
/// ```
pub fn string_value(value: &[u8]) -> Option<Cow<'_, str>> {
    document(value, true).ok()?.text()
}

/// Where the documents of a payload are that has several, one behind the other, with or without
/// white space between them.
///
/// ```
/// let lines = b"{\"a\": 1}\n[2] 3\n";
/// let places = arrow_json_codec::documents(lines, false)?;
/// let documents: Vec<&[u8]> = places.into_iter().map(|place| &lines[place]).collect();
/// assert_eq!(documents, [&b"{\"a\": 1}"[..], b"[2]", b"3"]);
/// # Ok::<(), arrow_json_codec::DecodeError>(())
/// ```
///
/// # Errors
/// A payload that is not UTF-8, or has something that is not JSON. `lenient` is that of
/// [`DecodeOptions`](crate::DecodeOptions::lenient).
pub fn documents(payload: &[u8], lenient: bool) -> Result<Vec<Range<usize>>, DecodeError> {
    let mut found = Vec::new();
    if payload.is_empty() {
        return Ok(found);
    }
    let mut scanner = Scanner::of_document(payload, lenient)?;
    while scanner.next().is_some() {
        found.push(scanner.value_token()?.span());
    }
    Ok(found)
}
