//! Payloads and keys in an envelope: Debezium's, Kafka Connect's, and rows that say that they are
//! deleted.

mod connect;
mod debezium;
mod documents;
mod events;
mod types;
