//! The properties of the clients.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt;

use rdkafka::ClientConfig;

use super::origin::{ALLOW, Origin};
use super::property::{self, HIDDEN, Refusal, SERVERS, Side};
use super::table::Isolation;
use crate::error::{Error, Result};

/// A property as it was given.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Property {
    /// The option that gave it, or its place in a file.
    pub(super) key: String,
    pub(super) value: String,
    /// Whether the value may be shown.
    pub(super) safe: bool,
    pub(super) origin: Origin,
}

impl Property {
    fn shown(&self) -> &str {
        if self.safe { &self.value } else { HIDDEN }
    }

    pub(super) fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::InvalidOption {
            key: self.key.clone(),
            reason: reason.into(),
        }
    }

    /// Asks librdkafka whether it takes the property; false if it has none of that name.
    pub(super) fn check(&self, name: &str) -> Result<bool> {
        match property::check(name, &self.value) {
            Ok(()) => Ok(true),
            Err(Refusal::Unknown) => Ok(false),
            Err(Refusal::Invalid(reason)) => Err(self.invalid(self.explain(&reason))),
        }
    }

    /// librdkafka's reason, with the value only if that may be shown.
    fn explain(&self, reason: &str) -> String {
        let reason = reason.trim_end();
        // The reasons that never hold the value.
        let harmless = reason.starts_with("Java")
            || reason.starts_with("Property")
            || reason.starts_with("Configuration property")
                && reason.contains("not supported in this build");
        let shown = if self.safe || harmless {
            format!("librdkafka says: {reason}")
        } else {
            "librdkafka does not take this value".to_owned()
        };
        match missing_feature(reason) {
            Some(hint) => format!("{shown}; {hint}"),
            None => shown,
        }
    }
}

/// What to do where librdkafka was built without something.
fn missing_feature(reason: &str) -> Option<&'static str> {
    const FEATURES: &[(&str, &str)] = &[
        (
            "libcurl",
            "build with the crate feature `curl`, or `curl-static` and `cmake-build`",
        ),
        ("OpenSSL", "build with the crate feature `ssl`"),
        ("sasl2", "build with the crate feature `gssapi`"),
        ("libzstd", "build with the crate feature `zstd`"),
        ("zlib", "build with the crate feature `libz`"),
    ];
    if !reason.contains("at build time") {
        return None;
    }
    FEATURES
        .iter()
        .find(|(library, _)| reason.contains(library))
        .map(|(_, hint)| *hint)
}

/// The servers and the properties of a table's clients, merged and checked.
///
/// [`Debug`](fmt::Debug) hides what may be secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientOptions {
    servers: Option<Property>,
    /// Whether the servers come from a properties file, which LOCATION overrides.
    servers_from_file: bool,
    /// The servers that the program gave, also where a statement overrides them.
    servers_of_program: Option<String>,
    consumer: BTreeMap<String, Property>,
    producer: BTreeMap<String, Property>,
}

/// How much of a partition may wait to be taken, in kB.
pub(crate) const QUEUED_KBYTES: &str = "queued.max.messages.kbytes";
pub(crate) const DEFAULT_QUEUED_KBYTES: usize = 16 * 1024;

/// Where tokens of an OpenID provider are asked for.
const TOKENS: &str = "sasl.oauthbearer.token.endpoint.url";

/// How long a record waits for others to be sent with, in milliseconds.
pub(crate) const LINGER: &str = "queue.buffering.max.ms";
const DEFAULT_LINGER: &str = "20";

/// How long a record waits for its acknowledgement, from when it is sent to librdkafka.
pub(crate) const MESSAGE_TIMEOUT: &str = "message.timeout.ms";

/// How long brokers let a transaction be open.
pub(crate) const TRANSACTION_TIMEOUT: &str = "transaction.timeout.ms";

/// How often librdkafka tells of itself.
pub(crate) const STATISTICS_INTERVAL: &str = "statistics.interval.ms";

