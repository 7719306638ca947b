//! Tests with lines as librdkafka writes them.

use super::*;

fn config(properties: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "kafka, other:9093");
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config
}

fn explain(protocol: &str, line: &str) -> (Weight, String) {
    let connection = Connection::of(&config(&[("security.protocol", protocol)]));
    let complaint = connection.explain(line, false).unwrap();
    (complaint.weight, complaint.text)
}

#[track_caller]
fn says(protocol: &str, line: &str, weight: Weight, parts: &[&str]) {
    let (found, text) = explain(protocol, line);
    assert_eq!(found, weight, "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[test]
fn a_broker_is_named_by_its_address_alone() {
    for (line, expected) in [
        ("kafka:9092/bootstrap: It rains", "kafka:9092: It rains"),
        ("sasl_ssl://kafka:9092/1: It rains", "kafka:9092: It rains"),
        (
            "GroupCoordinator/1: kafka:9092: It rains (after 3ms in state UP)",
            "kafka:9092: It rains",
        ),
        (
            "TxnCoordinator: kafka:9092: It rains",
            "kafka:9092: It rains",
        ),
        (
            "[thrd:ssl://[::1]:9092/bootstrap]: ssl://[::1]:9092/bootstrap: It rains (after 3ms \
             in state UP, 2 identical error(s) suppressed)",
            "[::1]:9092: It rains",
        ),
    ] {
        assert_eq!(explain("ssl", line).1, expected);
    }
    let connection = Connection::of(&config(&[]));
    for line in [
        "It rains",
        "Failed to get a token: it rains",
        "a/b: It rains",
    ] {
        assert_eq!(connection.explain(line, false), None, "{line}");
    }
}

#[test]
fn the_step_that_failed_tells_what_is_wrong() {
    let no_tls = "kafka:9092/bootstrap: Disconnected: requesting ApiVersion: might be caused by \
                  incorrect security.protocol configuration (connecting to a SSL listener?) or \
                  broker version is < 0.10 (see api.version.request) (after 5ms in state \
                  APIVERSION_QUERY)";
    says("plaintext", no_tls, Weight::Clear, &["with TLS", "= `SSL`"]);
    says("SASL_PLAINTEXT", no_tls, Weight::Clear, &["= `SASL_SSL`"]);
    let sent = "kafka:9092/bootstrap: Send failed: Broken pipe (after 1ms in state UP)";
    let no_login = "kafka:9092/1: Disconnected: verify that security.protocol is correctly \
                    configured, broker might require SASL authentication (after 8ms in state UP)";
    for line in [sent, no_login] {
        says("plaintext", line, Weight::Likely, &["= `SASL_PLAINTEXT`"]);
        says("ssl", line, Weight::Likely, &["= `SASL_SSL`"]);
        says("sasl_ssl", line, Weight::Passing, &["kafka:9092: "]);
    }
    let later = "kafka:9092/1: Disconnected (after 60000ms in state UP)";
    says(
        "plaintext",
        later,
        Weight::Passing,
        &["kafka:9092: Disconnected"],
    );
    for reason in [
        "error:0A00010B:SSL routines::wrong version number",
        "error:0A000126:SSL routines::unexpected eof while reading",
        "Disconnected: connection closed by peer: connecting to a PLAINTEXT broker listener?",
    ] {
        let line = format!(
            "ssl://kafka:9092/bootstrap: SSL handshake failed: {reason} (after 5ms in state \
             SSL_HANDSHAKE)"
        );
        says(
            "ssl",
            &line,
            Weight::Clear,
            &["without TLS", "= `PLAINTEXT`"],
        );
        says("sasl_ssl", &line, Weight::Clear, &["= `SASL_PLAINTEXT`"]);
    }
    for (size, says_it) in [
        ("1213486160", "in HTTP"),
        ("1397966893", "not answer in Kafka's"),
    ] {
        let line = |state: &str| {
            format!(
                "kafka:9092/bootstrap: Receive failed: Invalid response size {size} \
                 (0..100000000): increase receive.message.max.bytes (after 1ms in state {state})"
            )
        };
        says(
            "plaintext",
            &line("APIVERSION_QUERY"),
            Weight::Clear,
            &[says_it],
        );
        // An answer of a broker that really is that large.
        says(
            "plaintext",
            &line("UP"),
            Weight::Passing,
            &["receive.message.max.bytes"],
        );
    }
}

#[test]
fn what_brokers_refuse_is_told_from_brokers_that_go_away() {
    let handshake = |reason: &str| {
        format!(
            "sasl_ssl://kafka:9092/bootstrap: SASL PLAIN mechanism handshake failed: {reason} \
             (after 3ms in state AUTH_HANDSHAKE)"
        )
    };
    let gone = "Local: Broker transport failure: broker's supported mechanisms: (n/a)";
    says(
        "sasl_ssl",
        &handshake(gone),
        Weight::Passing,
        &["during the login"],
    );
    let other = "Broker: Unsupported SASL mechanism: broker's supported mechanisms: A,B";
    says(
        "sasl_ssl",
        &handshake(other),
        Weight::Refusal,
        &["supports: A,B"],
    );
    let none = "Broker: Request not valid in current SASL state: broker's supported mechanisms: ";
    says("sasl_ssl", &handshake(none), Weight::Refusal, &["= `SSL`"]);
    says(
        "sasl_plaintext",
        &handshake(none),
        Weight::Refusal,
        &["= `PLAINTEXT`"],
    );
    let wrong = "sasl_ssl://kafka:9092/bootstrap: SASL authentication error: Authentication \
                 failed: Invalid username or password (after 3ms in state AUTH_REQ)";
    says("sasl_ssl", wrong, Weight::Refusal, &["sasl.password"]);
    let failed = "sasl_ssl://kafka:9092/bootstrap: SASL authentication error: \
                  SaslAuthenticateRequest failed: Local: Broker transport failure (after 3ms in \
                  state AUTH_REQ)";
    says("sasl_ssl", failed, Weight::Passing, &["during the login"]);
    let certificate = "ssl://kafka:9092/bootstrap: SSL handshake failed: \
                       error:0A000086:SSL routines::certificate verify failed: broker \
                       certificate could not be verified (after 18ms in state SSL_HANDSHAKE)";
    says("ssl", certificate, Weight::Refusal, &["ssl.ca.location"]);
    let cipher = "ssl://kafka:9092/bootstrap: SSL handshake failed: error:0A000410:SSL \
                  routines::ssl/tls alert handshake failure (after 18ms in state SSL_HANDSHAKE)";
    says("ssl", cipher, Weight::Refusal, &["handshake failure"]);
}

#[test]
fn addresses_that_a_broker_advertises_are_told_from_those_that_were_given() {
    let resolve = |broker: &str, address: &str| {
        let line = format!(
            "{address}/{broker}: Failed to resolve '{address}': Name or service not known \
             (after 4ms in state CONNECT)"
        );
        explain("plaintext", &line).1
    };
    for (broker, address) in [("bootstrap", "kafka:9092"), ("1", "other:9093")] {
        let text = resolve(broker, address);
        let expected = format!(
            "the address {address} cannot be resolved (Name or service not known); check the \
             host and the port"
        );
        assert_eq!(text, expected);
    }
    let text = resolve("2", "inner:9092");
    assert!(text.contains("broker 2 advertises this address"), "{text}");
    let refused = "GroupCoordinator: inner:9092: Connect to ipv4#10.0.0.1:9092 failed: Connection \
                   refused (after 0ms in state CONNECT)";
    let (_, text) = explain("plaintext", refused);
    assert!(
        text.starts_with("cannot connect to inner:9092: Connection refused"),
        "{text}"
    );
    assert!(text.contains("`advertised.listeners`"), "{text}");
    let silent = |state: &str| {
        let line = format!(
            "kafka:9092/bootstrap: Connection setup timed out in state {state} (after 8000ms in \
             state {state})"
        );
        explain("plaintext", &line).1
    };
    assert!(silent("CONNECT").contains("firewall"));
    assert!(silent("APIVERSION_QUERY").contains("does not answer"));
}

#[test]
fn the_principal_is_known_where_the_client_names_it() {
    let principal = |properties: &[(&str, &str)]| principal(&config(properties));
    let user = ("sasl.username", "reports");
    assert_eq!(principal(&[user]).as_deref(), Some("User:ANONYMOUS"));
    let sasl = ("security.protocol", "SASL_SSL");
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let mechanism = ("sasl.mechanisms", mechanism);
        let found = principal(&[sasl, mechanism, user]);
        assert_eq!(found.as_deref(), Some("User:reports"));
    }
    let token = ("sasl.mechanisms", "OAUTHBEARER");
    assert_eq!(principal(&[sasl, token, user]), None);
    assert_eq!(principal(&[("security.protocol", "ssl"), user]), None);
}
