//! The statistics that librdkafka reports at intervals.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::statistics;

/// The figures of a client's statistics that show whether brokers are working for it.
#[derive(Default)]
pub(super) struct Statistics(Mutex<Figures>);

#[derive(Default)]
struct Figures {
    /// The time until which brokers throttle requests.
    held_back_until: Option<Instant>,
    /// The next offset to be fetched, by topic and partition.
    next: BTreeMap<String, BTreeMap<i32, i64>>,
}

impl Statistics {
    /// Records statistics, and returns how long brokers have throttled requests since the last
    /// statistics.
    pub(super) fn take(&self, report: &statistics::Statistics) -> Duration {
        let throttled = report.brokers.values().filter_map(|b| b.throttle.as_ref());
        let (sum, longest) = throttled.fold((0, 0), |(sum, longest), window| {
            (sum + window.sum, longest.max(window.max))
        });
        let mut figures = self.figures();
        if longest > 0 {
            let until = Instant::now() + millis(longest);
            figures.held_back_until = figures.held_back_until.max(Some(until));
        }
        for (name, topic) in &report.topics {
            let partitions = topic.partitions.values();
            let fetched = partitions.filter(|partition| partition.next_offset >= 0);
            let next: Vec<_> = fetched.map(|p| (p.partition, p.next_offset)).collect();
            if !next.is_empty() {
                figures
                    .next
                    .insert(name.clone(), next.into_iter().collect());
            }
        }
        millis(sum)
    }

    /// Forgets all figures. True if brokers still throttle requests.
    pub(super) fn forget(&self) -> bool {
        let figures = std::mem::take(&mut *self.figures());
        let until = figures.held_back_until;
        until.is_some_and(|until| until > Instant::now())
    }

    /// The time until which brokers throttle requests because of a quota, where they have said
    /// so.
    pub(super) fn held_back_until(&self) -> Option<Instant> {
        self.figures().held_back_until
    }

    /// The next offset to be fetched from a partition, by the last statistics.
    pub(super) fn next_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.figures().next.get(topic)?.get(&partition).copied()
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::{Broker, Partition, Topic, Window};

    use super::*;

    fn report(throttled: &[(i64, i64)], next: &[i64]) -> statistics::Statistics {
        let throttle = |&(sum, max)| Broker {
            throttle: Some(Window {
                sum,
                max,
                ..Window::default()
            }),
            ..Broker::default()
        };
        let brokers = throttled.iter().map(throttle).enumerate();
        let partition = |(partition, &next_offset): (usize, &i64)| {
            let partition = i32::try_from(partition).unwrap();
            let report = Partition {
                partition,
                next_offset,
                ..Partition::default()
            };
            (partition, report)
        };
        let topic = Topic {
            partitions: next.iter().enumerate().map(partition).collect(),
            ..Topic::default()
        };
        statistics::Statistics {
            brokers: brokers.map(|(n, broker)| (n.to_string(), broker)).collect(),
            topics: [("t".to_owned(), topic)].into(),
            ..statistics::Statistics::default()
        }
    }

    #[test]
    fn requests_that_are_held_back_count_together_and_the_longest_is_waited_for() {
        let statistics = Statistics::default();
        assert_eq!(statistics.take(&report(&[(0, 0)], &[])), Duration::ZERO);
        assert_eq!(statistics.held_back_until(), None);
        let before = Instant::now();
        let held_back = statistics.take(&report(&[(700, 400), (90_000, 60_000)], &[]));
        assert_eq!(held_back, Duration::from_millis(90_700));
        let until = statistics.held_back_until().unwrap();
        assert!(until >= before + Duration::from_secs(60));
        // A shorter throttle does not replace a longer one.
        statistics.take(&report(&[(1, 1)], &[]));
        assert_eq!(statistics.held_back_until(), Some(until));
    }

    #[test]
    fn partitions_that_are_fetched_have_a_next_offset() {
        let statistics = Statistics::default();
        statistics.take(&report(&[], &[5, -1001]));
        assert_eq!(statistics.next_offset("t", 0), Some(5));
        assert_eq!(statistics.next_offset("t", 1), None);
        assert_eq!(statistics.next_offset("other", 0), None);
    }
}
