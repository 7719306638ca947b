//! Tests the library's own options and their layers.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use arrow::datatypes::TimeUnit;

use super::*;
use crate::json::{Decimals, NameMatching, NonFinite, Nulls, TextEncoding};
use crate::options::Deletes;
use crate::options::draft::Draft;
use crate::options::spec::Kind;

#[test]
fn every_option_is_parsed_and_its_default_is_the_one_documented() {
    for option in all() {
        assert!(option.name.starts_with("kafka."), "{}", option.name);
        assert!(option.doc.ends_with('.'), "{}", option.name);
        let Kind::Value(set) = option.kind else {
            continue;
        };
        let default = format!("{:?}", Draft::default());
        let mut draft = Draft::default();
        match option.name {
            // These defaults depend on the topic, the broker or the session.
            "kafka.json.timestamp_unit"
            | "kafka.partitioner"
            | "kafka.wait_for"
            | "kafka.batch.rows"
            | "kafka.dead_letter.topic"
            | "kafka.value.envelope"
            | "kafka.key.envelope"
            | "kafka.json.schema_id"
            | "kafka.json.key_schema_id"
            | "kafka.topic.partitions"
            | "kafka.topic.replication" => {}
            // These take any text.
            "kafka.group.id" | "kafka.deleted_by" => continue,
            "kafka.mode" | "kafka.value.format" | "kafka.key.format" => {
                set(&mut draft, option.default).unwrap()
            }
            name => {
                set(&mut draft, option.default).unwrap();
                assert_eq!(format!("{draft:?}"), default, "{name}");
            }
        }
        for word in option
            .value
            .split(" | ")
            .filter(|word| !word.contains(['<', ' ']))
        {
            set(&mut draft, word).unwrap();
        }
        set(&mut draft, "no such value").unwrap_err();
    }
}

#[test]
fn names_of_options_are_distinct() {
    let mut names: Vec<_> = all().iter().map(|option| option.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all().len());
}

#[test]
fn own_options_reach_their_fields() {
    let options = parse(&[
        ("kafka.mode", "append"),
        ("kafka.start", "offsets:{\"0\":12}"),
        ("kafka.end", "timestamp:1000"),
        ("kafka.isolation", "read_uncommitted"),
        ("kafka.metadata", "all"),
        ("kafka.key.format", "json"),
        ("kafka.value.format", "bytes"),
        ("kafka.null_key", "skip"),
        ("kafka.check_keys", "fail"),
        ("kafka.partitioner", "crc32"),
        ("kafka.on_bad_record", "null"),
        ("kafka.json.names", "exact"),
        ("kafka.json.coerce", "true"),
        ("kafka.json.timestamp_unit", "us"),
        ("kafka.json.nulls", "omit"),
        ("kafka.json.decimals", "string"),
        ("kafka.json.non_finite", "string"),
        ("kafka.batch.rows", "10"),
        ("kafka.batch.ms", "250"),
        ("kafka.wait_for", "offsets:{\"1\":5}"),
        ("kafka.delivery", "exactly_once"),
        ("kafka.transactional_id.prefix", "org.team_"),
        ("kafka.commit.ms", "40"),
        ("kafka.deletes", "always"),
        ("kafka.group.id", "readers"),
        ("kafka.dry_run", "true"),
        ("kafka.infer.records", "7"),
        ("kafka.create_topic", "true"),
        ("kafka.topic.partitions", "6"),
        ("kafka.topic.replication", "3"),
        ("kafka.topic.config.retention.ms", "1000"),
        ("kafka.timeout", "500ms"),
        ("kafka.retry_timeout", "2m"),
        ("kafka.keep_clients", "3s"),
    ])
    .unwrap();
    assert_eq!(options.mode, Some(Mode::Append));
    assert_eq!(options.start, Bound::Offsets(BTreeMap::from([(0, 12)])));
    assert_eq!(options.end, Bound::Timestamp(1000));
    assert_eq!(options.isolation, Isolation::ReadUncommitted);
    assert!(options.all_metadata);
    assert_eq!(options.key_format, Some(KeyFormat::Json));
    assert_eq!(options.value_format, Some(ValueFormat::Bytes));
    assert_eq!(options.null_key, NullKey::Skip);
    assert_eq!(options.check_keys, CheckKeys::Fail);
    assert_eq!(options.partitioner, Some(Partitioner::Crc32));
    assert_eq!(options.on_bad_record, OnBadRecord::Null);
    assert_eq!(options.decode.names, NameMatching::Exact);
    assert!(options.decode.coerce);
    assert_eq!(options.decode.timestamp_unit, Some(TimeUnit::Microsecond));
    assert_eq!(options.encode.timestamp_unit, Some(TimeUnit::Microsecond));
    assert_eq!(options.encode.nulls, Nulls::Omit);
    assert_eq!(options.encode.decimals, Decimals::String);
    assert_eq!(options.encode.non_finite, NonFinite::String);
    assert_eq!(options.batch_rows, Some(10));
    assert_eq!(options.batch_time, Duration::from_millis(250));
    assert_eq!(options.wait_for, BTreeMap::from([(1, 5)]));
    assert_eq!(options.delivery, Delivery::ExactlyOnce);
    assert_eq!(options.transactional_id_prefix, "org.team_");
    assert_eq!(options.commit_time, Duration::from_millis(40));
    assert_eq!(options.deletes, Deletes::Always);
    assert_eq!(options.group_id.as_deref(), Some("readers"));
    assert!(options.dry_run);
    assert_eq!(options.infer_records, 7);
    assert_eq!(
        options.create_topic,
        Some(NewTopic {
            partitions: Some(6),
            replication: Some(3),
            config: BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]),
        })
    );
    assert_eq!(options.timeout, Duration::from_millis(500));
    assert_eq!(options.retry_timeout, Duration::from_secs(120));
    assert_eq!(options.keep_clients, Duration::from_secs(3));
}

