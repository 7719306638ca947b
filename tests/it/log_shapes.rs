//! Logs as brokers really have them: markers, aborted records, gaps, tombstones, large records.
//! Whatever the log looks like, the rows are right and a query does not wait at the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::{self, COMPACTED, End, Rec};
use crate::declared::{APPEND, Declared, in_time};
use crate::session::{cells, rows};

/// Most topics in these tests have one number per record.
const COLUMNS: &str = "_key VARCHAR, v BIGINT";

fn number(key: &str, value: i64) -> Rec {
    Rec::new(key, format!("{{\"v\":{value}}}"))
}

/// Creates `count` records with different keys.
fn numbers(prefix: &str, count: i64) -> Vec<Rec> {
    let one = |n| number(&format!("{prefix}{n}"), n);
    (0..count).map(one).collect()
}

/// A generator of pseudo-random numbers that is the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

const ALL: &str = "SELECT * FROM t";
const COUNT: &str = "SELECT count(*) FROM t";

#[tokio::test]
async fn a_commit_marker_at_the_tail_is_no_row() {
    let Some(broker) = broker::required("a_commit_marker_at_the_tail") else {
        return;
    };
    let topic = broker.new_topic("commit", 2, &[]);
    let records = [
        number("a", 1).partition(0),
        number("a", 2).partition(0),
        number("b", 3).partition(1),
    ];
    broker.transaction(&topic, &records, End::Commit);

    let upsert = Declared::new(broker, &topic, COLUMNS, &[]).await;
    assert_eq!(upsert.rows(ALL).await, ["a|2", "b|3"]);
    let append = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
    assert_eq!(append.rows(ALL).await, ["a|1", "a|2", "b|3"]);
}

#[tokio::test]
async fn aborted_records_at_the_tail_hide_nothing() {
    let Some(broker) = broker::required("aborted_records_at_the_tail") else {
        return;
    };
    // A few aborted records fit in the first chunk that is read; many exceed several chunks.
    for aborted in [1, 3_000] {
        let topic = broker.new_topic("aborted", 1, &[]);
        broker.produce(&topic, &[number("a", 1), number("b", 2)]);
        let mut records = numbers("aborted", aborted);
        records.push(Rec::tombstone("a"));
        broker.transaction(&topic, &records, End::Abort);

        let upsert = Declared::new(broker, &topic, COLUMNS, &[]).await;
        assert_eq!(upsert.rows(ALL).await, ["a|1", "b|2"], "{aborted} aborted");
        assert_eq!(upsert.rows(COUNT).await, ["2"]);
        let append = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
        assert_eq!(append.rows(ALL).await, ["a|1", "b|2"], "{aborted} aborted");

        let uncommitted = [("kafka.isolation", "read_uncommitted")];
        let uncommitted = Declared::new(broker, &topic, COLUMNS, &uncommitted).await;
        let rows = uncommitted.rows(COUNT).await;
        assert_eq!(rows, [(aborted + 1).to_string()], "all but `a`");
    }
}

#[tokio::test]
async fn aborted_records_between_others_leave_a_hole() {
    let Some(broker) = broker::required("aborted_records_between_others") else {
        return;
    };
    let topic = broker.new_topic("hole", 1, &[]);
    broker.produce(&topic, &numbers("old", 300));
    broker.transaction(&topic, &numbers("old", 2_000), End::Abort);
    broker.produce(&topic, &numbers("new", 300));

    for options in [&[][..], &[APPEND]] {
        let table = Declared::new(broker, &topic, COLUMNS, options).await;
        let sums = "SELECT left(_key, 3), count(*), sum(v) FROM t GROUP BY 1";
        assert_eq!(table.rows(sums).await, ["new|300|44850", "old|300|44850"]);
    }
}

#[tokio::test]
async fn a_query_ends_at_an_open_transaction_and_sees_it_once_committed() {
    let Some(broker) = broker::required("a_query_ends_at_an_open_transaction") else {
        return;
    };
    let topic = broker.new_topic("open", 1, &[]);
    broker.produce(&topic, &[number("a", 1)]);
    let open = broker.begin(&topic, &[number("a", 2), number("b", 2)]);
    broker.produce(&topic, &[number("c", 3)]);

    let upsert = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let append = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
    assert_eq!(upsert.rows(ALL).await, ["a|1"]);
    assert_eq!(append.rows(ALL).await, ["a|1"]);
    let uncommitted = [("kafka.isolation", "read_uncommitted")];
    let uncommitted = Declared::new(broker, &topic, COLUMNS, &uncommitted).await;
    assert_eq!(uncommitted.rows(ALL).await, ["a|2", "b|2", "c|3"]);

    open.commit();
    assert_eq!(upsert.rows(ALL).await, ["a|2", "b|2", "c|3"]);
    assert_eq!(append.rows(ALL).await, ["a|1", "a|2", "b|2", "c|3"]);
}

