//! A broker, and the clients that talk to it.

use std::path::PathBuf;

use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

#[cfg(unix)]
use crate::process::Frozen;
use crate::process::Process;
use crate::wait::PATIENCE;

/// A running Kafka: one that the tests started, or an existing one.
///
/// Methods do to the broker what tests need, and panic if the broker refuses. Each waits up to a
/// minute until the broker has done what was asked.
#[derive(Debug)]
pub struct Broker {
    /// `bootstrap.servers` of the plain listener.
    pub servers: String,
    /// `bootstrap.servers` of the SASL_PLAINTEXT listener (mechanisms PLAIN, and OAUTHBEARER with
    /// unsigned tokens). Brokers that the tests started have one.
    pub sasl_servers: Option<String>,
    /// The listeners with TLS, one of them SASL_SSL (mechanisms SCRAM-SHA-512 and PLAIN). Brokers
    /// that the tests started have them.
    pub tls: Option<Tls>,
    /// The process of a broker that the tests started.
    pub(crate) process: Option<Process>,
}

/// Listeners that present a certificate.
#[derive(Debug)]
pub struct Tls {
    /// `bootstrap.servers` of the listener with a login.
    pub servers: String,
    /// `bootstrap.servers` of the listener without a login.
    pub no_login: String,
    /// `bootstrap.servers` of the listener that requires the same certificate from the client.
    pub mutual: String,
    /// The self-signed certificate, in PEM.
    pub ca: PathBuf,
    /// The certificate with its key, in PKCS#12; its password is
    /// [`KEYSTORE_PASSWORD`](crate::KEYSTORE_PASSWORD).
    pub keystore: PathBuf,
}

impl Broker {
    /// A broker that the tests did not start, such as a mock.
    pub fn elsewhere(servers: &str) -> Self {
        Broker {
            servers: servers.to_owned(),
            sasl_servers: None,
            tls: None,
            process: None,
        }
    }

    /// Kills Kafka and starts it again, with everything that it had on disk. Returns immediately;
    /// the restart takes several seconds. Only for a broker that the tests started.
    pub fn restart(&mut self) {
        self.process.as_mut().unwrap().restart();
    }

    /// Freezes Kafka, so that it answers nothing until the result is dropped. Only for a broker
    /// that the tests started.
    #[cfg(unix)]
    pub fn freeze(&self) -> Frozen {
        self.process.as_ref().unwrap().freeze()
    }

    /// Whether the broker answers. Asks once.
    pub fn is_there(&self) -> bool {
        let consumer = self.consumer("read_committed");
        consumer.fetch_metadata(None, PATIENCE / 60).is_ok()
    }

    /// A client configuration that reaches the plain listener.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    pub(crate) fn consumer(&self, isolation: &str) -> BaseConsumer {
        self.config()
            // librdkafka needs a group id to assign partitions, although the client joins no group.
            .set("group.id", "datafusion-kafka-tests")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", isolation)
            // The end of a partition is reported when a request for more records comes back empty.
            .set("fetch.wait.max.ms", "5")
            .create()
            .unwrap()
    }
}
