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

/// A running Kafka: one that the tests started, or another one.
///
/// What tests do to a broker is in methods, which panic where the broker refuses. Each waits until
/// the broker has done what was asked, for a minute at most.
#[derive(Debug)]
pub struct Broker {
    /// `bootstrap.servers` of the plain listener.
    pub servers: String,
    /// `bootstrap.servers` of the SASL_PLAINTEXT listener (mechanisms PLAIN, and OAUTHBEARER with
    /// unsigned tokens); a broker that the tests started has one.
    pub sasl_servers: Option<String>,
    /// The listeners with TLS, one of them SASL_SSL (mechanisms SCRAM-SHA-512 and PLAIN); a broker
    /// that the tests started has them.
    pub tls: Option<Tls>,
    /// Of a broker that the tests started.
    pub(crate) process: Option<Process>,
}

/// Listeners that show a certificate.
#[derive(Debug)]
pub struct Tls {
    /// With a login.
    pub servers: String,
    /// Without a login.
    pub no_login: String,
    /// Which require the same certificate of the client.
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

    /// Kills Kafka and starts it again, with all that it had on disk, which takes some seconds:
    /// this returns at once. For a broker that the tests started.
    pub fn restart(&mut self) {
        self.process.as_mut().unwrap().restart();
    }

    /// Holds Kafka up, which answers nothing until the result is dropped. For a broker that the
    /// tests started.
    #[cfg(unix)]
    pub fn freeze(&self) -> Frozen {
        self.process.as_ref().unwrap().freeze()
    }

    /// Whether the broker answers, which this asks once.
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
            // librdkafka wants a group id to assign partitions, though it joins no group.
            .set("group.id", "datafusion-kafka-tests")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", isolation)
            // The end of a partition is told when a request for more comes back empty.
            .set("fetch.wait.max.ms", "5")
            .create()
            .unwrap()
    }
}
