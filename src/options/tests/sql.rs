//! Tests what a statement may set, and what only the program may set.

use std::collections::HashMap;

use datafusion::common::config::ConfigOptions;

use super::*;
use crate::options::origin::Origin;

/// Properties that no statement may set, whatever the program allows.
const CODE: &[&str] = &[
    "sasl.kerberos.kinit.cmd",
    "sasl.kerberos.keytab",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "ssl.engine.id",
    "ssl.engine.location",
    "ssl.providers",
    "test.mock.num.brokers",
];

/// Properties that name a file.
const FILES: &[&str] = &[
    "https.ca.location",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.jwt.template.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
];

/// The options of a statement, in a program that allows references or does not.
fn statement(allowed: bool, options: &[(&str, &str)]) -> Options {
    let options: HashMap<_, _> = given(options)
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    Options::from_clause(&options, Origin::statement(allowed))
}

fn refused_in(layers: &[&Options]) -> String {
    message(&TableOptions::parse(layers).unwrap_err())
}

#[test]
fn a_statement_refers_to_nothing_unless_the_program_allows_it() {
    let secret = file(SECRET);
    let in_file = format!("x${{file:{}}}", secret.path().display());
    let servers = given(&[("kafka.bootstrap.servers", "a:1")]);
    for (key, value) in [
        ("kafka.client.client.id", "${env:PATH}"),
        ("kafka.client.sasl.password", "${env:PATH}"),
        ("kafka.client.sasl.password", &in_file),
        ("kafka.producer.client.id", &in_file),
        ("kafka.group.id", &in_file),
        ("kafka.dead_letter.topic", "${env:HOME}"),
        ("kafka.topic.config.x", &in_file),
        ("kafka.mode", "${env:NO_SUCH_VARIABLE}"),
        ("kafka.mode", "${file:/no/such/file}"),
    ] {
        assert_eq!(
            refused_in(&[&servers, &statement(false, &[(key, value)])]),
            format!(
                "option `{key}`: statements may not refer to files and environment variables \
                 here; the program can allow that with \
                 `KafkaConfig::allow_references_in_sql(true)`"
            )
        );
    }
    let options = [("kafka.client.client.id", in_file.as_str())];
    for layer in [statement(true, &options), given(&options)] {
        let options = TableOptions::parse(&[&servers, &layer]).unwrap();
        assert_eq!(consumer(&options, "client.id").unwrap(), "xhunter2");
    }
    // The escaped characters are not a reference.
    let signs = statement(false, &[("kafka.client.client.id", "$${env:PATH}")]);
    let options = TableOptions::parse(&[&servers, &signs]).unwrap();
    assert_eq!(consumer(&options, "client.id").unwrap(), "${env:PATH}");
}

#[test]
fn what_the_program_refers_to_applies_to_statements() {
    let secret = file(SECRET);
    let reference = format!("${{file:{}}}", secret.path().display());
    let login = file("sasl.username=me\nssl.endpoint.identification.algorithm=none\n");
    let program = given(&[
        ("kafka.bootstrap.servers", "a:1"),
        ("kafka.client.sasl.password", &reference),
        ("kafka.properties.file", login.path().to_str().unwrap()),
    ]);
    let own = statement(false, &[("kafka.timeout", "5s")]);
    let options = TableOptions::parse(&[&program, &own]).unwrap();
    assert_eq!(consumer(&options, "sasl.password").unwrap(), SECRET);
    assert_eq!(producer(&options, "sasl.username").unwrap(), "me");
}

#[test]
fn a_statement_names_no_file_unless_the_program_allows_it() {
    let properties = file("client.id=me\nsasl.password=hunter2\n");
    let path = properties.path().to_str().unwrap();
    let file = [
        ("kafka.bootstrap.servers", "a:1"),
        ("kafka.properties.file", path),
    ];
    let expected = "statements may not name files here; the program can allow that with \
                    `KafkaConfig::allow_references_in_sql(true)`";
    assert_eq!(
        refused_in(&[&statement(false, &file)]),
        format!("option `kafka.properties.file`: {expected}")
    );
    let options = TableOptions::parse(&[&statement(true, &file)]).unwrap();
    assert_eq!(consumer(&options, "client.id").unwrap(), "me");

    for name in FILES {
        for side in ["client", "consumer", "producer"] {
            let key = format!("kafka.{side}.{name}");
            assert_eq!(
                refused_in(&[&statement(false, &[(&key, "/etc/passwd")])]),
                format!("option `{key}`: {expected}")
            );
        }
        let key = format!("kafka.client.{name}");
        let allowed = statement(true, &[file[0], (&key, path)]);
        match TableOptions::parse(&[&allowed]) {
            Ok(options) => assert_eq!(consumer(&options, name).unwrap(), path),
            // This build of librdkafka does not have the property.
            Err(error) => assert!(message(&error).contains("not supported"), "{error}"),
        }
    }
}

