//! What this library knows about librdkafka's properties.

use std::sync::OnceLock;

use rdkafka::config::{ClientConfig, NativeClientConfig};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

/// The replacement for a value that may be secret.
pub(super) const HIDDEN: &str = "***";

/// The kind of client that a property is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Both,
    Consumer,
    Producer,
}

/// Aliases and the names that librdkafka resolves them to.
const ALIASES: &[(&str, &str)] = &[
    ("acks", "request.required.acks"),
    ("auto.commit.enable", "enable.auto.commit"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("metadata.broker.list", SERVERS),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
    (
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.client.id",
    ),
    (
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.client.secret",
    ),
];

/// The property that `kafka.bootstrap.servers` sets.
pub(super) const SERVERS: &str = "bootstrap.servers";

/// The name under which a property is stored, whichever alias was given.
pub(super) fn canonical(name: &str) -> &str {
    ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map_or(name, |(_, canonical)| canonical)
}

const CONSUMER_ONLY: &[&str] = &[
    "auto.commit.interval.ms",
    "check.crcs",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

const PRODUCER_ONLY: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "enable.gapless.guarantee",
    "message.send.max.retries",
    "message.timeout.ms",
    "partitioner",
    "produce.offset.report",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queuing.strategy",
    "request.timeout.ms",
    "sticky.partitioning.linger.ms",
    "transaction.timeout.ms",
];

/// Properties of both kinds of client whose values hold no secret and are useful to show.
const SAFE: &[&str] = &[
    "api.version.request",
    "api.version.request.timeout.ms",
    "bootstrap.servers",
    "broker.address.family",
    "broker.address.ttl",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "debug",
    "enable.metrics.push",
    "enable.ssl.certificate.verification",
    "https.ca.location",
    "log.connection.close",
    "log_level",
    "max.in.flight.requests.per.connection",
    "message.copy.max.bytes",
    "message.max.bytes",
    "metadata.max.age.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.service.name",
    "sasl.mechanisms",
    "sasl.oauthbearer.method",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.sigalgs.list",
    "statistics.interval.ms",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
];

/// Whether a property may make the process do more than talk to Kafka: run a shell, load a
/// library, or listen on a port.
pub(super) fn runs_code(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "ssl.engine.id",
        "ssl.engine.location",
        // A provider whose name is a path is a library to load.
        "ssl.providers",
    ];
    const GROUPS: &[&str] = &[
        // librdkafka passes a command to a shell, and each of these properties may be part of
        // that command.
        "sasl.kerberos.",
        "test.mock.",
    ];
    NAMES.contains(&name) || GROUPS.iter().any(|group| name.starts_with(group))
}

/// Whether the value of a property is the path of a file that librdkafka reads.
///
/// The check uses the end of the name, so that properties of later versions of librdkafka are
/// recognized too.
pub(super) fn reads_file(name: &str) -> bool {
    name.ends_with(".file") || name.ends_with(".location")
}

/// Whether a property logs in with the identity of the machine instead of a secret.
pub(super) fn uses_identity(name: &str) -> bool {
    name == "sasl.oauthbearer.metadata.authentication.type"
}

/// The kind of client that a property has a meaning for.
pub(super) fn side(name: &str) -> Side {
    let name = canonical(name);
    if CONSUMER_ONLY.contains(&name) {
        Side::Consumer
    } else if PRODUCER_ONLY.contains(&name) {
        Side::Producer
    } else {
        Side::Both
    }
}

/// Whether the property's value may be shown.
pub(super) fn is_safe(name: &str) -> bool {
    let name = canonical(name);
    SAFE.contains(&name) || side(name) != Side::Both
}

/// The names that a misspelled name is compared with.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    const SECRET: &[&str] = &[
        "sasl.jaas.config",
        "sasl.kerberos.keytab",
        "sasl.kerberos.principal",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.token.endpoint.url",
        "sasl.password",
        "sasl.username",
        "ssl.ca.pem",
        "ssl.certificate.pem",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
    ];
    [CONSUMER_ONLY, PRODUCER_ONLY, SAFE, SECRET]
        .into_iter()
        .flatten()
        .copied()
        .chain(ALIASES.iter().map(|(alias, _)| *alias))
}

/// Why a property may not be set. These are properties that the library sets itself, and values
/// that librdkafka refuses in combination with them.
pub(super) fn owned(name: &str, value: &str) -> Option<&'static str> {
    let number = value.trim().parse::<i64>().ok();
    let reason = match canonical(name) {
        "max.in.flight.requests.per.connection" if number > Some(5) => {
            "at most 5, so that rows are written in order"
        }
        "message.send.max.retries" if number == Some(0) => {
            "at least 1, so that rows are written in order"
        }
        "queue.buffering.backpressure.threshold" if number > Some(1) => {
            "must be 1, so that rows are written in order"
        }
        "group.id" | "group.instance.id" => {
            "tables are read by offset, without a consumer group; choose where to start with \
             `kafka.start`"
        }
        "enable.auto.commit"
        | "enable.auto.offset.store"
        | "offset.store.method"
        | "offset.store.path"
        | "offset.store.sync.interval.ms" => {
            "a table commits no offsets; choose where to start with `kafka.start`"
        }
        "enable.partition.eof" => "the end of a read is set by `kafka.end`",
        "auto.offset.reset" => "the start of a read is set by `kafka.start`",
        "isolation.level" => "use `kafka.isolation`",
        "transactional.id" => {
            "the library makes its own transactions; use `kafka.transactional_id.prefix` to set \
             the prefix of their ids"
        }
        "enable.idempotence" => "it is always on, so that no row is written twice; leave it out",
        "request.required.acks" => {
            "it is always `all`, so that no acknowledged row is lost; leave it out"
        }
        "allow.auto.create.topics" => "use `kafka.create_topic`",
        "delivery.report.only.error" => "every row's acknowledgement is counted; leave it out",
        "enabled_events" | "log.queue" => "the library handles events itself; leave it out",
        "plugin.library.paths" => "plugins are not supported; leave it out",
        _ => return None,
    };
    Some(reason)
}

/// Why librdkafka refuses a property.
pub(super) enum Refusal {
    /// There is no such property.
    Unknown,
    /// The reason, which may contain the value.
    Invalid(String),
}

/// Asks librdkafka whether it accepts a property, without creating a client.
pub(super) fn check(name: &str, value: &str) -> Result<(), Refusal> {
    let mut config = ClientConfig::new();
    config.set(name, value);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            Err(Refusal::Unknown)
        }
        Err(KafkaError::ClientConfig(_, reason, ..)) => Err(Refusal::Invalid(reason)),
        // The other errors print the bytes of the value.
        Err(_) => Err(Refusal::Invalid("the value has a NUL character".to_owned())),
    }
}

fn native() -> Option<NativeClientConfig> {
    let mut config = ClientConfig::new();
    // librdkafka finds topic properties only after one of them was set.
    config.set("request.timeout.ms", "30000");
    config.create_native_config().ok()
}

/// Whether librdkafka has a property of this name.
pub(super) fn exists(name: &str) -> bool {
    native().is_some_and(|native| native.get(name).is_ok())
}

/// Whether librdkafka was built with a feature, such as `sasl_scram`.
pub(super) fn has_feature(feature: &str) -> bool {
    static FEATURES: OnceLock<String> = OnceLock::new();
    FEATURES
        .get_or_init(|| {
            native()
                .and_then(|native| native.get("builtin.features").ok())
                .unwrap_or_default()
        })
        .split(',')
        .any(|built_in| built_in.trim() == feature)
}
