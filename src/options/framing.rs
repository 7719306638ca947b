//! [`Framing`]: the id of a schema in front of a key or payload.

/// How many bytes stand in front of JSON that was written with a schema registry: a zero byte, and
/// the id of the schema as a big-endian number. JSON never begins with a zero byte, so such bytes
/// are passed over wherever they are found.
///
/// Source: [Confluent's wire format], and Apicurio's for ids of 8 bytes.
///
/// [Confluent's wire format]: https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Framing {
    /// An id of 4 bytes.
    #[default]
    Confluent,
    /// An id of 8 bytes.
    Apicurio,
}

impl Framing {
    /// The largest id of a schema.
    pub(super) fn largest_id(self) -> u64 {
        match self {
            Framing::Confluent => u64::from(i32::MAX.unsigned_abs()),
            Framing::Apicurio => i64::MAX.unsigned_abs(),
        }
    }

    /// The bytes in front of a document, which may be none, and the document.
    pub(crate) fn split(self, bytes: &[u8]) -> (&[u8], &[u8]) {
        let len = match (self, bytes.first()) {
            (_, None | Some(1..)) => 0,
            (Framing::Confluent, Some(0)) => 5,
            (Framing::Apicurio, Some(0)) => 9,
        };
        bytes.split_at_checked(len).unwrap_or((&[], bytes))
    }

    /// The bytes to be written in front of a document of this schema.
    pub(crate) fn bytes(self, id: u64) -> Vec<u8> {
        let id = id.to_be_bytes();
        let id = match self {
            Framing::Confluent => id.get(4..).unwrap_or_default(),
            Framing::Apicurio => &id[..],
        };
        [&[0], id].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_front_is_split_off() {
        for (framing, id) in [
            (Framing::Confluent, 0),
            (Framing::Confluent, 100_042),
            (Framing::Confluent, Framing::Confluent.largest_id()),
            (Framing::Apicurio, Framing::Apicurio.largest_id()),
        ] {
            let front = framing.bytes(id);
            let whole = [&front[..], b"{}"].concat();
            assert_eq!(framing.split(&whole), (&front[..], &b"{}"[..]));
        }
        assert_eq!(Framing::Confluent.bytes(258), [0, 0, 0, 1, 2]);
        assert_eq!(Framing::Apicurio.bytes(258), [0, 0, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn what_has_no_id_stays_whole() {
        for bytes in [&b""[..], b"{}", b"12345678", b"\0", b"\0\0\0\x01"] {
            assert_eq!(Framing::Confluent.split(bytes), (&[][..], bytes));
        }
        assert_eq!(Framing::Confluent.split(b"\0\0\0\0\x01").1, b"");
    }
}
