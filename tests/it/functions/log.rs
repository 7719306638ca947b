//! `kafka_log`, `kafka_snapshot` and `kafka_changes`.

use datafusion_kafka::KafkaTable;
use datafusion_kafka::options::Bound;

use super::{FOREVER, T0, history, lines, nothing, number, stored_lines};
use crate::broker::{self, End, Rec};
use crate::declared::{APPEND, Declared, in_time};
use crate::session::{rows, within};

const LOG: &str =
    "_partition, _offset, CAST(CAST(_timestamp AS TIMESTAMP(3)) AS BIGINT), _key, v, _tombstone";

#[tokio::test]
async fn the_log_is_every_record_with_all_metadata() {
    let Some(broker) = broker::required("the_log_is_every_record") else {
        return;
    };
    let topic = history(broker, "log");
    let ctx = nothing(broker);
    let log = format!("SELECT {LOG} FROM kafka_log('{topic}')");
    let stored = broker.read_all(&topic);
    assert_eq!(stored.len(), 7);
    assert_eq!(lines(&ctx, &log).await, stored_lines(&stored));

    let columns = "_key|v|_topic|_partition|_offset|_timestamp|_headers|_tombstone|_error";
    let all = format!("SELECT * FROM kafka_log('{topic}')");
    let frame = datafusion_kafka::sql(&ctx, &all).await.unwrap();
    let fields = frame.schema().fields();
    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names.join("|"), columns);
    assert!(fields.iter().all(|field| field.is_nullable()));

    let one = format!("{all} WHERE _headers IS NOT NULL AND _partition = 0 AND _offset = 1");
    assert_eq!(
        lines(&ctx, &one).await,
        [format!(
            "a|3|{topic}|0|1|2023-11-14T22:13:22Z|[{{key: h, value: 78}}]|false|NULL"
        )]
    );
    let keyless = format!("SELECT v FROM kafka_log('{topic}') WHERE _key IS NULL");
    assert_eq!(lines(&ctx, &keyless).await, ["5"]);
}

#[tokio::test]
async fn the_log_of_a_table_has_its_columns_also_those_that_were_not_null() {
    let Some(broker) = broker::required("the_log_of_a_table") else {
        return;
    };
    let topic = history(broker, "declared-log");
    let columns = "_key VARCHAR NOT NULL, v SMALLINT NOT NULL, _timestamp TIMESTAMP(0)";
    let declared = Declared::new(broker, &topic, columns, &[]).await;
    let log = declared
        .rows("SELECT _key, v, _timestamp FROM kafka_log('t')")
        .await;
    assert_eq!(log.len(), 7);
    assert_eq!(log[6], "c|4|2023-11-14T22:13:23");
    assert!(
        log.contains(&"b|NULL|2023-11-14T22:13:25".to_owned()),
        "{log:?}"
    );
    let plain = declared
        .ctx
        .sql("SELECT * FROM kafka_log('t') WHERE v = 6")
        .await
        .unwrap();
    assert_eq!(
        plain
            .schema()
            .field_with_name(None, "v")
            .unwrap()
            .data_type()
            .to_string(),
        "Int16"
    );
    assert_eq!(
        in_time("plain", plain.collect()).await.unwrap()[0].num_rows(),
        1
    );
}

#[tokio::test]
async fn a_snapshot_is_the_table_as_of_a_time_or_of_offsets() {
    let Some(broker) = broker::required("a_snapshot_is_the_table") else {
        return;
    };
    let topic = broker.new_topic("snapshot", 2, FOREVER);
    broker.produce(
        &topic,
        &[
            number("a", 1, 0).partition(0),
            number("b", 2, 10).partition(1),
            number("a", 3, 20).partition(0),
            Rec::tombstone("b").partition(1).timestamp(T0 + 30_000),
            number("c", 4, 40).partition(1),
        ],
    );
    let ctx = nothing(broker);
    let ms = |seconds: i64| (T0 + seconds * 1000).to_string();
    let at = [
        ("'earliest'".to_owned(), ""),
        ("'latest'".to_owned(), "a|3 c|4"),
        (format!("'timestamp:{}'", ms(20)), "a|1 b|2"),
        ("'timestamp:2023-11-14T22:13:40.001Z'".to_owned(), "a|3 b|2"),
        ("'2023-11-14T22:13:40Z'".to_owned(), "a|1 b|2"),
        ("'2023-11-14T23:13:50.001+01:00'".to_owned(), "a|3"),
        ("TIMESTAMP '2023-11-14T22:13:30'".to_owned(), "a|1"),
        (
            "TIMESTAMP '2023-11-14T22:13:30.0000001'".to_owned(),
            "a|1 b|2",
        ),
        (
            "TIMESTAMP '2023-11-14 22:13:20' + INTERVAL '15 seconds'".to_owned(),
            "a|1 b|2",
        ),
        (
            "arrow_cast('2023-11-14T22:13:30Z', 'Timestamp(Second, Some(\"+01:00\"))')".to_owned(),
            "a|1",
        ),
        ("DATE '2023-11-14'".to_owned(), ""),
        ("DATE '2023-11-15'".to_owned(), "a|3 c|4"),
        ("now()".to_owned(), "a|3 c|4"),
        ("now() - INTERVAL '1 hour'".to_owned(), "a|3 c|4"),
        (ms(40), "a|3"),
        (format!("{} + 1", ms(40)), "a|3 c|4"),
        ("'{\"0\":1,\"1\":1}'".to_owned(), "a|1 b|2"),
        ("'offsets:{\"0\":2,\"1\":2}'".to_owned(), "a|3"),
        ("'{\"1\":0}'".to_owned(), "a|3"),
        ("'{\"0\":' || '0}'".to_owned(), "c|4"),
    ];
    for (at, expected) in at {
        let sql = format!("SELECT _key, v FROM kafka_snapshot('{topic}', {at})");
        assert_eq!(lines(&ctx, &sql).await.join(" "), expected, "{at}");
    }
}

