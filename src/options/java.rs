//! Translates properties of Kafka's Java client into librdkafka's properties.

use super::jaas;
use super::property_lines::Line;

/// A line that cannot be translated, and why.
pub(super) struct Refused {
    pub(super) line: Line,
    pub(super) reason: String,
}

/// Java properties without a meaning here: classes to load, and the tuning and group membership
/// of a client that works differently.
const IGNORED: &[&str] = &[
    "allow.deprecated.brokers",
    "auto.commit.interval.ms",
    "auto.include.jmx.reporter",
    "auto.register.schemas",
    "buffer.memory",
    "default.api.timeout.ms",
    "exclude.internal.topics",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "interceptor.classes",
    "key.deserializer",
    "key.serializer",
    "max.block.ms",
    "max.poll.interval.ms",
    "max.poll.records",
    "metadata.max.idle.ms",
    "metric.reporters",
    "partition.assignment.strategy",
    "partitioner.adaptive.partitioning.enable",
    "partitioner.availability.timeout.ms",
    "partitioner.class",
    "partitioner.ignore.keys",
    "sasl.client.callback.handler.class",
    "sasl.kerberos.ticket.renew.jitter",
    "sasl.kerberos.ticket.renew.window.factor",
    "sasl.login.class",
    "sasl.login.connect.timeout.ms",
    "sasl.login.read.timeout.ms",
    "sasl.oauthbearer.clock.skew.seconds",
    "sasl.oauthbearer.header.urlencode",
    "sasl.oauthbearer.scope.claim.name",
    "sasl.oauthbearer.sub.claim.name",
    "security.providers",
    "session.timeout.ms",
    "socket.connection.setup.timeout.max.ms",
    "ssl.enabled.protocols",
    "ssl.engine.factory.class",
    "ssl.keymanager.algorithm",
    "ssl.keystore.type",
    "ssl.protocol",
    "ssl.provider",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
    "ssl.truststore.password",
    "ssl.truststore.type",
    "throw.on.fetch.stable.offset.unsupported",
    "transaction.two.phase.commit.enable",
    "use.latest.version",
    "value.deserializer",
    "value.serializer",
];

/// Prefixes of properties that are ignored like those in [`IGNORED`].
const IGNORED_GROUPS: &[&str] = &[
    "basic.auth.",
    "compression.gzip.",
    "compression.lz4.",
    "compression.zstd.",
    "confluent.",
    "metrics.",
    "sasl.login.refresh.",
    "sasl.login.retry.",
    "sasl.oauthbearer.expected.",
    "sasl.oauthbearer.jwks.",
    "schema.registry.",
];

/// Java's names for properties that have another name in librdkafka.
const RENAMED: &[(&str, &str)] = &[
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.request.size", "message.max.bytes"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("ssl.keystore.key", "ssl.key.pem"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
];

/// Translates the lines into librdkafka's properties.
pub(super) fn translate(lines: Vec<Line>) -> Result<Vec<Line>, Refused> {
    let keystore = store_type(&lines, "ssl.keystore.type");
    let truststore = store_type(&lines, "ssl.truststore.type");
    let mut translated = Vec::with_capacity(lines.len());
    for line in lines {
        match properties(&line, keystore.as_deref(), truststore.as_deref()) {
            Ok(properties) => translated.extend(properties.into_iter().map(|(name, value)| Line {
                number: line.number,
                name: name.to_owned(),
                value,
            })),
            Err(reason) => return Err(Refused { line, reason }),
        }
    }
    Ok(translated)
}

fn store_type(lines: &[Line], name: &str) -> Option<String> {
    let line = lines.iter().rev().find(|line| line.name == name)?;
    Some(line.value.to_ascii_uppercase())
}

/// The properties that one line stands for.
fn properties<'a>(
    line: &'a Line,
    keystore: Option<&str>,
    truststore: Option<&str>,
) -> Result<Vec<(&'a str, String)>, String> {
    let (name, value) = (line.name.as_str(), line.value.as_str());
    let one = |name: &'a str, value: &str| Ok(vec![(name, value.to_owned())]);
    match name {
        "sasl.jaas.config" => jaas::login(value),
        "sasl.login.callback.handler.class" => {
            if value.ends_with(".OAuthBearerLoginCallbackHandler") {
                one("sasl.oauthbearer.method", "oidc")
            } else {
                Err("a Java class, which cannot be used here".to_owned())
            }
        }
        "ssl.truststore.location" => match truststore {
            Some("PEM") => one("ssl.ca.location", value),
            Some("PKCS12") => Err(
                "a PKCS12 truststore cannot be used here; convert it with `openssl pkcs12 -nokeys \
                 -in <truststore> -out ca.pem` and set `ssl.ca.location` to the result"
                    .to_owned(),
            ),
            _ => Err(
                "a JKS truststore cannot be used here; convert it with `keytool -exportcert -rfc \
                 -keystore <truststore> -alias <name> -file ca.pem` and set `ssl.ca.location` to \
                 the result"
                    .to_owned(),
            ),
        },
        "ssl.keystore.location" => match keystore {
            Some("PEM") => Ok(vec![
                ("ssl.certificate.location", value.to_owned()),
                ("ssl.key.location", value.to_owned()),
            ]),
            Some("PKCS12") => one(name, value),
            // librdkafka has no property for the type of a keystore. A keystore without a type is
            // taken for PKCS12.
            None if !value.to_ascii_lowercase().ends_with(".jks") => one(name, value),
            _ => Err(
                "a JKS keystore cannot be used here; convert it with `keytool -importkeystore \
                 -srckeystore <keystore> -destkeystore keystore.p12 -deststoretype PKCS12` and \
                 set `ssl.keystore.location` to the result, with `ssl.keystore.type` = `PKCS12`"
                    .to_owned(),
            ),
        },
        // The password of a PEM keystore is in `ssl.key.password`.
        "ssl.keystore.password" if keystore == Some("PEM") => Ok(Vec::new()),
        "ssl.endpoint.identification.algorithm" if value.is_empty() => one(name, "none"),
        "client.dns.lookup" if value == "default" => Ok(Vec::new()),
        // In Java, -1 leaves the size to the operating system.
        "receive.buffer.bytes" | "send.buffer.bytes" if value == "-1" => Ok(Vec::new()),
        _ if is_ignored(name) => Ok(Vec::new()),
        _ => {
            let renamed = RENAMED.iter().find(|(java, _)| *java == name);
            one(renamed.map_or(name, |(_, name)| name), value)
        }
    }
}

fn is_ignored(name: &str) -> bool {
    IGNORED.contains(&name) || IGNORED_GROUPS.iter().any(|group| name.starts_with(group))
}
