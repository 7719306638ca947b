//! The options of a Kafka table: what they are called, where they are given and
//! what they come to.
//!
//! The library's own options are `kafka.<name>`, all of them listed by
//! [`all`]. librdkafka's properties are given under their own names:
//! `kafka.client.<property>` for each client of the table,
//! `kafka.consumer.<property>` for reading only and `kafka.producer.<property>`
//! for writing only. `kafka.properties.file` names a file with properties in
//! librdkafka's or in Java's spelling.
//!
//! Some properties are set by the library itself and refused in options, such
//! as `group.id`, `enable.auto.commit` or `acks`; the error says what to use
//! instead. A properties file may hold them, since other programs may share it,
//! and they are ignored there, as are those that mean something to Java only.
//!
//! # Precedence
//!
//! An option given later in this list overrides the same option given earlier:
//!
//! 1. the library's default,
//! 2. the session: `SET kafka.timeout = '5s'`, taken back by `SET kafka.timeout = ''`
//!    ([`KafkaSessionOptions`]),
//! 3. the settings of the table factory or of the pattern that the table name matches,
//! 4. the table's own `OPTIONS (..)`, or those of a `COPY` or `write_kafka`.
//!
//! Within 2, 3 and 4 a properties file is below the options that stand next to
//! it. Within one of them two ways of setting one thing, such as
//! `kafka.client.linger.ms` and `kafka.producer.queue.buffering.max.ms`, are an
//! error. An option without effect, such as `kafka.topic.partitions` where no
//! topic may be created, is an error in the table's own options and ignored
//! below them, where it is a default for other tables too.
//!
//! # Secrets
//!
//! `${env:NAME}` and `${file:/path}` in a value stand for an environment
//! variable and for the contents of a file (without the newline at its end);
//! `$${` stands for `${`. They are looked up each time the options are parsed,
//! and only values from options, not those in a properties file, are searched
//! for them. Servers are taken as they are, since messages show them; nothing else
//! shows what a reference stands for, but names do, which messages tell:
//! `kafka.group.id` and `kafka.dead_letter.topic`.
//!
//! Only values of keys that are known to hold no secret are ever shown, see
//! [`is_safe`]; everything else shows as `***`.
//!
//! # SQL from others
//!
//! What a statement sets (`OPTIONS`, `SET`, `LOCATION`) may be the work of somebody who
//! must not have the program's secrets. So in SQL
//!
//! - `${env:..}`, `${file:..}`, `kafka.properties.file` and properties that name a file,
//!   such as `ssl.ca.location`, are errors unless the program calls
//!   [`KafkaConfig::allow_references_in_sql`](crate::KafkaConfig::allow_references_in_sql);
//! - a login that the program gives is not sent to other servers than those that the
//!   program names, unless it allows references;
//! - properties by which librdkafka runs commands, loads code or opens ports are always
//!   errors: `sasl.kerberos.*`, `ssl.engine.*`, `ssl.providers`, `test.mock.*`.
//!
//! What the program sets, in Rust or in a properties file, has none of these limits.
//!
//! # Example
//!
//! ```
//! use datafusion_kafka::options::Options;
//!
//! # fn main() -> Result<(), datafusion_kafka::error::Error> {
//! let options = Options::new()
//!     .with_option("kafka.bootstrap.servers", "localhost:9092")
//!     .with_option("kafka.timeout", "2s")
//!     .with_option("kafka.client.client.id", "reports");
//! options.validate()?;
//!
//! let wrong = options.with_option("kafka.timeout", "soon");
//! assert!(wrong.validate().is_err());
//! # Ok(())
//! # }
//! ```

mod bound;
mod client;
mod draft;
mod envelope;
mod framing;
mod jaas;
mod java;
mod layers;
mod origin;
mod parse;
mod properties_file;
mod property;
mod property_lines;
mod references;
mod secret;
mod session;
mod spec;
mod suggest;
mod table;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use client::{
    ClientOptions, DEFAULT_QUEUED_KBYTES, LINGER, MESSAGE_TIMEOUT, QUEUED_KBYTES,
    STATISTICS_INTERVAL, TRANSACTION_TIMEOUT,
};
pub(crate) use envelope::Envelope;
pub(crate) use framing::Framing;
pub use layers::Options;
pub(crate) use origin::Origin;
pub use secret::is_safe;
pub use session::KafkaSessionOptions;
pub use spec::{Applies, OptionSpec, all};
pub use table::Bound;
pub(crate) use table::{
    BinaryKey, CheckKeys, ColumnOptions, ColumnUnit, Deletes, Delivery, Isolation, KeyFormat, Mode,
    NewTopic, NullKey, OnBadRecord, OnLostOffsets, OnRecreatedOutput, Partitioner, TableOptions,
    ValueFormat,
};
