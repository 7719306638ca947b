//! Brokers that go away during a login.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use datafusion_kafka::{ContinuousOptions, ContinuousQuery, Error, QueryStatus};

use crate::broker::{self, Broker, Rec, SASL_PASSWORD, SASL_USER, topic_name};
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

/// A listener that closes connections when a login begins, as long as this flag is set.
fn losing(
    servers: &str,
    loses: impl Fn() -> bool + Clone + Send + 'static,
) -> (String, Arc<AtomicUsize>) {
    let servers = servers.to_owned();
    let lost = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lost);
    let address = serve(move |client| {
        if loses() {
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
    let connections = Arc::new(AtomicUsize::new(0));
    let (losing, lost) = losing(servers, {
        let connections = Arc::clone(&connections);
        move || connections.fetch_add(1, Ordering::Relaxed) < 3
    });
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

#[tokio::test(flavor = "multi_thread")]
async fn a_continuous_query_survives_brokers_that_go_away_during_the_login() {
    let Some(broker) = broker::required("a_continuous_query_survives_brokers") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    for delivery in ["at_least_once", "exactly_once"] {
        let (feed, out) = (
            broker.new_topic("feed", 1, &[]),
            broker.new_topic("out", 1, &[]),
        );
        broker.produce(&feed, &[Rec::new("a", r#"{"v":1}"#)]);
        let loses = Arc::new(AtomicBool::new(true));
        let (losing, lost) = losing(servers, {
            let loses = Arc::clone(&loses);
            move || loses.load(Ordering::Relaxed)
        });
        let mut options = login(&losing, SASL_PASSWORD, "2s").to_vec();
        options.push(("kafka.delivery", delivery));
        let declared = Declared::new(broker, &feed, COLUMNS, &options).await;
        let added = declared.add("out", &out, COLUMNS, &options).await;
        added.unwrap();
        let query = ContinuousQuery::start(
            &declared.ctx,
            &topic_name("query"),
            "INSERT INTO out SELECT _key, v FROM t",
            ContinuousOptions::new(),
        )
        .await
        .unwrap();
        until(&query, "an attempt", |query| {
            let status = query.status();
            let QueryStatus::Retrying { error, .. } = status else {
                return false;
            };
            let text = error.to_string();
            assert!(matches!(error, Error::Connect { .. }), "{text}");
            assert!(text.contains("closes the connection during the login"));
            true
        })
        .await;
        assert!(lost.load(Ordering::Relaxed) > 0);
        loses.store(false, Ordering::Relaxed);
        until(&query, "the query to run", |query| {
            let status = query.status();
            assert!(!matches!(status, QueryStatus::Failed(_)), "{status:?}");
            matches!(status, QueryStatus::Running)
        })
        .await;
        broker.produce(&feed, &[Rec::new("b", r#"{"v":2}"#)]);
        until(&query, "the records", |query| query.progress().upserts == 2).await;
        query.stop().await.unwrap();
        assert_eq!(broker.read_all(&out).len(), 2);
    }
}

async fn until(query: &ContinuousQuery, what: &str, holds: impl Fn(&ContinuousQuery) -> bool) {
    in_time(what, async {
        while !holds(query) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