impl ClientOptions {
    /// The servers to ask first, as a comma list.
    pub(crate) fn bootstrap_servers(&self) -> Result<&str> {
        match &self.servers {
            Some(servers) => Ok(&servers.value),
            None => Err(Error::InvalidOption {
                key: "kafka.bootstrap.servers".to_owned(),
                reason: "not set; give the servers as LOCATION 'kafka://host:9092/topic' or as \
                         option `kafka.bootstrap.servers`"
                    .to_owned(),
            }),
        }
    }

    /// Sets the servers that a LOCATION names.
    ///
    /// Other servers in an option are an error, since either could be the
    /// mistake; those in a properties file are overridden.
    pub(crate) fn with_bootstrap_servers(mut self, servers: &str) -> Result<Self> {
        let location = Property {
            key: "LOCATION".to_owned(),
            value: servers.trim().to_owned(),
            safe: true,
            origin: Origin::Program,
        };
        check_servers(&location)?;
        if let Some(given) = &self.servers
            && !self.servers_from_file
            && !same_servers(&given.value, servers)
        {
            return Err(Error::ConflictingOptions {
                first: location.key,
                second: given.key.clone(),
            });
        }
        self.servers = Some(location);
        self.servers_from_file = false;
        Ok(self)
    }

    /// The configuration of a client that reads.
    ///
    /// rdkafka prints some secrets of a [`ClientConfig`], such as a private key
    /// in `ssl.key.pem`: do not log it.
    pub(crate) fn consumer_config(&self, isolation: Isolation) -> Result<ClientConfig> {
        let mut config = self.config(
            &self.consumer,
            &[
                ("check.crcs", "false"),
                // The default stalls a read for a second each time the queue is full. Without a
                // pause, librdkafka's thread does nothing else than look at the queue.
                ("fetch.queue.backoff.ms", "1"),
                ("fetch.wait.max.ms", "10"),
                (QUEUED_KBYTES, &DEFAULT_QUEUED_KBYTES.to_string()),
                ("queued.min.messages", "100000"),
            ],
        )?;
        let isolation = match isolation {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        };
        config
            .set("auto.offset.reset", "error")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", isolation);
        Ok(config)
    }

    /// Whether somebody has given this property for clients that read, under its own name
    /// and not that of an alias.
    pub(crate) fn consumer_gives(&self, name: &str) -> bool {
        self.consumer.contains_key(name)
    }

    /// The same for clients that write.
    pub(crate) fn producer_gives(&self, name: &str) -> bool {
        self.producer.contains_key(name)
    }

    /// The option that sets this property of clients that write.
    pub(super) fn producer_key(&self, name: &str) -> Option<&str> {
        self.producer
            .get(name)
            .map(|property| property.key.as_str())
    }

    /// The configuration of a client that writes.
    ///
    /// rdkafka prints some secrets of a [`ClientConfig`], such as a private key
    /// in `ssl.key.pem`: do not log it.
    pub(crate) fn producer_config(&self) -> Result<ClientConfig> {
        let mut config = self.config(
            &self.producer,
            &[
                ("batch.size", "1000000"),
                // Java's default, so that Rust and Java put a key into the same partition.
                ("partitioner", "murmur2_random"),
                (LINGER, DEFAULT_LINGER),
            ],
        )?;
        config
            .set("enable.idempotence", "true")
            .set("request.required.acks", "all");
        Ok(config)
    }

