//! Tests properties files.

use super::*;

#[test]
fn a_location_overrides_the_servers_in_a_file() {
    let client = {
        let file = file("bootstrap.servers=a:1");
        parse(&[("kafka.properties.file", file.path().to_str().unwrap())])
            .unwrap()
            .client
    };
    assert_eq!(client.bootstrap_servers().unwrap(), "a:1");
    let client = client.with_bootstrap_servers("b:2").unwrap();
    assert_eq!(client.bootstrap_servers().unwrap(), "b:2");
}

#[test]
fn a_file_may_be_in_javas_spelling() {
    let mechanism = if tls() { "SCRAM-SHA-256" } else { "PLAIN" };
    let options = parse_file(&format!(
        "\u{feff}# comment\n\
         ! comment\r\n\
         \n\
         bootstrap.servers = other:1\n\
         security.protocol: SASL_PLAINTEXT\n\
         sasl.mechanism {mechanism}\n\
         sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n\
         \u{20}   username=\"m\\u00e9\" \\\n\
         \u{20}   password=\"hunter2 \\u\\\n  D83D\\uDE00\";\n\
         acks=1\n\
         enable.idempotence=false\n\
         retries=0\n\
         group.id=reports\n\
         auto.offset.reset=earliest\n\
         key.serializer=org.apache.kafka.common.serialization.StringSerializer\n\
         interceptor.classes=\n\
         fetch.max.wait.ms=77\n\
         max.request.size=2000000\n\
         receive.buffer.bytes=-1\n\
         schema.registry.url=https://hunter2@registry\n\
         linger.ms=5"
    ))
    .unwrap();
    assert_eq!(options.client.bootstrap_servers().unwrap(), "a:1");
    assert_eq!(
        consumer(&options, "security.protocol").as_deref(),
        Some("SASL_PLAINTEXT")
    );
    assert_eq!(
        consumer(&options, "sasl.mechanisms").as_deref(),
        Some(mechanism)
    );
    assert_eq!(consumer(&options, "sasl.username").as_deref(), Some("mé"));
    assert_eq!(
        consumer(&options, "sasl.password").as_deref(),
        Some("hunter2 \u{1f600}")
    );
    assert_eq!(
        consumer(&options, "fetch.wait.max.ms").as_deref(),
        Some("77")
    );
    assert_eq!(
        consumer(&options, "message.max.bytes").as_deref(),
        Some("2000000")
    );
    assert_eq!(
        consumer(&options, "auto.offset.reset").as_deref(),
        Some("error")
    );
    assert_eq!(consumer(&options, "group.id"), None);
    assert_eq!(
        producer(&options, "queue.buffering.max.ms").as_deref(),
        Some("5")
    );
    assert_eq!(
        producer(&options, "request.required.acks").as_deref(),
        Some("all")
    );
    assert_eq!(producer(&options, "message.send.max.retries"), None);
    assert!(!format!("{options:?}").contains(SECRET));
}

#[test]
fn java_stores_are_mapped_where_librdkafka_can_read_them() {
    // librdkafka refuses `ssl.*` without TLS, so only the names are checked.
    let translated = |text: &str| -> Vec<(String, String)> {
        let lines = property_lines::split(text).unwrap();
        let lines = java::translate(lines)
            .map_err(|refused| refused.reason)
            .unwrap();
        lines
            .into_iter()
            .map(|line| (line.name, line.value))
            .collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        translated(
            "ssl.truststore.location=/ca.pem\nssl.truststore.type=PEM\n\
             ssl.keystore.location=/me.pem\nssl.keystore.type=pem\n\
             ssl.keystore.password=x\nssl.key.password=y\n\
             ssl.endpoint.identification.algorithm="
        ),
        [
            pair("ssl.ca.location", "/ca.pem"),
            pair("ssl.certificate.location", "/me.pem"),
            pair("ssl.key.location", "/me.pem"),
            pair("ssl.key.password", "y"),
            pair("ssl.endpoint.identification.algorithm", "none"),
        ]
    );
    assert_eq!(
        translated(
            "ssl.truststore.certificates=C\nssl.keystore.key=K\n\
             ssl.keystore.certificate.chain=H\n\
             ssl.keystore.location=/me.p12\nssl.keystore.password=x"
        ),
        [
            pair("ssl.ca.pem", "C"),
            pair("ssl.key.pem", "K"),
            pair("ssl.certificate.pem", "H"),
            pair("ssl.keystore.location", "/me.p12"),
            pair("ssl.keystore.password", "x"),
        ]
    );
    for (text, advice) in [
        ("ssl.truststore.location=/t.jks", "keytool -exportcert"),
        (
            "ssl.truststore.location=/t\nssl.truststore.type=PKCS12",
            "openssl pkcs12",
        ),
        ("ssl.keystore.location=/k.JKS", "keytool -importkeystore"),
        (
            "ssl.keystore.location=/k\nssl.keystore.type=JKS",
            "keytool -importkeystore",
        ),
        (
            "sasl.login.callback.handler.class=software.amazon.IAM",
            "Java class",
        ),
    ] {
        let message = message(&parse_file(text).unwrap_err());
        assert!(message.contains(advice), "{message}");
    }
}

