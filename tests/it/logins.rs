//! Brokers that go away while a client logs in.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::broker::{self, Broker, Rec, SASL_PASSWORD, SASL_USER};
use crate::declared::{Declared, in_time};
use crate::listeners::{self, Answer, kafka, serve};

const COLUMNS: &str = "_key VARCHAR, v BIGINT";

fn login<'a>(servers: &'a str, password: &'a str, timeout: &'a str) -> [(&'a str, &'a str); 6] {
    [
        ("kafka.bootstrap.servers", servers),
        ("kafka.client.security.protocol", "SASL_PLAINTEXT"),
        ("kafka.client.sasl.mechanism", "PLAIN"),
        ("kafka.client.sasl.username", SASL_USER),
        ("kafka.client.sasl.password", password),
        ("kafka.timeout", timeout),
    ]
}

/// The listener, of which so many connections are lost when a login begins.
fn losing(servers: &str, connections: usize) -> (String, Arc<AtomicUsize>) {
    let servers = servers.to_owned();
    let lost = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lost);
    let address = serve(move |client| {
        if count.load(Ordering::Relaxed) < connections {
            return kafka(client, |_, _| {
                count.fetch_add(1, Ordering::Relaxed);
                Answer::Close
            });
        }
        let broker = TcpStream::connect(&servers)?;
        let (mut from, mut to) = (client.try_clone()?, broker.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            to.shutdown(Shutdown::Both)
        });
        io::copy(&mut &broker, &mut &client)?;
        client.shutdown(Shutdown::Both)
    });
    (address, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_during_the_login_is_waited_for() {
    let Some(broker) = broker::required("a_broker_that_goes_away_during_the_login") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let topic = broker.new_topic("logins", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"v":1}"#)]);
    let (losing, lost) = losing(servers, 3);
    let options = login(&losing, SASL_PASSWORD, "25s");
    let table = Declared::new(broker, &topic, COLUMNS, &options).await;
    assert_eq!(table.rows("SELECT * FROM t").await, ["a|1"]);
    assert!(lost.load(Ordering::Relaxed) >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stays_away_is_no_refused_login() {
    let broker = Broker::elsewhere(&listeners::closing_at_login());
    let options = login(&broker.servers, SASL_PASSWORD, "3s");
    let created = in_time("the table", Declared::try_new(&broker, "t", "", &options)).await;
    let error = created.err().unwrap();
    assert!(error.contains("cannot reach Kafka"), "{error}");
    assert!(
        error.contains("closes the connection during the login"),
        "{error}"
    );
}