#[tokio::test]
async fn changes_are_what_was_produced_between_two_points() {
    let Some(broker) = broker::required("changes_are_what_was_produced") else {
        return;
    };
    let topic = history(broker, "changes");
    let ctx = nothing(broker);
    let first = broker.read_all(&topic);
    let ends = lines(
        &ctx,
        &format!(
            "SELECT 'offsets:{{' || string_agg('\"' || partition || '\":' || high, ',') || '}}' \
             FROM kafka_offsets('{topic}')"
        ),
    )
    .await;
    let [before] = ends.as_slice() else {
        panic!("{ends:?}")
    };
    broker.produce(
        &topic,
        &[
            number("a", 7, 8).partition(0),
            number("z", 8, 9).partition(2),
        ],
    );
    broker.transaction(&topic, &[number("b", 9, 10).partition(1)], End::Commit);
    let between = broker.read_all(&topic);
    let table = KafkaTable::builder(&topic)
        .with_option("kafka.bootstrap.servers", &broker.servers)
        .build();
    let table = within("build", table).await.unwrap();
    let after = within("end_offsets", table.end_offsets()).await.unwrap();
    assert!(
        matches!(&after, Bound::Offsets(offsets) if offsets.len() == 3),
        "{after}"
    );
    broker.produce(&topic, &[number("a", 10, 11).partition(0)]);

    let changes =
        |arguments: &str| format!("SELECT {LOG} FROM kafka_changes('{topic}', {arguments})");
    let new = stored_lines(between.iter().filter(|record| !first.contains(record)));
    assert_eq!(new.len(), 3);
    assert_eq!(
        lines(&ctx, &changes(&format!("'{before}', '{after}'"))).await,
        new
    );
    let everything = broker.read_all(&topic);
    let newer = stored_lines(everything.iter().filter(|record| !first.contains(record)));
    assert_eq!(lines(&ctx, &changes(&format!("'{before}'"))).await, newer);
    assert_eq!(
        lines(&ctx, &changes(&format!("'{before}', 'latest'"))).await,
        newer
    );
    let oldest = stored_lines(&first);
    assert_eq!(
        lines(&ctx, &changes(&format!("'earliest', '{before}'"))).await,
        oldest
    );
    assert!(
        lines(&ctx, &changes(&format!("'{after}', '{before}'")))
            .await
            .is_empty()
    );
    let times = format!("{}, TIMESTAMP '2023-11-14 22:13:25'", T0 + 2000);
    let timed = everything
        .iter()
        .filter(|r| (T0 + 2000..T0 + 5000).contains(&r.timestamp.unwrap()));
    assert_eq!(lines(&ctx, &changes(&times)).await, stored_lines(timed));

    // The table at a point in time, plus the changes since, is the table now.
    let replayed = format!(
        "SELECT _key, v FROM kafka_snapshot('{topic}', '{before}') \
         WHERE _key NOT IN (SELECT _key FROM kafka_changes('{topic}', '{before}')) \
         UNION ALL \
         SELECT _key, v FROM (SELECT _key, v, _tombstone, \
           row_number() OVER (PARTITION BY _key ORDER BY _offset DESC) AS nth \
           FROM kafka_changes('{topic}', '{before}')) WHERE nth = 1 AND NOT _tombstone"
    );
    let skip = "SET kafka.null_key = 'skip'";
    rows(&ctx, skip).await;
    let now = format!("SELECT _key, v FROM kafka_snapshot('{topic}', 'latest')");
    assert_eq!(lines(&ctx, &replayed).await, lines(&ctx, &now).await);
    assert_eq!(lines(&ctx, &now).await, ["a|10", "b|9", "c|4", "z|8"]);

    // The same text is valid as an option.
    rows(&ctx, &format!("SET kafka.end = '{before}'")).await;
    let declared = format!(
        "CREATE EXTERNAL TABLE past STORED AS KAFKA LOCATION '{topic}' \
         OPTIONS ('kafka.mode' 'upsert')"
    );
    rows(&ctx, &declared).await;
    assert_eq!(
        lines(&ctx, "SELECT _key, v FROM past").await,
        ["a|6", "c|4"]
    );
    let bounded = format!("SELECT {LOG} FROM kafka_log('{topic}')");
    assert_eq!(lines(&ctx, &bounded).await, oldest);
}

#[tokio::test]
async fn a_snapshot_of_an_append_table_is_an_upsert_table() {
    let Some(broker) = broker::required("a_snapshot_of_an_append_table") else {
        return;
    };
    let topic = broker.new_topic("append-snapshot", 1, FOREVER);
    broker.produce(
        &topic,
        &[number("a", 1, 0), number("a", 2, 1), number("b", 3, 2)],
    );
    let declared = Declared::new(broker, &topic, "_key VARCHAR, v BIGINT", &[APPEND]).await;
    assert_eq!(declared.rows("SELECT * FROM t").await.len(), 3);
    let at = "SELECT * FROM kafka_snapshot('t', '{\"0\":2}')";
    assert_eq!(declared.rows(at).await, ["a|2"]);
}
