//! Quotas, as in `kafka-configs.sh`.

use crate::broker::Broker;
use crate::requests::string;
use crate::wait::{PATIENCE, wait_until};

const DESCRIBE_CLIENT_QUOTAS: i16 = 48;
const ALTER_CLIENT_QUOTAS: i16 = 49;
/// The version without compact encodings.
const VERSION: i16 = 0;

/// The traffic that a quota limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Records that producers write.
    Producer,
    /// Records that consumers read.
    Consumer,
}

impl Broker {
    /// Limits the clients of a `client.id` to `bytes` per second, and waits until the broker has
    /// applied the quota. The traffic of ten seconds may come as one burst at the start.
    pub fn limit(&self, client: &str, rate: Rate, bytes: u32) {
        let key = match rate {
            Rate::Producer => "producer_byte_rate",
            Rate::Consumer => "consumer_byte_rate",
        };
        let one = 1_i32.to_be_bytes().to_vec();
        let (keep, apply) = (0, 0);
        let request = [
            one.clone(),
            one.clone(),
            string("client-id"),
            string(client),
            one.clone(),
            string(key),
            f64::from(bytes).to_be_bytes().to_vec(),
            vec![keep, apply],
        ];
        let answer = self.ask(ALTER_CLIENT_QUOTAS, VERSION, &request.concat());
        // After the throttle time and the number of entries comes the error code.
        assert_eq!(answer[8..10], [0, 0], "{client}: {answer:?}");
        let (exactly, not_strict) = (0, 0);
        let named = [
            one,
            string("client-id"),
            vec![exactly],
            string(client),
            vec![not_strict],
        ];
        wait_until(PATIENCE, "the quota is known", || {
            let answer = self.ask(DESCRIBE_CLIENT_QUOTAS, VERSION, &named.concat());
            assert_eq!(answer[4..6], [0, 0], "{client}: {answer:?}");
            // The number of entries comes after an error text that is null.
            answer[8..12] == 1_i32.to_be_bytes()
        });
    }
}