#[test]
fn a_statement_does_not_log_in_as_the_machine_unless_the_program_allows_it() {
    let key = "kafka.client.sasl.oauthbearer.metadata.authentication.type";
    let message = refused_in(&[&statement(false, &[(key, "azure_imds")])]);
    assert!(message.contains("as the machine"), "{message}");
}

#[test]
fn no_statement_runs_commands_or_loads_code() {
    for name in CODE {
        for key in [
            format!("kafka.client.{name}"),
            format!("kafka.Consumer.{name}"),
        ] {
            for allowed in [false, true] {
                let message = refused_in(&[&statement(allowed, &[(&key, "touch x")])]);
                assert!(
                    message.contains("no statement may; set it in the program with"),
                    "{message}"
                );
            }
        }
    }
    for allowed in [false, true] {
        for name in ["plugin.library.paths", "offset.store.path"] {
            let key = format!("kafka.client.{name}");
            assert_eq!(
                refused_in(&[&statement(allowed, &[(&key, "/tmp/x")])]),
                refused(&[(&key, "/tmp/x")])
            );
        }
    }
    // The program may set it, also in a properties file that the program names.
    let mock = "test.mock.num.brokers";
    let key = format!("kafka.client.{mock}");
    let options = parse(&[("kafka.bootstrap.servers", "a:1"), (&key, "1")]).unwrap();
    assert_eq!(consumer(&options, mock).unwrap(), "1");
    let file = file(&format!(
        "bootstrap.servers=a:1\n{mock}=1\nplugin.library.paths=/tmp/x\n"
    ));
    let path = file.path().to_str().unwrap();
    let own = given(&[("kafka.properties.file", path)]);
    let options = TableOptions::parse(&[&own]).unwrap();
    assert_eq!(consumer(&options, mock).unwrap(), "1");
    assert_eq!(consumer(&options, "plugin.library.paths"), None);
    // A statement that names the file may not set it, because SQL can also write files.
    let refusal = refused_in(&[&statement(true, &[("kafka.properties.file", path)])]);
    let place = format!("option `{path}:2 {mock}`: may make the program run commands");
    assert!(refusal.starts_with(&place), "{refusal}");
}

#[test]
fn references_are_not_looked_up_in_servers() {
    let path = std::env::var("PATH").unwrap();
    let of_file = file("client.id=me\nbootstrap.servers=${env:PATH}\n");
    let file = of_file.path().to_str().unwrap();
    for (key, value) in [
        ("kafka.bootstrap.servers", "${env:PATH}"),
        ("kafka.bootstrap.servers", "a:1,${file:/etc/hostname}"),
        ("kafka.client.bootstrap.servers", "${env:PATH}:9092"),
        ("kafka.client.metadata.broker.list", "${env:PATH}"),
        ("kafka.properties.file", file),
    ] {
        for layer in [given(&[(key, value)]), statement(true, &[(key, value)])] {
            let message = refused_in(&[&layer]);
            assert!(!message.contains(&path), "{message}");
            assert!(message.contains("is not looked up in servers"), "{message}");
        }
    }
    let location = parse(&[]).unwrap().client;
    let error = location.with_bootstrap_servers("${env:PATH}").unwrap_err();
    assert!(!error.to_string().contains(&path), "{error}");
}

