//! Tests the options of a session.

use std::collections::BTreeMap;
use std::time::Duration;

use datafusion::common::config::{ConfigOptions, ExtensionOptions};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::*;

fn session() -> ConfigOptions {
    session_with(KafkaSessionOptions::default())
}

fn session_with(options: KafkaSessionOptions) -> ConfigOptions {
    let mut config = ConfigOptions::new();
    config.extensions.insert(options);
    config
}

fn set(config: &mut ConfigOptions, key: &str, value: &str) -> Result<(), String> {
    config.set(key, value).map_err(|error| {
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
        match Error::find(&error) {
            Some(error) => message(error),
            None => error.to_string(),
        }
    })
}

fn session_options(config: &ConfigOptions) -> Options {
    config
        .extensions
        .get::<KafkaSessionOptions>()
        .unwrap()
        .options()
}

#[test]
fn a_session_sets_defaults_for_tables() {
    let mut config = session();
    set(&mut config, "kafka.timeout", "5s").unwrap();
    set(&mut config, "kafka.client.client.id", "me").unwrap();
    set(&mut config, "kafka.topic.partitions", "3").unwrap();
    let session = session_options(&config);
    let own = given(&[("kafka.bootstrap.servers", "a:1")]);
    let options = TableOptions::parse(&[&session, &own]).unwrap();
    assert_eq!(options.timeout, Duration::from_secs(5));
    assert_eq!(consumer(&options, "client.id").as_deref(), Some("me"));
}

#[test]
fn a_session_refuses_mistakes_at_once() {
    let mut config = session();
    assert_eq!(
        set(&mut config, "kafka.mod", "append").unwrap_err(),
        "unknown option `kafka.mod`; did you mean `kafka.mode`?"
    );
    assert!(set(&mut config, "kafka.mode", "upser").is_err());
    assert!(set(&mut config, "kafka.client.acks", "1").is_err());
    assert!(set(&mut config, "kafka.properties.file", "/no/such/file").is_err());
    assert!(session_options(&config).is_empty());
}

#[test]
fn a_session_refuses_secrets() {
    let trusted = KafkaSessionOptions::default().allow_references_in_sql(true);
    let mut trusted = session_with(trusted);
    let mut config = session();
    for key in [
        "kafka.client.sasl.password",
        "kafka.client.sasl.username",
        "kafka.client.ssl.key.pem",
        "kafka.client.no.such.property",
    ] {
        let message = set(&mut trusted, key, SECRET).unwrap_err();
        assert!(message.contains("${env:NAME}"), "{message}");
        // A hint must not name a way that the program does not allow.
        let message = set(&mut config, key, SECRET).unwrap_err();
        assert!(message.contains("KafkaConfig::with_option"), "{message}");
        assert!(!message.contains("${env:NAME}"), "{message}");
    }
    let login = "me:hunter2@a:1";
    assert!(set(&mut config, "kafka.bootstrap.servers", login).is_err());
    assert!(session_options(&config).is_empty());
}

#[test]
fn the_latest_setting_of_a_session_counts() {
    let mut config = session();
    set(&mut config, "kafka.bootstrap.servers", "a:1").unwrap();
    set(&mut config, "kafka.client.bootstrap.servers", "b:1").unwrap();
    assert_eq!(
        session_options(&config),
        given(&[("kafka.client.bootstrap.servers", "b:1")])
    );
    set(&mut config, "kafka.client.linger.ms", "1").unwrap();
    // Replacing it would drop the setting of the other kind of client.
    assert!(set(&mut config, "kafka.producer.linger.ms", "1").is_err());
}

#[test]
fn settings_of_a_session_can_be_listed() {
    let mut config = session();
    set(&mut config, "kafka.timeout", "5s").unwrap();
    set(&mut config, "kafka.client.client.id", "me").unwrap();
    let extension = config.extensions.get::<KafkaSessionOptions>().unwrap();
    let entries: BTreeMap<_, _> = extension
        .entries()
        .into_iter()
        .map(|entry| (entry.key, entry.value))
        .collect();
    assert_eq!(entries["kafka.timeout"].as_deref(), Some("5s"));
    assert_eq!(entries["kafka.client.client.id"].as_deref(), Some("me"));
    assert_eq!(entries["kafka.mode"], None);
}

#[tokio::test]
async fn sql_sets_and_shows_options() {
    let config = SessionConfig::new()
        .with_information_schema(true)
        .with_option_extension(KafkaSessionOptions::default());
    let ctx = SessionContext::new_with_config(config);
    ctx.sql("SET kafka.timeout = '5s'").await.unwrap();
    ctx.sql("SET kafka.client.client.id = 'me'").await.unwrap();
    assert!(ctx.sql("SET kafka.timeout = 'soon'").await.is_err());
    assert!(
        ctx.sql("SET kafka.client.sasl.password = 'hunter2'")
            .await
            .is_err()
    );

    let settings = "SELECT name, value FROM information_schema.df_settings \
                    WHERE name LIKE 'kafka.%' AND value IS NOT NULL ORDER BY name";
    let batches = ctx.sql(settings).await.unwrap().collect().await.unwrap();
    let text = format!("{batches:?}");
    assert!(
        text.contains("kafka.timeout") && text.contains("5s"),
        "{text}"
    );
    assert!(text.contains("kafka.client.client.id"), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}
