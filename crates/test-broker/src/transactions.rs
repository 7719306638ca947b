//! Transactional ids as `kafka-transactions.sh` shows them.

use std::time::Duration;

use crate::Broker;

const DESCRIBE_TRANSACTIONS: i16 = 65;
const LIST_TRANSACTIONS: i16 = 66;
const VERSION: i16 = 0;
const NO_TAGS: u8 = 0;

impl Broker {
    /// The ids that begin so, and how long each lets a transaction be open.
    pub fn transactional_ids(&self, prefix: &str) -> Vec<(String, Duration)> {
        let no_filters = [1, 1, NO_TAGS];
        let answer = self.ask_compact(LIST_TRANSACTIONS, VERSION, &no_filters);
        let mut answer = Answer(&answer);
        let (_throttled, error) = (answer.take(4), answer.take(2));
        assert_eq!(error, [0, 0]);
        let _unknown_filters = answer.texts();
        let mut ids = Vec::new();
        for _ in 0..answer.count() {
            let id = answer.text();
            let (_producer, _state, _tags) = (answer.take(8), answer.text(), answer.take(1));
            if id.starts_with(prefix) {
                ids.push((id.clone(), self.time_limit(&id)));
            }
        }
        ids
    }

    fn time_limit(&self, id: &str) -> Duration {
        let size = u8::try_from(id.len() + 1).unwrap();
        assert!(size < 0x80, "as long as one byte can tell");
        let request = [&[2, size][..], id.as_bytes(), &[NO_TAGS]].concat();
        let answer = self.ask_compact(DESCRIBE_TRANSACTIONS, VERSION, &request);
        let mut answer = Answer(&answer);
        let (_throttled, count) = (answer.take(4), answer.count());
        let (error, described) = (answer.take(2), answer.text());
        assert_eq!((count, error, described.as_str()), (1, &[0, 0][..], id));
        let _state = answer.text();
        let millis = i32::from_be_bytes(answer.take(4).try_into().unwrap());
        Duration::from_millis(millis.try_into().unwrap())
    }
}

/// An answer in compact encodings, as far as it was not read yet.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, size: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(size);
        self.0 = rest;
        taken
    }

    /// Seven bits a byte, the lowest first, and one more than is meant.
    fn count(&mut self) -> usize {
        let mut count = 0;
        for shift in (0..).step_by(7) {
            let byte = usize::from(self.take(1)[0]);
            count |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        count.saturating_sub(1)
    }

    fn text(&mut self) -> String {
        let size = self.count();
        String::from_utf8(self.take(size).to_vec()).unwrap()
    }

    fn texts(&mut self) -> Vec<String> {
        (0..self.count()).map(|_| self.text()).collect()
    }
}