#[test]
fn clients_are_kept_for_a_while_or_not_at_all() {
    let kept = |text| parse(&[("kafka.keep_clients", text)]).map(|options| options.keep_clients);
    assert_eq!(parse(&[]).unwrap().keep_clients, Duration::from_secs(30));
    for off in ["0", "0s", " 0 "] {
        assert_eq!(kept(off).unwrap(), Duration::ZERO);
    }
    assert_eq!(
        refused(&[("kafka.keep_clients", "5")]),
        "option `kafka.keep_clients`: the unit is missing; write `5s` or `5ms`; got `5`"
    );
    assert_eq!(kept("10m").unwrap(), Duration::from_secs(600));
    assert_eq!(
        refused(&[("kafka.keep_clients", "11m")]),
        "option `kafka.keep_clients`: expected at most `10m`, after which brokers close idle \
         connections; got `11m`"
    );
}

#[test]
fn a_created_topic_is_compacted_in_upsert_mode() {
    for (mode, policy) in [("upsert", Some("compact")), ("append", None)] {
        let options = parse(&[("kafka.create_topic", "true"), ("kafka.mode", mode)]);
        let config = options.unwrap().create_topic.unwrap().config;
        assert_eq!(config.get("cleanup.policy").map(String::as_str), policy);
    }
    let options = parse(&[("kafka.create_topic", "true")]).unwrap();
    let config = options.create_topic.unwrap().config;
    assert_eq!(
        config.get("cleanup.policy").map(String::as_str),
        Some("compact")
    );
}

