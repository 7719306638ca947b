//! The measurements that librdkafka takes of the clients of a continuous query.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::Statistics;
use rdkafka::statistics::{Broker, Window};

/// How long one broker took to answer one client of a continuous query.
///
/// The times cover librdkafka's last statistics interval. Each is measured from sending a request
/// to receiving its answer. The percentiles are accurate to about 1 %. A broker that answered no
/// request in that interval is left out, for instance the broker of an idle producer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoundTrips {
    /// The kind of the client.
    pub client: ClientKind,
    /// The topic that the client reads or writes.
    pub topic: String,
    /// The address of the broker and its id, as `host:9092/1`. A connection that was made before
    /// the id was known has `bootstrap` instead of the id. A connection to the broker that
    /// coordinates a transaction or a group begins with `TxnCoordinator` or `GroupCoordinator`.
    pub broker: String,
    /// The number of answered requests.
    pub answers: u64,
    /// The mean time.
    pub mean: Duration,
    /// The time that half of the answers did not exceed.
    pub p50: Duration,
    /// The time that 95 % of the answers did not exceed.
    pub p95: Duration,
    /// The time that 99 % of the answers did not exceed.
    pub p99: Duration,
    /// The longest time.
    pub max: Duration,
}

/// The kind of a Kafka client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ClientKind {
    /// Looks up the end offsets of a topic. The client fetches no records, so no answer is
    /// delayed by waiting for new records.
    #[default]
    Consumer,
    /// Writes records.
    Producer,
}

impl fmt::Display for ClientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClientKind::Consumer => "consumer",
            ClientKind::Producer => "producer",
        })
    }
}

/// The measurements of all clients of one query.
#[derive(Default)]
pub(crate) struct Measurements(Mutex<BTreeMap<(ClientKind, String), Measured>>);

/// The last measurements of one client.
struct Measured {
    round_trips: Vec<RoundTrips>,
    queue: Queue,
}

/// The records in a producer's queue: not sent yet, or not acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Measurements {
    /// A recorder for the context of a new client. The client replaces an earlier one of the same
    /// kind and topic.
    pub(crate) fn of(self: &Arc<Self>, client: ClientKind, topic: &str) -> Measure {
        Measure {
            all: Arc::clone(self),
            client,
            topic: topic.to_owned(),
        }
    }

    /// Removes all clients. To be called when all of them are gone.
    pub(crate) fn forget(&self) {
        self.clients().clear();
    }

    pub(crate) fn round_trips(&self) -> Vec<RoundTrips> {
        let clients = self.clients();
        let all = clients.values().flat_map(|client| &client.round_trips);
        all.cloned().collect()
    }

    pub(crate) fn queue(&self) -> Queue {
        let mut queue = Queue::default();
        for client in self.clients().values() {
            queue.records += client.queue.records;
            queue.bytes += client.queue.bytes;
        }
        queue
    }

    fn clients(&self) -> MutexGuard<'_, BTreeMap<(ClientKind, String), Measured>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records the statistics of one client.
pub(crate) struct Measure {
    all: Arc<Measurements>,
    client: ClientKind,
    topic: String,
}

impl Measure {
    pub(crate) fn take(&self, statistics: &Statistics) {
        let brokers = statistics.brokers.values();
        let mut round_trips: Vec<RoundTrips> = brokers
            .filter_map(|broker| self.round_trips(broker, broker.rtt.as_ref()?))
            .collect();
        round_trips.sort_by(|a, b| a.broker.cmp(&b.broker));
        let measured = Measured {
            round_trips,
            queue: Queue {
                records: statistics.msg_cnt,
                bytes: statistics.msg_size,
            },
        };
        let client = (self.client, self.topic.clone());
        self.all.clients().insert(client, measured);
    }

    fn round_trips(&self, broker: &Broker, window: &Window) -> Option<RoundTrips> {
        let answers = u64::try_from(window.cnt).ok().filter(|count| *count > 0)?;
        // `sasl_ssl://host:9093/1`.
        let name = broker.name.split_once("://").map(|(_, name)| name);
        Some(RoundTrips {
            client: self.client,
            topic: self.topic.clone(),
            broker: name.unwrap_or(&broker.name).to_owned(),
            answers,
            mean: micros(window.avg),
            p50: share(window, 50, window.p50),
            p95: share(window, 95, window.p95),
            p99: share(window, 99, window.p99),
            max: micros(window.max),
        })
    }
}

/// The time that `percent` percent of the answers did not exceed. librdkafka's percentiles leave
/// out answers that were slower than it expected, half a second at first. Where those answers
/// count, the longest time stands for them.
fn share(window: &Window, percent: i64, known: i64) -> Duration {
    let slower = window.outofrange;
    match slower * 100 > window.cnt * (100 - percent) {
        true => micros(window.max),
        false => micros(known),
    }
}

fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(name: &str, answers: i64, queued: u64) -> Statistics {
        let broker = Broker {
            name: name.to_owned(),
            rtt: Some(Window {
                cnt: answers,
                avg: 1500,
                p50: 1000,
                p99: 9000,
                ..Window::default()
            }),
            ..Broker::default()
        };
        Statistics {
            brokers: [(name.to_owned(), broker)].into(),
            msg_cnt: queued,
            msg_size: queued * 10,
            ..Statistics::default()
        }
    }

    #[test]
    fn a_client_is_known_by_its_last_interval() {
        let all = Arc::new(Measurements::default());
        let reads = all.of(ClientKind::Consumer, "orders");
        let writes = all.of(ClientKind::Producer, "totals");
        reads.take(&statistics("sasl_ssl://kafka:9093/1", 3, 0));
        writes.take(&statistics("kafka:9092/1", 5, 7));

        let [read, written] = &all.round_trips()[..] else {
            panic!("{:?}", all.round_trips());
        };
        assert_eq!((read.broker.as_str(), read.answers), ("kafka:9093/1", 3));
        assert_eq!(
            (read.client, read.topic.as_str()),
            (ClientKind::Consumer, "orders")
        );
        assert_eq!(read.mean, Duration::from_micros(1500));
        assert_eq!(read.p99, Duration::from_millis(9));
        assert_eq!(written.topic, "totals");
        let queue = Queue {
            records: 7,
            bytes: 70,
        };
        assert_eq!(all.queue(), queue);

        // A broker without answers has no times.
        reads.take(&statistics("sasl_ssl://kafka:9093/1", 0, 0));
        writes.take(&statistics("kafka:9092/1", 2, 0));
        assert_eq!(all.round_trips().len(), 1);
        assert_eq!(all.queue(), Queue::default());

        all.forget();
        assert!(all.round_trips().is_empty());
    }

    #[test]
    fn answers_that_took_longer_than_expected_are_among_the_slowest() {
        let window = |slower| Window {
            cnt: 100,
            outofrange: slower,
            max: 2_000_000,
            ..Window::default()
        };
        let times = |slower| [50, 95, 99].map(|percent| share(&window(slower), percent, 1000));
        let (fast, slow) = (Duration::from_millis(1), Duration::from_secs(2));
        assert_eq!(times(0), [fast, fast, fast]);
        assert_eq!(times(1), [fast, fast, fast]);
        assert_eq!(times(2), [fast, fast, slow]);
        assert_eq!(times(6), [fast, slow, slow]);
        assert_eq!(times(100), [slow, slow, slow]);
    }
}
