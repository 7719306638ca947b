//! Fast steps through a document whose structural bytes are indexed.
//!
//! A step takes a position and returns where the value there ends. Both stay in registers,
//! and the next step waits for nothing else. The steps take what most documents consist of,
//! and leave the rest to a [`Scanner`]. `None` says that the document is not JSON, or not of
//! the usual form: a scanner then goes through the document from its start and says what is
//! wrong.

use super::structural_index::{StructuralIndex, next_structural};
use crate::text::scan::{Scanner, byte_order_mark};
use crate::text::strings::{count_digits, plain_prefix};

/// How deep objects and arrays may be nested here; less than a scanner allows.
const MAX_DEPTH: u32 = u64::BITS;

/// A document with its index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexedDocument<'a> {
    /// Known to be UTF-8.
    text: &'a [u8],
    structural: &'a [u8],
    /// How many objects and arrays are open.
    depth: u32,
    /// For the scanners: the steps here take only JSON.
    lenient: bool,
}

impl<'a> IndexedDocument<'a> {
    /// Indexes a payload, if it is text.
    #[inline(always)]
    pub(crate) fn new(
        payload: &'a [u8],
        index: &'a mut StructuralIndex,
        lenient: bool,
    ) -> Option<Self> {
        // Scanners count positions in 32 bits.
        u32::try_from(payload.len()).ok()?;
        let non_ascii = index.build(payload);
        // This part begins and ends between characters, as ASCII is around it.
        if !non_ascii.is_empty() && std::str::from_utf8(payload.get(non_ascii)?).is_err() {
            return None;
        }
        Some(Self {
            text: payload,
            structural: index.bits(),
            depth: 0,
            lenient,
        })
    }

    /// A scanner that stands at this position.
    pub(crate) fn scanner(&self, at: usize) -> Scanner<'a> {
        Scanner::within(self.text, at, self.depth, self.lenient)
    }

    /// Where its value is, behind a byte order mark and white space.
    #[inline]
    pub(crate) fn start(&self) -> usize {
        self.space(byte_order_mark(self.text))
    }

    /// The same document, seen from within an object or array of it.
    #[inline]
    pub(crate) fn within(&self) -> Option<Self> {
        let depth = self.depth + 1;
        (depth < MAX_DEPTH).then_some(Self { depth, ..*self })
    }

    #[inline]
    pub(crate) fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    /// What stands from this position on.
    ///
    /// An empty slice instead of `None` would let the next step wait for the choice.
    #[inline]
    pub(crate) fn rest(&self, at: usize) -> Option<&'a [u8]> {
        self.text.get(at..)
    }

    /// Whether nothing but white space is left.
    #[inline]
    pub(crate) fn ends(&self, at: usize) -> bool {
        self.space(at) == self.text.len()
    }

    /// Takes white space. Most documents have no white space.
    #[inline]
    pub(crate) fn space(&self, at: usize) -> usize {
        match self.byte(at) {
            Some(byte) if byte > b' ' => at,
            _ => self.white_space(at),
        }
    }

    #[cold]
    fn white_space(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte(at) {
            at += 1;
        }
        at
    }

    /// Takes a string without escapes.
    #[inline]
    pub(crate) fn string(&self, at: usize) -> Option<usize> {
        if self.byte(at) != Some(b'"') {
            return None;
        }
        let start = at + 1;
        let end =
            next_structural(self.structural, start).unwrap_or_else(|| self.far_structural(start));
        (self.byte(end) == Some(b'"')).then_some(end + 1)
    }

    /// The end of a long string.
    #[inline(never)]
    fn far_structural(&self, start: usize) -> usize {
        start + self.rest(start).map_or(0, plain_prefix)
    }

    /// Takes a value of any kind and checks only that it is JSON.
    #[inline]
    pub(crate) fn skip(&self, at: usize) -> Option<usize> {
        match self.byte(at) {
            Some(b'{' | b'[') => self.nested(at),
            _ => self.scalar(at),
        }
    }

    #[inline]
    fn scalar(&self, at: usize) -> Option<usize> {
        let end = match self.byte(at)? {
            b'"' => self.string(at),
            b't' | b'f' => self.boolean(at).map(|(_, end)| end),
            b'n' => self.null(at),
            b'-' => self.negative(at),
            _ => self.number(at),
        };
        match end {
            Some(end) => Some(end),
            None => self.skip_checked(at),
        }
    }

    #[cold]
    fn skip_checked(&self, at: usize) -> Option<usize> {
        let mut scanner = self.scanner(at);
        scanner.skip().ok()?;
        Some(scanner.position())
    }

    #[inline(never)]
    fn negative(&self, at: usize) -> Option<usize> {
        self.number(at + 1)
    }

    /// Takes a number without a sign and an exponent.
    #[inline]
    fn number(&self, at: usize) -> Option<usize> {
        let whole = count_digits(self.rest(at)?);
        // Without a branch by the number of digits, which cannot be predicted.
        if (whole == 0) | ((whole > 1) & (self.byte(at) == Some(b'0'))) {
            return None;
        }
        let mut end = at + whole;
        if self.byte(end) == Some(b'.') {
            let places = count_digits(self.rest(end + 1)?);
            if places == 0 {
                return None;
            }
            end += 1 + places;
        }
        (!matches!(self.byte(end), Some(b'e' | b'E'))).then_some(end)
    }

    #[inline]
    pub(crate) fn null(&self, at: usize) -> Option<usize> {
        self.rest(at)?.starts_with(b"null").then_some(at + 4)
    }

    /// Takes either value in the same steps, as it cannot be predicted which it is.
    #[inline]
    pub(crate) fn boolean(&self, at: usize) -> Option<(bool, usize)> {
        // Behind the shorter one is a byte more, unless it is all of a document.
        let text: &[u8; 5] = self.rest(at)?.first_chunk()?;
        let (yes, no) = (text.starts_with(b"true"), text == b"false");
        (yes | no).then_some((yes, at + 4 + usize::from(no)))
    }

    /// Takes the name of a property and everything up to its value.
    #[inline]
    fn name(&self, at: usize) -> Option<usize> {
        let end = match self.string(at) {
            Some(end) => end,
            None if self.byte(at) == Some(b'"') => self.skip_checked(at)?,
            None => return None,
        };
        let colon = self.space(end);
        (self.byte(colon) == Some(b':')).then(|| self.space(colon + 1))
    }

    /// Takes an object or array. One bit per open level says which it is.
    fn nested(&self, mut at: usize) -> Option<usize> {
        let mut objects = 0_u64;
        let mut depth = self.depth;
        loop {
            // At a value.
            if let Some(open @ (b'{' | b'[')) = self.byte(at) {
                if depth >= MAX_DEPTH {
                    return None;
                }
                let object = open == b'{';
                objects = objects << 1 | u64::from(object);
                depth += 1;
                at = self.space(at + 1);
                if self.byte(at) != Some(if object { b'}' } else { b']' }) {
                    if object {
                        at = self.name(at)?;
                    }
                    continue;
                }
            } else {
                at = self.scalar(at)?;
            }
            // After a value.
            loop {
                let object = objects & 1 == 1;
                at = self.space(at);
                match self.byte(at) {
                    Some(b',') => {
                        at = self.space(at + 1);
                        if object {
                            at = self.name(at)?;
                        }
                        break;
                    }
                    Some(b'}') if object => {}
                    Some(b']') if !object => {}
                    _ => return None,
                }
                at += 1;
                objects >>= 1;
                depth -= 1;
                if depth == self.depth {
                    return Some(at);
                }
            }
        }
    }
}
