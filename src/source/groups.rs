//! Divides the partitions of a topic into groups. Each output partition of a scan reads one group.

use std::cmp::Reverse;

/// Divides partitions into at most `most` groups of about the same number of records. The
/// partitions are given with their numbers of records. Those of a group are in ascending order,
/// and no group is empty.
///
/// The largest partitions are placed first, each into the group that has the fewest records.
pub(super) fn divide(partitions: &[(i32, u64)], most: usize) -> Vec<Vec<i32>> {
    let count = partitions.len().min(most.max(1));
    let mut groups = vec![(0u64, Vec::new()); count];
    let mut by_size = partitions.to_vec();
    by_size.sort_by_key(|(partition, records)| (Reverse(*records), *partition));
    for (partition, records) in by_size {
        let smallest = groups
            .iter_mut()
            .min_by_key(|(total, members)| (*total, members.len()));
        if let Some((total, members)) = smallest {
            *total += records;
            members.push(partition);
        }
    }
    let mut groups: Vec<Vec<i32>> = groups.into_iter().map(|(_, members)| members).collect();
    for members in &mut groups {
        members.sort_unstable();
    }
    groups.sort_unstable();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(records: &[u64], most: usize) -> Vec<Vec<i32>> {
        let partitions: Vec<_> = (0..).zip(records.iter().copied()).collect();
        divide(&partitions, most)
    }

    #[test]
    fn each_partition_is_a_group_where_there_is_room() {
        assert_eq!(divided(&[5, 5, 5], 3), [[0], [1], [2]]);
        assert_eq!(divided(&[5, 0], 8), [[0], [1]]);
        assert_eq!(divided(&[5], 0), [[0]]);
        assert!(divided(&[], 4).is_empty());
    }

    #[test]
    fn a_large_partition_is_alone_and_small_ones_are_together() {
        assert_eq!(divided(&[10, 100, 10, 10], 2), [vec![0, 2, 3], vec![1]]);
        assert_eq!(divided(&[4, 3, 3, 2], 2), [[0, 3], [1, 2]]);
    }

    #[test]
    fn empty_partitions_are_spread() {
        let groups = divided(&[0; 1000], 8);
        assert!(groups.iter().all(|members| members.len() == 125));
        let mut all: Vec<i32> = groups.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1000));
    }
}
