//! The offsets of each partition that a query reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::client::{Cancel, Client, Group, OffsetRange};
use crate::error::{Error, Result};
use crate::options::{Bound, OnLostOffsets, TableOptions};

/// The offsets that a query reads, looked up once: a snapshot of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    partitions: Arc<BTreeMap<i32, Extent>>,
}

/// The part of a partition that a query reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) range: OffsetRange,
    /// The end of the partition when it was looked up. A look-up that finds no record proves only
    /// that no such record is before this offset; one may still come after it.
    pub(crate) known_end: i64,
    /// The timestamp of `kafka.start` in milliseconds, where no record was that new yet. The
    /// range then starts at the first record that is.
    pub(crate) starts_at: Option<i64>,
}

impl Extent {
    /// All offsets of a range, for a partition that ends with the range.
    pub(crate) fn of(range: OffsetRange) -> Self {
        Extent {
            range,
            known_end: range.end,
            starts_at: None,
        }
    }

    /// The extent of a partition that was added to the topic later, and that holds the range
    /// `held`.
    pub(crate) fn added(held: OffsetRange, start: &Bound) -> Self {
        Extent {
            starts_at: match start {
                Bound::Timestamp(millis) => Some(*millis),
                Bound::Group(otherwise) => return Extent::added(held, otherwise),
                Bound::Earliest | Bound::Latest | Bound::Offsets(_) => None,
            },
            ..Extent::of(held)
        }
    }

    /// The same extent without an end.
    pub(crate) fn unbounded(mut self) -> Self {
        self.range.end = i64::MAX;
        self
    }
}

impl Snapshot {
    /// Turns `kafka.start` and `kafka.end` into offsets between the watermarks. Brokers are asked
    /// only to look up timestamps and the committed offsets of a group.
    pub(crate) fn resolve(
        client: &Client,
        topic: &str,
        options: &TableOptions,
        watermarks: &BTreeMap<i32, OffsetRange>,
        cancel: &Cancel,
    ) -> Result<Self> {
        let partitions: Vec<i32> = watermarks.keys().copied().collect();
        let place = |bound: &Bound| -> Result<Place> {
            Ok(match bound {
                Bound::Earliest => Place::Low,
                Bound::Latest => Place::High,
                Bound::Offsets(offsets) => Place::Offsets(offsets.clone()),
                Bound::Timestamp(millis) => Place::Found(
                    *millis,
                    client.offsets_for_timestamp(&partitions, *millis, cancel)?,
                ),
                // Resolved below. An end is never a group.
                Bound::Group(_) => Place::Low,
            })
        };
        let (start, committed) = match (&options.start, &options.group_id) {
            (Bound::Group(otherwise), Some(group)) => {
                let group = Group::new(group, options)?;
                let committed = group.committed(topic, &partitions, cancel)?;
                (uncommitted(otherwise, !committed.is_empty()), committed)
            }
            (start, _) => (start, BTreeMap::new()),
        };
        let (start, end) = (place(start)?, place(&options.end)?);
        let mut partitions = resolve(topic, watermarks, &start, &end)?;
        for (partition, offset) in committed {
            if let (Some(extent), Some(held)) =
                (partitions.get_mut(&partition), watermarks.get(&partition))
            {
                let offset = going_on(topic, options, partition, *held, offset)?;
                (extent.range.start, extent.starts_at) = (offset, None);
            }
        }
        Ok(Snapshot {
            partitions: Arc::new(partitions),
        })
    }

    /// The extent of a partition; `None` for a partition that was added after the snapshot was
    /// taken.
    pub(crate) fn extent(&self, partition: i32) -> Option<Extent> {
        self.partitions.get(&partition).copied()
    }

    /// The number of offsets in these partitions: about the number of records.
    pub(crate) fn offsets(&self, partitions: &[i32]) -> i64 {
        let extents = partitions.iter().filter_map(|p| self.partitions.get(p));
        extents
            .map(|extent| (extent.range.end - extent.range.start).max(0))
            .sum()
    }

