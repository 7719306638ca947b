//! Kafka topics of JSON upserts as SQL tables in [Apache DataFusion], for
//! reading and writing.
//!
//! [Apache DataFusion]: https://datafusion.apache.org

pub mod error;
pub mod json;
pub mod options;

mod catalog;
mod client;
mod embedded;
mod factory;
mod infer;
mod native;
mod record;
mod schema;
mod session;
mod sink;
mod source;
mod sql;
mod table;

pub use catalog::{KafkaTopics, SinkOptions, SourceOptions};
pub use embedded::EmbeddedKafka;
pub use error::{Error, Result};
pub use factory::KafkaTableFactory;
pub use options::Options;
pub use schema::{KEY_COLUMN, VALUE_COLUMN};
pub use session::{KafkaConfig, register_kafka};
pub use source::exec::KafkaScanExec;
#[doc(hidden)]
pub use source::fold::SeenKeys;
pub use sql::sql;
pub use table::{KafkaTable, KafkaTableBuilder};
