//! The scanner: checks JSON byte by byte and tells where its values lie.
//!
//! It allocates nothing and does not recurse. Nested values are scanned as a
//! whole; whoever wants what is inside scans their span again, which the
//! depth of the wanted schema bounds.

use std::borrow::Cow;

use super::error::{DecodeError, DecodeErrorKind, found};
use super::text::{hex, plain_prefix, unescape};

/// How deep objects and arrays may be nested; the width of the scanner's stack.
const MAX_DEPTH: u32 = u128::BITS;

/// What is not JSON about a text, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Invalid {
    position: usize,
    /// What is wrong, or `None` for too deep nesting.
    what: Option<&'static str>,
}

impl From<Invalid> for DecodeError {
    fn from(invalid: Invalid) -> Self {
        let kind = match invalid.what {
            Some(what) => DecodeErrorKind::InvalidJson(what),
            None => DecodeErrorKind::TooDeep,
        };
        Self::new(invalid.position, kind)
    }
}

/// The kind of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean(bool),
    /// `integer` is true for digits without a fraction or an exponent.
    Number {
        integer: bool,
    },
    /// `escaped` is true if there is any escape sequence.
    String {
        escaped: bool,
    },
    Array,
    Object,
}

impl Kind {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Null => found::NULL,
            Self::Boolean(_) => found::BOOLEAN,
            Self::Number { .. } => found::NUMBER,
            Self::String { .. } => found::STRING,
            Self::Array => found::ARRAY,
            Self::Object => found::OBJECT,
        }
    }
}

/// A value's place in a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) kind: Kind,
    start: usize,
    end: usize,
}

/// A value of a document that has been scanned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    document: &'a str,
    token: Token,
}

impl<'a> Value<'a> {
    pub(super) fn new(document: &'a str, token: Token) -> Self {
        Self { document, token }
    }

    pub(super) fn kind(&self) -> Kind {
        self.token.kind
    }

    pub(super) fn position(&self) -> usize {
        self.token.start
    }

    /// The value as it stands in the document.
    pub(super) fn raw(&self) -> &'a str {
        let Token { start, end, .. } = self.token;
        self.document.get(start..end).unwrap_or_default()
    }

    /// What stands between the quotes of a string.
    pub(super) fn quoted(&self) -> &'a str {
        let Token { start, end, .. } = self.token;
        self.document.get(start + 1..end - 1).unwrap_or_default()
    }

    /// The text of a string.
    pub(super) fn text(&self) -> Option<Cow<'a, str>> {
        match self.token.kind {
            Kind::String { escaped: false } => Some(Cow::Borrowed(self.quoted())),
            Kind::String { escaped: true } => {
                let mut text = String::with_capacity(self.quoted().len());
                unescape(self.quoted(), |part| text.push_str(part));
                Some(Cow::Owned(text))
            }
            _ => None,
        }
    }

    /// A scanner for what is inside an array or an object.
    pub(super) fn scanner(&self) -> Scanner<'a> {
        Scanner {
            text: self.document,
            position: self.token.start,
        }
    }
}

/// Checks that a payload is text.
pub(super) fn utf8(payload: &[u8]) -> Result<&str, DecodeError> {
    if payload.is_empty() {
        return Err(DecodeError::new(0, DecodeErrorKind::Empty));
    }
    std::str::from_utf8(payload)
        .map_err(|error| DecodeError::new(error.valid_up_to(), DecodeErrorKind::InvalidUtf8))
}

/// Scans a payload that is one JSON value of any kind.
pub(super) fn document(payload: &[u8]) -> Result<Value<'_>, DecodeError> {
    let text = utf8(payload)?;
    let mut scanner = Scanner::new(text);
    let token = scanner.value()?;
    scanner.end()?;
    Ok(Value::new(text, token))
}

/// Whether a text is a JSON number and nothing else.
pub(super) fn is_number(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.number().is_ok() && scanner.position == text.len()
}