    fn config(
        &self,
        properties: &BTreeMap<String, Property>,
        defaults: &[(&str, &str)],
    ) -> Result<ClientConfig> {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "datafusion-kafka")
            .set("socket.nagle.disable", "true");
        // A new client waits half of the time before it connects to the broker that
        // it has just heard of, which for a short query is most of its time.
        // librdkafka refuses a maximum below the time, so that both or none are set.
        let given = ["reconnect.backoff.ms", "reconnect.backoff.max.ms"];
        if !given.iter().any(|name| properties.contains_key(*name)) {
            config
                .set("reconnect.backoff.ms", "20")
                .set("reconnect.backoff.max.ms", "1000");
        }
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        // An OpenSSL that was built along does not know where the system keeps its
        // certificates; librdkafka does.
        if cfg!(feature = "ssl-vendored") {
            if !names_certificates(properties, ["ssl.ca.location", "ssl.ca.pem"]) {
                config.set("ssl.ca.location", "probe");
            }
            if property::has_feature("oidc")
                && !names_certificates(properties, ["https.ca.location", "https.ca.pem"])
            {
                config.set("https.ca.location", "probe");
            }
        }
        for (name, property) in properties {
            config.set(name, &property.value);
        }
        config
            .set(SERVERS, self.bootstrap_servers()?)
            .set("allow.auto.create.topics", "false");
        Ok(config)
    }

    /// Adds a property next to others of the same place; the same thing twice is an error.
    pub(super) fn add(&mut self, side: Side, name: &str, property: Property) -> Result<()> {
        let given = if name == SERVERS {
            self.servers.as_ref()
        } else {
            let consumer = self.consumer.get(name).filter(|_| side != Side::Producer);
            let producer = self.producer.get(name).filter(|_| side != Side::Consumer);
            consumer.or(producer)
        };
        if let Some(given) = given {
            return Err(Error::ConflictingOptions {
                first: given.key.clone(),
                second: property.key,
            });
        }
        self.put(side, name, property);
        Ok(())
    }

    /// Sets a property, in place of one that was there.
    pub(super) fn put(&mut self, side: Side, name: &str, property: Property) {
        if name == SERVERS {
            self.servers = Some(property);
            return;
        }
        if side != Side::Producer {
            self.consumer.insert(name.to_owned(), property.clone());
        }
        if side != Side::Consumer {
            self.producer.insert(name.to_owned(), property);
        }
    }

    /// The same, with servers that a LOCATION overrides.
    pub(super) fn with_servers_of_file(mut self) -> Self {
        self.servers_from_file = self.servers.is_some();
        self
    }

    /// Takes the properties of a place with higher precedence.
    pub(super) fn override_with(&mut self, higher: ClientOptions) {
        if let Some(servers) = higher.servers {
            if servers.origin == Origin::Program {
                self.servers_of_program = Some(servers.value.clone());
            }
            self.servers = Some(servers);
            self.servers_from_file = higher.servers_from_file;
        }
        self.consumer.extend(higher.consumer);
        self.producer.extend(higher.producer);
    }

    /// Whether a login that the program gave stays where the program sends it.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where a statement names other servers, or another place
    /// that hands out tokens, and would get to see it there.
    pub(super) fn check_destination(&self) -> Result<()> {
        let servers = self.servers.as_ref();
        let elsewhere = servers.filter(|servers| {
            let of_program = self.servers_of_program.as_deref();
            let is_known = |known| list(&servers.value).is_subset(&list(known));
            servers.origin == Origin::Statement && !of_program.is_none_or(is_known)
        });
        for properties in [&self.consumer, &self.producer] {
            let tokens = properties.get(TOKENS);
            let tokens = tokens.filter(|tokens| tokens.origin == Origin::Statement);
            let Some(destination) = elsewhere.or(tokens) else {
                continue;
            };
            let mut login = login(properties);
            if let Some((name, _)) = login.find(|(_, given)| given.origin == Origin::Program) {
                return Err(destination.invalid(format!(
                    "the login of the program (`{name}`) is not sent to where a statement says; \
                     give another one in the same OPTIONS, or leave this option out; {ALLOW}"
                )));
            }
        }
        Ok(())
    }

    /// Whether the login that the properties ask for is part of this build,
    /// which librdkafka would only say when a client is made.
    pub(super) fn check_login(&self) -> Result<()> {
        for properties in [&self.consumer, &self.producer] {
            let Some(protocol) = properties.get("security.protocol") else {
                continue;
            };
            if !protocol.value.to_ascii_lowercase().starts_with("sasl") {
                continue;
            }
            let mechanism = properties.get("sasl.mechanisms");
            let name = mechanism.map_or("GSSAPI", |mechanism| mechanism.value.trim());
            let upper = name.to_ascii_uppercase();
            let (built_in, feature) = match upper.as_str() {
                "GSSAPI" => ("sasl_gssapi", "gssapi"),
                "OAUTHBEARER" => ("sasl_oauthbearer", "ssl"),
                scram if scram.starts_with("SCRAM-") => ("sasl_scram", "ssl"),
                _ => continue,
            };
            // librdkafka's CMake build claims it in any case.
            let is_claim = cfg!(all(feature = "cmake-build", not(feature = "gssapi")));
            if property::has_feature(built_in) && !(feature == "gssapi" && is_claim) {
                continue;
            }
            return Err(match mechanism {
                Some(mechanism) => mechanism.invalid(format!(
                    "this mechanism is not part of this build; build with the crate feature \
                     `{feature}`"
                )),
                None => protocol.invalid(
                    "`kafka.client.sasl.mechanism` is not set, and its default GSSAPI is not part \
                     of this build; set it, or build with the crate feature `gssapi`",
                ),
            });
        }
        Ok(())
    }
}

