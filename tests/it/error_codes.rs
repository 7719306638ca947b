//! The code of a broker's answer, as data of the error.

use datafusion::prelude::SessionContext;
use datafusion_kafka::{Error, ErrorKind, KafkaTopics};

use crate::broker::{self, topic_name};
use crate::session::{rows, session, try_rows};
use crate::writing::create_table;

async fn refused(ctx: &SessionContext, sql: &str) -> Error {
    let error = try_rows(ctx, sql).await.unwrap_err();
    Error::find(&error).unwrap().clone()
}

#[tokio::test]
async fn what_a_broker_refuses_has_the_code_of_the_protocol() {
    let Some(broker) = broker::required("what_a_broker_refuses") else {
        return;
    };
    let small = broker.new_topic("small", 1, &[("max.message.bytes", "2000")]);
    let missing = topic_name("missing");
    let large = "INSERT INTO t VALUES ('k', repeat('x', 5000))";
    let create = ("kafka.create_topic", "true");
    for (topic, options, sql, code, kind) in [
        (
            &missing,
            &[][..],
            "SELECT * FROM t",
            "UNKNOWN_TOPIC_OR_PARTITION (3)",
            ErrorKind::NotFound,
        ),
        (
            &missing,
            &[create, ("kafka.topic.replication", "99")],
            large,
            "INVALID_REPLICATION_FACTOR (38)",
            ErrorKind::Connection,
        ),
        (
            &missing,
            &[create, ("kafka.topic.config.retention.ms", "long")],
            large,
            "INVALID_CONFIG (40)",
            ErrorKind::Connection,
        ),
        (
            &small,
            &[],
            large,
            "MESSAGE_TOO_LARGE (10)",
            ErrorKind::Write,
        ),
        (
            &small,
            &[("kafka.delivery", "exactly_once")],
            large,
            "MESSAGE_TOO_LARGE (10)",
            ErrorKind::Write,
        ),
        // The client refuses it in the broker's place.
        (
            &small,
            &[("kafka.client.message.max.bytes", "1000")],
            large,
            "MESSAGE_TOO_LARGE (10)",
            ErrorKind::Write,
        ),
    ] {
        let ctx = session(broker, KafkaTopics::new());
        let table = create_table("t", "_key VARCHAR NOT NULL, s VARCHAR", topic, options);
        rows(&ctx, &table).await;
        let error = refused(&ctx, sql).await;
        let found = error.code().map(|code| code.to_string());
        assert_eq!(found.as_deref(), Some(code), "{options:?}: {error}");
        assert_eq!(
            (error.kind(), error.is_retriable()),
            (kind, false),
            "{error}"
        );
    }
}

#[tokio::test]
async fn where_no_broker_has_answered_there_is_no_code() {
    let ctx = SessionContext::new();
    datafusion_kafka::register_kafka(&ctx, datafusion_kafka::KafkaConfig::new()).unwrap();
    let options = [
        // Nothing listens on this port of the loopback interface.
        ("kafka.bootstrap.servers", "127.0.0.1:1"),
        ("kafka.timeout", "1s"),
    ];
    rows(&ctx, &create_table("t", "_key VARCHAR", "topic", &options)).await;
    let error = refused(&ctx, "SELECT * FROM t").await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::Connection, None));
    assert!(error.is_retriable());
}
