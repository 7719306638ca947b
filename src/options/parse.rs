//! Parses options as they were given into the options of a table.

use super::client::{ClientOptions, Property, check_servers};
use super::draft::Draft;
use super::envelope::Envelope;
use super::layers::Options;
use super::origin::{ALLOW, CODE, Origin};
use super::properties_file;
use super::property::{self, SERVERS, Side};
use super::references;
use super::secret;
use super::spec::{self, Kind, OptionSpec};
use super::suggest;
use super::table::{Bound, KeyFormat, Mode, OnBadRecord, TableOptions};
use crate::error::{Error, Result};

impl Options {
    /// Checks the options as the options of one table, without other sources below them. Does not
    /// connect: librdkafka itself checks the properties.
    ///
    /// # Errors
    /// [`Error::UnknownOption`], [`Error::InvalidOption`], [`Error::ConflictingOptions`] and
    /// [`Error::ReadFile`].
    pub fn validate(&self) -> Result<()> {
        TableOptions::parse(&[self]).map(drop)
    }
}

impl TableOptions {
    /// Parses the options of a table and checks them against each other.
    ///
    /// `layers` are the sources of options, from the lowest precedence to the table's own
    /// options. librdkafka checks the properties, without a connection.
    pub(crate) fn parse(layers: &[&Options]) -> Result<TableOptions> {
        let mut draft = Draft::default();
        for layer in layers {
            draft.apply(layer)?;
        }
        draft.finish(layers.last().copied().unwrap_or(&Options::new()))
    }
}

impl Draft {
    /// Applies the options of one layer on top of the layers below.
    pub(super) fn apply(&mut self, layer: &Options) -> Result<()> {
        let mut file = ClientOptions::default();
        let mut client = ClientOptions::default();
        for (key, given, origin) in layer.given() {
            let Some((option, rest)) = spec::find(key) else {
                return Err(unknown(key));
            };
            check_origin(origin, option, rest, key)?;
            // References in servers are not resolved, because messages show servers.
            let value = match secret::names_servers(key) {
                true => given.to_owned(),
                false => references::resolve(key, given, origin)?,
            };
            // The target of a reference may be a secret, whatever the key is.
            let safe = value == given && secret::is_safe(key);
            match option.kind {
                Kind::Value(set) => set(self, &value).map_err(|problem| Error::InvalidOption {
                    key: key.to_owned(),
                    reason: format!("{problem}; got `{given}`"),
                })?,
                Kind::Column(set) => {
                    let column = self.table.columns.entry(rest.to_owned()).or_default();
                    set(column, &value).map_err(|problem| Error::InvalidOption {
                        key: key.to_owned(),
                        reason: format!("{problem}; got `{given}`"),
                    })?;
                }
                Kind::TopicConfig => {
                    self.topic.config.insert(rest.to_owned(), value);
                }
                Kind::PropertiesFile => {
                    file = properties_file::read(key, given, &value, origin)?;
                }
                Kind::Servers | Kind::Property(_) => {
                    let (side, name) = match option.kind {
                        Kind::Property(side) => (side, rest),
                        _ => (Side::Both, SERVERS),
                    };
                    let property = Property {
                        key: key.to_owned(),
                        value,
                        safe,
                        origin,
                    };
                    add(&mut client, side, name, property)?;
                }
            }
        }
        self.table.client.override_with(file);
        self.table.client.override_with(client);
        Ok(())
    }

    fn finish(mut self, own: &Options) -> Result<TableOptions> {
        self.check_effect(own)?;
        let mut table = self.table;
        table.client.check_login()?;
        table.client.check_destination()?;
        if table.partitioner.is_some()
            && let Some(key) = table.client.producer_key("partitioner")
        {
            return Err(Error::ConflictingOptions {
                first: "kafka.partitioner".to_owned(),
                second: key.to_owned(),
            });
        }
        let required = |key: &str, reason: &str| Error::InvalidOption {
            key: key.to_owned(),
            reason: reason.to_owned(),
        };
        for (key, id) in [
            ("kafka.json.schema_id", table.schema_id),
            ("kafka.json.key_schema_id", table.key_schema_id),
        ] {
            if id.is_some_and(|id| id > table.framing.largest_id()) {
                let reason = "the id does not fit into 4 bytes; `kafka.json.framing` = `apicurio` \
                              writes 8";
                return Err(required(key, reason));
            }
        }
        if !table.may_be_json() {
            (table.value_envelope, table.deleted_by) = (None, None);
        }
        match table.key_envelope() {
            Envelope::None => {}
            _ if table.may_have_json_keys() => table.key_format = Some(KeyFormat::Json),
            _ => table.key_envelope = None,
        }
        if matches!(table.start, Bound::Group(_)) && table.group_id.is_none() {
            let reason = "`group` needs `kafka.group.id`, the group whose offsets to use";
            return Err(required("kafka.start", reason));
        }
        if table.on_bad_record == OnBadRecord::DeadLetter && table.dead_letter_topic.is_none() {
            let reason = "`dead_letter` needs `kafka.dead_letter.topic`";
            return Err(required("kafka.on_bad_record", reason));
        }
        if table.mode != Some(Mode::Append) {
            // In append mode, compaction would delete all but the latest record of a key.
            let policy = self.topic.config.entry("cleanup.policy".to_owned());
            policy.or_insert_with(|| "compact".to_owned());
        }
        for (key, _) in own.iter() {
            let option = spec::find(key).filter(|(o, _)| matches!(o.kind, Kind::Column(_)));
            if let Some(column) = option.and_then(|(_, name)| table.columns.get_mut(name)) {
                column.is_own = true;
            }
        }
        table.create_topic = self.create_topic.then_some(self.topic);
        Ok(table)
    }