/// What a client of these properties tells servers to log in, by its name.
fn login(properties: &BTreeMap<String, Property>) -> impl Iterator<Item = (&str, &Property)> {
    let value = |name| properties.get(name).map_or("", |p: &Property| &p.value);
    let is_sasl = value("security.protocol")
        .to_ascii_lowercase()
        .starts_with("sasl");
    let mechanism = value("sasl.mechanisms").trim().to_ascii_uppercase();
    let is_told = move |name: &str| match mechanism.as_str() {
        "OAUTHBEARER" => name.starts_with("sasl.oauthbearer.") && !property::is_safe(name),
        _ => name == "sasl.password",
    };
    let properties = properties
        .iter()
        .map(|(name, given)| (name.as_str(), given));
    properties.filter(move |(name, _)| is_sasl && is_told(name))
}

/// Whether somebody says which certificates are trusted.
fn names_certificates(properties: &BTreeMap<String, Property>, given: [&str; 2]) -> bool {
    // OpenSSL's own.
    let variables = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    given.iter().any(|name| properties.contains_key(*name))
        || variables.iter().any(|name| env::var_os(name).is_some())
}

/// Refuses servers that librdkafka would only fail to resolve.
pub(super) fn check_servers(servers: &Property) -> Result<()> {
    if servers
        .value
        .split(',')
        .any(|server| server.trim().is_empty())
    {
        return Err(servers.invalid("expected a list of servers such as `host1:9092,host2:9092`"));
    }
    if servers.value.contains('@') {
        return Err(servers.invalid(
            "servers cannot hold a login; use `kafka.client.sasl.username` and \
             `kafka.client.sasl.password`",
        ));
    }
    if servers.value.contains("${") {
        return Err(servers.invalid(
            "`${..}` is not looked up in servers, since messages show them; write the servers \
             themselves",
        ));
    }
    // librdkafka would take the number modulo 65536, and a word for 0.
    match servers.value.split(',').map(str::trim).find(|server| {
        let port = port(server).map(str::parse::<u16>);
        port.is_some_and(|port| !matches!(port, Ok(1..)))
    }) {
        None => Ok(()),
        Some(server) => Err(servers.invalid(format!(
            "the port of `{server}` is not valid; expected a number from 1 to 65535, as in \
             `host1:9092`"
        ))),
    }
}

/// What a server's address says behind its last colon, unless that is part of an IPv6 address.
fn port(server: &str) -> Option<&str> {
    let address = server.rsplit_once("//").map_or(server, |(_, rest)| rest);
    let (host, port) = address.rsplit_once(':')?;
    (!host.contains(':') || host.ends_with(']')).then_some(port)
}

fn same_servers(a: &str, b: &str) -> bool {
    list(a) == list(b)
}

/// The servers in a comma list, each with its port.
fn list(servers: &str) -> BTreeSet<String> {
    let servers = servers.split(',').map(|server| {
        let server = server.trim().to_ascii_lowercase();
        match server.rsplit_once(':') {
            Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) => server,
            _ => format!("{server}:9092"),
        }
    });
    servers.collect()
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Redacted<'a>(&'a BTreeMap<String, Property>);
        impl fmt::Debug for Redacted<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let entries = self
                    .0
                    .iter()
                    .map(|(name, property)| (name, property.shown()));
                f.debug_map().entries(entries).finish()
            }
        }
        f.debug_struct("ClientOptions")
            .field("servers", &self.servers.as_ref().map(Property::shown))
            .field("consumer", &Redacted(&self.consumer))
            .field("producer", &Redacted(&self.producer))
            .finish()
    }
}
