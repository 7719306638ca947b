//! `CREATE EXTERNAL TABLE .. STORED AS KAFKA`, its options, and what the catalog shows.

use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaConfig, KafkaTopics, register_kafka};

use crate::broker::{self, Rec, topic_name};
use crate::session::{cells, count, error, rows, session, within};
use crate::writing::{Writable, create_table, record, records, says};

/// A session that needs no broker.
fn offline() -> SessionContext {
    let ctx = SessionContext::new();
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    ctx
}

/// The error of a statement that needs no broker.
async fn refused(create: &str) -> String {
    error(&offline(), create).await
}

const SERVERS: (&str, &str) = ("kafka.bootstrap.servers", "127.0.0.1:1");

#[tokio::test]
async fn a_location_is_a_url_or_a_topic() {
    let Some(broker) = broker::required("a_location_is_a_url_or_a_topic") else {
        return;
    };
    let topic = broker.new_topic("location", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"v":1}"#)]);
    let ctx = offline();
    let servers = [("kafka.bootstrap.servers", broker.servers.as_str())];
    let url = format!("kafka://{}/{topic}", broker.servers);
    for (name, location, options) in [
        ("url", url.as_str(), &[][..]),
        ("both", url.as_str(), &servers[..]),
        ("bare", topic.as_str(), &servers[..]),
        ("hostless", &format!("kafka:///{topic}"), &servers[..]),
    ] {
        rows(
            &ctx,
            &create_table(name, "_key VARCHAR, v INT", location, options),
        )
        .await;
        let found = rows(&ctx, &format!("SELECT * FROM {name}")).await;
        assert_eq!(cells(&found), [["a", "1"]], "{name}");
    }
    rows(
        &ctx,
        &format!("SET kafka.bootstrap.servers = '{}'", broker.servers),
    )
    .await;
    rows(&ctx, &create_table("session", "", &topic, &[])).await;
    assert_eq!(
        cells(&rows(&ctx, "SELECT * FROM session").await),
        [["a", "1"]]
    );
}

#[tokio::test]
async fn servers_must_be_given_once() {
    let why = refused(&create_table("t", "v INT", "topic", &[])).await;
    says(&why, &["kafka.bootstrap.servers", "not set", "LOCATION"]);
    let location = "kafka://elsewhere:9092/topic";
    let why = refused(&create_table("t", "v INT", location, &[SERVERS])).await;
    says(&why, &["LOCATION", "kafka.bootstrap.servers", "only one"]);
    let why = refused(&create_table("t", "v INT", "s3://bucket/topic", &[SERVERS])).await;
    says(&why, &["s3://bucket/topic", "kafka://"]);
}

#[tokio::test]
async fn clauses_without_a_meaning_are_refused() {
    for (create, parts) in [
        (
            "CREATE EXTERNAL TABLE t (v INT, p INT) STORED AS KAFKA PARTITIONED BY (p) LOCATION 't'",
            &["PARTITIONED BY", "_partition"][..],
        ),
        (
            "CREATE EXTERNAL TABLE t (v INT) STORED AS KAFKA WITH ORDER (v ASC) LOCATION 't'",
            &["WITH ORDER"],
        ),
        (
            "CREATE EXTERNAL TABLE t (_key VARCHAR, v INT, UNIQUE (v)) STORED AS KAFKA LOCATION 't'",
            &["PRIMARY KEY (_key)"],
        ),
        (
            "CREATE EXTERNAL TABLE t (_key VARCHAR, v INT, PRIMARY KEY (v)) STORED AS KAFKA LOCATION 't'",
            &["PRIMARY KEY (_key)"],
        ),
        (
            "CREATE EXTERNAL TABLE t (_key VARCHAR, v INT, PRIMARY KEY (_key)) STORED AS KAFKA \
             LOCATION 't' OPTIONS ('kafka.mode' 'append')",
            &["PRIMARY KEY (_key)", "upsert"],
        ),
    ] {
        let ctx = offline();
        rows(&ctx, "SET kafka.bootstrap.servers = '127.0.0.1:1'").await;
        says(&error(&ctx, create).await, parts);
    }
}

#[tokio::test]
async fn a_primary_key_is_told_to_the_planner() {
    let ctx = offline();
    let create = "CREATE EXTERNAL TABLE t (v INT, _key VARCHAR, PRIMARY KEY (_key)) STORED AS KAFKA \
                  LOCATION 'kafka://127.0.0.1:1/t'";
    rows(&ctx, create).await;
    // `v` may stand beside the aggregate only because `_key` determines it.
    let grouped = ctx
        .sql("SELECT _key, v, count(*) FROM t GROUP BY _key")
        .await;
    grouped.unwrap();
}

