//! Tests the properties of clients.

use super::*;

#[test]
fn the_two_sides_can_differ() {
    let options = parse(&[
        ("kafka.bootstrap.servers", "a:1"),
        ("kafka.consumer.client.id", "reader"),
        ("kafka.producer.client.id", "writer"),
        ("kafka.client.fetch.min.bytes", "7"),
    ])
    .unwrap();
    assert_eq!(consumer(&options, "client.id").as_deref(), Some("reader"));
    assert_eq!(producer(&options, "client.id").as_deref(), Some("writer"));
    assert_eq!(consumer(&options, "fetch.min.bytes").as_deref(), Some("7"));
    // librdkafka would warn about a property of the other kind of client.
    assert_eq!(producer(&options, "fetch.min.bytes"), None);
}

#[test]
fn properties_on_the_wrong_side_are_refused() {
    assert_eq!(
        refused(&[("kafka.producer.fetch.min.bytes", "7")]),
        "option `kafka.producer.fetch.min.bytes`: a property for reading; use \
         `kafka.consumer.fetch.min.bytes`"
    );
    assert!(refused(&[("kafka.consumer.batch.size", "7")]).contains("kafka.producer.batch.size"));
    assert!(
        refused(&[("kafka.consumer.bootstrap.servers", "a:1")]).contains("kafka.bootstrap.servers")
    );
}

#[test]
fn owned_properties_are_refused_with_what_to_use() {
    for (name, value, instead) in [
        ("group.id", "g", "kafka.start"),
        ("group.instance.id", "g", "kafka.start"),
        ("enable.auto.commit", "true", "commits no offsets"),
        ("auto.commit.enable", "true", "commits no offsets"),
        ("enable.auto.offset.store", "true", "commits no offsets"),
        ("enable.partition.eof", "true", "kafka.end"),
        ("auto.offset.reset", "earliest", "kafka.start"),
        ("isolation.level", "read_uncommitted", "kafka.isolation"),
        ("transactional.id", "t", "kafka.transactional_id.prefix"),
        ("enable.idempotence", "false", "always on"),
        ("acks", "1", "always `all`"),
        ("request.required.acks", "1", "always `all`"),
        ("allow.auto.create.topics", "true", "kafka.create_topic"),
        ("plugin.library.paths", "/tmp/x.so", "not supported"),
        ("max.in.flight", "6", "at most 5"),
        ("retries", "0", "at least 1"),
    ] {
        for prefix in ["kafka.client.", "kafka.consumer.", "kafka.producer."] {
            let key = format!("{prefix}{name}");
            let message = refused(&[(&key, value)]);
            assert!(
                message.starts_with(&format!("option `{key}`: ")),
                "{message}"
            );
            assert!(message.contains(instead), "{message}");
        }
    }
    for callback in ["dr_cb", "opaque", "interceptors"] {
        let key = format!("kafka.client.{callback}");
        let message = refused(&[(&key, SECRET)]);
        assert!(message.contains(&key), "{message}");
    }
}

#[test]
fn librdkafka_checks_properties_when_options_are_parsed() {
    let message = refused(&[("kafka.client.security.protocol", "sasl")]);
    assert!(
        message.contains("kafka.client.security.protocol"),
        "{message}"
    );
    let message = refused(&[("kafka.client.socket.timeout.ms", "1")]);
    assert!(message.contains("outside allowed range"), "{message}");
    let message = refused(&[("kafka.client.sasl.jaas.config", SECRET)]);
    assert!(message.contains("JAAS"), "{message}");
    let message = refused(&[("kafka.client.sasl.password", "hunter2\0")]);
    assert!(message.contains("kafka.client.sasl.password"), "{message}");
    let enumeration = "kafka.client.sasl.oauthbearer.metadata.authentication.type";
    let message = refused(&[(enumeration, SECRET)]);
    assert!(message.contains(enumeration), "{message}");
}

#[test]
fn properties_of_another_build_name_the_crate_feature() {
    if tls() {
        return;
    }
    for (key, value) in [
        ("kafka.client.security.protocol", "SASL_SSL"),
        ("kafka.client.ssl.key.password", SECRET),
        ("kafka.client.sasl.mechanism", "SCRAM-SHA-256"),
    ] {
        let mut options = vec![(key, value)];
        if key.ends_with("mechanism") {
            options.push(("kafka.client.security.protocol", "SASL_PLAINTEXT"));
        }
        let message = refused(&options);
        assert!(message.starts_with(&format!("option `{key}`")), "{message}");
        assert!(message.contains("crate feature `ssl`"), "{message}");
    }
    let message = refused(&[("kafka.client.security.protocol", "SASL_PLAINTEXT")]);
    assert!(message.contains("kafka.client.sasl.mechanism"), "{message}");
}

#[test]
fn a_build_without_oidc_names_the_crate_features() {
    if property::has_feature("oidc") {
        return;
    }
    let message = refused(&[("kafka.client.sasl.oauthbearer.method", "oidc")]);
    assert!(
        message.contains("`curl-static` and `cmake-build`"),
        "{message}"
    );
}

#[test]
fn plain_login_needs_no_feature() {
    let options = parse(&[
        ("kafka.bootstrap.servers", "a:1"),
        ("kafka.client.security.protocol", "SASL_PLAINTEXT"),
        ("kafka.client.sasl.mechanism", "PLAIN"),
        ("kafka.client.sasl.username", "me"),
        ("kafka.client.sasl.password", SECRET),
    ])
    .unwrap();
    assert_eq!(
        consumer(&options, "sasl.mechanisms").as_deref(),
        Some("PLAIN")
    );
    assert_eq!(producer(&options, "sasl.password").as_deref(), Some(SECRET));
    assert!(!format!("{options:?}").contains(SECRET));
}

