//! [`Silence`]: the time-out for acknowledgements.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;

use crate::options::{LINGER, MESSAGE_TIMEOUT, TableOptions};

/// Measures for how long no record in flight was acknowledged.
///
/// librdkafka's own time-out applies to each record and starts when the record is queued. A
/// statement that is slow but makes progress would fail because of it. Here any
/// acknowledgement restarts the clock.
pub(super) struct Silence {
    /// `None` if an option sets librdkafka's own time-out instead.
    longest: Option<Duration>,
    /// How long librdkafka itself keeps a record before it sends the record.
    linger: Duration,
    acknowledged: u64,
    since: Instant,
}

impl Silence {
    /// The clock of a producer with this configuration, in which librdkafka's own time-out is
    /// switched off unless an option sets that time-out.
    pub(super) fn of(config: &mut ClientConfig, options: &TableOptions) -> Self {
        let given = options.client.producer_gives(MESSAGE_TIMEOUT);
        if !given {
            config.set(MESSAGE_TIMEOUT, "0");
        }
        let linger = config
            .get(LINGER)
            .and_then(|millis| millis.trim().parse().ok());
        let linger = linger.map(|millis: f64| millis / 1000.0);
        Silence {
            longest: (!given).then_some(options.retry_timeout),
            linger: linger
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .unwrap_or_default(),
            acknowledged: 0,
            since: Instant::now(),
        }
    }

    /// The time-out, if no record was acknowledged for longer than that.
    ///
    /// `sent` and `acknowledged` are the numbers of records so far. `held_back_until` says until
    /// when a quota keeps the client from sending; that time does not count.
    pub(super) fn too_long(
        &mut self,
        sent: u64,
        acknowledged: u64,
        held_back_until: impl FnOnce() -> Option<Instant>,
    ) -> Option<Duration> {
        if acknowledged != self.acknowledged || acknowledged == sent {
            self.acknowledged = acknowledged;
            self.since = Instant::now();
            return None;
        }
        let longest = self.longest?;
        let is_over = |since: Instant| since.elapsed() > longest + self.linger;
        if !is_over(self.since) {
            return None;
        }
        let since = held_back_until().map_or(self.since, |until| until.max(self.since));
        is_over(since).then_some(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);

    fn silence(linger: &str) -> Silence {
        let mut config = ClientConfig::new();
        config.set(LINGER, linger);
        Silence::of(&mut config, &TableOptions::default())
    }

    /// Moves the clock forward.
    fn pass(silence: &mut Silence, time: Duration) {
        silence.since -= time;
    }

    #[test]
    fn only_records_on_their_way_are_waited_for_and_any_acknowledgement_counts() {
        let mut silence = silence("20");
        pass(&mut silence, LONGEST * 2);
        // No record was in flight during that time.
        assert_eq!(silence.too_long(0, 0, || None), None);
        assert_eq!(silence.too_long(5, 0, || None), None);
        pass(&mut silence, LONGEST * 2);
        assert_eq!(silence.too_long(9, 1, || None), None);
        pass(&mut silence, LONGEST / 2);
        assert_eq!(silence.too_long(9, 1, || None), None);
        pass(&mut silence, LONGEST);
        assert_eq!(silence.too_long(9, 1, || None), Some(LONGEST));
        assert_eq!(silence.too_long(9, 9, || None), None);
    }

    #[test]
    fn time_in_which_nothing_may_be_sent_does_not_count() {
        let mut silence = silence("20");
        pass(&mut silence, LONGEST * 2);
        let until = Instant::now() - LONGEST / 2;
        assert_eq!(silence.too_long(1, 0, || Some(until)), None);
        let until = Instant::now() - LONGEST - Duration::from_secs(1);
        assert_eq!(silence.too_long(1, 0, || Some(until)), Some(LONGEST));
    }

    #[test]
    fn records_that_librdkafka_keeps_are_not_on_their_way() {
        let mut silence = silence("120000");
        pass(&mut silence, LONGEST * 2);
        assert_eq!(silence.too_long(1, 0, || None), None);
        pass(&mut silence, LONGEST + Duration::from_secs(1));
        assert_eq!(silence.too_long(1, 0, || None), Some(LONGEST));
    }
}
