//! Brokers that tell for a moment that there are none, as one does that the controller has lost
//! sight of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion_kafka::KafkaTopics;

use crate::broker::Broker;
use crate::declared::in_time;
use crate::listeners::{Answer, METADATA, kafka, metadata, serve};
use crate::session::{cells, rows, session};

/// Answers what a client needs to list topics: one broker with one topic.
///
/// To the second connection, which is the one to the broker that the first has told of, it says
/// that there are no brokers, and many topics: while librdkafka still looks at those, its last
/// connection ends. Then it does not look for brokers any more.
fn start() -> String {
    let connections = Arc::new(AtomicUsize::new(0));
    serve(move |stream| {
        let nth = connections.fetch_add(1, Ordering::Relaxed);
        let port = stream.local_addr()?.port();
        kafka(stream, |api, request| match api {
            // Who asks for topics is to ask the broker.
            METADATA if nth == 0 && !request.ends_with(&[0; 4]) => Answer::Never,
            METADATA if nth == 1 => Answer::Is(metadata(None, &topics(20_000))),
            METADATA => Answer::Is(metadata(Some(("127.0.0.1", port)), &topics(1))),
            _ => Answer::Never,
        })
    })
}

fn topics(count: usize) -> Vec<String> {
    (0..count).map(|topic| format!("orders-{topic}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_tell_of_no_brokers_are_found_again() {
    let broker = Broker::elsewhere(&start());
    let ctx = session(&broker, KafkaTopics::new());
    let sql = "SELECT topic FROM kafka_topics()";
    let listed = in_time("listing the topics", rows(&ctx, sql)).await;
    assert_eq!(cells(&listed), [["orders-0"]]);
}