#[tokio::test]
async fn a_default_is_written_where_a_column_is_left_out() {
    let Some(broker) = broker::required("a_default_is_written") else {
        return;
    };
    let columns = "_key VARCHAR NOT NULL, v INT DEFAULT 7, s VARCHAR DEFAULT 'none', n INT";
    let t = Writable::new(broker, columns, &[]).await;
    assert_eq!(t.insert("(_key) VALUES ('a')").await, 1);
    assert_eq!(t.insert("(_key, v) VALUES ('b', NULL)").await, 1);
    assert_eq!(
        t.records(),
        [
            record("a", r#"{"v":7,"s":"none","n":null}"#),
            record("b", r#"{"v":null,"s":"none","n":null}"#)
        ]
    );
}

#[tokio::test]
async fn wrong_options_name_the_key_and_what_is_allowed() {
    for (options, parts) in [
        (
            ("kafka.mod", "append"),
            &["`kafka.mod`", "`kafka.mode`"][..],
        ),
        (("mode", "append"), &["mode", "`kafka.mode`"]),
        (("sasl.username", "me"), &["`kafka.client.sasl.username`"]),
        (
            ("kafka.client.sasl.usrname", "me"),
            &[
                "`kafka.client.sasl.usrname`",
                "`kafka.client.sasl.username`",
            ],
        ),
        (("s3.region", "eu"), &["s3.region", "start with `kafka.`"]),
        (
            ("kafka.mode", "changelog"),
            &["`kafka.mode`", "upsert, append", "`changelog`"],
        ),
        (("kafka.timeout", "10"), &["`kafka.timeout`", "`10s`"]),
        (("kafka.timeout", "soon"), &["`kafka.timeout`", "`500ms`"]),
        (("kafka.start", "yesterday"), &["`kafka.start`", "earliest"]),
        (
            ("kafka.client.security.protocol", "tls"),
            &["`kafka.client.security.protocol`", "\"tls\""],
        ),
        (
            ("kafka.client.group.id", "g"),
            &["group.id", "`kafka.start`"],
        ),
        (
            ("kafka.consumer.auto.offset.reset", "latest"),
            &["auto.offset.reset", "`kafka.start`"],
        ),
        (
            ("kafka.producer.acks", "1"),
            &["`kafka.producer.acks`", "all"],
        ),
        (
            ("kafka.consumer.isolation.level", "read_uncommitted"),
            &["isolation.level", "`kafka.isolation`"],
        ),
        (("kafka.consumer.linger.ms", "5"), &["`kafka.producer."]),
        (
            ("kafka.topic.partitions", "3"),
            &["no effect", "`kafka.create_topic`"],
        ),
    ] {
        let why = refused(&create_table("t", "v INT", "t", &[SERVERS, options])).await;
        says(&why, parts);
    }
    let twice = [
        SERVERS,
        ("kafka.client.linger.ms", "5"),
        ("kafka.producer.queue.buffering.max.ms", "5"),
    ];
    let why = refused(&create_table("t", "v INT", "t", &twice)).await;
    says(&why, &["linger.ms", "queue.buffering.max.ms", "only one"]);
}

#[tokio::test]
async fn wrong_columns_name_the_column() {
    for (columns, options, parts) in [
        (
            "v INT, _partition VARCHAR",
            &[SERVERS][..],
            &["`_partition`", "declare it as INT"][..],
        ),
        (
            "v INT, _headers VARCHAR",
            &[SERVERS],
            &["`_headers`", "declare it as STRUCT<"],
        ),
        (
            "v INT, _tombstone INT",
            &[SERVERS],
            &["`_tombstone`", "declare it as BOOLEAN"],
        ),
        (
            "_key INT, v INT",
            &[SERVERS],
            &["`_key`", "`kafka.key.format` = `json`"],
        ),
        (
            "_key VARCHAR, v INT",
            &[SERVERS, ("kafka.key.format", "bytes")],
            &["`_key`", "BYTEA"],
        ),
        (
            "_key VARCHAR, v INT",
            &[SERVERS, ("kafka.value.format", "string")],
            &["`v`", "`_value`"],
        ),
        (
            "v INT NOT NULL",
            &[SERVERS, ("kafka.on_bad_record", "null")],
            &["`v`", "NOT NULL"],
        ),
    ] {
        let why = refused(&create_table("t", columns, "t", options)).await;
        says(&why, parts);
    }
}

#[tokio::test]
async fn a_column_type_without_a_json_form_is_named() {
    use arrow::datatypes::{DataType, Field, Schema};
    let view = DataType::ListView(Field::new("item", DataType::Int64, true).into());
    let nested = DataType::Struct(vec![Field::new("inner", view, true)].into());
    let table = datafusion_kafka::KafkaTable::builder("t")
        .with_schema(Schema::new(vec![Field::new("outer", nested, true)]))
        .with_option(SERVERS.0, SERVERS.1);
    let why = table.build().await.unwrap_err().to_string();
    says(&why, &["`outer`", "`outer.inner`"]);
}

#[tokio::test]
async fn the_tables_own_option_beats_the_session() {
    let ctx = offline();
    rows(&ctx, "SET kafka.bootstrap.servers = '127.0.0.1:1'").await;
    rows(&ctx, "SET kafka.timeout = '150ms'").await;
    rows(&ctx, &create_table("low", "v INT", "t", &[])).await;
    rows(
        &ctx,
        &create_table("high", "v INT", "t", &[("kafka.timeout", "170ms")]),
    )
    .await;
    says(&error(&ctx, "SELECT * FROM low").await, &["150ms"]);
    says(&error(&ctx, "SELECT * FROM high").await, &["170ms"]);

    says(
        &error(&ctx, "SET kafka.timeout = 'soon'").await,
        &["kafka.timeout"],
    );
    says(
        &error(&ctx, "SET kafka.timout = '1s'").await,
        &["kafka.timeout"],
    );
    let why = error(&ctx, "SET kafka.client.sasl.password = 'x'").await;
    says(&why, &["kafka.client.sasl.password", "OPTIONS"]);
}

#[tokio::test]
async fn a_table_is_dropped_replaced_and_kept() {
    let ctx = offline();
    rows(&ctx, "SET kafka.bootstrap.servers = '127.0.0.1:1'").await;
    let columns = async |ctx: &SessionContext| {
        let table = ctx.table_provider("t").await.unwrap();
        table
            .schema()
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .collect::<Vec<_>>()
    };
    let create = |columns| create_table("t", columns, "t", &[]);
    rows(&ctx, &create("a INT")).await;
    says(&error(&ctx, &create("b INT")).await, &["already exists"]);
    assert_eq!(columns(&ctx).await, ["_key", "a"]);
    let kept = create("b INT").replace("EXTERNAL TABLE", "EXTERNAL TABLE IF NOT EXISTS");
    rows(&ctx, &kept).await;
    assert_eq!(columns(&ctx).await, ["_key", "a"]);
    rows(
        &ctx,
        &create("c INT").replace("CREATE", "CREATE OR REPLACE"),
    )
    .await;
    assert_eq!(columns(&ctx).await, ["_key", "c"]);
    rows(&ctx, "DROP TABLE t").await;
    assert!(ctx.table_provider("t").await.is_err());
    says(&error(&ctx, "DROP TABLE t").await, &["t"]);
    rows(&ctx, "DROP TABLE IF EXISTS t").await;
}

#[tokio::test]
async fn the_catalog_shows_the_table() {
    let Some(broker) = broker::required("the_catalog_shows_the_table") else {
        return;
    };
    let columns = "_key VARCHAR NOT NULL, \"firstName\" VARCHAR, d DECIMAL(10, 2), \
                   ts TIMESTAMP, tags VARCHAR[], at STRUCT<x INT>, b BYTEA, day DATE, f DOUBLE";
    let options = [
        ("kafka.client.client.id", "it''s"),
        ("kafka.json.nulls", "omit"),
    ];
    let t = Writable::new(broker, columns, &options).await;
    let described = cells(&rows(&t.ctx, "DESCRIBE t").await);
    assert_eq!(described[0], ["_key", "Utf8View", "NO"]);
    assert_eq!(described[1], ["firstName", "Utf8View", "YES"]);
    let listed = "SELECT column_name FROM information_schema.columns WHERE table_name = 't' \
                  ORDER BY ordinal_position LIMIT 2";
    assert_eq!(
        cells(&rows(&t.ctx, listed).await),
        [["_key"], ["firstName"]]
    );
    let listed = "SELECT table_type FROM information_schema.tables WHERE table_name = 't'";
    assert_eq!(cells(&rows(&t.ctx, listed).await), [["BASE TABLE"]]);

    // The statement that is shown creates an equal table.
    let shown = cells(&rows(&t.ctx, "SHOW CREATE TABLE t").await);
    let shown = shown[0].last().unwrap();
    says(
        shown,
        &[
            &t.topic,
            "'kafka.json.nulls' 'omit'",
            "'it''s'",
            "\"firstName\"",
        ],
    );
    let schema = t.ctx.table_provider("t").await.unwrap().schema();
    rows(&t.ctx, "DROP TABLE t").await;
    rows(&t.ctx, shown).await;
    assert_eq!(t.ctx.table_provider("t").await.unwrap().schema(), schema);
}

#[tokio::test]
async fn names_are_lower_cased_by_datafusion_and_kept_by_the_crates_sql() {
    let Some(broker) = broker::required("names_are_lower_cased") else {
        return;
    };
    let topic = broker.new_topic("case", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"firstName":"Ada"}"#)]);
    let create = format!(
        "CREATE EXTERNAL TABLE People (_key VARCHAR, firstName VARCHAR) STORED AS KAFKA \
         LOCATION '{topic}'"
    );
    let ctx = session(broker, KafkaTopics::new());
    let plain = async |sql: &str| {
        let frame = within(sql, ctx.sql(sql)).await.unwrap();
        cells(&within(sql, frame.collect()).await.unwrap())
    };
    plain(&create).await;
    assert_eq!(plain("SELECT firstName FROM People").await, [["Ada"]]);
    plain("INSERT INTO people VALUES ('b', 'Bob')").await;
    assert_eq!(
        records(broker, &topic),
        [
            record("a", r#"{"firstName":"Ada"}"#),
            record("b", r#"{"firstname":"Bob"}"#)
        ]
    );

    let ctx = session(broker, KafkaTopics::new());
    rows(&ctx, &create).await;
    assert_eq!(
        cells(&rows(&ctx, "SELECT firstName FROM People").await).len(),
        2
    );
    says(
        &error(&ctx, "SELECT firstname FROM People").await,
        &["firstname"],
    );
    says(
        &error(&ctx, "SELECT firstName FROM people").await,
        &["people"],
    );
    // Function names are not case-sensitive.
    assert_eq!(count(&ctx, "SELECT COUNT(*) FROM People").await, 2);
    assert_eq!(
        count(&ctx, "INSERT INTO People VALUES ('c', 'Cy')").await,
        1
    );
    assert_eq!(
        records(broker, &topic)[2],
        record("c", r#"{"firstName":"Cy"}"#)
    );
}

#[tokio::test]
async fn columns_left_out_are_inferred() {
    let Some(broker) = broker::required("columns_left_out_are_inferred") else {
        return;
    };
    let topic = broker.new_topic("inferred", 2, &[]);
    let ctx = session(broker, KafkaTopics::new());
    let why = error(&ctx, &create_table("t", "", &topic, &[])).await;
    says(&why, &[&topic, "no records", "declare the columns"]);
    let missing = topic_name("missing");
    let why = error(&ctx, &create_table("t", "", &missing, &[])).await;
    says(&why, &[&missing, "does not exist"]);

    broker.produce(
        &topic,
        &[Rec::new("a", r#"{"id":1,"name":"Ada","tags":["x"]}"#)],
    );
    rows(&ctx, &create_table("t", "", &topic, &[])).await;
    assert_eq!(
        cells(&rows(&ctx, "SELECT * FROM t").await),
        [["a", "1", "Ada", "[x]"]]
    );
    assert_eq!(
        count(&ctx, "INSERT INTO t (_key, name) VALUES ('b', 'Bob')").await,
        1
    );
    let written = records(broker, &topic);
    assert!(
        written.contains(&record("b", r#"{"id":null,"name":"Bob","tags":null}"#)),
        "{written:?}"
    );
}

#[tokio::test]
async fn a_location_names_other_servers_than_those_of_the_session() {
    let Some(broker) = broker::required("a_location_names_other_servers") else {
        return;
    };
    let topic = broker.new_topic("location", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"v":1}"#)]);
    let ctx = SessionContext::new();
    let elsewhere = KafkaConfig::new().with_option(SERVERS.0, SERVERS.1);
    register_kafka(&ctx, elsewhere).unwrap();
    let url = format!("kafka://{}/{topic}", broker.servers);
    rows(&ctx, &create_table("t", "_key VARCHAR, v INT", &url, &[])).await;
    let found = rows(&ctx, "SELECT * FROM t").await;
    assert_eq!(cells(&found), [["a", "1"]]);
}