    /// The end of the snapshot as a bound, for all partitions.
    pub(crate) fn end(&self) -> Bound {
        let ends = self.partitions.iter();
        Bound::Offsets(ends.map(|(&id, extent)| (id, extent.range.end)).collect())
    }
}

/// The start of the partitions for which a group has committed no offset. Where the group has
/// committed offsets of other partitions, the remaining partitions were added to the topic since,
/// and are read from their beginning. A timestamp defines the start of each partition by itself,
/// no matter when it is looked up.
pub(crate) fn uncommitted(otherwise: &Bound, has_others: bool) -> &Bound {
    match otherwise {
        Bound::Latest | Bound::Offsets(_) if has_others => &Bound::Earliest,
        otherwise => otherwise,
    }
}

/// The offset at which reading continues in a partition for which the group has committed
/// `committed`.
///
/// # Errors
/// [`Error::LostOffsets`] where retention has passed the offset, unless
/// `kafka.on_lost_offsets` = `earliest`; [`Error::Request`] where the partition ends before
/// the offset.
pub(crate) fn going_on(
    topic: &str,
    options: &TableOptions,
    partition: i32,
    held: OffsetRange,
    committed: i64,
) -> Result<i64> {
    let group = || options.group_id.clone().unwrap_or_default();
    if committed > held.end {
        return Err(Error::Request {
            act: "continue from the committed offsets",
            topic: topic.to_owned(),
            code: None,
            reason: format!(
                "group `{}` has committed offset {committed} of partition {partition}, which ends \
                 at {}: the topic was recreated or has lost records; use another name to start \
                 over",
                group(),
                held.end
            ),
        });
    }
    match (committed < held.start, options.on_lost_offsets) {
        (false, _) => Ok(committed),
        (true, OnLostOffsets::Earliest) => {
            log::warn!(
                "topic `{topic}` partition {partition}: retention has deleted offsets {committed} \
                 to {} that group `{}` has not read; reading continues after them",
                held.start - 1,
                group()
            );
            Ok(held.start)
        }
        (true, OnLostOffsets::Fail) => Err(Error::LostOffsets {
            group: group(),
            topic: topic.to_owned(),
            partition,
            from: committed,
            to: held.start,
        }),
    }
}

/// A bound for which everything that only a broker knows has been looked up.
enum Place {
    Low,
    High,
    Offsets(BTreeMap<i32, i64>),
    /// The timestamp, and the offset found for it in each partition; `None` is the end.
    Found(i64, BTreeMap<i32, Option<i64>>),
}

fn resolve(
    topic: &str,
    watermarks: &BTreeMap<i32, OffsetRange>,
    start: &Place,
    end: &Place,
) -> Result<BTreeMap<i32, Extent>> {
    for (key, place) in [("kafka.start", start), ("kafka.end", end)] {
        if let Place::Offsets(offsets) = place {
            check(topic, watermarks, key, offsets)?;
        }
    }
    let offset = |place: &Place, partition: i32, held: OffsetRange, default: i64| match place {
        Place::Low => held.start,
        Place::High => held.end,
        Place::Offsets(offsets) => offsets.get(&partition).copied().unwrap_or(default),
        Place::Found(_, found) => found
            .get(&partition)
            .copied()
            .flatten()
            .map_or(held.end, |offset| offset.clamp(held.start, held.end)),
    };
    let starts_at = |partition: i32, held: OffsetRange| match start {
        Place::Found(millis, found) => {
            let found = found.get(&partition).copied().flatten();
            // The record that was found may have come after the end was looked up.
            found
                .is_none_or(|found| found > held.end)
                .then_some(*millis)
        }
        _ => None,
    };
    Ok(watermarks
        .iter()
        .map(|(&partition, &held)| {
            let extent = Extent {
                range: OffsetRange {
                    start: offset(start, partition, held, held.start),
                    end: offset(end, partition, held, held.end),
                },
                known_end: held.end,
                starts_at: starts_at(partition, held),
            };
            (partition, extent)
        })
        .collect())
}

