//! What a scanner returns where a text is not JSON.

use crate::error::{DecodeError, DecodeErrorKind, SyntaxError};

/// Where a text stops being JSON, and how.
///
/// This type and [`Token`](super::value::Token) are small, so that a result of them is returned in registers. To
/// return a result through memory costs more than the scanning itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Invalid {
    pub(super) position: u32,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Syntax(SyntaxError),
    TooDeep,
}

impl From<SyntaxError> for What {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

impl From<Invalid> for DecodeError {
    fn from(invalid: Invalid) -> Self {
        let kind = match invalid.what {
            What::Syntax(error) => DecodeErrorKind::InvalidJson(error),
            What::TooDeep => DecodeErrorKind::TooDeep,
        };
        Self::new(invalid.position as usize, kind)
    }
}
