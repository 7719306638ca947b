//! The guide's table of connection errors: each line is tried against a port with that fault.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::broker::{self, Broker, KEYSTORE_PASSWORD, Rec, SASL_PASSWORD, SASL_USER, Tls};
use crate::guide::matches;
use crate::listeners;
use crate::program::{failure, printed, program};

/// A line of the table.
struct Line {
    what: String,
    /// The error text, with `..` for the parts that differ.
    says: String,
    set: String,
}

fn lines() -> Vec<Line> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/connecting.md");
    let page = fs::read_to_string(path).unwrap();
    let (_, table) = page.split_once("| What is wrong |").unwrap();
    let lines = table.lines().skip(2);
    lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let mut cell = || cells.next().unwrap().to_owned();
            let (what, says, set) = (cell(), cell(), cell());
            let says = says.trim_matches('`').to_owned();
            Line { what, says, set }
        })
        .collect()
}

/// A port with the fault that a line describes.
struct Wrong {
    servers: String,
    topic: String,
    given: Vec<(&'static str, String)>,
    /// Values for the properties that the line says to set, if the connection works then.
    cure: Option<Vec<(&'static str, String)>>,
    _alive: Option<Box<dyn Send>>,
}

impl Wrong {
    fn at(servers: impl Into<String>) -> Self {
        Wrong {
            servers: servers.into(),
            topic: "t".to_owned(),
            given: Vec::new(),
            cure: None,
            _alive: None,
        }
    }

    fn given(mut self, given: &[(&'static str, &str)]) -> Self {
        let owned = given
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        self.given.extend(owned);
        self
    }

    fn cured(mut self, topic: &str, values: &[(&'static str, &str)]) -> Self {
        self.topic = topic.to_owned();
        let owned = values
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        self.cure = Some(owned.collect());
        self
    }

    fn query(&self, more: &[(String, String)]) -> assert_cmd::Command {
        let mut query = program();
        query.args(["-b", &self.servers, "-q", "--format", "csv"]);
        let set = |name: &str| more.iter().any(|(other, _)| other == name);
        if !set("kafka.timeout") {
            query.args(["-X", "kafka.timeout=12s"]);
        }
        for (name, value) in self.given.iter().filter(|(name, _)| !set(name)) {
            query.args(["-X", &format!("{name}={value}")]);
        }
        for (name, value) in more {
            query.args(["-X", &format!("{name}={value}")]);
        }
        query.args([
            "-c",
            &format!("SELECT count(*) AS n FROM \"{}\"", self.topic),
        ]);
        query
    }
}

/// The properties that a cell says to set: the names in backticks, each with the value after its
/// `=` or the value for the listener.
fn set(cell: &str, values: &[(&'static str, String)]) -> Vec<(String, String)> {
    // The part after "or" is for other listeners.
    let (cell, _) = cell.split_once("; or").unwrap_or((cell, ""));
    let spans: Vec<&str> = cell.split('`').collect();
    let mut set = Vec::new();
    for at in (1..spans.len()).step_by(2) {
        let name = spans[at];
        if !name.contains('.') {
            continue;
        }
        let value = match values.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => value.as_str(),
            None if spans[at + 1].trim() == "=" => spans[at + 2],
            None => panic!("no value for `{name}` in: {cell}"),
        };
        set.push((name.to_owned(), value.to_owned()));
    }
    assert!(!set.is_empty(), "nothing is to be set: {cell}");
    set
}

fn wrong(line: &Line, broker: &Broker, tls: &Tls, topic: &str) -> Wrong {
    let sasl = broker.sasl_servers.as_deref().unwrap();
    let ca = ("ssl.ca.location", tls.ca.to_str().unwrap());
    let login = [
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", SASL_USER),
        ("sasl.password", SASL_PASSWORD),
    ];
    let with_login = ("security.protocol", "SASL_PLAINTEXT");
    let with_tls = ("security.protocol", "SSL");
    match line.what.as_str() {
        "Nothing listens there" => Wrong::at(listeners::nobody()),
        "A firewall is in between" => {
            let (servers, alive) = full();
            Wrong {
                _alive: Some(alive),
                ..Wrong::at(servers)
            }
        }
        "The name of the server is misspelt" => Wrong::at("kafka.invalid:9092"),
        "A listener with TLS, a client without" => {
            Wrong::at(&tls.no_login).given(&[ca]).cured(topic, &[])
        }
        "A listener without TLS, a client with TLS" => Wrong::at(&broker.servers)
            .given(&[with_tls])
            .cured(topic, &[]),
        "A listener that requires a login, a client without" => {
            Wrong::at(sasl).cured(topic, &login[1..])
        }
        "A listener that takes no login, a client with one" => Wrong::at(&broker.servers)
            .given(&[with_login])
            .given(&login)
            .cured(topic, &[]),
        "A mechanism that the broker does not have" => Wrong::at(sasl)
            .given(&[with_login, ("sasl.mechanism", "SCRAM-SHA-256")])
            .given(&login[1..])
            .cured(topic, &[]),
        "A wrong user or password" => Wrong::at(sasl)
            .given(&[with_login, ("sasl.password", "wr0ng-pw")])
            .given(&login[..2])
            .cured(topic, &login[1..]),
        "A certificate of an authority that is not known here" => Wrong::at(&tls.no_login)
            .given(&[with_tls])
            .cured(topic, &[ca]),
        "A listener that wants a certificate of the client" => {
            Wrong::at(&tls.mutual).given(&[with_tls, ca]).cured(
                topic,
                &[
                    ("ssl.keystore.location", tls.keystore.to_str().unwrap()),
                    ("ssl.keystore.password", KEYSTORE_PASSWORD),
                ],
            )
        }
        "A port that speaks HTTP" => Wrong::at(listeners::http()),
        "A port that speaks something else" => Wrong::at(listeners::ssh()),
        "A port that closes connections at once, such as a proxy without a broker" => {
            Wrong::at(listeners::closing())
        }
        "A port that says nothing" => Wrong::at(listeners::silent()),
        "A broker that goes away during the login" => Wrong::at(listeners::closing_at_login())
            .given(&[with_login])
            .given(&login),
        "A broker that advertises a name that is not known here" => {
            Wrong::at(listeners::advertising("broker-1.invalid", 9092))
        }
        "A broker that advertises an address that cannot be reached from here" => {
            let nobody = listeners::nobody();
            let port = nobody.rsplit(':').next().unwrap().parse().unwrap();
            Wrong::at(listeners::advertising("127.0.0.1", port))
        }
        other => panic!("no port for the guide's line `{other}`"),
    }
}

/// A port whose accept queue is full, so that further connections get no answer. A firewall that
/// drops packets looks the same.
fn full() -> (String, Box<dyn Send>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        socket.listen(1).unwrap().into_std().unwrap()
    });
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue of {address} has no end");
    }
    (address.to_string(), Box::new((listener, waiting)))
}

#[test]
fn every_line_of_the_guides_table_is_so() {
    let Some(broker) = broker::required("every_line_of_the_guides_table_is_so") else {
        return;
    };
    let Some(tls) = &broker.tls else { return };
    let topic = broker.new_topic("connecting", 1, &[]);
    broker.produce(&topic, &[Rec::new("a", r#"{"n":1}"#)]);
    let lines = lines();
    assert!(lines.len() > 10, "the guide's table has gone");
    // A port that does not answer takes long, so all lines are tried at the same time.
    thread::scope(|scope| {
        for line in &lines {
            let topic = &topic;
            scope.spawn(move || {
                let wrong = wrong(line, broker, tls, topic);
                let error = failure(&mut wrong.query(&[]));
                let expected = format!("Error: ..{}..", line.says);
                let fits = matches(&expected, error.trim_end());
                assert!(fits, "{}: {}\nis not in\n{error}", line.what, line.says);
                assert!(!error.contains("wr0ng-pw"), "{error}");
                if let Some(values) = &wrong.cure {
                    let set = set(&line.set, values);
                    let answer = printed(&mut wrong.query(&set));
                    assert_eq!(answer, "n\n1\n", "{}: {set:?}", line.what);
                }
            });
        }
    });
}

/// A client does not retry a login that a broker refuses.
#[test]
fn a_refused_login_ends_a_statement_long_before_its_time() {
    let Some(broker) = broker::required("a_refused_login_ends_a_statement") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let wrong = Wrong::at(servers).given(&[
        ("kafka.retry_timeout", "300s"),
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", SASL_USER),
        ("sasl.password", "wr0ng-pw"),
    ]);
    let mut query = wrong.query(&[("kafka.timeout".to_owned(), "300s".to_owned())]);
    let error = failure(query.timeout(Duration::from_secs(60)));
    assert!(error.contains("Authentication failed"), "{error}");
}