fn check(
    topic: &str,
    watermarks: &BTreeMap<i32, OffsetRange>,
    key: &'static str,
    offsets: &BTreeMap<i32, i64>,
) -> Result<()> {
    for (&partition, &offset) in offsets {
        let Some(held) = watermarks.get(&partition) else {
            return Err(Error::InvalidOption {
                key: key.to_owned(),
                reason: format!(
                    "topic `{topic}` has no partition {partition}; it has {} partitions",
                    watermarks.len()
                ),
            });
        };
        if offset < held.start || offset > held.end {
            return Err(Error::OffsetOutOfRange {
                key,
                topic: topic.to_owned(),
                partition,
                offset,
                low: held.start,
                high: held.end,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watermarks() -> BTreeMap<i32, OffsetRange> {
        BTreeMap::from([
            (0, OffsetRange { start: 10, end: 20 }),
            (1, OffsetRange { start: 0, end: 0 }),
        ])
    }

    fn range_of(start: Place, end: Place) -> OffsetRange {
        resolve("t", &watermarks(), &start, &end).unwrap()[&0].range
    }

    #[test]
    fn a_whole_topic_reaches_from_the_low_watermark_to_the_end() {
        let range = range_of(Place::Low, Place::High);
        assert_eq!(range, OffsetRange { start: 10, end: 20 });
        let empty = resolve("t", &watermarks(), &Place::Low, &Place::High).unwrap()[&1];
        assert!(empty.range.is_empty());
    }

    #[test]
    fn partitions_that_are_not_named_keep_the_default() {
        let start = Place::Offsets(BTreeMap::from([(1, 0)]));
        let end = Place::Offsets(BTreeMap::from([(1, 0)]));
        assert_eq!(range_of(start, end), OffsetRange { start: 10, end: 20 });
    }

    #[test]
    fn both_watermarks_are_offsets_in_range() {
        for offset in [10, 20] {
            let range = range_of(Place::Offsets(BTreeMap::from([(0, offset)])), Place::High);
            assert_eq!(range.start, offset);
        }
    }

    #[test]
    fn an_offset_outside_of_the_watermarks_names_the_range() {
        for offset in [9, 21] {
            let place = Place::Offsets(BTreeMap::from([(0, offset)]));
            let error = resolve("t", &watermarks(), &Place::Low, &place).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "option `kafka.end`: offset {offset} of topic `t` partition 0 is out of range; \
                     the partition holds offsets 10 to 20 (end not included)"
                )
            );
        }
    }

    #[test]
    fn a_partition_that_does_not_exist_is_an_error() {
        let place = Place::Offsets(BTreeMap::from([(7, 0)]));
        let error = resolve("t", &watermarks(), &place, &Place::High).unwrap_err();
        assert!(error.to_string().contains("no partition 7"), "{error}");
    }

    #[test]
    fn a_time_after_the_last_record_is_the_end() {
        let found = Place::Found(5, BTreeMap::from([(0, None)]));
        assert!(range_of(found, Place::High).is_empty());
    }

    #[test]
    fn a_time_that_no_record_has_yet_is_waited_for_behind_the_end() {
        for (found, starts_at) in [(None, Some(5)), (Some(21), Some(5)), (Some(20), None)] {
            let start = Place::Found(5, BTreeMap::from([(0, found)]));
            let extent = resolve("t", &watermarks(), &start, &Place::High).unwrap()[&0];
            assert_eq!(
                (extent.range.start, extent.known_end),
                (20, 20),
                "{found:?}"
            );
            assert_eq!(extent.starts_at, starts_at, "{found:?}");
        }
    }

    #[test]
    fn a_partition_without_an_offset_beside_others_is_a_new_one() {
        let at = Bound::Timestamp(5);
        assert_eq!(uncommitted(&Bound::Latest, false), &Bound::Latest);
        assert_eq!(uncommitted(&Bound::Latest, true), &Bound::Earliest);
        assert_eq!(uncommitted(&at, true), &at);
    }

    #[test]
    fn an_end_before_the_start_is_an_empty_range() {
        let start = Place::Found(8, BTreeMap::from([(0, Some(18))]));
        let end = Place::Found(2, BTreeMap::from([(0, Some(12))]));
        assert!(range_of(start, end).is_empty());
    }
}
