//! Kafka topics as SQL tables in [Apache DataFusion], for reading and writing.
//!
//! A topic of JSON upserts is a table: its rows are the latest record of every
//! key, and a tombstone deletes a row. There is no server and no state store:
//! this is a library in your process, and the topic itself. It is not a
//! consumer-group client; reading leaves nothing behind on the broker, but for the
//! offsets of a [`ContinuousQuery`].
//!
//! [Apache DataFusion]: https://datafusion.apache.org
//!
//! # Reading and writing
//!
//! ```
//! use arrow::datatypes::{DataType, Field, Schema};
//! use datafusion::prelude::SessionContext;
//! use datafusion_kafka::{EmbeddedKafka, KafkaTable};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kafka = EmbeddedKafka::start()?; // or a broker of yours
//! kafka.create_topic("people", 3)?;
//!
//! let people = KafkaTable::builder("people")
//!     .with_schema(Schema::new(vec![Field::new("name", DataType::Utf8View, true)]))
//!     .with_option("kafka.bootstrap.servers", kafka.bootstrap_servers())
//!     .build()
//!     .await?;
//! let ctx = SessionContext::new();
//! ctx.register_table("people", std::sync::Arc::new(people))?;
//!
//! let insert = "INSERT INTO people VALUES ('p1', 'Ada'), ('p2', 'Bob'), ('p1', 'Ada Lovelace')";
//! ctx.sql(insert).await?.collect().await?;
//! let rows = ctx.sql("SELECT * FROM people").await?.count().await?;
//! assert_eq!(rows, 2); // one row per key
//! # Ok(()) }
//! ```
//!
//! # Ways in
//!
//! | you have | use |
//! |---|---|
//! | one topic, in Rust | [`KafkaTable::builder`] |
//! | many topics | [`register_kafka`] with [`KafkaTopics`] patterns, then [`sql`] |
//! | SQL | [`register_kafka`], then `CREATE EXTERNAL TABLE .. STORED AS KAFKA` |
//! | a topic that is to stay equal to a query | [`ContinuousQuery`] |
//! | a query's result for a topic | `COPY (SELECT ..) TO 'kafka://..' STORED AS KAFKA`, or [`KafkaDataFrame::write_kafka`] |
//! | a topic to look into | [`register_kafka`], then [its functions](register_kafka#functions) |
//! | a format of your own | [`Codec`] |
//! | something to do with records before they are sent | [`WriteHook`] |
//! | a plan that is to return the same rows later | [`fix_ends`] |
//! | no broker | [`EmbeddedKafka`] |
//!
//! What was written is in the [`WriteReport`] of a plan that ran.
//!
//! What can be set, and in which order settings apply, is in [`options`].
//!
//! # How it works
//!
//! ```text
//! SELECT  topic ──fetch──► records ──deduplicate by key──► latest records ──JSON──► RecordBatch ──► rows
//! INSERT  rows ──► RecordBatch ──JSON──► key and payload, or tombstone ──► producer ──► count
//! UPDATE, DELETE, MERGE, TRUNCATE, INSERT OVERWRITE
//!         statement ──rewritten──► SELECT over the topic ──► rows that say what they change ──► INSERT
//! ```
//!
//! A bounded scan asks once where the topic ends and reads each partition from
//! there backwards. The first record met of a key is its latest, so keys are
//! compared as bytes and only the records that become rows are decoded.
//!
//! # Failure
//!
//! Errors of this crate are [`Error`]s inside DataFusion's; [`Error::find`]
//! gets them out, with topic, partition and offset as fields. Servers that do
//! not answer are an error after `kafka.timeout`; a broker that goes away during
//! the work is waited for up to `kafka.retry_timeout`. A topic that is deleted or
//! created again while it is read, and records that retention takes away before
//! they are read, are errors too. Rows of two topics are never mixed where the
//! brokers give topics ids (Kafka 2.8 and later). Dropping a query ends its
//! threads and connections. A session that [`register_kafka`] prepared keeps the clients of
//! statements that ended well, so that the next ones need not connect: at most 16, each for
//! `kafka.keep_clients`, and all of them at most until the session is dropped.
//!
//! # The end of the program
//!
//! Threads and connections end in the background. A program with TLS that is about to
//! exit waits for them with [`wait_for_clients`], since OpenSSL's exit handlers crash
//! threads that still use it.

#![forbid(unsafe_code)]

pub mod error;
pub mod json;
pub mod options;

mod catalog;
mod client;
mod continuous;
mod definition;
mod dml;
mod embedded;
mod extensions;
mod functions;
mod planning;
mod session;
mod sink;
mod source;
mod sql_type;
mod table;

pub use catalog::factory::KafkaTableFactory;
pub use catalog::{KafkaTopics, SinkOptions, SourceOptions};
pub use client::threads::wait_for_clients;
pub use client::{ClientKind, RoundTrips};
pub use continuous::query::{ContinuousOptions, ContinuousQuery};
pub use continuous::state::{InputProgress, QueryProgress, QueryStatus};
pub use definition::metadata_columns::{KEY_COLUMN, VALUE_COLUMN};
pub use embedded::EmbeddedKafka;
pub use error::kind::ErrorKind;
pub use error::{Error, ErrorCode, Result};
pub use extensions::codec::{Codec, CodecError};
pub use extensions::hook::{OutgoingRecord, WriteHook};
pub use options::Options;
pub use planning::data_frame::KafkaDataFrame;
pub use planning::sql::sql;
pub use session::{KafkaConfig, register_kafka};
pub use sink::report::{WriteReport, WrittenOffsets};
pub use source::exec::KafkaScanExec;
pub use source::fix_ends::fix_ends;
pub use table::{KafkaTable, KafkaTableBuilder};

/// The README's examples, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples of the guide's page on continuous queries, compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/src/continuous.md")]
struct ContinuousPage;

/// The examples of the guide's page on Rust programs, compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/src/rust.md")]
struct RustPage;

/// The examples of the guide's page on codecs and hooks, compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/src/extensions.md")]
struct ExtensionsPage;
