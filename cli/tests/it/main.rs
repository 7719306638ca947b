//! The program as users start it. All tests are in one binary, as for the library.

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
#[cfg(target_os = "linux")]
use kafka_test_broker::listeners;

mod advice;
mod columns;
#[cfg(target_os = "linux")]
mod connecting;
mod demo;
mod endurance;
mod exit;
mod guide;
mod information_schema;
#[cfg(unix)]
mod log_format;
mod login;
#[cfg(unix)]
mod metrics;
#[cfg(feature = "oidc")]
mod oidc;
mod program;
mod prompt;
mod references;
#[cfg(unix)]
mod run;
#[cfg(unix)]
mod running;
mod scripts;
mod topics;
