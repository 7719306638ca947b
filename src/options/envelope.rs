//! [`Envelope`]: what of a payload or key is the row.

/// The message that a row or key is wrapped in (`kafka.value.envelope`, `kafka.key.envelope`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Envelope {
    /// The whole document is the row.
    #[default]
    None,
    /// `{"schema": .., "payload": ..}`, as Kafka Connect's `JsonConverter` writes it. Source:
    /// [`JsonSchema`](https://github.com/apache/kafka/blob/trunk/connect/json/src/main/java/org/apache/kafka/connect/json/JsonSchema.java).
    Connect,
    /// `{"before": .., "after": .., "source": .., "op": .., "ts_ms": ..}`, also as the payload of
    /// Kafka Connect's envelope. Source: [Debezium's change events].
    ///
    /// [Debezium's change events]: https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events
    Debezium,
}

impl Envelope {
    /// The value of the option.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Envelope::None => "none",
            Envelope::Connect => "connect",
            Envelope::Debezium => "debezium",
        }
    }

    /// Who writes this envelope, for messages.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Envelope::None => "nobody",
            Envelope::Connect => "Kafka Connect",
            Envelope::Debezium => "Debezium",
        }
    }
}
