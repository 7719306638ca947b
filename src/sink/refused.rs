//! [`Refused`]: the records of a continuous query that its output refuses.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The Kafka partition and the offset of a record of the topic that is read.
pub(crate) type Place = (i32, i64);

/// Finds the records that the brokers refuse, so that they become dead letters.
///
/// Brokers refuse a batch as a whole and do not say which record is the reason. So the records
/// of a refused batch are sent again, one at a time. Those that are refused then are dead
/// letters. If all of them are accepted, the batches were too large and no single record was.
#[derive(Debug, Default)]
pub(crate) struct Refused(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    reasons: BTreeMap<Place, String>,
    /// Records before these offsets are sent one at a time.
    alone_before: BTreeMap<i32, i64>,
    /// The last records that were sent one at a time were all accepted.
    were_taken: bool,
    /// How often a refusal has led to a change above.
    lessons: u64,
}

impl Refused {
    /// Why the brokers refuse a record, if they are known to refuse it.
    pub(crate) fn reason(&self, place: Place) -> Option<String> {
        self.known().reasons.get(&place).cloned()
    }

    /// Whether a record must be sent one at a time.
    pub(crate) fn is_alone(&self, (partition, offset): Place) -> bool {
        let known = self.known();
        let before = known.alone_before.get(&partition);
        before.is_some_and(|before| offset < *before)
    }

    /// Takes in that the brokers have refused a record. `sent` are the offsets up to which
    /// records were sent. Returns `false` if sending the records again cannot help.
    pub(crate) fn meet(&self, place: Place, reason: &str, sent: &BTreeMap<i32, i64>) -> bool {
        let alone = self.is_alone(place);
        let mut known = self.known();
        if known.reasons.contains_key(&place) {
            // The brokers refuse the record as a dead letter too.
            return false;
        }
        if alone {
            known.reasons.insert(place, reason.to_owned());
            known.were_taken = false;
        } else if known.were_taken || (known.reasons.is_empty() && !known.alone_before.is_empty()) {
            // Every record that was sent alone was accepted: the batches are too large.
            return false;
        } else {
            known.alone_before.clone_from(sent);
        }
        known.lessons += 1;
        true
    }

    /// Takes in that the records before these offsets are committed.
    pub(crate) fn pass(&self, committed: &BTreeMap<i32, i64>) {
        let mut known = self.known();
        if known.alone_before.is_empty() {
            return;
        }
        let is_before =
            |(partition, offset): &Place| committed.get(partition).is_some_and(|end| offset < end);
        let found = known.reasons.keys().any(is_before);
        known.reasons.retain(|place, _| !is_before(place));
        let is_past = |(partition, before): (&i32, &i64)| {
            committed.get(partition).is_some_and(|end| end >= before)
        };
        if known.alone_before.iter().all(is_past) {
            known.alone_before.clear();
            known.were_taken = !found && known.reasons.is_empty();
        }
    }

    /// How often a refusal has led to another way of sending. Such a retry is not a failure.
    pub(crate) fn lessons(&self) -> u64 {
        self.known().lessons
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up_to(offset: i64) -> BTreeMap<i32, i64> {
        BTreeMap::from([(0, offset)])
    }

    #[test]
    fn a_record_that_is_refused_alone_is_known_until_it_is_passed() {
        let refused = Refused::default();
        assert!(refused.meet((0, 3), "too large", &up_to(9)));
        assert_eq!(refused.reason((0, 3)), None);
        assert!(refused.is_alone((0, 8)) && !refused.is_alone((0, 9)));
        assert!(refused.meet((0, 5), "too large", &up_to(6)));
        assert_eq!(refused.reason((0, 5)).as_deref(), Some("too large"));
        // The dead letter is refused as well.
        assert!(!refused.meet((0, 5), "too large", &up_to(6)));
        refused.pass(&up_to(9));
        assert_eq!(refused.reason((0, 5)), None);
        // A later batch.
        assert!(refused.meet((0, 12), "too large", &up_to(20)));
    }

    #[test]
    fn batches_that_are_too_large_are_told_from_records() {
        let refused = Refused::default();
        assert!(refused.meet((0, 3), "too large", &up_to(9)));
        assert!(!refused.meet((0, 12), "too large", &up_to(20)));
        refused.pass(&up_to(9));
        assert!(!refused.meet((0, 12), "too large", &up_to(20)));
    }
}
