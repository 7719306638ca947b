//! The Kafka that the examples use: one in this process, or the broker that
//! `KAFKA_BOOTSTRAP_SERVERS` names.

// No example uses all of this module.
#![allow(dead_code, unreachable_pub)]

use std::error::Error;
use std::time::Duration;

use datafusion::prelude::SessionContext;
use datafusion_kafka::EmbeddedKafka;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

pub type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

pub struct Kafka {
    servers: String,
    /// The Kafka in this process, which ends with the example.
    embedded: Option<EmbeddedKafka>,
}

impl Kafka {
    pub fn start() -> Result<Self> {
        if let Ok(servers) = std::env::var("KAFKA_BOOTSTRAP_SERVERS") {
            return Ok(Kafka {
                servers,
                embedded: None,
            });
        }
        let embedded = EmbeddedKafka::start()?;
        Ok(Kafka {
            servers: embedded.bootstrap_servers(),
            embedded: Some(embedded),
        })
    }

    pub fn servers(&self) -> &str {
        &self.servers
    }

    pub fn describe(&self) -> String {
        match &self.embedded {
            Some(_) => format!("a Kafka in this process, at {}", self.servers),
            None => format!("the Kafka at {}", self.servers),
        }
    }

    /// Creates a topic and returns its name. On a shared broker the name ends with the process id,
    /// so that no topic of another user is changed.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<String> {
        if let Some(embedded) = &self.embedded {
            embedded.create_topic(name, partitions)?;
            return Ok(name.to_owned());
        }
        let name = format!("{name}_{}", std::process::id());
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(-1))
            .set("cleanup.policy", "compact");
        let results = admin.create_topics([&topic], &AdminOptions::new()).await?;
        for result in results {
            result.map_err(|(topic, code)| format!("cannot create {topic}: {code}"))?;
        }
        Ok(name)
    }

    /// Writes records like any other program; `None` is a tombstone.
    pub async fn produce(&self, topic: &str, records: &[(&str, Option<&str>)]) -> Result<()> {
        let producer: FutureProducer = self
            .config()
            .set("partitioner", "murmur2_random")
            .create()?;
        for (key, payload) in records {
            let mut record = FutureRecord::to(topic).key(*key);
            if let Some(payload) = payload {
                record = record.payload(*payload);
            }
            let sent = producer.send(record, Duration::from_secs(10)).await;
            sent.map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }
}

/// Prints a statement and its rows.
pub async fn show(ctx: &SessionContext, sql: &str) -> Result<()> {
    println!("\n> {}", sql.trim());
    datafusion_kafka::sql(ctx, sql).await?.show().await?;
    Ok(())
}
