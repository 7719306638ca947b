//! Brokers that tell for a moment that there are none, as one does that the controller has lost
//! sight of.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use datafusion_kafka::KafkaTopics;

use crate::broker::Broker;
use crate::declared::in_time;
use crate::session::{cells, rows, session};

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const UNSUPPORTED_VERSION: i16 = 35;

/// Answers what a client needs to list topics: one broker with one topic.
///
/// To the second connection, which is the one to the broker that the first has told of, it says
/// that there are no brokers, and many topics: while librdkafka still looks at those, its last
/// connection ends. Then it does not look for brokers any more.
fn start() -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let connections = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let nth = connections.fetch_add(1, Ordering::Relaxed);
            // Whoever leaves has what it wanted.
            thread::spawn(move || serve(stream, nth, i32::from(port)).ok());
        }
    });
    Ok(format!("127.0.0.1:{port}"))
}

fn serve(mut stream: TcpStream, nth: usize, port: i32) -> io::Result<()> {
    loop {
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        let mut request = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        stream.read_exact(&mut request)?;
        let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let (api, version, id) = (number(0), number(2), request[4..8].to_vec());
        let answer = match (api, version) {
            (API_VERSIONS, 0) => versions(0),
            (API_VERSIONS, _) => versions(UNSUPPORTED_VERSION),
            // Who asks for topics is to ask the broker.
            (METADATA, _) if nth == 0 && !request.ends_with(&[0; 4]) => continue,
            (METADATA, _) if nth == 1 => metadata(None, 20_000),
            (METADATA, _) => metadata(Some(port), 1),
            _ => continue,
        };
        stream.write_all(&framed(&id, &answer))?;
    }
}

fn framed(id: &[u8], answer: &[u8]) -> Vec<u8> {
    let size = i32::try_from(id.len() + answer.len()).unwrap();
    [&size.to_be_bytes(), id, answer].concat()
}

/// In version 0, the only one that a client may ask this server in.
fn versions(error: i16) -> Vec<u8> {
    let known = [(METADATA, 1_i16), (API_VERSIONS, 0)];
    let mut answer = error.to_be_bytes().to_vec();
    answer.extend(2_i32.to_be_bytes());
    for (api, last) in known {
        for number in [api, 0, last] {
            answer.extend(number.to_be_bytes());
        }
    }
    answer
}

/// In version 1: the broker at this port, which leads so many topics of one partition.
fn metadata(port: Option<i32>, topics: i32) -> Vec<u8> {
    let text = |text: &str| {
        let size = i16::try_from(text.len()).unwrap().to_be_bytes();
        [&size, text.as_bytes()].concat()
    };
    let numbers = |numbers: &[i32]| {
        let bytes = numbers.iter().map(|number| number.to_be_bytes());
        bytes.collect::<Vec<_>>().concat()
    };
    let (no_rack, is_not_internal, no_error) = ([0xff; 2], [0], [0; 2]);
    let mut answer = match port {
        None => numbers(&[0, -1]),
        Some(port) => {
            let address = [text("127.0.0.1"), numbers(&[port])].concat();
            [numbers(&[1, 1]), address, no_rack.to_vec(), numbers(&[1])].concat()
        }
    };
    answer.extend(numbers(&[topics]));
    for topic in 0..topics {
        answer.extend(no_error);
        answer.extend(text(&format!("orders-{topic}")));
        answer.extend(is_not_internal);
        answer.extend(numbers(&[1]));
        answer.extend(no_error);
        // Partition 0, led by broker 1, which is its only replica, and in sync.
        answer.extend(numbers(&[0, 1, 1, 1, 1, 1]));
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_tell_of_no_brokers_are_found_again() {
    let broker = Broker::elsewhere(&start().unwrap());
    let ctx = session(&broker, KafkaTopics::new());
    let sql = "SELECT topic FROM kafka_topics()";
    let listed = in_time("listing the topics", rows(&ctx, sql)).await;
    assert_eq!(cells(&listed), [["orders-0"]]);
}
