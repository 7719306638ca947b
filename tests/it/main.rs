//! The integration tests. All are in one binary, because each further binary links all of
//! DataFusion.

// Test code reports failures by panicking. rustc and clippy's `allow-*-in-tests` apply only to
// `#[test]` functions, not to the functions that they call.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub
)]

use kafka_test_broker as broker;
use kafka_test_broker::listeners;

mod advice;
mod broker_works;
mod brokerless;
mod changing_topics;
mod cluster;
mod consistent;
mod continuous;
mod copy;
mod data_frame;
mod ddl;
mod declared;
mod dml;
#[cfg(target_os = "linux")]
mod dropping;
mod end_to_end;
mod envelopes;
mod error_codes;
mod extensions;
mod floors;
mod framing;
mod functions;
mod inference;
#[cfg(target_os = "linux")]
mod kept;
mod key_formats;
mod log_shapes;
mod logins;
#[cfg(target_os = "linux")]
mod many_partitions;
mod patterns;
mod pushdown;
mod random;
mod reading;
mod register;
mod rights;
mod secrets;
mod session;
mod slt;
mod sql_from_others;
mod unbounded;
mod writing;