/// A position in a text.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn resolve(&self, token: Token) -> Value<'a> {
        Value::new(self.text, token)
    }

    fn rest(&self) -> &'a [u8] {
        self.text
            .as_bytes()
            .get(self.position..)
            .unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn invalid(&self, what: &'static str) -> Invalid {
        let what = match self.peek() {
            Some(_) => what,
            None => "it ends too early",
        };
        Invalid {
            position: self.position,
            what: Some(what),
        }
    }

    /// The next byte after white space.
    pub(super) fn next(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.position += 1,
                other => return other,
            }
        }
    }

    /// Takes a punctuation character if it comes next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let taken = self.next() == Some(byte);
        self.position += usize::from(taken);
        taken
    }

    pub(super) fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Invalid> {
        if self.take(byte) {
            return Ok(());
        }
        Err(self.invalid(what))
    }

    /// Takes exactly this text if it comes next after white space.
    pub(super) fn take_text(&mut self, text: &str) -> bool {
        self.next();
        let taken = self.rest().starts_with(text.as_bytes());
        if taken {
            self.position += text.len();
        }
        taken
    }

    /// Checks that nothing but white space is left.
    pub(super) fn end(&mut self) -> Result<(), Invalid> {
        match self.next() {
            None => Ok(()),
            Some(_) => Err(self.invalid("there is more after the document")),
        }
    }

    /// Goes on to the next element of an array or object after its opening
    /// bracket, `first`, or after an element; false at its closing bracket.
    pub(super) fn more(&mut self, first: bool, close: u8) -> Result<bool, Invalid> {
        if self.take(close) {
            return Ok(false);
        }
        if first || self.take(b',') {
            return Ok(true);
        }
        Err(self.invalid(SEPARATOR))
    }

    /// Scans one value, which may be nested as deep as a document may be.
    pub(super) fn value(&mut self) -> Result<Token, Invalid> {
        self.value_within(0)
    }

    /// Scans one value that is inside of so many objects and arrays.
    pub(super) fn value_within(&mut self, outer: u32) -> Result<Token, Invalid> {
        self.next();
        let start = self.position;
        let kind = match self.peek() {
            Some(b'{') => {
                self.nested(outer)?;
                Kind::Object
            }
            Some(b'[') => {
                self.nested(outer)?;
                Kind::Array
            }
            _ => self.scalar()?,
        };
        Ok(Token {
            kind,
            start,
            end: self.position,
        })
    }

    /// Skips an object or array. One bit per open level says which it is.
    fn nested(&mut self, outer: u32) -> Result<(), Invalid> {
        let mut objects: u128 = 0;
        let mut depth = outer;
        loop {
            // At a value.
            let open = self.next();
            if let Some(b'{' | b'[') = open {
                if depth == MAX_DEPTH {
                    return Err(Invalid {
                        position: self.position,
                        what: None,
                    });
                }
                let object = open == Some(b'{');
                objects = objects << 1 | u128::from(object);
                depth += 1;
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
                    _ => return Err(self.invalid(SEPARATOR)),
                }
                self.position += 1;
                objects >>= 1;
                depth -= 1;
                if depth == outer {
                    return Ok(());
                }
            }
        }
    }

    fn name(&mut self) -> Result<(), Invalid> {
        self.property()?;
        self.expect(b':', COLON)
    }

    /// Scans a property name.
    pub(super) fn property(&mut self) -> Result<Token, Invalid> {
        if self.next() != Some(b'"') {
            return Err(self.invalid("expected a property name"));
        }
        let start = self.position;
        let kind = self.string()?;
        Ok(Token {
            kind,
            start,
            end: self.position,
        })
    }

    /// Takes the colon after a property name.
    pub(super) fn colon(&mut self) -> Result<(), Invalid> {
        self.expect(b':', COLON)
    }

    fn scalar(&mut self) -> Result<Kind, Invalid> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true", Kind::Boolean(true)),
            Some(b'f') => self.literal("false", Kind::Boolean(false)),
            Some(b'n') => self.literal("null", Kind::Null),
            _ => Err(self.invalid("expected a value")),
        }
    }

    fn literal(&mut self, text: &'static str, kind: Kind) -> Result<Kind, Invalid> {
        if self.rest().starts_with(text.as_bytes()) {
            self.position += text.len();
            return Ok(kind);
        }
        Err(self.invalid("expected a value"))
    }

    fn number(&mut self) -> Result<Kind, Invalid> {
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        match self.peek() {
            Some(b'0') => self.position += 1,
            _ => self.digits()?,
        }
        if let Some(b'0'..=b'9') = self.peek() {
            return Err(self.invalid("a number has a leading zero"));
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
        let rest = self.rest();
        let digits = rest
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(rest.len());
        if digits == 0 {
            return Err(self.invalid("expected a digit"));
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
                _ => return Err(self.invalid("a control character is in a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        self.position += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.position += 1,
            Some(b'u') => match self.unit()? {
                0xD800..=0xDBFF => {
                    let low = self.rest().starts_with(b"\\u");
                    self.position += usize::from(low);
                    if !low || !matches!(self.unit()?, 0xDC00..=0xDFFF) {
                        return Err(self.invalid(SURROGATE));
                    }
                }
                0xDC00..=0xDFFF => return Err(self.invalid(SURROGATE)),
                _ => {}
            },
            _ => return Err(self.invalid("an escape sequence is unknown")),
        }
        Ok(())
    }

    /// Takes the `u` of an escape sequence and its four digits.
    fn unit(&mut self) -> Result<u32, Invalid> {
        let Some(unit) = self.rest().get(1..5).and_then(hex) else {
            return Err(self.invalid("an escape sequence is not four hexadecimal digits"));
        };
        self.position += 5;
        Ok(unit)
    }
}

const SEPARATOR: &str = "expected a comma or a closing bracket";
const COLON: &str = "expected a colon after a property name";
const SURROGATE: &str = "half of a surrogate pair is missing";
