//! Brokers that briefly return an empty broker list, as a broker does that the controller has lost
//! sight of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion_kafka::KafkaTopics;

use crate::broker::Broker;
use crate::declared::in_time;
use crate::listeners::{Answer, METADATA, kafka, metadata, serve};
use crate::session::{cells, rows, session};

/// Answers the requests of a client that lists topics: one broker with one topic.
///
/// The second connection goes to the broker that the first answer names. There the answer has no
/// brokers and many topics. While librdkafka still processes these topics, its last connection
/// ends, and from then on it no longer looks for brokers.
fn start() -> String {
    let connections = Arc::new(AtomicUsize::new(0));
    serve(move |stream| {
        let nth = connections.fetch_add(1, Ordering::Relaxed);
        let port = stream.local_addr()?.port();
        kafka(stream, |api, request| match api {
            // The topics must come from the broker, so the bootstrap connection does not answer.
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