    /// Refuses options of the table itself that have no effect. Options of other layers are
    /// defaults that may be meant for other tables.
    fn check_effect(&self, own: &Options) -> Result<()> {
        let json = self.table.may_be_json() || self.table.key_format() == KeyFormat::Json;
        for (key, _) in own.iter() {
            let reason = if key.starts_with("kafka.json.") && !json {
                "has no effect, since neither `kafka.value.format` nor `kafka.key.format` is `json`"
            } else if ["kafka.value.envelope", "kafka.deleted_by"].contains(&key)
                && !self.table.may_be_json()
            {
                "has no effect, since `kafka.value.format` is not `json`"
            } else if key == "kafka.key.envelope" && !self.table.may_have_json_keys() {
                "has no effect, since `kafka.key.format` is not `json`"
            } else if key.starts_with("kafka.topic.") && !self.create_topic {
                "has no effect without `kafka.create_topic` = `true`"
            } else if key == "kafka.dead_letter.topic"
                && self.table.on_bad_record != OnBadRecord::DeadLetter
            {
                "has no effect without `kafka.on_bad_record` = `dead_letter`"
            } else {
                continue;
            };
            return Err(Error::InvalidOption {
                key: key.to_owned(),
                reason: reason.to_owned(),
            });
        }
        Ok(())
    }
}

/// Checks that an option of this origin is allowed at all, whatever its value.
///
/// # Errors
/// [`Error::InvalidOption`] for an option that makes librdkafka run commands or load code. Where
/// references are not allowed, also for an option that makes librdkafka or this library read a
/// file.
pub(super) fn check_origin(
    origin: Origin,
    option: &OptionSpec,
    rest: &str,
    key: &str,
) -> Result<()> {
    let refused = |reason: String| {
        Err(Error::InvalidOption {
            key: key.to_owned(),
            reason,
        })
    };
    let property = match option.kind {
        Kind::Property(_) => Some(rest),
        _ => None,
    };
    if origin != Origin::Program && property.is_some_and(property::runs_code) {
        return refused(CODE.to_owned());
    }
    if origin.may_refer() {
        return Ok(());
    }
    if matches!(option.kind, Kind::PropertiesFile) || property.is_some_and(property::reads_file) {
        return refused(format!("statements may not name files here; {ALLOW}"));
    }
    if property.is_some_and(property::uses_identity) {
        return refused(format!(
            "statements may not log in as the machine here; {ALLOW}"
        ));
    }
    Ok(())
}

/// Adds a property that an option sets.
fn add(client: &mut ClientOptions, side: Side, name: &str, property: Property) -> Result<()> {
    if let Some(reason) = property::owned(name, &property.value) {
        return Err(property.invalid(reason));
    }
    let name = property::canonical(name);
    if name == SERVERS {
        if side != Side::Both {
            return Err(
                property.invalid("a table is on one cluster; use `kafka.bootstrap.servers`")
            );
        }
        check_servers(&property)?;
    }
    let meant = property::side(name);
    let side = match (side, meant) {
        (Side::Both, meant) => meant,
        (side, Side::Both) => side,
        (side, meant) if side == meant => side,
        (Side::Consumer, _) => {
            return Err(property.invalid(format!(
                "a property for writing; use `kafka.producer.{name}`"
            )));
        }
        (Side::Producer, _) => {
            return Err(property.invalid(format!(
                "a property for reading; use `kafka.consumer.{name}`"
            )));
        }
    };
    if !property.check(name)? {
        return Err(unknown(&property.key));
    }
    client.add(side, name, property)
}

/// The error for a key that is not an option, with a suggestion.
pub(super) fn unknown(key: &str) -> Error {
    let name = ["kafka.", "format."]
        .iter()
        .find_map(|prefix| key.strip_prefix(prefix))
        .unwrap_or(key);
    if let Some(reason) = property::owned(name, "") {
        return Error::InvalidOption {
            key: key.to_owned(),
            reason: reason.to_owned(),
        };
    }
    Error::UnknownOption {
        key: key.to_owned(),
        hint: hint(key, name).unwrap_or_default(),
    }
}

/// The suggestion for `key`. `name` is the key without its first word.
fn hint(key: &str, name: &str) -> Option<String> {
    let meant = |key: String| Some(format!("; did you mean `{key}`?"));
    let prefixed = format!("kafka.{name}");
    if spec::find(&prefixed).is_some() && prefixed != key {
        return Some(format!("; option keys start with `kafka.`: `{prefixed}`"));
    }
    if property::exists(name) {
        return meant(format!("kafka.client.{name}"));
    }
    if key.starts_with("kafka.column.") {
        return Some("; the only option of a column is `kafka.column.<name>.encoding`".to_owned());
    }
    if let Some((option, property)) = spec::find(key)
        && matches!(option.kind, Kind::Property(_))
    {
        let prefix = option.prefix()?;
        let near = suggest::nearest(property, property::names());
        return match near {
            Some(near) => meant(format!("{prefix}{near}")),
            None => Some("; librdkafka has no such property".to_owned()),
        };
    }
    let names = spec::all()
        .iter()
        .filter(|option| option.prefix().is_none())
        .filter_map(|option| option.name.strip_prefix("kafka."));
    if let Some(near) = suggest::nearest(name, names) {
        return meant(format!("kafka.{near}"));
    }
    if let Some(near) = suggest::nearest(name, property::names()) {
        return meant(format!("kafka.client.{near}"));
    }
    let foreign = !key.starts_with("kafka.");
    foreign.then(|| "; option keys start with `kafka.`".to_owned())
}