#[tokio::test]
async fn a_topic_of_nothing_but_an_open_transaction_is_empty() {
    let Some(broker) = broker::required("nothing_but_an_open_transaction") else {
        return;
    };
    let topic = broker.new_topic("only-open", 1, &[]);
    let open = broker.begin(&topic, &[number("a", 2)]);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    assert_eq!(table.rows(ALL).await, [""; 0]);
    open.abort();
    assert_eq!(table.rows(ALL).await, [""; 0]);
}

#[tokio::test]
async fn holes_that_compaction_leaves_are_passed_over() {
    let Some(broker) = broker::required("holes_that_compaction_leaves") else {
        return;
    };
    let topic = broker.new_topic("compacted", 1, COMPACTED);
    // In the middle, 600 records of one key.
    let mut records = numbers("first", 10);
    records.extend((0..600).map(|n| number("hot", n)));
    records.extend(numbers("last", 10));
    let places = broker.produce(&topic, &records);
    broker.wait_compacted(&topic, &places[10..609]);

    let sums = "SELECT left(_key, 3), count(*), max(v) FROM t GROUP BY 1";
    let expected = ["fir|10|9", "hot|1|599", "las|10|9"];
    let upsert = Declared::new(broker, &topic, COLUMNS, &[]).await;
    assert_eq!(upsert.rows(sums).await, expected);
    let append = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
    assert_eq!(append.rows(sums).await, expected);

    // The end of the range lies in the gap.
    let end = format!("offsets:{{\"0\":{}}}", places[500].1);
    let before = Declared::new(broker, &topic, COLUMNS, &[("kafka.end", &end)]).await;
    assert_eq!(before.rows(sums).await, ["fir|10|9"]);
    let end = ("kafka.end", end.as_str());
    let before = Declared::new(broker, &topic, COLUMNS, &[end, APPEND]).await;
    assert_eq!(before.rows(sums).await, ["fir|10|9"]);
    // The whole range lies in the gap.
    let start = format!("offsets:{{\"0\":{}}}", places[400].1);
    let within = [end, ("kafka.start", &start)];
    let nothing = Declared::new(broker, &topic, COLUMNS, &within).await;
    assert_eq!(nothing.rows(COUNT).await, ["0"]);
}

#[tokio::test]
async fn empty_partitions_and_topics_have_no_rows() {
    let Some(broker) = broker::required("empty_partitions_and_topics") else {
        return;
    };
    let topic = broker.new_topic("empty", 5, &[]);
    for options in [&[][..], &[APPEND]] {
        let table = Declared::new(broker, &topic, COLUMNS, options).await;
        assert_eq!(table.rows(ALL).await, [""; 0]);
        assert_eq!(table.rows(COUNT).await, ["0"]);
        assert_eq!(table.rows("SELECT max(v) FROM t").await, ["NULL"]);
    }
    broker.produce(&topic, &[number("a", 1).partition(3)]);
    for options in [&[][..], &[APPEND]] {
        let table = Declared::new(broker, &topic, COLUMNS, options).await;
        assert_eq!(table.rows(ALL).await, ["a|1"]);
    }
}

#[tokio::test]
async fn deleted_records_are_no_rows() {
    let Some(broker) = broker::required("deleted_records") else {
        return;
    };
    let topic = broker.new_topic("deleted", 2, &[]);
    let records: Vec<Rec> = (0..500)
        .flat_map(|n| {
            let record = number(&format!("k{n:03}"), n);
            [record.clone().partition(0), record.partition(1)]
        })
        .collect();
    broker.produce(&topic, &records);
    // Deletes the older part of one partition, and all of the other partition.
    broker.delete_records(&topic, 0, 498);
    broker.delete_records(&topic, 1, 500);
    for options in [&[][..], &[APPEND]] {
        let table = Declared::new(broker, &topic, COLUMNS, options).await;
        assert_eq!(table.rows(ALL).await, ["k498|498", "k499|499"]);
    }
    broker.produce(&topic, &[number("new", 1).partition(1)]);
    for options in [&[][..], &[APPEND]] {
        let table = Declared::new(broker, &topic, COLUMNS, options).await;
        assert_eq!(table.rows(ALL).await, ["k498|498", "k499|499", "new|1"]);
    }
}

