//! The inside of JSON strings.

/// The value of hexadecimal digits.
pub(crate) fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |unit, &digit| {
        Some(unit << 4 | char::from(digit).to_digit(16)?)
    })
}

/// How many digits come first.
#[inline]
pub(crate) fn count_digits(bytes: &[u8]) -> usize {
    match bytes.first_chunk().map(|word| leading_digits(*word)) {
        Some((_, count)) if count < 8 => count,
        _ => count_many_digits(bytes),
    }
}

#[inline(never)]
fn count_many_digits(bytes: &[u8]) -> usize {
    let count = bytes.iter().position(|byte| !byte.is_ascii_digit());
    count.unwrap_or(bytes.len())
}

/// The digits that come first in a word, one byte each, and how many they are.
/// The bytes behind the digits are of no use.
#[inline]
pub(crate) fn leading_digits(word: [u8; 8]) -> (u64, usize) {
    const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);
    const LIMIT: u64 = u64::from_ne_bytes([0x80 - 10; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

    let digits = u64::from_le_bytes(word) ^ ZEROS;
    // The high bit of every byte that is no digit, up to the first one at least.
    let others = (digits.wrapping_add(LIMIT) | digits) & HIGH;
    (digits, others.trailing_zeros() as usize / 8)
}

/// How many bytes come before the first quote, backslash or control character.
#[inline]
pub(crate) fn plain_prefix(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let mut plain = 0;
    for word in words {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            return plain + special.trailing_zeros() as usize / 8;
        }
        plain += 8;
    }
    let rest = bytes.get(plain..).unwrap_or_default();
    let special = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < 0x20;
    plain + rest.iter().position(special).unwrap_or(rest.len())
}

/// The high bit of the first byte that is a quote, a backslash or a control
/// character, and of none before it.
#[inline]
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let quote = zero(word ^ (ONES * u64::from(b'"')));
    let backslash = zero(word ^ (ONES * u64::from(b'\\')));
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    quote | backslash | control
}

/// Hands out the text of a scanned string, part by part, without its escapes.
pub(crate) fn unescape(quoted: &str, mut part: impl FnMut(&str)) {
    let mut rest = quoted;
    while let Some((plain, escape)) = rest.split_once('\\') {
        part(plain);
        let mut chars = escape.chars();
        let char = match chars.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let digits = |at: usize| escape.as_bytes().get(at..at + 4).and_then(hex);
                let mut unit = digits(1).unwrap_or_default();
                let mut length = 5;
                let second = escape.get(5..7).filter(|start| *start == "\\u");
                let second = second.and_then(|_| digits(7));
                if let (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) = (unit, second) {
                    unit = 0x10000 + ((unit - 0xD800) << 10) + (low & 0x3FF);
                    length = 11;
                }
                chars = escape.get(length..).unwrap_or_default().chars();
                // Half of a surrogate pair, which a lenient scanner takes, is no character.
                char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            Some(same) => same,
            None => break,
        };
        part(char.encode_utf8(&mut [0; 4]));
        rest = chars.as_str();
    }
    part(rest);
}

/// Appends the first bytes of a chunk.
///
/// To copy the whole chunk and cut off the rest costs less than to copy a number of bytes that
/// is known only now.
#[inline]
pub(crate) fn push_start<const N: usize>(chunk: &[u8; N], length: usize, out: &mut Vec<u8>) {
    let end = out.len() + length;
    out.extend_from_slice(chunk);
    out.truncate(end);
}

/// Writes text of up to 12 bytes, lowest first, as a JSON string. `false` says that the text
/// needs escapes and nothing was written.
#[inline]
pub(crate) fn write_short_string(text: u128, length: usize, out: &mut Vec<u8>) -> bool {
    let quote = u128::from(b'"');
    // The bytes behind the text become ones that need no escape.
    let filled = text | u128::MAX << (8 * length);
    let [low, high] = [filled as u64, (filled >> 64) as u64].map(special);
    if low | high != 0 {
        return false;
    }
    let quoted = quote | text << 8 | quote << (8 * (length + 1));
    push_start(&quoted.to_le_bytes(), length + 2, out);
    true
}

/// Writes text as a JSON string, with as few escapes as JSON allows.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some((plain, special)) = rest.split_at_checked(plain_prefix(rest)) {
        out.extend_from_slice(plain);
        let Some((&byte, tail)) = special.split_first() else {
            break;
        };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x8 => out.extend_from_slice(b"\\b"),
            0xC => out.extend_from_slice(b"\\f"),
            control => {
                let low = char::from_digit(u32::from(control & 0xF), 16).unwrap_or('0');
                out.extend_from_slice(b"\\u00");
                out.push(b'0' + (control >> 4));
                out.push(low as u8);
            }
        }
        rest = tail;
    }
    out.push(b'"');
}
