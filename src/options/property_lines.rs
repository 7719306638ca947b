//! Splits a properties file into its properties.
//!
//! Lines are read as Java reads them. Comments start with `#` or `!`. A backslash at the end of a
//! line continues the line. A backslash elsewhere is an escape, so a backslash in a password is
//! written `\\`.

use std::str::Chars;

/// A property in a file.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) value: String,
}

/// The `key=value` lines of a file. The error is the number of a malformed line.
pub(super) fn split(text: &str) -> Result<Vec<Line>, usize> {
    let mut lines = Vec::new();
    let mut physical = text.lines().enumerate();
    while let Some((index, line)) = physical.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while continues(&logical) {
            logical.pop();
            match physical.next() {
                Some((_, next)) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        let number = index + 1;
        let (name, value) = split_line(&logical);
        lines.push(Line {
            number,
            name: unescape(name).ok_or(number)?,
            value: unescape(value.trim_end()).ok_or(number)?,
        });
    }
    Ok(lines)
}

/// Whether a line ends with a backslash that is not itself escaped.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// Splits at the first `=`, `:` or space that is not escaped.
fn split_line(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == '=' || c == ':' || c.is_whitespace() {
            let (name, rest) = line.split_at(at);
            let rest = rest.trim_start();
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (name, rest.trim_start());
        }
    }
    (line, "")
}

/// The text without its escapes, as Java reads them.
fn unescape(text: &str) -> Option<String> {
    // UTF-16, because one character may be written as two `\u` escapes.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = if c != '\\' {
            c
        } else {
            match chars.next() {
                None => break,
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    units.push(hex_unit(&mut chars)?);
                    continue;
                }
                Some(other) => other,
            }
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).ok()
}

fn hex_unit(chars: &mut Chars<'_>) -> Option<u16> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit * 16 + chars.next()?.to_digit(16)?;
    }
    u16::try_from(unit).ok()
}