#[tokio::test]
async fn a_tombstone_removes_what_was_written_before_it_and_nothing_after() {
    let Some(broker) = broker::required("a_tombstone_removes") else {
        return;
    };
    let topic = broker.new_topic("tombstones", 1, &[]);
    broker.produce(
        &topic,
        &[
            Rec::tombstone("unknown"),
            number("gone", 1),
            number("again", 1),
            Rec::tombstone("again"),
            number("stays", 1),
            Rec::tombstone("gone"),
            number("again", 2),
            Rec::tombstone("gone"),
        ],
    );
    let upsert = Declared::new(broker, &topic, COLUMNS, &[]).await;
    assert_eq!(upsert.rows(ALL).await, ["again|2", "stays|1"]);
    assert_eq!(upsert.rows(COUNT).await, ["2"]);

    let append = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
    assert_eq!(
        append.rows(ALL).await,
        ["again|1", "again|2", "gone|1", "stays|1"]
    );
    assert_eq!(append.rows(COUNT).await, ["4"]);

    let columns = "_key VARCHAR, v BIGINT, _tombstone BOOLEAN, _offset BIGINT";
    let log = Declared::new(broker, &topic, columns, &[APPEND]).await;
    assert_eq!(
        log.rows("SELECT _offset, _key, v, _tombstone FROM t").await,
        [
            "0|unknown|NULL|true",
            "1|gone|1|false",
            "2|again|1|false",
            "3|again|NULL|true",
            "4|stays|1|false",
            "5|gone|NULL|true",
            "6|again|2|false",
            "7|gone|NULL|true",
        ]
    );
    assert_eq!(log.rows(COUNT).await, ["8"]);
    let live = "SELECT _key FROM t WHERE NOT _tombstone AND v = 2";
    assert_eq!(log.rows(live).await, ["again"]);
    let upsert = Declared::new(broker, &topic, columns, &[]).await;
    let rows = upsert.rows("SELECT _key, _tombstone FROM t").await;
    assert_eq!(rows, ["again|false", "stays|false"]);
}

#[tokio::test]
async fn a_topic_of_tombstones_alone_is_empty() {
    let Some(broker) = broker::required("a_topic_of_tombstones_alone") else {
        return;
    };
    let topic = broker.new_topic("all-tombstones", 2, &[]);
    let records: Vec<Rec> = (0..2_000)
        .map(|n| Rec::tombstone(format!("k{n}")))
        .collect();
    broker.produce(&topic, &records);
    for options in [&[][..], &[APPEND]] {
        let table = Declared::new(broker, &topic, COLUMNS, options).await;
        assert_eq!(table.rows(ALL).await, [""; 0]);
        assert_eq!(table.rows(COUNT).await, ["0"]);
    }
}

