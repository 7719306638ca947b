//! Finding the wanted properties of an object.

use std::borrow::Cow;

use arrow::datatypes::Fields;
use hashbrown::HashMap;

use super::marked::Marked;
use crate::error::DecodeError;
use crate::options::NameMatching;
use crate::text::scan::{Invalid, Scanner};
use crate::text::value::Token;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// How many spellings of names are remembered beyond the fields of the schema.
const MAX_UNKNOWN: usize = 1024;
/// How long a remembered spelling may be, in bytes.
const MAX_SPELLING: usize = 256;
/// How long the name of a property that is no field may be in a message, in bytes.
const MAX_SHOWN: usize = 64;

/// Goes through objects and says which fields their properties fill.
///
/// Objects of one topic mostly have the same properties in the same order and
/// spelling. So whatever stood between two values is remembered together with
/// the fields that the second one fills and what came behind that last time:
/// where the guess is right, a property costs one comparison of bytes.
#[derive(Debug)]
pub(crate) struct ObjectReader {
    names: Vec<String>,
    matching: NameMatching,
    fields_by_folded_name: Map<String, Vec<usize>>,
    known: Vec<Known>,
    known_by_spelling: Map<Box<[u8]>, usize>,
    first: usize,
}

/// Stands for none of the known.
const UNKNOWN: usize = usize::MAX;

/// A property as it stands in payloads.
#[derive(Debug)]
struct Known {
    /// From the end of what is before it, a comma included, to its value.
    spelling: Box<[u8]>,
    start: Start,
    targets: Vec<Target>,
    next: usize,
}

impl Known {
    /// How long it is, if it is what these bytes start with.
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
            Some(chunk) if length <= 2 * START => self.start.is_in(*chunk) && end(),
            _ => bytes.starts_with(&self.spelling),
        };
        same.then_some(length)
    }
}

/// How many bytes are compared at once.
const START: usize = 16;

/// Up to [`START`] bytes, to be compared in one step whatever their number is.
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

/// What is before a property in its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Previous {
    Nothing,
    Known(usize),
    Forgotten,
}

/// What is met in an object: its end, or the value of a property.
enum Met {
    End(usize),
    Known(usize, usize),
    /// There are too many spellings: this one's fields are found and forgotten.
    Forgotten(Vec<Target>, usize),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) field: usize,
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
            known: Vec::new(),
            known_by_spelling: Map::default(),
            first: UNKNOWN,
        }
    }

    /// Reads an object: hands out the fields that each property fills with the
    /// scanner before its value, which `take` reads or skips.
    pub(crate) fn read<'a>(
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
            let known = self.look_up(scanner, start, name);
            match known.and_then(|index| self.known.get(index)) {
                Some(known) => take(&known.targets, scanner)?,
                None => take(&self.targets(scanner, name), scanner)?,
            }
        }
    }

    /// Goes quickly through an object, from behind its opening bracket, and returns
    /// where it ends: `take` gets the fields that each property fills and where its
    /// value stands, and returns where that ends.
    #[inline]
    pub(crate) fn walk(
        &mut self,
        document: &Marked<'_>,
        mut at: usize,
        mut take: impl FnMut(&[Target], usize) -> Option<usize>,
    ) -> Option<usize> {
        let mut previous = Previous::Nothing;
        let mut guess = self.first;
        let mut forgotten = Vec::new();
        loop {
            let guessed = self.known.get(guess);
            let length = guessed.and_then(|known| known.length_at(document.rest(at)?));
            let (here, value) = match length {
                Some(length) => (Previous::Known(guess), document.space(at + length)),
                None if document.byte(at) == Some(b'}') => return Some(at + 1),
                None => match self.meet(document, at, previous)? {
                    Met::End(end) => return Some(end),
                    Met::Known(index, value) => (Previous::Known(index), value),
                    Met::Forgotten(targets, value) => {
                        forgotten = targets;
                        (Previous::Forgotten, value)
                    }
                },
            };
            let targets;
            (targets, guess) = match here {
                Previous::Known(index) => {
                    let known = self.known.get(index)?;
                    (&known.targets, known.next)
                }
                _ => (&forgotten, UNKNOWN),
            };
            at = take(targets, value)?;
            previous = here;
        }
    }

    /// What is there where something else was guessed.
    #[cold]
    fn meet(&mut self, document: &Marked<'_>, at: usize, previous: Previous) -> Option<Met> {
        let mut scanner = document.scanner(at);
        let first = previous == Previous::Nothing;
        if !scanner.more_properties(first).ok()? {
            return Some(Met::End(scanner.position()));
        }
        let name = scanner.property().ok()?;
        scanner.colon().ok()?;
        scanner.next();
        let value = scanner.position();
        let known = self.look_up(&scanner, at, name);
        // A spelling is only guessed where it stood, behind a value or not: whether
        // it needs a comma was seen then.
        let guess = match previous {
            Previous::Nothing => Some(&mut self.first),
            Previous::Known(index) => self.known.get_mut(index).map(|known| &mut known.next),
            Previous::Forgotten => None,
        };
        if let Some(guess) = guess {
            *guess = known.unwrap_or(UNKNOWN);
        }
        Some(match known {
            Some(index) => Met::Known(index, value),
            None => Met::Forgotten(self.targets(&scanner, name), value),
        })
    }

    /// The known property that is spelled like the text from `start` to the scanner,
    /// which this one becomes if there is room.
    fn look_up(&mut self, scanner: &Scanner<'_>, start: usize, name: Token) -> Option<usize> {
        let spelling = scanner.since(start);
        if let Some(index) = self.known_by_spelling.get(spelling) {
            return Some(*index);
        }
        let index = self.known.len();
        if index >= MAX_UNKNOWN + self.names.len() || spelling.len() > MAX_SPELLING {
            return None;
        }
        self.known.push(Known {
            start: Start::of(spelling),
            spelling: spelling.into(),
            targets: self.targets(scanner, name),
            next: UNKNOWN,
        });
        self.known_by_spelling.insert(spelling.into(), index);
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

    /// The fields that a property fills: those of exactly its name or, only if
    /// there are none, those whose names differ in case.
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
pub(crate) struct Slots(Vec<Slot>);

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    token: Option<Token>,
    exact: bool,
}

impl Slots {
    pub(crate) fn new(fields: usize) -> Self {
        Self(vec![Slot::default(); fields])
    }

    /// Notes a value. The last exact property wins, or else the last one at all.
    pub(crate) fn fill(&mut self, targets: &[Target], token: Token) {
        for target in targets {
            if let Some(slot) = self.0.get_mut(target.field)
                && (target.exact || !slot.exact)
            {
                slot.token = Some(token);
                slot.exact = target.exact;
            }
        }
    }

    /// The value of every field in turn.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Option<Token>> {
        self.0.iter().map(|slot| slot.token)
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

/// The entries of an object that is wanted as a whole, in order of their names'
/// first appearance, each with its last value.
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
