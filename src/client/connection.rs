//! Explains failed connections, and names the property to set.
//!
//! librdkafka reports in one line which broker failed, and at which step of the connection. The
//! step shows what is wrong with the address or with the client's properties.

use rdkafka::ClientConfig;

/// The option that most failures are about.
const PROTOCOL: &str = "`kafka.client.security.protocol`";
const ANOTHER_PORT: &str = "name the port of a Kafka listener";

/// How the client connects.
#[derive(Debug, Default)]
pub(super) struct Connection {
    servers: Vec<String>,
    tls: bool,
    login: bool,
}

/// An error that librdkafka reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) text: String,
    pub(super) weight: Weight,
}

/// How much a complaint tells about the cause. A client that has had no answer yet keeps the more
/// specific of two complaints: librdkafka retries with fewer steps, and its later reports are
/// less specific.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// The next attempt may succeed.
    Passing,
    /// Most likely the client's properties or the address are wrong.
    Likely,
    /// The client's properties or the address are wrong.
    Clear,
    /// The login or the certificate was refused, and will be refused again.
    Refusal,
}

/// A line of librdkafka's log about a broker.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    address: &'a str,
    /// `None` where only the address is known.
    id: Option<&'a str>,
    said: &'a str,
    /// The step that failed.
    state: &'a str,
    /// How long the connection was at this step, in milliseconds.
    millis: u64,
}

impl<'a> Line<'a> {
    /// `sasl_ssl://host:9092/1: What is wrong (after 3ms in state UP)`, or
    /// `GroupCoordinator/1: host:9092: What is wrong ..`; `None` for a line that is not about a
    /// broker.
    fn parse(line: &'a str) -> Option<Self> {
        let line = match line.strip_prefix("[thrd:") {
            Some(line) => line.split_once("]: ")?.1,
            None => line,
        };
        let (name, said) = line.split_once(": ")?;
        let name = name.split_once("://").map_or(name, |(_, name)| name);
        let (node, id) = name.rsplit_once('/').unwrap_or((name, ""));
        let (address, said) = match node {
            "GroupCoordinator" | "TxnCoordinator" => said.split_once(": ")?,
            _ => (node, said),
        };
        // Every address has a port.
        address.rsplit_once(':')?.1.parse::<u16>().ok()?;
        let (said, after) = said.rsplit_once(" (after ").unwrap_or((said, ""));
        let (millis, state) = after.split_once("ms in state ").unwrap_or_default();
        Some(Line {
            address,
            id: Some(id).filter(|id| !id.is_empty() && *id != "bootstrap"),
            said,
            state: state.split([',', ')']).next().unwrap_or_default(),
            millis: millis.parse().unwrap_or_default(),
        })
    }

    /// Whether the other side has closed the connection. A failed send may be the first sign of
    /// that.
    fn is_closed(&self) -> bool {
        self.said.contains("Disconnected")
            || self.said.starts_with("Send failed: ")
                && self.says(&["Broken pipe", "Connection reset"])
    }

    fn says(&self, any: &[&str]) -> bool {
        any.iter().any(|part| self.said.contains(part))
    }

    /// The first four bytes of an answer that is not Kafka's protocol. librdkafka reads them as
    /// the size of the answer, and reports that size.
    fn first_bytes(&self) -> Option<[u8; 4]> {
        let (_, rest) = self.said.split_once("Invalid response size ")?;
        let size: i32 = rest.split(' ').next()?.parse().ok()?;
        Some(size.to_be_bytes())
    }
}

impl Connection {
    pub(super) fn of(config: &ClientConfig) -> Self {
        let protocol = protocol(config);
        let servers = config.get("bootstrap.servers").unwrap_or_default();
        Connection {
            servers: servers.split(',').map(with_port).collect(),
            tls: protocol.ends_with("ssl"),
            login: protocol.starts_with("sasl"),
        }
    }