#[test]
fn lines_of_a_file_are_split_as_java_splits_them() {
    for (line, name, value) in [
        ("a=b", "a", "b"),
        ("  a : b  ", "a", "b"),
        ("a b c", "a", "b c"),
        ("a", "a", ""),
        ("a==b", "a", "=b"),
        (r"a\=b\:c\ d=e", "a=b:c d", "e"),
        (r"a=\t\\x\=\:\z", "a", "\t\\x=:z"),
        ("a=b#c", "a", "b#c"),
        ("a=\\\n   b\\\n  c", "a", "bc"),
        ("a=b\\", "a", "b"),
        ("a=b\\\\\nignored", "a", "b\\"),
    ] {
        let lines = property_lines::split(line).unwrap();
        assert_eq!(
            (lines[0].name.as_str(), lines[0].value.as_str()),
            (name, value),
            "{line:?}"
        );
    }
    for bad in ["a=\\u12", "a=\\uzzzz", "a=\\ud83d", "a=1\nb=\\u+123"] {
        assert!(property_lines::split(bad).is_err(), "{bad}");
    }
}

#[test]
fn errors_in_a_file_name_the_line() {
    let message = message(&parse_file("client.id=x\n\nsocket.timeout.ms=never").unwrap_err());
    assert!(message.contains(":3 socket.timeout.ms`"), "{message}");
    let text = "no.such.property=hunter2";
    let message = self::message(&parse_file(text).unwrap_err());
    assert!(message.contains(":1 no.such.property`"), "{message}");
}

#[test]
fn options_override_the_file_next_to_them_but_not_a_file_above() {
    let file = file("client.id=file\nclient.rack=file");
    let path = file.path().to_str().unwrap();
    let servers = ("kafka.bootstrap.servers", "a:1");
    let options = parse(&[
        servers,
        ("kafka.properties.file", path),
        ("kafka.consumer.client.id", "option"),
    ])
    .unwrap();
    assert_eq!(consumer(&options, "client.id").as_deref(), Some("option"));
    assert_eq!(producer(&options, "client.id").as_deref(), Some("file"));

    let session = given(&[servers, ("kafka.client.client.id", "session")]);
    let own = given(&[("kafka.properties.file", path)]);
    let options = TableOptions::parse(&[&session, &own]).unwrap();
    assert_eq!(consumer(&options, "client.id").as_deref(), Some("file"));
}

#[test]
fn a_missing_file_is_named() {
    let message = refused(&[("kafka.properties.file", "/no/such/file")]);
    assert_eq!(
        message,
        "option `kafka.properties.file`: cannot read /no/such/file"
    );
    let message = refused(&[("kafka.client.sasl.password", "${file:/no/such/file}")]);
    assert!(message.contains("kafka.client.sasl.password"), "{message}");
    assert!(message.contains("/no/such/file"), "{message}");
}

#[test]
fn properties_of_a_command_line_may_be_in_javas_spelling() {
    let login = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                 username=\"u\" password=\"hunter2\";";
    let given = [
        ("sasl.jaas.config", login),
        ("fetch.max.wait.ms", "77"),
        ("session.timeout.ms", "45000"),
        ("linger.ms", "5"),
    ];
    let options = Options::from_properties(given).unwrap();
    let shown: Vec<_> = options.redacted().map(|(key, _)| key).collect();
    assert_eq!(
        shown,
        [
            "kafka.client.fetch.wait.max.ms",
            "kafka.client.linger.ms",
            "kafka.client.sasl.password",
            "kafka.client.sasl.username",
        ]
    );
    let store = [("ssl.truststore.location", "store.jks")];
    let error = Options::from_properties(store).unwrap_err().to_string();
    assert!(error.contains("JKS"), "{error}");
}
