//! Tests of the broker itself, and of what the tests do to it.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::broker::{self, COMPACTED, End, Rec, Stored};

/// Keys and payloads as text, in log order.
fn text(records: &[Stored]) -> Vec<(String, Option<String>)> {
    let string = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
    records
        .iter()
        .map(|r| {
            (
                r.key.as_ref().map(string).unwrap(),
                r.payload.as_ref().map(string),
            )
        })
        .collect()
}

fn row(key: &str, payload: &str) -> (String, Option<String>) {
    (key.to_owned(), Some(payload.to_owned()))
}

#[test]
fn what_is_produced_is_read() {
    let Some(broker) = broker::required("what_is_produced_is_read") else {
        return;
    };
    let topic = broker.new_topic("produced", 3, &[]);
    let records = [
        Rec::new("a", "1")
            .partition(2)
            .timestamp(1_234)
            .header("h", Some(b"v"))
            .header("n", None),
        Rec::tombstone("b").partition(0),
        Rec {
            payload: Some(vec![0xff]),
            ..Rec::default()
        }
        .partition(2),
        Rec::new("keyed", "4"),
    ];
    let places = broker.produce(&topic, &records);
    assert_eq!(places[..3], [(2, 0), (0, 0), (2, 1)]);

    let read = broker.read_all(&topic);
    assert_eq!(read.len(), records.len());
    for (record, place) in records.iter().zip(places) {
        let stored = read
            .iter()
            .find(|r| (r.partition, r.offset) == place)
            .unwrap();
        assert_eq!(
            (&stored.key, &stored.payload),
            (&record.key, &record.payload)
        );
        assert_eq!(stored.headers, record.headers);
        assert!(record.timestamp.is_none_or(|t| stored.timestamp == Some(t)));
    }
}

#[tokio::test]
async fn works_on_a_runtime_too() {
    let Some(broker) = broker::required("works_on_a_runtime_too") else {
        return;
    };
    let topic = broker.new_topic("runtime", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", "1")]);
    assert_eq!(text(&broker.read_all(&topic)), [row("a", "1")]);
}

#[test]
fn every_codec_is_there() {
    let Some(broker) = broker::required("every_codec_is_there") else {
        return;
    };
    let topic = broker.new_topic("codecs", 1, &[]);
    let payload = "z".repeat(10_000);
    for codec in ["none", "lz4", "snappy", "gzip", "zstd"] {
        broker.produce_with(
            &topic,
            &[Rec::new(codec, &payload)],
            &[("compression.type", codec)],
        );
    }
    let read = broker.read_all(&topic);
    assert!(
        read.iter()
            .all(|r| r.payload.as_deref() == Some(payload.as_bytes()))
    );
    assert_eq!(read.len(), 5);
}

#[test]
fn ten_megabytes_in_a_record() {
    let Some(broker) = broker::required("ten_megabytes_in_a_record") else {
        return;
    };
    let topic = broker.new_topic("large", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", vec![b'x'; 10_000_000])]);
    assert_eq!(
        broker.read_all(&topic)[0].payload.as_ref().unwrap().len(),
        10_000_000
    );
}

#[test]
fn only_what_is_committed_is_seen() {
    let Some(broker) = broker::required("only_what_is_committed_is_seen") else {
        return;
    };
    let topic = broker.new_topic("transactions", 1, &[]);
    let aborted = broker.transaction(&topic, &[Rec::new("a", "aborted")], End::Abort);
    let committed = broker.transaction(&topic, &[Rec::new("a", "committed")], End::Commit);
    // Each transaction is followed by its end marker.
    assert_eq!((aborted, committed), (vec![(0, 0)], vec![(0, 2)]));

    let open = broker.begin(&topic, &[Rec::new("a", "open")]);
    broker.produce(&topic, &[Rec::new("a", "after")]);
    assert_eq!(text(&broker.read_all(&topic)), [row("a", "committed")]);
    assert_eq!(broker.read_uncommitted(&topic).len(), 4);

    open.commit();
    let rows = [row("a", "committed"), row("a", "open"), row("a", "after")];
    assert_eq!(text(&broker.read_all(&topic)), rows);
}

#[test]
fn an_open_transaction_can_be_aborted() {
    let Some(broker) = broker::required("an_open_transaction_can_be_aborted") else {
        return;
    };
    let topic = broker.new_topic("transactions", 1, &[]);
    broker.begin(&topic, &[Rec::new("a", "open")]).abort();
    assert_eq!(broker.read_all(&topic), []);
}

#[test]
fn compaction_can_be_waited_for() {
    let Some(broker) = broker::required("compaction_can_be_waited_for") else {
        return;
    };
    let topic = broker.new_topic("compacted", 2, COMPACTED);
    let records = [
        ("a", "old", 0),
        ("b", "only", 0),
        ("a", "new", 0),
        ("a", "old", 1),
        ("a", "new", 1),
    ]
    .map(|(key, payload, partition)| Rec::new(key, payload).partition(partition));
    broker.produce(&topic, &records);
    broker.wait_compacted(&topic, &[(0, 0), (1, 0)]);

    let mut left = text(&broker.read_all(&topic));
    left.retain(|(_, payload)| payload.is_some());
    assert_eq!(left, [row("b", "only"), row("a", "new"), row("a", "new")]);
}

#[test]
fn records_and_topics_can_be_deleted() {
    let Some(broker) = broker::required("records_and_topics_can_be_deleted") else {
        return;
    };
    let topic = broker.new_topic("deleted", 1, &[]);
    broker.produce(
        &topic,
        &[Rec::new("a", "1"), Rec::new("b", "2"), Rec::new("c", "3")],
    );
    broker.delete_records(&topic, 0, 2);
    assert_eq!(text(&broker.read_all(&topic)), [row("c", "3")]);
    broker.delete_topic(&topic);
}

#[test]
fn kcat_reads_and_writes() {
    let Some(broker) = broker::required("kcat_reads_and_writes") else {
        return;
    };
    let topic = broker.new_topic("kcat", 1, &[]);
    let args = ["-P", "-t", &topic, "-K", "|", "-Z"];
    let Some(_) = broker.kcat(&args, "a|1\nb|\n") else {
        return;
    };
    assert_eq!(
        text(&broker.read_all(&topic)),
        [row("a", "1"), ("b".to_owned(), None)]
    );

    let args = ["-C", "-t", &topic, "-e", "-q", "-f", "%p %o %k %S\n"];
    assert_eq!(broker.kcat(&args, "").unwrap(), "0 0 a 1\n0 1 b -1\n");
}

#[test]
fn the_sasl_listener_knows_who_is_who() {
    let Some(broker) = broker::required("the_sasl_listener_knows_who_is_who") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let topics = |password: &str, patience| {
        let consumer: BaseConsumer = broker
            .config()
            .set("bootstrap.servers", servers)
            .set("security.protocol", "sasl_plaintext")
            .set("sasl.mechanism", "PLAIN")
            .set("sasl.username", broker::SASL_USER)
            .set("sasl.password", password)
            .create()
            .unwrap();
        consumer
            .fetch_metadata(None, patience)
            .map(|metadata| metadata.topics().len())
    };
    topics(broker::SASL_PASSWORD, Duration::from_secs(30)).unwrap();
    topics("guessed", Duration::from_secs(2)).unwrap_err();
}