#[test]
fn clients_have_the_defaults_of_the_design() {
    let options = parse(&[("kafka.bootstrap.servers", "a:1")]).unwrap();
    for (name, value) in [
        ("bootstrap.servers", "a:1"),
        ("client.id", "datafusion-kafka"),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "error"),
        ("isolation.level", "read_committed"),
        ("allow.auto.create.topics", "false"),
        ("fetch.queue.backoff.ms", "1"),
        ("reconnect.backoff.ms", "20"),
        ("reconnect.backoff.max.ms", "1000"),
    ] {
        assert_eq!(consumer(&options, name).as_deref(), Some(value), "{name}");
    }
    for (name, value) in [
        ("bootstrap.servers", "a:1"),
        ("enable.idempotence", "true"),
        ("request.required.acks", "all"),
        ("allow.auto.create.topics", "false"),
        ("partitioner", "murmur2_random"),
        ("queue.buffering.max.ms", "20"),
        ("batch.size", "1000000"),
    ] {
        assert_eq!(producer(&options, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(consumer(&options, "group.id"), None);
    let isolation = Isolation::ReadUncommitted;
    let config = options.client.consumer_config(isolation).unwrap();
    assert_eq!(config.get("isolation.level"), Some("read_uncommitted"));
}

#[test]
fn librdkafka_makes_clients_of_the_configurations() {
    use rdkafka::consumer::BaseConsumer;
    use rdkafka::producer::BaseProducer;

    let options = parse(&[
        ("kafka.bootstrap.servers", "127.0.0.1:1"),
        ("kafka.client.reconnect.backoff.ms", "5000"),
    ])
    .unwrap();
    let config = options.client.consumer_config(options.isolation).unwrap();
    config.create::<BaseConsumer>().unwrap();
    options
        .client
        .producer_config()
        .unwrap()
        .create::<BaseProducer>()
        .unwrap();
}

#[test]
fn defaults_can_be_overridden() {
    let options = parse(&[
        ("kafka.bootstrap.servers", "a:1"),
        ("kafka.producer.linger.ms", "7"),
        ("kafka.producer.partitioner", "consistent_random"),
        ("kafka.consumer.fetch.queue.backoff.ms", "9"),
    ])
    .unwrap();
    assert_eq!(
        producer(&options, "queue.buffering.max.ms").as_deref(),
        Some("7")
    );
    assert_eq!(
        producer(&options, "partitioner").as_deref(),
        Some("consistent_random")
    );
    assert_eq!(
        consumer(&options, "fetch.queue.backoff.ms").as_deref(),
        Some("9")
    );
}

#[test]
fn servers_must_be_given_once() {
    let none = parse(&[]).unwrap().client;
    let missing = message(&none.bootstrap_servers().unwrap_err());
    assert!(
        missing.contains("LOCATION 'kafka://host:9092/topic'"),
        "{missing}"
    );
    assert!(none.consumer_config(Isolation::default()).is_err());
    assert!(none.producer_config().is_err());
    let located = none.with_bootstrap_servers("b:9092").unwrap();
    assert_eq!(located.bootstrap_servers().unwrap(), "b:9092");

    let both = parse(&[("kafka.bootstrap.servers", "B")]).unwrap().client;
    both.clone().with_bootstrap_servers("b:9092").unwrap();
    assert_eq!(
        message(&both.with_bootstrap_servers("c:9092").unwrap_err()),
        "options `LOCATION` and `kafka.bootstrap.servers` set the same thing; give only one of them"
    );
}

#[test]
fn a_built_openssl_finds_the_certificates_of_the_system() {
    let location = |options: &[(&str, &str)]| {
        let options = parse(&[&[("kafka.bootstrap.servers", "a:1")], options].concat());
        consumer(&options.unwrap(), "ssl.ca.location")
    };
    let named_outside = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os) != [None, None];
    let built = cfg!(feature = "ssl-vendored") && !named_outside;
    assert_eq!(location(&[]).as_deref(), built.then_some("probe"));
    if tls() {
        let named = location(&[("kafka.client.ssl.ca.location", "/etc/ssl/certs")]);
        assert_eq!(named.as_deref(), Some("/etc/ssl/certs"));
        let pem = location(&[("kafka.client.ssl.ca.pem", "-----BEGIN CERTIFICATE-----")]);
        assert_eq!(pem, None);
    }
}

#[test]
fn a_port_that_is_none_is_refused() {
    for servers in [
        "localhost:99999",
        "a:9092, b:0",
        "a:",
        "a:http",
        "a:-1",
        "[::1]:65536",
        "PLAINTEXT://a:99999",
    ] {
        let message = refused(&[("kafka.bootstrap.servers", servers)]);
        assert!(message.contains("from 1 to 65535"), "{message}");
    }
    for servers in [
        "localhost",
        "localhost:65535",
        "a:1,b",
        "::1",
        "[::1]",
        "[::1]:9092",
        "PLAINTEXT://a:9092",
        "PLAINTEXT://a",
    ] {
        parse(&[("kafka.bootstrap.servers", servers)]).unwrap();
    }
}
