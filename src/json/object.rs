//! Finding the wanted properties of an object.

use std::borrow::Cow;

use arrow::datatypes::Fields;
use hashbrown::HashMap;

use super::scan::{Invalid, Scanner, Token};
use super::types::NameMatching;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// How many distinct property names are remembered beyond those of the schema.
const MAX_UNKNOWN: usize = 1024;
/// How long a remembered name may be, in bytes.
const MAX_NAME: usize = 256;

/// Scans objects and keeps for each field the token of the property that gives
/// its value.
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
    slots: Vec<Slot>,
}

/// A property name as it stands in payloads, with its quotes and escapes.
#[derive(Debug)]
struct Known {
    quoted: Box<str>,
    targets: Vec<Target>,
    next: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) field: usize,
    pub(super) exact: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    token: Option<Token>,
    exact: bool,
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
            slots: vec![Slot::default(); names.len()],
            names,
            matching,
            fields_by_folded_name,
            known: Vec::new(),
            known_by_name: Map::default(),
            first: 0,
        }
    }

    /// Scans an object that is the document itself.
    ///
    /// An error leaves the slots unspecified.
    pub(super) fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Invalid> {
        self.slots.fill(Slot::default());
        scanner.expect(b'{', "expected an object")?;
        let mut previous = None;
        let mut guess = self.first;
        let mut first = true;
        while scanner.more(first, b'}')? {
            first = false;
            let guessed = match self.known.get(guess) {
                Some(known) => scanner.take_text(&known.quoted),
                None => false,
            };
            let index = if guessed {
                guess
            } else {
                let name = scanner.property()?;
                let Some(index) = self.look_up(scanner, name) else {
                    // Too many names: this one is resolved and forgotten.
                    let targets = self.targets(scanner, name);
                    scanner.colon()?;
                    fill(&mut self.slots, &targets, scanner.value_within(1)?);
                    continue;
                };
                match previous.and_then(|previous| self.known.get_mut::<usize>(previous)) {
                    Some(known) => known.next = index,
                    None => self.first = index,
                }
                index
            };
            scanner.colon()?;
            let token = scanner.value_within(1)?;
            if let Some(known) = self.known.get(index) {
                fill(&mut self.slots, &known.targets, token);
                guess = known.next;
            }
            previous = Some(index);
        }
        Ok(())
    }

    /// The token of every field in turn, of the object read last.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Option<Token>> {
        self.slots.iter().map(|slot| slot.token)
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
            quoted: quoted.into(),
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

/// Notes a value. The last exact property wins, or else the last one at all.
fn fill(slots: &mut [Slot], targets: &[Target], token: Token) {
    for target in targets {
        if let Some(slot) = slots.get_mut(target.field)
            && (target.exact || !slot.exact)
        {
            slot.token = Some(token);
            slot.exact = target.exact;
        }
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
    mut scanner: Scanner<'_>,
    entries: &mut Vec<(Token, Token)>,
) -> Result<(), Invalid> {
    entries.clear();
    scanner.expect(b'{', "expected an object")?;
    let mut index_by_name = Map::<Cow<'_, str>, usize>::default();
    while scanner.more(entries.is_empty(), b'}')? {
        let name = scanner.property()?;
        scanner.colon()?;
        let value = scanner.value()?;
        let text = scanner.resolve(name).text().unwrap_or_default();
        let index = *index_by_name.entry(text).or_insert(entries.len());
        match entries.get_mut(index) {
            Some(entry) => entry.1 = value,
            None => entries.push((name, value)),
        }
    }
    Ok(())
}