#[test]
fn an_option_of_a_column_is_kept_by_its_name() {
    let session = Options::new().with_option("kafka.column.b.encoding", "mixed");
    let own = Options::new().with_option("kafka.column.a.b.encoding", "json");
    let options = TableOptions::parse(&[&session, &own]).unwrap();
    let column = |name: &str| {
        let column = &options.columns[name];
        (column.encoding, column.is_own)
    };
    assert_eq!(column("a.b"), (Some(TextEncoding::Json), true));
    assert_eq!(column("b"), (Some(TextEncoding::Mixed), false));
    assert_eq!(
        refused(&[("kafka.column.a.encoding", "xml")]),
        "option `kafka.column.a.encoding`: expected one of text, json, mixed, base64, \
         hex, base64_decimal; got `xml`"
    );
    for key in ["kafka.column.encoding", "kafka.column.a.encodings"] {
        let refused = refused(&[(key, "json")]);
        assert!(
            refused.contains("`kafka.column.<name>.encoding`"),
            "{refused}"
        );
    }
}

#[test]
fn cleanup_policy_can_be_chosen() {
    let options = parse(&[
        ("kafka.create_topic", "true"),
        ("kafka.topic.config.cleanup.policy", "delete"),
    ])
    .unwrap();
    let config = options.create_topic.unwrap().config;
    assert_eq!(
        config.get("cleanup.policy").map(String::as_str),
        Some("delete")
    );
}

#[test]
fn wrong_values_tell_what_is_allowed() {
    assert_eq!(
        refused(&[("kafka.mode", "upser")]),
        "option `kafka.mode`: expected one of upsert, append; got `upser`"
    );
    assert_eq!(
        refused(&[("kafka.timeout", "10")]),
        "option `kafka.timeout`: the unit is missing; write `10s` or `10ms`; got `10`"
    );
}

#[test]
fn unknown_keys_get_a_hint() {
    for (key, hint) in [
        (
            "kafka.mod",
            "unknown option `kafka.mod`; did you mean `kafka.mode`?",
        ),
        (
            "format.mode",
            "unknown option `format.mode`; option keys start with `kafka.`: `kafka.mode`",
        ),
        (
            "format.retry_timeout",
            "unknown option `format.retry_timeout`; option keys start with `kafka.`: \
             `kafka.retry_timeout`",
        ),
        (
            "bootstrap.servers",
            "unknown option `bootstrap.servers`; option keys start with `kafka.`: \
             `kafka.bootstrap.servers`",
        ),
        (
            "client.linger.ms",
            "unknown option `client.linger.ms`; option keys start with `kafka.`: \
             `kafka.client.linger.ms`",
        ),
        (
            "has_header",
            "unknown option `has_header`; option keys start with `kafka.`",
        ),
        (
            "security.protocol",
            "unknown option `security.protocol`; did you mean `kafka.client.security.protocol`?",
        ),
        (
            "kafka.security.protocol",
            "unknown option `kafka.security.protocol`; did you mean \
             `kafka.client.security.protocol`?",
        ),
        (
            "kafka.linger.ms",
            "unknown option `kafka.linger.ms`; did you mean `kafka.client.linger.ms`?",
        ),
        (
            "kafka.client.secuirty.protocol",
            "unknown option `kafka.client.secuirty.protocol`; did you mean \
             `kafka.client.security.protocol`?",
        ),
        (
            "kafka.consumer.no.such.property.at.all",
            "unknown option `kafka.consumer.no.such.property.at.all`; librdkafka has no such property",
        ),
    ] {
        assert_eq!(refused(&[(key, SECRET)]), hint);
    }
}

#[test]
fn keys_are_taken_in_any_case() {
    let map = HashMap::from([("Kafka.Client.SASL.Username".to_owned(), "me".to_owned())]);
    let options = Options::from_map(&map);
    assert!(!options.is_empty());
    let table = TableOptions::parse(&[&options, &given(&[("kafka.bootstrap.servers", "a:1")])]);
    assert_eq!(
        consumer(&table.unwrap(), "sasl.username").as_deref(),
        Some("me")
    );
}

