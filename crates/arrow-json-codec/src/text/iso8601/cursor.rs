//! Reading ISO 8601 text from its start.

/// Reads text from its start.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a>(pub(crate) &'a str);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, chars: &[char]) -> Option<char> {
        let char = self.0.chars().next().filter(|char| chars.contains(char))?;
        self.0 = self.0.get(char.len_utf8()..)?;
        Some(char)
    }

    pub(crate) fn digits(&mut self) -> &'a str {
        let end = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at_checked(end).unwrap_or(("", self.0));
        self.0 = rest;
        digits
    }

    pub(crate) fn two_digits(&mut self, max: i64) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(2)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        self.0 = rest;
        digits.parse().ok().filter(|value| *value <= max)
    }
}
