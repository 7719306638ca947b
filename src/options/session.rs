//! Holds the options of a session: `SET kafka.timeout = '5s'`.

use std::any::Any;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::error::Result as DataFusionResult;

use super::draft::Draft;
use super::layers::Options;
use super::origin::Origin;
use super::parse;
use super::property::Side;
use super::references;
use super::secret;
use super::spec::{self, Kind};
use super::value::boolean;
use crate::error::{Error, Result};

/// The options that `SET kafka.<name> = '..'` sets for all tables of a session.
///
/// A key or value that no table could use is an error immediately. Secrets are refused, because
/// every value of a session can be read in SQL (`SHOW ALL`).
///
/// ```
/// use datafusion::prelude::{SessionConfig, SessionContext};
/// use datafusion_kafka::options::KafkaSessionOptions;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> datafusion::error::Result<()> {
/// let config = SessionConfig::new().with_option_extension(KafkaSessionOptions::default());
/// let ctx = SessionContext::new_with_config(config);
/// ctx.sql("SET kafka.timeout = '5s'").await?;
/// assert!(ctx.sql("SET kafka.timeout = 'soon'").await.is_err());
/// ctx.sql("SET kafka.timeout = ''").await?; // takes it back, as RESET cannot
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct KafkaSessionOptions {
    options: Options,
    allows_references: bool,
}

impl KafkaSessionOptions {
    /// Sets whether values may refer to files and the environment, like
    /// [`KafkaConfig::allow_references_in_sql`](crate::KafkaConfig::allow_references_in_sql). By
    /// default they may not.
    pub fn allow_references_in_sql(mut self, allowed: bool) -> Self {
        self.allows_references = allowed;
        self
    }

    /// The options that were set.
    pub fn options(&self) -> Options {
        self.options.clone()
    }

    /// The options that `SET kafka.x = ..` has set in a session. A session without this extension
    /// has no options.
    pub(crate) fn of(config: &ConfigOptions) -> Options {
        let session = config.extensions.get::<KafkaSessionOptions>();
        session
            .map(KafkaSessionOptions::options)
            .unwrap_or_default()
    }

    /// Whether `SET kafka.dry_run = 'true'` is in effect.
    pub(crate) fn is_dry_run(config: &ConfigOptions) -> bool {
        let session = Self::of(config);
        let mut set = session.given().filter(|(key, ..)| *key == "kafka.dry_run");
        // A value that cannot be read must not lead to writes.
        set.any(
            |(key, value, origin)| match references::resolve(key, value, origin) {
                Ok(value) => boolean(&value) != Ok(false),
                Err(_) => true,
            },
        )
    }

    fn insert(&mut self, key: &str, value: &str) -> Result<()> {
        let Some((option, rest)) = spec::find(key) else {
            return Err(parse::unknown(key));
        };
        let origin = Origin::statement(self.allows_references);
        parse::check_origin(origin, option, rest, key)?;
        if !secret::is_safe(key) {
            let instead = match self.allows_references {
                true => {
                    "use the table's OPTIONS with `${env:NAME}` or `${file:/path}`, or a \
                     `kafka.properties.file`"
                }
                false => "use the table's OPTIONS, or `KafkaConfig::with_option` in the program",
            };
            return Err(Error::InvalidOption {
                key: key.to_owned(),
                reason: format!("not allowed in a session, where everyone can read it; {instead}"),
            });
        }
        Draft::default().apply(&Options::new().set_by(origin, key, value))?;
        let mut options = self.options.clone().set_by(origin, key, value);
        // Where two options set the same thing, the later statement counts.
        if let Err(Error::ConflictingOptions { first, second }) = Draft::default().apply(&options) {
            if !same_clients(&first, &second) {
                return Err(Error::ConflictingOptions { first, second });
            }
            options.remove(if first == key { &second } else { &first });
        }
        self.options = options;
        Ok(())
    }
}

/// Whether two conflicting options are for the same clients, so that one replaces the other.
fn same_clients(first: &str, second: &str) -> bool {
    let side = |key| match spec::find(key)?.0.kind {
        Kind::Servers => Some(Side::Both),
        Kind::Property(side) => Some(side),
        _ => None,
    };
    side(first) == side(second)
}

impl ConfigExtension for KafkaSessionOptions {
    const PREFIX: &'static str = "kafka";
}

impl ExtensionOptions for KafkaSessionOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> DataFusionResult<()> {
        let key = format!("kafka.{}", key.to_ascii_lowercase());
        // `RESET` does not reach the options of extensions.
        if value.is_empty() && spec::find(&key).is_some() {
            self.options.remove(&key);
            return Ok(());
        }
        Ok(self.insert(&key, value)?)
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let own = spec::all()
            .iter()
            .filter(|option| option.prefix().is_none());
        let own = own.map(|option| ConfigEntry {
            key: option.name.to_owned(),
            value: self.options.get(option.name).map(str::to_owned),
            description: option.doc,
        });
        let others = self.options.redacted().filter_map(|(key, value)| {
            let (option, rest) = spec::find(key)?;
            (!rest.is_empty()).then(|| ConfigEntry {
                key: key.to_owned(),
                value: Some(value.to_owned()),
                description: option.doc,
            })
        });
        own.chain(others).collect()
    }
}
