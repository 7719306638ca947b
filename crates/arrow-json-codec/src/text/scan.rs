//! The scanner: checks JSON byte by byte and tells where its values lie.
//!
//! The scanner allocates nothing and does not recurse. Nested values are scanned as a
//! whole. A caller that wants what is inside scans their span again; the depth of the
//! schema bounds how often.

use super::invalid::{Invalid, What};
use super::strings::{count_digits, hex, plain_prefix};
use super::value::{Kind, Token, Value};
use crate::error::{DecodeError, DecodeErrorKind, SyntaxError};

/// How deep objects and arrays may be nested; the width of the scanner's stack.
const MAX_DEPTH: u32 = u128::BITS;

/// U+FEFF in UTF-8, with which some writers begin a text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How many bytes of a payload come before its document.
#[inline]
pub(crate) fn byte_order_mark(payload: &[u8]) -> usize {
    match payload.starts_with(BYTE_ORDER_MARK) {
        true => BYTE_ORDER_MARK.len(),
        false => 0,
    }
}

/// A position in a text.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    /// Known to be UTF-8.
    text: &'a [u8],
    position: usize,
    /// How many objects and arrays are open.
    depth: u32,
    /// Takes NaN and the infinities, and in strings lone surrogates and control characters.
    lenient: bool,
}

impl<'a> Scanner<'a> {
    /// Stands within a text that is known to be UTF-8, inside of `depth` objects and arrays.
    pub(crate) fn within(text: &'a [u8], position: usize, depth: u32, lenient: bool) -> Self {
        Self {
            text,
            position,
            depth,
            lenient,
        }
    }

    /// Stands before a value, whose inside is known to be JSON.
    pub(crate) fn of_value(value: &Value<'a>) -> Self {
        Self::within(value.document, value.position(), 0, value.lenient)
    }

    /// Stands at the start of a payload, which is checked to be text, behind a byte
    /// order mark.
    pub(crate) fn of_document(payload: &'a [u8], lenient: bool) -> Result<Self, DecodeError> {
        if payload.is_empty() {
            return Err(DecodeError::new(0, DecodeErrorKind::Empty));
        }
        if u32::try_from(payload.len()).is_err() {
            let kind = DecodeErrorKind::InvalidJson(SyntaxError::TooLarge);
            return Err(DecodeError::new(0, kind));
        }
        match std::str::from_utf8(payload) {
            Ok(text) => {
                let start = byte_order_mark(payload);
                Ok(Self::within(text.as_bytes(), start, 0, lenient))
            }
            Err(error) => {
                let kind = DecodeErrorKind::InvalidUtf8;
                Err(DecodeError::new(error.valid_up_to(), kind))
            }
        }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn resolve(&self, token: Token) -> Value<'a> {
        Value {
            document: self.text,
            token,
            lenient: self.lenient,
        }
    }

