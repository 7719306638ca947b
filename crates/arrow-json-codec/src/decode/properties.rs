//! Finding the wanted properties of an object.

use std::borrow::Cow;

use arrow::datatypes::Fields;
use hashbrown::HashMap;

use super::indexed::IndexedDocument;
use crate::error::DecodeError;
use crate::options::NameMatching;
use crate::text::invalid::Invalid;
use crate::text::scan::Scanner;
use crate::text::value::Token;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// How many spellings of names are remembered beyond the fields of the schema.
const MAX_SPELLINGS: usize = 1024;
/// How long a remembered spelling may be, in bytes.
const MAX_SPELLING: usize = 256;
/// How long the name of a property that is no field may be in a message, in bytes.
const MAX_SHOWN: usize = 64;

/// Goes through objects and says which fields their properties fill.
///
/// Objects of one source mostly have the same properties in the same order and spelling, so
/// the next property can be guessed from the one before. What stands between two values, as
/// in `, "name": `, is remembered in a [`PropertySlot`], with the fields that the value
/// behind it fills and with the slot that followed last time. Where the guess is right, a
/// property costs one comparison of bytes: no name is parsed, and none is looked up. Where
/// the guess is wrong, the name is parsed and looked up among all spellings, and the slot
/// before is corrected.
#[derive(Debug)]
pub(crate) struct ObjectReader {
    names: Vec<String>,
    matching: NameMatching,
    fields_by_folded_name: Map<String, Vec<usize>>,
    slots: Vec<PropertySlot>,
    slot_by_spelling: Map<Box<[u8]>, usize>,
    /// The slot that came first in the object before.
    first: usize,
}

/// The index of no slot.
const NO_SLOT: usize = usize::MAX;

/// A property as it stands in payloads.
#[derive(Debug)]
struct PropertySlot {
    /// The bytes from the end of the value before, a comma included, to the property's value.
    spelling: Box<[u8]>,
    start: Start,
    targets: Vec<Target>,
    /// The slot that came next the last time.
    next: usize,
}

impl PropertySlot {
    /// The length of the spelling, if these bytes start with it.
    #[inline]
    fn length_at(&self, bytes: &[u8]) -> Option<usize> {
        let length = self.spelling.len();
        let end = || {
            let here = bytes
                .get(..length)
                .and_then(|here| here.last_chunk::<START>());
            here == self.spelling.last_chunk()
        };
        let same = match bytes.first_chunk() {
            Some(chunk) if length <= START => self.start.is_in(*chunk),
            // The first and the last sixteen bytes overlap.
            Some(chunk) if length <= 2 * START => self.start.is_in(*chunk) && end(),
            _ => bytes.starts_with(&self.spelling),
        };
        same.then_some(length)
    }
}

/// How many bytes are compared at once.
const START: usize = 16;

/// Up to [`START`] bytes, which are compared in one step, be they few or many.
#[derive(Debug, Clone, Copy)]
struct Start {
    bytes: u128,
    mask: u128,
}

impl Start {
    fn of(spelling: &[u8]) -> Self {
        let fill = |byte: fn(u8) -> u8| {
            let bytes = spelling.iter().take(START).rev();
            bytes.fold(0, |all, next| all << 8 | u128::from(byte(*next)))
        };
        Self {
            bytes: fill(|byte| byte),
            mask: fill(|_| u8::MAX),
        }
    }

    #[inline]
    fn is_in(self, chunk: [u8; START]) -> bool {
        (u128::from_le_bytes(chunk) ^ self.bytes) & self.mask == 0
    }
}

/// The property before another one in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Previous {
    Nothing,
    Slot(usize),
    /// A property without a slot.
    Unslotted,
}

/// What comes next in an object.
enum Next {
    /// The end of the object, and the position behind it.
    End(usize),
    /// A property with a slot, and the position of its value.
    Slot(usize, usize),
    /// A property for which there is no room: its fields, and the position of its value.
    Unslotted(Vec<Target>, usize),
}

/// A field that a property fills.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) field: usize,
    /// Whether the name of the property is exactly the field's.
    pub(crate) exact: bool,
}