    /// Explains a line of librdkafka's log, for a client that was `answered` before or not.
    /// `None` for a line that is not about a broker.
    pub(super) fn explain(&self, line: &str, answered: bool) -> Option<Complaint> {
        let line = Line::parse(line)?;
        let mismatch = || match answered {
            // The listener is of the right kind; it has only gone away.
            true => None,
            false => self.mismatch(&line),
        };
        let (weight, text) = certificate(&line)
            .or_else(|| self.login(&line))
            .or_else(mismatch)
            .or_else(|| self.unreachable(&line))
            .or_else(|| failed_by_itself(&line))
            .unwrap_or_else(|| (Weight::Passing, format!("{}: {}", line.address, line.said)));
        Some(Complaint { text, weight })
    }

    fn login(&self, line: &Line<'_>) -> Option<(Weight, String)> {
        let Line { address, said, .. } = line;
        // There was no answer: the broker went away, or its proxy has no broker.
        let gone = || {
            let text = format!("{address} closes the connection during the login");
            Some((Weight::Passing, text))
        };
        if let Some((_, reason)) = said.split_once("SASL authentication error: ") {
            let check = "check `kafka.client.sasl.mechanism`, `kafka.client.sasl.username` and \
                         `kafka.client.sasl.password`";
            if line.says(&["SaslAuthenticateRequest failed: "]) {
                return gone();
            }
            let text = match line.says(&["username or password", "credentials"]) {
                true => format!("{address}: {reason}; {check}"),
                false => format!("{address}: {reason}"),
            };
            return Some((Weight::Refusal, text));
        }
        let (mechanism, reason) = said
            .strip_prefix("SASL ")?
            .split_once(" mechanism handshake failed: ")?;
        let text = if reason.contains("not valid in current SASL state") {
            let protocol = if self.tls { "SSL" } else { "PLAINTEXT" };
            format!("{address} does not accept a login; set {PROTOCOL} = `{protocol}`")
        } else if reason.contains("Unsupported SASL mechanism") {
            let mechanisms = reason.rsplit(": ").next().unwrap_or_default();
            format!(
                "{address} does not support the mechanism {mechanism}; set \
                 `kafka.client.sasl.mechanism` to one that the broker supports: {mechanisms}"
            )
        } else {
            return gone();
        };
        Some((Weight::Refusal, text))
    }

    /// Explains listeners of another kind, and ports that are not Kafka listeners.
    fn mismatch(&self, line: &Line<'_>) -> Option<(Weight, String)> {
        let address = line.address;
        let protocol = match self.login {
            false => ["PLAINTEXT", "SSL"],
            true => ["SASL_PLAINTEXT", "SASL_SSL"],
        };
        let [without_tls, with_tls] = protocol;
        if line.state == "SSL_HANDSHAKE"
            && (line.is_closed()
                || line.says(&[
                    "wrong version number",
                    "packet length too long",
                    "record layer failure",
                    "unexpected eof",
                ]))
        {
            let text = format!(
                "{address} does not answer in TLS, as a listener without TLS does; name the port of \
                 a listener with TLS, or set {PROTOCOL} = `{without_tls}`"
            );
            return Some((Weight::Clear, text));
        }
        if line.state == "APIVERSION_QUERY"
            && let Some(bytes) = line.first_bytes()
        {
            let text = match &bytes {
                b"HTTP" => format!(
                    "{address} answers in HTTP, which is not Kafka's protocol; {ANOTHER_PORT}"
                ),
                _ => format!("{address} does not answer in Kafka's protocol; {ANOTHER_PORT}"),
            };
            return Some((Weight::Clear, text));
        }
        if line.state == "APIVERSION_QUERY" && line.is_closed() {
            let text = match self.tls {
                false => format!(
                    "{address} closes the connection at the first request, as a listener with TLS \
                     does; set {PROTOCOL} = `{with_tls}`, or, if nothing there speaks Kafka's \
                     protocol, {ANOTHER_PORT}; a broker that is starting does so, too"
                ),
                true => format!("{address} closes the connection at the first request"),
            };
            return Some((Weight::Clear, text));
        }
        // A broker that only goes away closes the connection later.
        let soon = line.state == "UP" && line.millis < 2000;
        (soon && !self.login && line.is_closed()).then(|| {
            let protocol = if self.tls {
                "SASL_SSL"
            } else {
                "SASL_PLAINTEXT"
            };
            let text = format!(
                "{address} closes the connection after the first requests, as a listener that \
                 requires a login does; set {PROTOCOL} = `{protocol}`, \
                 `kafka.client.sasl.mechanism`, `kafka.client.sasl.username` and \
                 `kafka.client.sasl.password`"
            );
            (Weight::Likely, text)
        })
    }

