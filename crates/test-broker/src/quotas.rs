//! Quotas, as `kafka-configs.sh` sets them.

use crate::broker::Broker;
use crate::requests::string;
use crate::wait::{PATIENCE, wait_until};

const DESCRIBE_CLIENT_QUOTAS: i16 = 48;
const ALTER_CLIENT_QUOTAS: i16 = 49;
/// The one without compact encodings.
const VERSION: i16 = 0;

/// What a quota is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// What producers write.
    Producer,
    /// What consumers read.
    Consumer,
}

impl Broker {
    /// Limits the clients of a `client.id` to so many bytes a second, and waits until the broker
    /// knows. What they do in the first ten seconds may be done at once.
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
        // Behind the time of throttling and the number of answers.
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
            // Behind a text that is null.
            answer[8..12] == 1_i32.to_be_bytes()
        });
    }
}