    /// What was not scanned yet.
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.position..).unwrap_or_default()
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    /// The part of the text from `start` to here.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        self.text.get(start..self.position).unwrap_or_default()
    }

    #[cold]
    fn invalid(&self, what: impl Into<What>) -> Invalid {
        Invalid {
            // A document is smaller than 4 GiB.
            position: self.position as u32,
            what: match self.peek() {
                Some(_) => what.into(),
                None => SyntaxError::TooEarly.into(),
            },
        }
    }

    /// The token from `start` to here.
    fn token(&self, start: usize, kind: Kind) -> Token {
        Token {
            start: start as u32,
            end: self.position as u32,
            kind,
        }
    }

    /// The next byte after white space.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<u8> {
        match self.peek() {
            Some(byte) if byte > b' ' => Some(byte),
            _ => self.next_after_white_space(),
        }
    }

    #[cold]
    fn next_after_white_space(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.position += 1,
                other => return other,
            }
        }
    }

    /// Takes a punctuation character if it comes next.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let taken = self.next() == Some(byte);
        self.position += usize::from(taken);
        taken
    }

    /// Takes the opening bracket of an object.
    pub(crate) fn open_object(&mut self) -> Result<(), Invalid> {
        self.open(b'{', SyntaxError::Object)
    }

    /// Takes the opening bracket of an array.
    pub(crate) fn open_array(&mut self) -> Result<(), Invalid> {
        self.open(b'[', SyntaxError::Array)
    }

    fn open(&mut self, bracket: u8, what: SyntaxError) -> Result<(), Invalid> {
        if self.next() != Some(bracket) {
            return Err(self.invalid(what));
        }
        if self.depth == MAX_DEPTH {
            return Err(self.invalid(What::TooDeep));
        }
        self.depth += 1;
        self.position += 1;
        Ok(())
    }

    /// Checks that nothing but white space is left.
    pub(crate) fn end(&mut self) -> Result<(), Invalid> {
        match self.next() {
            None => Ok(()),
            Some(_) => Err(self.invalid(SyntaxError::Surplus)),
        }
    }

    /// Goes on to the next property of an object after its opening bracket,
    /// `first`, or after a property; false at its closing bracket.
    #[inline]
    pub(crate) fn more_properties(&mut self, first: bool) -> Result<bool, Invalid> {
        self.more(first, b'}')
    }

    /// Goes on to the next element of an array in the same way.
    #[inline]
    pub(crate) fn more_elements(&mut self, first: bool) -> Result<bool, Invalid> {
        self.more(first, b']')
    }

    #[inline]
    fn more(&mut self, first: bool, close: u8) -> Result<bool, Invalid> {
        if !first && self.take(b',') {
            return Ok(true);
        }
        if self.take(close) {
            self.depth -= 1;
            return Ok(false);
        }
        match first {
            true => Ok(true),
            false => Err(self.invalid(SyntaxError::Separator)),
        }
    }

    /// Scans one value.
    pub(crate) fn value(&mut self) -> Result<Value<'a>, Invalid> {
        let token = self.value_token()?;
        Ok(self.resolve(token))
    }

    /// Scans one value.
    #[inline]
    pub(crate) fn value_token(&mut self) -> Result<Token, Invalid> {
        self.next();
        let start = self.position;
        let kind = self.skip()?;
        Ok(self.token(start, kind))
    }

    /// Scans one value that is passed over.
    #[inline]
    pub(crate) fn skip(&mut self) -> Result<Kind, Invalid> {
        match self.next() {
            Some(b'"') => self.string(),
            Some(b'{') => self.nested().map(|()| Kind::Object),
            Some(b'[') => self.nested().map(|()| Kind::Array),
            _ => self.scalar(),
        }
    }

    /// Skips an object or array. One bit per open level says which it is.
    fn nested(&mut self) -> Result<(), Invalid> {
        let mut objects: u128 = 0;
        let outer = self.depth;
        loop {
            // At a value.
            let open = self.next();
            if let Some(b'{' | b'[') = open {
                if self.depth == MAX_DEPTH {
                    return Err(self.invalid(What::TooDeep));
                }
                let object = open == Some(b'{');
                objects = objects << 1 | u128::from(object);
                self.depth += 1;
                self.position += 1;
                if self.next() != Some(if object { b'}' } else { b']' }) {
                    if object {
                        self.name()?;
                    }
                    continue;
                }
            } else {
                self.scalar()?;
            }
            // After a value.
            loop {
                let object = objects & 1 == 1;
                match self.next() {
                    Some(b',') => {
                        self.position += 1;
                        if object {
                            self.name()?;
                        }
                        break;
                    }
                    Some(b'}') if object => {}
                    Some(b']') if !object => {}
                    _ => return Err(self.invalid(SyntaxError::Separator)),
                }
                self.position += 1;
                objects >>= 1;
                self.depth -= 1;
                if self.depth == outer {
                    return Ok(());
                }
            }
        }
    }

    fn name(&mut self) -> Result<(), Invalid> {
        self.property()?;
        self.colon()
    }

    /// Scans a property name.
    pub(crate) fn property(&mut self) -> Result<Token, Invalid> {
        if self.next() != Some(b'"') {
            return Err(self.invalid(SyntaxError::PropertyName));
        }
        let start = self.position;
        let kind = self.string()?;
        Ok(self.token(start, kind))
    }

    /// Takes the colon after a property name.
    pub(crate) fn colon(&mut self) -> Result<(), Invalid> {
        match self.take(b':') {
            true => Ok(()),
            false => Err(self.invalid(SyntaxError::Colon)),
        }
    }

    fn scalar(&mut self) -> Result<Kind, Invalid> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'N' | b'I') => self.non_finite(),
            Some(b'-') if self.rest().starts_with(b"-I") => self.non_finite(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true", Kind::Boolean(true)),
            Some(b'f') => self.literal("false", Kind::Boolean(false)),
            Some(b'n') => self.literal("null", Kind::Null),
            _ => Err(self.invalid(SyntaxError::Value)),
        }
    }

    fn literal(&mut self, text: &'static str, kind: Kind) -> Result<Kind, Invalid> {
        if self.rest().starts_with(text.as_bytes()) {
            self.position += text.len();
            return Ok(kind);
        }
        Err(self.invalid(SyntaxError::Value))
    }

    #[cold]
    fn non_finite(&mut self) -> Result<Kind, Invalid> {
        let words = ["NaN", "Infinity", "-Infinity"];
        let mut words = words.iter().map(|word| word.as_bytes());
        match words.find(|word| self.rest().starts_with(word)) {
            None => Err(self.invalid(SyntaxError::Value)),
            Some(_) if !self.lenient => Err(self.invalid(SyntaxError::NonFinite)),
            Some(word) => {
                self.position += word.len();
                Ok(Kind::NonFinite)
            }
        }
    }

    pub(super) fn number(&mut self) -> Result<Kind, Invalid> {
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        let start = self.position;
        self.digits()?;
        if self.position > start + 1 && self.text.get(start) == Some(&b'0') {
            self.position = start + 1;
            return Err(self.invalid(SyntaxError::LeadingZero));
        }
        let mut integer = true;
        if self.peek() == Some(b'.') {
            integer = false;
            self.position += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            integer = false;
            self.position += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.position += 1;
            }
            self.digits()?;
        }
        Ok(Kind::Number { integer })
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        let digits = count_digits(self.rest());
        if digits == 0 {
            return Err(self.invalid(SyntaxError::Digit));
        }
        self.position += digits;
        Ok(())
    }

    fn string(&mut self) -> Result<Kind, Invalid> {
        self.position += 1;
        let mut escaped = false;
        loop {
            self.position += plain_prefix(self.rest());
            match self.peek() {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(Kind::String { escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) if self.lenient => self.position += 1,
                _ => return Err(self.invalid(SyntaxError::ControlCharacter)),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        self.position += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.position += 1,
            Some(b'u') => match self.unit()? {
                _ if self.lenient => {}
                0xD800..=0xDBFF => {
                    let low = self.rest().starts_with(b"\\u");
                    self.position += usize::from(low);
                    if !low || !matches!(self.unit()?, 0xDC00..=0xDFFF) {
                        return Err(self.invalid(SyntaxError::Surrogate));
                    }
                }
                0xDC00..=0xDFFF => return Err(self.invalid(SyntaxError::Surrogate)),
                _ => {}
            },
            _ => return Err(self.invalid(SyntaxError::Escape)),
        }
        Ok(())
    }

    /// Takes the `u` of an escape sequence and its four digits.
    fn unit(&mut self) -> Result<u32, Invalid> {
        let Some(unit) = self.rest().get(1..5).and_then(hex) else {
            return Err(self.invalid(SyntaxError::HexDigits));
        };
        self.position += 5;
        Ok(unit)
    }
}
