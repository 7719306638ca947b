//! Tests that secret values are never shown.

use std::collections::BTreeMap;

use super::*;

#[test]
fn servers_with_a_login_are_refused_without_showing_it() {
    let login = "SASL_PLAINTEXT://me:hunter2@a:1";
    let message = refused(&[("kafka.bootstrap.servers", login)]);
    assert!(message.contains("kafka.client.sasl.password"), "{message}");
    for key in [
        "kafka.bootstrap.servers",
        "kafka.client.bootstrap.servers",
        "kafka.client.metadata.broker.list",
    ] {
        let options = given(&[(key, login)]);
        assert!(!format!("{options:?}").contains(SECRET), "{key}");
    }
    let error = parse(&[])
        .unwrap()
        .client
        .with_bootstrap_servers(login)
        .unwrap_err();
    assert!(!error.to_string().contains(SECRET));
    assert!(!refused(&[("kafka.bootstrap.servers", " , ")]).is_empty());
}

#[test]
fn references_are_replaced_anywhere_in_a_value() {
    let secret = file("hunter2\r\n");
    let path = secret.path().display();
    let value = format!("a$${{b}}-${{file:{path}}}-${{env:PATH}}-$");
    let options = parse(&[
        ("kafka.bootstrap.servers", "a:1"),
        ("kafka.client.sasl.password", &value),
    ])
    .unwrap();
    let expected = format!("a${{b}}-hunter2-{}-$", std::env::var("PATH").unwrap());
    assert_eq!(consumer(&options, "sasl.password"), Some(expected));

    let message = refused(&[("kafka.client.sasl.password", "${env:NO_SUCH_VARIABLE}")]);
    assert_eq!(
        message,
        "option `kafka.client.sasl.password`: environment variable `NO_SUCH_VARIABLE` is not set"
    );
    for bad in ["hunter2${env:PATH", "hunter2${vault:x}", "hunter2${}"] {
        refused(&[("kafka.client.sasl.password", bad)]);
    }
}

#[test]
fn what_a_reference_stands_for_never_shows() {
    let secret = file(SECRET);
    let reference = format!("${{file:{}}}", secret.path().display());
    for key in [
        "kafka.mode",
        "kafka.timeout",
        "kafka.start",
        "kafka.client.security.protocol",
        "kafka.client.socket.timeout.ms",
        "kafka.producer.compression.type",
    ] {
        let message = refused(&[(key, &reference)]);
        assert!(message.contains(key), "{message}");
    }
    let options = parse(&[
        ("kafka.bootstrap.servers", "a:1"),
        ("kafka.client.client.id", &reference),
        ("kafka.client.sasl.password", &reference),
    ])
    .unwrap();
    assert_eq!(consumer(&options, "client.id").as_deref(), Some(SECRET));
    assert!(!format!("{options:?}").contains(SECRET));
}

#[test]
fn secrets_in_a_file_never_show() {
    for text in [
        "sasl.jaas.config=hunter2",
        "sasl.jaas.config=Foo required password=\"hunter2\";",
        "sasl.jaas.config=org.x.PlainLoginModule required\n username=\"a\" password=\"hunter2\";",
        "hunter2",
        "hunter2=x",
        "sasl.pasword=hunter2",
        "sasl.password=hunter2\\u00",
        "ssl.key.password=hunter2\nsocket.timeout.ms=x",
        "bootstrap.servers=PLAINTEXT://me:hunter2@a:1",
        "enable.sasl.oauthbearer.unsecure.jwt=hunter2",
    ] {
        message(&parse_file(text).unwrap_err());
    }
}

#[test]
fn only_safe_values_are_shown() {
    let options = given(&[
        ("kafka.mode", "append"),
        ("kafka.client.security.protocol", "SASL_SSL"),
        ("kafka.producer.acks", SECRET),
        ("kafka.client.sasl.username", SECRET),
        ("kafka.client.sasl.password", SECRET),
        ("kafka.client.ssl.key.pem", SECRET),
        ("kafka.client.ssl.key.password", "${env:KEY}"),
        ("kafka.client.ssl.keystore.password", "${env:KEY}hunter2"),
        (
            "kafka.client.sasl.oauthbearer.client.secret",
            "${env:KEY$hunter2}",
        ),
        ("kafka.client.not.known", SECRET),
        ("password", SECRET),
        ("format.password", SECRET),
    ]);
    assert!(!format!("{options:?}").contains(SECRET));
    let shown: BTreeMap<_, _> = options.redacted().collect();
    assert!(!format!("{shown:?}").contains(SECRET));
    assert_eq!(shown["kafka.mode"], "append");
    assert_eq!(shown["kafka.client.security.protocol"], "SASL_SSL");
    assert_eq!(shown["kafka.client.sasl.password"], "***");
    assert_eq!(shown["kafka.client.ssl.key.password"], "${env:KEY}");
}
