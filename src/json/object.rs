//! Finding the wanted properties of an object.

use std::borrow::Cow;

use arrow::datatypes::Fields;
use hashbrown::HashMap;

use super::error::DecodeError;
use super::scan::{Invalid, Scanner, Token};
use super::types::NameMatching;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// How many distinct property names are remembered beyond those of the schema.
const MAX_UNKNOWN: usize = 1024;
/// How long a remembered name may be, in bytes.
const MAX_NAME: usize = 256;

/// Goes through objects and says which fields their properties fill.
///
/// Objects of one topic mostly have the same properties in the same order. So
/// every name met is remembered together with the fields that it fills and the
/// name that followed it last time: where the guess is right, a property costs
/// one comparison of bytes.
#[derive(Debug)]
pub(super) struct ObjectReader {
    names: Vec<String>,
    matching: NameMatching,
    fields_by_folded_name: Map<String, Vec<usize>>,
    known: Vec<Known>,
    known_by_name: Map<Box<str>, usize>,
    first: usize,
}

/// A property name as it stands in payloads.
#[derive(Debug)]
struct Known {
    /// With its quotes and escapes, and the colon behind it.
    prefix: Box<[u8]>,
    targets: Vec<Target>,
    next: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) field: usize,
    pub(super) exact: bool,
}

impl ObjectReader {
    pub(super) fn new(fields: &Fields, matching: NameMatching) -> Self {
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
            known_by_name: Map::default(),
            first: 0,
        }
    }

    /// Reads an object: hands out the fields that each property fills with the
    /// scanner before its value, which `take` reads or skips.
    #[inline]
    pub(super) fn read<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        mut take: impl FnMut(&[Target], &mut Scanner<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        scanner.open_object()?;
        let mut previous = None;
        let mut guess = self.first;
        let mut first = true;
        while scanner.more_properties(first)? {
            first = false;
            scanner.next();
            let guessed = match self.known.get(guess) {
                Some(known) => scanner.take_text(&known.prefix),
                None => false,
            };
            if !guessed {
                let name = scanner.property()?;
                scanner.colon()?;
                let Some(index) = self.look_up(scanner, name) else {
                    // Too many names: this one is resolved and forgotten.
                    let targets = self.targets(scanner, name);
                    take(&targets, scanner)?;
                    continue;
                };
                match previous.and_then(|previous| self.known.get_mut::<usize>(previous)) {
                    Some(known) => known.next = index,
                    None => self.first = index,
                }
                guess = index;
            }
            previous = Some(guess);
            if let Some(known) = self.known.get(guess) {
                take(&known.targets, scanner)?;
                guess = known.next;
            }
        }
        Ok(())
    }

    /// The known name that this token is, which it becomes if there is room.
    fn look_up(&mut self, scanner: &Scanner<'_>, name: Token) -> Option<usize> {
        let quoted = scanner.resolve(name).raw();
        if let Some(index) = self.known_by_name.get(quoted) {
            return Some(*index);
        }
        let index = self.known.len();
        if index >= MAX_UNKNOWN + self.names.len() || quoted.len() > MAX_NAME {
            return None;
        }
        self.known.push(Known {
            prefix: [quoted.as_bytes(), b":"].concat().into(),
            targets: self.targets(scanner, name),
            next: index + 1,
        });
        self.known_by_name.insert(quoted.into(), index);
        Some(index)
    }

    /// The fields that a property fills: those of exactly its name or, only if
    /// there are none, those whose names differ in case.
    pub(super) fn targets(&self, scanner: &Scanner<'_>, name: Token) -> Vec<Target> {
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
pub(super) struct Slots(Vec<Slot>);

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    token: Option<Token>,
    exact: bool,
}

impl Slots {
    pub(super) fn new(fields: usize) -> Self {
        Self(vec![Slot::default(); fields])
    }

    /// Notes a value. The last exact property wins, or else the last one at all.
    pub(super) fn fill(&mut self, targets: &[Target], token: Token) {
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
    pub(super) fn tokens(&self) -> impl Iterator<Item = Option<Token>> {
        self.0.iter().map(|slot| slot.token)
    }
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
pub(super) fn entries(
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