#[test]
fn later_layers_override_earlier_ones() {
    let session = given(&[
        ("kafka.bootstrap.servers", "a:1"),
        ("kafka.timeout", "1s"),
        ("kafka.client.linger.ms", "1"),
        ("kafka.consumer.client.id", "session"),
    ]);
    let pattern = given(&[
        ("kafka.timeout", "2s"),
        ("kafka.client.client.id", "pattern"),
    ]);
    let own = given(&[
        ("kafka.client.metadata.broker.list", "b:1"),
        ("kafka.producer.queue.buffering.max.ms", "3"),
    ]);
    let options = TableOptions::parse(&[&session, &pattern, &own]).unwrap();
    assert_eq!(options.timeout, Duration::from_secs(2));
    assert_eq!(options.client.bootstrap_servers().unwrap(), "b:1");
    assert_eq!(consumer(&options, "client.id").as_deref(), Some("pattern"));
    assert_eq!(producer(&options, "client.id").as_deref(), Some("pattern"));
    assert_eq!(
        producer(&options, "queue.buffering.max.ms").as_deref(),
        Some("3")
    );
    assert_eq!(producer(&options, "linger.ms"), None);
}

#[test]
fn two_ways_of_one_thing_in_one_layer_are_an_error() {
    for (first, second, value) in [
        (
            "kafka.bootstrap.servers",
            "kafka.client.bootstrap.servers",
            "a:1",
        ),
        (
            "kafka.bootstrap.servers",
            "kafka.client.metadata.broker.list",
            "a:1",
        ),
        ("kafka.client.client.id", "kafka.consumer.client.id", "1"),
        ("kafka.client.client.id", "kafka.producer.client.id", "1"),
        (
            "kafka.client.linger.ms",
            "kafka.client.queue.buffering.max.ms",
            "1",
        ),
        (
            "kafka.client.linger.ms",
            "kafka.producer.queue.buffering.max.ms",
            "1",
        ),
        (
            "kafka.client.sasl.mechanism",
            "kafka.client.sasl.mechanisms",
            "PLAIN",
        ),
        (
            "kafka.consumer.fetch.message.max.bytes",
            "kafka.consumer.max.partition.fetch.bytes",
            "9",
        ),
        (
            "kafka.producer.compression.codec",
            "kafka.producer.compression.type",
            "lz4",
        ),
        (
            "kafka.producer.message.send.max.retries",
            "kafka.producer.retries",
            "1",
        ),
        (
            "kafka.client.max.in.flight",
            "kafka.client.max.in.flight.requests.per.connection",
            "1",
        ),
        (
            "kafka.producer.delivery.timeout.ms",
            "kafka.producer.message.timeout.ms",
            "1000",
        ),
    ] {
        assert_eq!(
            refused(&[(first, value), (second, value)]),
            format!("options `{first}` and `{second}` set the same thing; give only one of them")
        );
    }
}

#[test]
fn transactional_ids_begin_with_plain_characters() {
    assert_eq!(
        TableOptions::default().transactional_id_prefix,
        "datafusion-kafka-"
    );
    let too_long = "x".repeat(250);
    for prefix in [
        "",
        " ",
        "two words",
        "org/team",
        "org:team",
        "größe",
        &too_long,
    ] {
        assert!(
            refused(&[("kafka.transactional_id.prefix", prefix)])
                .contains("expected letters, digits, `.`, `_` and `-`"),
            "{prefix}"
        );
    }
}

#[test]
fn options_without_effect_are_refused_in_the_table_and_ignored_below() {
    let session = given(&[
        ("kafka.topic.partitions", "3"),
        ("kafka.json.names", "exact"),
    ]);
    let own = given(&[("kafka.value.format", "string")]);
    let options = TableOptions::parse(&[&session, &own]).unwrap();
    assert_eq!(options.create_topic, None);

    for options in [
        &[("kafka.topic.partitions", "3")][..],
        &[
            ("kafka.topic.config.retention.ms", "3"),
            ("kafka.create_topic", "false"),
        ],
        &[
            ("kafka.value.format", "string"),
            ("kafka.json.nulls", "omit"),
        ],
    ] {
        assert!(refused(options).contains("has no effect"));
    }
    let keyed = [
        ("kafka.value.format", "string"),
        ("kafka.key.format", "json"),
        ("kafka.json.decimals", "string"),
    ];
    parse(&keyed).unwrap();
}
