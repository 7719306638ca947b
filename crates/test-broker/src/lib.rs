#![doc = include_str!("../README.md")]
// Test code reports failures by panicking.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod acls;
mod broker;
mod certificate;
mod cluster;
mod command;
mod groups;
mod jars;
mod kcat;
pub mod listeners;
mod missing;
mod own;
mod ports;
mod process;
mod quotas;
mod records;
mod requests;
mod shared;
mod topics;
mod transactions;
mod users;
mod wait;

pub use acls::Right;
pub use broker::{Broker, Tls};
pub use certificate::{KEYSTORE_PASSWORD, certificate};
pub use cluster::Cluster;
pub use jars::jars;
pub use missing::say;
pub use own::{own, own_with};
#[cfg(unix)]
pub use process::Frozen;
pub use quotas::Rate;
pub use records::{Place, Rec, Stored};
pub use shared::{broker, required};
pub use topics::{COMPACTED, topic_name};
pub use transactions::{End, Transaction};
pub use users::{SASL_PASSWORD, SASL_USER, USER_PASSWORD};
pub use wait::{PATIENCE, wait_until};