impl ObjectReader {
    pub(crate) fn new(fields: &Fields, matching: NameMatching) -> Self {
        let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        let mut fields_by_folded_name = Map::<String, Vec<usize>>::default();
        for (index, name) in names.iter().enumerate() {
            fields_by_folded_name
                .entry(fold(name).into_owned())
                .or_default()
                .push(index);
        }
        Self {
            names,
            matching,
            fields_by_folded_name,
            slots: Vec::new(),
            slot_by_spelling: Map::default(),
            first: NO_SLOT,
        }
    }

    /// Goes through an object, and hands out the fields that each property fills with the
    /// scanner before its value, which `take` decodes or skips.
    pub(crate) fn visit_checked<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        mut take: impl FnMut(&[Target], &mut Scanner<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        scanner.open_object()?;
        let mut first = true;
        loop {
            let start = scanner.position();
            if !scanner.more_properties(first)? {
                return Ok(());
            }
            first = false;
            let name = scanner.property()?;
            scanner.colon()?;
            scanner.next();
            let slot = self.slot_of(scanner, start, name);
            match slot.and_then(|index| self.slots.get(index)) {
                Some(slot) => take(&slot.targets, scanner)?,
                None => take(&self.targets(scanner, name), scanner)?,
            }
        }
    }

    /// The same without errors that say why, from behind the opening bracket. `take` gets
    /// the position of each value and returns where the value ends. Returns where the object
    /// ends.
    #[inline]
    pub(crate) fn visit_fast(
        &mut self,
        document: &IndexedDocument<'_>,
        mut at: usize,
        mut take: impl FnMut(&[Target], usize) -> Option<usize>,
    ) -> Option<usize> {
        let mut previous = Previous::Nothing;
        let mut guess = self.first;
        let mut unslotted = Vec::new();
        loop {
            let guessed = self.slots.get(guess);
            let length = guessed.and_then(|slot| slot.length_at(document.rest(at)?));
            let (here, value) = match length {
                Some(length) => (Previous::Slot(guess), document.space(at + length)),
                None if document.byte(at) == Some(b'}') => return Some(at + 1),
                None => match self.find_next(document, at, previous)? {
                    Next::End(end) => return Some(end),
                    Next::Slot(index, value) => (Previous::Slot(index), value),
                    Next::Unslotted(targets, value) => {
                        unslotted = targets;
                        (Previous::Unslotted, value)
                    }
                },
            };
            let targets;
            (targets, guess) = match here {
                Previous::Slot(index) => {
                    let slot = self.slots.get(index)?;
                    (&slot.targets, slot.next)
                }
                _ => (&unslotted, NO_SLOT),
            };
            at = take(targets, value)?;
            previous = here;
        }
    }

    /// What comes next where the guess was wrong. The guess is corrected.
    #[cold]
    fn find_next(
        &mut self,
        document: &IndexedDocument<'_>,
        at: usize,
        previous: Previous,
    ) -> Option<Next> {
        let mut scanner = document.scanner(at);
        let first = previous == Previous::Nothing;
        if !scanner.more_properties(first).ok()? {
            return Some(Next::End(scanner.position()));
        }
        let name = scanner.property().ok()?;
        scanner.colon().ok()?;
        scanner.next();
        let value = scanner.position();
        let slot = self.slot_of(&scanner, at, name);
        // A spelling is only guessed behind the property that it followed, or at the start
        // of an object. So a spelling with a comma is never guessed where none may be.
        let guess = match previous {
            Previous::Nothing => Some(&mut self.first),
            Previous::Slot(index) => self.slots.get_mut(index).map(|slot| &mut slot.next),
            Previous::Unslotted => None,
        };
        if let Some(guess) = guess {
            *guess = slot.unwrap_or(NO_SLOT);
        }
        Some(match slot {
            Some(index) => Next::Slot(index, value),
            None => Next::Unslotted(self.targets(&scanner, name), value),
        })
    }