    /// Explains addresses that do not answer.
    fn unreachable(&self, line: &Line<'_>) -> Option<(Weight, String)> {
        let address = line.address;
        let silent = line.says(&[
            "Connection setup timed out",
            "ApiVersionRequest failed: Local: Timed out",
        ]);
        let text = if let Some((_, reason)) = line.said.split_once("Failed to resolve ") {
            let reason = reason.rsplit(": ").next().unwrap_or(reason);
            format!("the address {address} cannot be resolved ({reason})")
        } else if let Some((_, reason)) = line.said.split_once(" failed: ")
            && line.said.starts_with("Connect to ")
        {
            format!("cannot connect to {address}: {reason}")
        } else if silent && line.state == "CONNECT" {
            format!("{address} does not accept connections (a firewall may block them)")
        } else if silent {
            let text = format!(
                "{address} accepts connections but does not answer, like a port that does not \
                 speak Kafka's protocol; {ANOTHER_PORT}"
            );
            return Some((Weight::Likely, text));
        } else {
            return None;
        };
        if self.servers.iter().any(|server| server == address) {
            return Some((
                Weight::Passing,
                format!("{text}; check the host and the port"),
            ));
        }
        let broker = line
            .id
            .map_or("a broker".to_owned(), |id| format!("broker {id}"));
        let text = format!(
            "{text}; {broker} advertises this address: set its `advertised.listeners` to one that \
             this machine can reach"
        );
        Some((Weight::Passing, text))
    }
}

fn certificate(line: &Line<'_>) -> Option<(Weight, String)> {
    let Line { address, said, .. } = line;
    let text = if line.says(&["certificate verify failed"]) {
        format!(
            "the certificate of {address} cannot be verified (certificate verify failed); set \
             `kafka.client.ssl.ca.location` to a PEM file with the certificate of its authority, \
             and name the server as its certificate does"
        )
    } else if line.says(&["alert certificate required", "alert bad certificate"]) {
        format!(
            "{address} requires a certificate of the client ({}); set \
             `kafka.client.ssl.keystore.location`, or `kafka.client.ssl.certificate.location` and \
             `kafka.client.ssl.key.location`",
            said.rsplit(':').next().unwrap_or(said)
        )
    } else {
        return None;
    };
    Some((Weight::Refusal, text))
}

/// Explains what librdkafka or OpenSSL can never do with these properties.
fn failed_by_itself(line: &Line<'_>) -> Option<(Weight, String)> {
    let fails = line.state == "SSL_HANDSHAKE" && line.says(&["SSL routines"])
        || line.says(&["Failed to initialize SASL authentication"]);
    fails.then(|| (Weight::Refusal, format!("{}: {}", line.address, line.said)))
}

/// The principal of the client as ACLs name it, where the client knows it.
pub(super) fn principal(config: &ClientConfig) -> Option<String> {
    let protocol = protocol(config);
    if protocol == "plaintext" {
        return Some("User:ANONYMOUS".to_owned());
    }
    let mechanism = config.get("sasl.mechanisms").unwrap_or_default();
    let mechanism = mechanism.to_ascii_uppercase();
    let named =
        protocol.starts_with("sasl") && (mechanism == "PLAIN" || mechanism.starts_with("SCRAM-"));
    let user = config.get("sasl.username").filter(|_| named)?;
    Some(format!("User:{user}"))
}

fn protocol(config: &ClientConfig) -> String {
    let protocol = config.get("security.protocol").unwrap_or("plaintext");
    protocol.trim().to_ascii_lowercase()
}

/// The address of a server as librdkafka writes it.
fn with_port(server: &str) -> String {
    let server = server.trim();
    let server = server.rsplit_once("//").map_or(server, |(_, rest)| rest);
    match server.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => server.to_owned(),
        _ => format!("{server}:9092"),
    }
}

#[cfg(test)]
mod tests;