#[tokio::test]
async fn a_record_without_a_key_is_an_error_in_upsert_mode_unless_skipped() {
    let Some(broker) = broker::required("a_record_without_a_key") else {
        return;
    };
    let topic = broker.new_topic("null-keys", 1, &[]);
    let keyless = |payload: Option<&str>| Rec {
        payload: payload.map(|payload| payload.as_bytes().to_vec()),
        ..Rec::default()
    };
    broker.produce(
        &topic,
        &[
            number("a", 1),
            keyless(Some(r#"{"v":2}"#)),
            keyless(None),
            number("", 3),
        ],
    );

    let fail = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let error = fail.error(ALL).await;
    assert!(
        error.contains(&format!("topic `{topic}` partition 0 offset 2")),
        "{error}"
    );
    assert!(error.contains("kafka.null_key"), "{error}");
    let skip = Declared::new(broker, &topic, COLUMNS, &[("kafka.null_key", "skip")]).await;
    assert_eq!(skip.rows(ALL).await, ["a|1", "|3"]);
    assert_eq!(skip.rows(COUNT).await, ["2"]);

    let append = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
    assert_eq!(append.rows(ALL).await, ["NULL|2", "a|1", "|3"]);
    let keyed = append.rows("SELECT count(*), count(_key) FROM t").await;
    assert_eq!(keyed, ["3|2"]);
    let columns = "_key VARCHAR, v BIGINT, _tombstone BOOLEAN";
    let log = Declared::new(broker, &topic, columns, &[APPEND]).await;
    assert_eq!(
        log.rows(ALL).await,
        ["NULL|2|false", "NULL|NULL|true", "a|1|false", "|3|false"]
    );
}

#[tokio::test]
async fn an_empty_key_is_a_key() {
    let Some(broker) = broker::required("an_empty_key") else {
        return;
    };
    let topic = broker.new_topic("empty-key", 1, &[]);
    broker.produce(&topic, &[number("", 1), number("a", 2), number("", 3)]);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    assert_eq!(table.rows(ALL).await, ["a|2", "|3"]);
    assert_eq!(table.rows("SELECT v FROM t WHERE _key = ''").await, ["3"]);
    broker.produce(&topic, &[Rec::tombstone("")]);
    assert_eq!(table.rows(ALL).await, ["a|2"]);
}

#[tokio::test]
async fn an_empty_payload_and_a_json_null_are_bad_records_and_no_tombstones() {
    let Some(broker) = broker::required("an_empty_payload_and_a_json_null") else {
        return;
    };
    for (payload, reason) in [
        ("", "empty, not JSON at byte 0"),
        ("null", "expected a JSON object but found null at byte 0"),
    ] {
        let topic = broker.new_topic("no-object", 1, &[]);
        broker.produce(&topic, &[number("a", 1), Rec::new("a", payload)]);
        for options in [&[][..], &[APPEND]] {
            let table = Declared::new(broker, &topic, COLUMNS, options).await;
            let error = table.error(ALL).await;
            let place = format!("topic `{topic}` partition 0 offset 1: bad payload: {reason}");
            assert!(error.contains(&place), "{error}");
        }
        // The record is a row in queries that do not read its payload.
        let upsert = Declared::new(broker, &topic, COLUMNS, &[]).await;
        assert_eq!(upsert.rows("SELECT _key FROM t").await, ["a"]);
        assert_eq!(upsert.rows(COUNT).await, ["1"]);
        let append = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
        assert_eq!(append.rows("SELECT _key FROM t").await, ["a", "a"]);
        assert_eq!(append.rows(COUNT).await, ["2"]);
    }
}

#[tokio::test]
async fn large_records_among_small_ones() {
    let Some(broker) = broker::required("large_records_among_small_ones") else {
        return;
    };
    let topic = broker.new_topic("large", 1, &[("max.message.bytes", "4194304")]);
    let padded = |key: &str, value: i64, length: usize| {
        let padding = "x".repeat(length);
        Rec::new(key, format!(r#"{{"v":{value},"padding":"{padding}"}}"#))
    };
    let mut records = Vec::new();
    for n in 0..600 {
        let length = if n % 100 == 7 { 1 << 20 } else { 10 };
        records.push(padded(&format!("k{}", n % 300), n, length));
    }
    broker.produce(&topic, &records);

    let columns = "_key VARCHAR, v BIGINT, padding VARCHAR";
    let sums = "SELECT count(*), sum(v), sum(length(padding)) FROM t";
    let upsert = Declared::new(broker, &topic, columns, &[]).await;
    let bytes = 297 * 10 + 3 * (1 << 20);
    let sum: i64 = (300..600).sum();
    assert_eq!(upsert.rows(sums).await, [format!("300|{sum}|{bytes}")]);
    let append = Declared::new(broker, &topic, columns, &[APPEND]).await;
    let bytes = 594 * 10 + 6 * (1 << 20);
    let sum: i64 = (0..600).sum();
    assert_eq!(append.rows(sums).await, [format!("600|{sum}|{bytes}")]);
}

#[tokio::test]
async fn a_first_chunk_that_weighs_far_too_much_is_read_in_smaller_ones() {
    let Some(broker) = broker::required("a_first_chunk_that_weighs_far_too_much") else {
        return;
    };
    let topic = broker.new_topic("heavy", 1, &[]);
    let padding = "x".repeat(600 * 1024);
    let padded = |n: i64| {
        let payload = format!(r#"{{"v":{n},"padding":"{padding}"}}"#);
        Rec::new(format!("k{}", n % 150), payload)
    };
    for start in (0..200).step_by(50) {
        let records: Vec<Rec> = (start..start + 50).map(padded).collect();
        broker.produce(&topic, &records);
    }
    let sums = "SELECT count(*), min(v), sum(v) FROM t";
    let upsert = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let sum: i64 = (50..200).sum();
    assert_eq!(upsert.rows(sums).await, [format!("150|50|{sum}")]);
    let append = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
    let sum: i64 = (0..200).sum();
    assert_eq!(append.rows(sums).await, [format!("200|0|{sum}")]);
}

#[tokio::test]
async fn every_compression_is_read() {
    let Some(broker) = broker::required("every_compression") else {
        return;
    };
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let topic = broker.new_topic(codec, 1, &[]);
        // In one batch, so that compression has an effect, and more than a chunk.
        let linger = [("compression.type", codec), ("linger.ms", "50")];
        let mut records = numbers("k", 1_000);
        records.extend(numbers("k", 10));
        broker.produce_with(&topic, &records, &linger);
        let sums = "SELECT count(*), sum(v) FROM t";
        let upsert = Declared::new(broker, &topic, COLUMNS, &[]).await;
        assert_eq!(upsert.rows(sums).await, ["1000|499500"], "{codec}");
        let append = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
        assert_eq!(append.rows(sums).await, ["1010|499545"], "{codec}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_utf_8_is_an_error_that_names_the_place_unless_read_as_bytes() {
    let Some(broker) = broker::required("a_key_that_is_not_utf_8") else {
        return;
    };
    let topic = broker.new_topic("binary-keys", 1, &[]);
    broker.produce(
        &topic,
        &[
            number("a", 1),
            Rec::new([b'k', 0xff], r#"{"v":2}"#),
            Rec::new([0xfe], r#"{"v":3}"#),
            Rec::tombstone([0xfe]),
        ],
    );
    for options in [&[][..], &[("kafka.on_bad_record", "null")], &[APPEND]] {
        let text = Declared::new(broker, &topic, COLUMNS, options).await;
        let error = text.error(ALL).await;
        let place = format!("topic `{topic}` partition 0 offset 1: bad key: ");
        assert!(error.contains(&place), "{error}");
        assert!(error.contains("not UTF-8 at byte 1"), "{error}");
        assert!(error.contains("kafka.key.format"), "{error}");
        assert!(!error.contains("payload"), "{error}");
        // A query checks only the columns that it reads.
        assert!(!text.rows("SELECT v FROM t").await.is_empty());
    }
    let skip = [("kafka.on_bad_record", "skip")];
    let skip = Declared::new(broker, &topic, COLUMNS, &skip).await;
    assert_eq!(skip.rows(ALL).await, ["a|1"]);
    assert_eq!(skip.rows(COUNT).await, ["1"]);

    let bytes = [("kafka.key.format", "bytes")];
    let bytes = Declared::new(broker, &topic, "_key BYTEA, v BIGINT", &bytes).await;
    assert_eq!(bytes.rows(ALL).await, ["61|1", "6bff|2"]);
}

#[tokio::test]
async fn many_versions_of_many_keys_fold_to_the_last_of_each() {
    let Some(broker) = broker::required("many_versions_of_many_keys") else {
        return;
    };
    let mut dice = Dice(42);
    for tombstones in [false, true] {
        let topic = broker.new_topic("model", 3, &[]);
        let (mut model, mut log) = (BTreeMap::new(), 0);
        let records: Vec<Rec> = (0..20_000)
            .map(|n| {
                let key = dice.below(500);
                let partition = i32::try_from(key % 3).unwrap();
                let name = format!("k{key}");
                if tombstones && dice.below(3) == 0 {
                    model.remove(&name);
                    return Rec::tombstone(name).partition(partition);
                }
                log += 1;
                let record = number(&name, n).partition(partition);
                model.insert(name, n);
                record
            })
            .collect();
        broker.produce(&topic, &records);

        let upsert = Declared::new(broker, &topic, COLUMNS, &[]).await;
        let lines = model.iter().map(|(key, value)| format!("{key}|{value}"));
        let expected: BTreeSet<String> = lines.collect();
        assert_eq!(
            upsert.rows(ALL).await,
            expected.into_iter().collect::<Vec<_>>()
        );
        assert_eq!(upsert.rows(COUNT).await, [model.len().to_string()]);
        let late = "SELECT count(*) FROM t WHERE v >= 19000";
        let expected = model.values().filter(|&&value| value >= 19_000).count();
        assert_eq!(upsert.rows(late).await, [expected.to_string()]);
        let append = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
        assert_eq!(append.rows(COUNT).await, [log.to_string()]);
    }
}

#[tokio::test]
async fn each_kafka_partition_comes_in_offset_order_in_append_mode() {
    let Some(broker) = broker::required("each_kafka_partition_comes_in_offset_order") else {
        return;
    };
    let topic = broker.new_topic("ordered", 1, &[]);
    broker.produce(&topic, &numbers("k", 20_000));
    let table = Declared::new(broker, &topic, "v BIGINT", &[APPEND]).await;
    let batches = in_time("SELECT v", rows(&table.ctx, "SELECT v FROM t")).await;
    let values: Vec<String> = cells(&batches).concat();
    let expected: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    assert_eq!(values, expected);
}