#[test]
fn a_session_sets_what_a_statement_may() {
    let set = |allowed: bool, key: &str, value: &str| {
        let mut config = ConfigOptions::new();
        let session = KafkaSessionOptions::default().allow_references_in_sql(allowed);
        config.extensions.insert(session);
        let set = config.set(key, value);
        set.map(|()| KafkaSessionOptions::of(&config))
            .map_err(|error| message(Error::find(&error).unwrap()))
    };
    let properties = file("bootstrap.servers=a:1\n");
    for (key, value) in [
        ("kafka.client.client.id", "${env:PATH}"),
        ("kafka.dry_run", "${env:PATH}"),
        ("kafka.properties.file", properties.path().to_str().unwrap()),
        ("kafka.client.ssl.ca.location", "/etc/passwd"),
    ] {
        let refusal = set(false, key, value).unwrap_err();
        assert!(refusal.contains("allow_references_in_sql"), "{refusal}");
    }
    for (key, value) in [
        ("kafka.client.sasl.kerberos.service.name", "$(touch x)"),
        ("kafka.client.sasl.kerberos.kinit.cmd", "touch x"),
        ("kafka.client.ssl.providers", "/tmp/x"),
    ] {
        let refusal = set(true, key, value).unwrap_err();
        assert!(refusal.contains("no statement may"), "{refusal}");
    }
    let session = set(true, "kafka.client.client.id", "${env:PATH}").unwrap();
    let servers = given(&[("kafka.bootstrap.servers", "a:1")]);
    let options = TableOptions::parse(&[&session, &servers]).unwrap();
    let path = std::env::var("PATH").unwrap();
    assert_eq!(consumer(&options, "client.id").unwrap(), path);
}

#[test]
fn a_login_of_the_program_stays_with_its_servers() {
    let login = [
        ("kafka.client.security.protocol", "SASL_PLAINTEXT"),
        ("kafka.client.sasl.mechanism", "PLAIN"),
        ("kafka.client.sasl.username", "me"),
        ("kafka.client.sasl.password", SECRET),
    ];
    let servers = [("kafka.bootstrap.servers", "a:1,b:1")];
    let program = given(&[&servers[..], &login].concat());
    let elsewhere = ("kafka.bootstrap.servers", "evil:1");
    assert_eq!(
        refused_in(&[&program, &statement(false, &[elsewhere])]),
        "option `kafka.bootstrap.servers`: the login of the program (`sasl.password`) is not sent \
         to where a statement says; give another one in the same OPTIONS, or leave this option \
         out; the program can allow that with `KafkaConfig::allow_references_in_sql(true)`"
    );
    // The same where only the producer has a login, or where the servers are in a file.
    let mut writing = login;
    writing[3].0 = "kafka.producer.sasl.password";
    let writing = given(&[&servers[..], &writing].concat());
    refused_in(&[&writing, &statement(false, &[elsewhere])]);
    let text = "bootstrap.servers=a:1\nsecurity.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n\
                sasl.username=me\nsasl.password=hunter2\n";
    let of_file = file(text);
    let of_file = given(&[("kafka.properties.file", of_file.path().to_str().unwrap())]);
    if tls() {
        refused_in(&[&of_file, &statement(false, &[elsewhere])]);
    }

    let own_login = [
        elsewhere,
        ("kafka.client.sasl.username", "you"),
        ("kafka.client.sasl.password", "yours"),
    ];
    for (layers, password) in [
        ([&program, &statement(false, &own_login)], "yours"),
        ([&program, &statement(true, &[elsewhere])], SECRET),
        ([&program, &given(&[elsewhere])], SECRET),
        // The login is sent to servers that the program already names, and where the program
        // names no servers.
        (
            [
                &program,
                &statement(false, &[("kafka.bootstrap.servers", "b:1")]),
            ],
            SECRET,
        ),
        ([&given(&login), &statement(false, &[elsewhere])], SECRET),
        ([&statement(false, &[elsewhere]), &program], SECRET),
    ] {
        let options = TableOptions::parse(&layers).unwrap();
        assert_eq!(consumer(&options, "sasl.password").unwrap(), password);
    }
    // Without a login, there is nothing to protect.
    let none = given(&[&servers[..], &login[2..]].concat());
    TableOptions::parse(&[&none, &statement(false, &[elsewhere])]).unwrap();
}

#[test]
fn a_secret_of_the_program_is_not_sent_for_a_token_to_where_a_statement_says() {
    if !property::has_feature("sasl_oauthbearer") {
        return;
    }
    let program = given(&[
        ("kafka.bootstrap.servers", "a:1"),
        ("kafka.client.security.protocol", "SASL_PLAINTEXT"),
        ("kafka.client.sasl.mechanism", "OAUTHBEARER"),
        ("kafka.client.sasl.oauthbearer.client.secret", SECRET),
    ]);
    let url = "kafka.client.sasl.oauthbearer.token.endpoint.url";
    let own = statement(false, &[(url, "https://evil.example/")]);
    let message = refused_in(&[&program, &own]);
    assert!(message.contains(url), "{message}");
    assert!(
        message.contains("sasl.oauthbearer.client.secret"),
        "{message}"
    );
}