    /// The slot of the property that is spelled like the text from `start` to the scanner: a
    /// new one if there is room.
    fn slot_of(&mut self, scanner: &Scanner<'_>, start: usize, name: Token) -> Option<usize> {
        let spelling = scanner.since(start);
        if let Some(index) = self.slot_by_spelling.get(spelling) {
            return Some(*index);
        }
        let index = self.slots.len();
        if index >= MAX_SPELLINGS + self.names.len() || spelling.len() > MAX_SPELLING {
            return None;
        }
        self.slots.push(PropertySlot {
            start: Start::of(spelling),
            spelling: spelling.into(),
            targets: self.targets(scanner, name),
            next: NO_SLOT,
        });
        self.slot_by_spelling.insert(spelling.into(), index);
        Some(index)
    }

    /// In which property of an object a scanner meets something that is not JSON: the
    /// field's name, or else the property's own one.
    pub(crate) fn property_at_fault(&self, mut scanner: Scanner<'_>) -> Option<String> {
        scanner.open_object().ok()?;
        let mut first = true;
        while scanner.more_properties(first).ok()? {
            first = false;
            let name = scanner.property().ok()?;
            scanner.colon().ok()?;
            if scanner.value_token().is_err() {
                let targets = self.targets(&scanner, name);
                let field = targets
                    .first()
                    .and_then(|target| self.names.get(target.field));
                return match field {
                    Some(field) => Some(field.clone()),
                    None => scanner
                        .resolve(name)
                        .text()
                        .filter(|name| is_short(name))
                        .map(Cow::into_owned),
                };
            }
        }
        None
    }

    /// The fields that a property fills: those of exactly its name or else, unless names are
    /// matched exactly, those whose names differ in case.
    pub(crate) fn targets(&self, scanner: &Scanner<'_>, name: Token) -> Vec<Target> {
        let name = scanner.resolve(name).text().unwrap_or_default();
        let mut targets: Vec<_> = self
            .fields_by_folded_name
            .get(&*fold(&name))
            .into_iter()
            .flatten()
            .map(|&field| Target {
                field,
                exact: self.names.get(field).is_some_and(|field| *field == name),
            })
            .collect();
        if self.matching == NameMatching::Exact || targets.iter().any(|target| target.exact) {
            targets.retain(|target| target.exact);
        }
        targets
    }
}

/// Which value each field has, where several properties may fill it.
#[derive(Debug)]
pub(crate) struct FieldValues(Vec<FieldValue>);

#[derive(Debug, Clone, Copy, Default)]
struct FieldValue {
    token: Option<Token>,
    exact: bool,
}

impl FieldValues {
    pub(crate) fn new(fields: usize) -> Self {
        Self(vec![FieldValue::default(); fields])
    }

    /// Notes a value. The last exact property wins, or else the last one at all.
    pub(crate) fn fill(&mut self, targets: &[Target], token: Token) {
        for target in targets {
            if let Some(value) = self.0.get_mut(target.field)
                && (target.exact || !value.exact)
            {
                value.token = Some(token);
                value.exact = target.exact;
            }
        }
    }

    /// The value of every field in turn.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Option<Token>> {
        self.0.iter().map(|value| value.token)
    }
}

/// Whether a name is short enough for a message, and of one line.
fn is_short(name: &str) -> bool {
    name.len() <= MAX_SHOWN && !name.contains(char::is_control)
}

fn fold(name: &str) -> Cow<'_, str> {
    if name
        .bytes()
        .any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii())
    {
        return Cow::Owned(name.to_lowercase());
    }
    Cow::Borrowed(name)
}

/// All entries of an object, in the order in which their names first appear, each with its
/// last value.
pub(crate) fn entries(
    scanner: &mut Scanner<'_>,
    entries: &mut Vec<(Token, Token)>,
) -> Result<(), Invalid> {
    entries.clear();
    scanner.open_object()?;
    let mut index_by_name = Map::<Cow<'_, str>, usize>::default();
    while scanner.more_properties(entries.is_empty())? {
        let name = scanner.property()?;
        scanner.colon()?;
        let value = scanner.value_token()?;
        let text = scanner.resolve(name).text().unwrap_or_default();
        let index = *index_by_name.entry(text).or_insert(entries.len());
        match entries.get_mut(index) {
            Some(entry) => entry.1 = value,
            None => entries.push((name, value)),
        }
    }
    Ok(())
}
