//! Values of a document that has been scanned: where they lie, and what they are.

use std::borrow::Cow;
use std::ops::Range;

use super::strings::unescape;
use crate::error::Found;

/// The kind of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean(bool),
    /// `integer` is true for digits without a fraction or an exponent.
    Number {
        integer: bool,
    },
    /// NaN or an infinity as a bare word, which a lenient scanner takes.
    NonFinite,
    /// `escaped` is true if there is any escape sequence.
    String {
        escaped: bool,
    },
    Array,
    Object,
}

impl Kind {
    pub(crate) fn found(self) -> Found {
        match self {
            Self::Null => Found::Null,
            Self::Boolean(_) => Found::Boolean,
            Self::Number { .. } => Found::Number,
            Self::NonFinite => Found::NonFinite,
            Self::String { .. } => Found::String,
            Self::Array => Found::Array,
            Self::Object => Found::Object,
        }
    }
}

/// A value's place in a document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) kind: Kind,
}

impl Token {
    pub(crate) fn span(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A value of a document that has been scanned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    pub(crate) document: &'a [u8],
    pub(crate) token: Token,
    pub(crate) lenient: bool,
}

impl<'a> Value<'a> {
    pub(crate) fn kind(&self) -> Kind {
        self.token.kind
    }

    pub(crate) fn position(&self) -> usize {
        self.token.span().start
    }

    /// The value as it stands in the document.
    pub(crate) fn raw(&self) -> &'a str {
        self.part(self.token.span())
    }

    /// What stands between the quotes of a string.
    pub(crate) fn quoted(&self) -> &'a str {
        let Range { start, end } = self.token.span();
        self.part(start + 1..end - 1)
    }

    fn part(&self, span: Range<usize>) -> &'a str {
        // The document was checked: this never fails.
        std::str::from_utf8(self.document.get(span).unwrap_or_default()).unwrap_or_default()
    }

    /// The text of a string.
    pub(crate) fn text(&self) -> Option<Cow<'a, str>> {
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

    /// The text of a string, or what the value is instead.
    pub(crate) fn string(&self) -> Result<Cow<'a, str>, Found> {
        self.text().ok_or(self.kind().found())
    }
}
