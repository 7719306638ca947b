//! The broker that all tests of a binary share.

use std::env;
use std::sync::OnceLock;

use rdkafka::consumer::Consumer as _;

use crate::broker::Broker;
use crate::missing::{in_ci, say};
use crate::own::own;
use crate::wait::PATIENCE;

const SERVERS: &str = "KAFKA_BOOTSTRAP_SERVERS";

/// The shared [`broker`], for a test that cannot run without a broker:
/// `let Some(broker) = broker::required("name of test") else { return };`
///
/// If there is no broker, the test is skipped, and a note on standard error says so.
///
/// # Panics
///
/// If there is no broker although one is required, by `CI=true` or by `KAFKA_BOOTSTRAP_SERVERS`.
pub fn required(test: &str) -> Option<&'static Broker> {
    match broker() {
        Ok(broker) => Some(broker),
        Err(why) if in_ci() || env::var_os(SERVERS).is_some() => {
            panic!("{test} needs a Kafka broker: {why}")
        }
        Err(why) => {
            let first = why.lines().next().unwrap_or_default();
            say(&format!("left out: {test} ({first})"));
            None
        }
    }
}

/// The broker of this process, found or started by the first call.
///
/// # Errors
///
/// The reason why no broker is available, in one or more lines.
pub fn broker() -> Result<&'static Broker, &'static str> {
    static BROKER: OnceLock<Result<Broker, String>> = OnceLock::new();
    let broker = BROKER.get_or_init(|| {
        let broker = match env::var(SERVERS) {
            Ok(servers) => external(&servers),
            Err(_) => own(),
        };
        if let Err(why) = &broker {
            say(&format!("no Kafka broker: {why}"));
        }
        broker
    });
    broker.as_ref().map_err(String::as_str)
}

fn external(servers: &str) -> Result<Broker, String> {
    let broker = Broker::elsewhere(servers);
    let consumer = broker.consumer("read_committed");
    match consumer.fetch_metadata(None, PATIENCE / 6) {
        Ok(_) => Ok(broker),
        Err(error) => Err(format!("{SERVERS}={servers} does not answer: {error}")),
    }
}
