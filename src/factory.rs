//! `CREATE EXTERNAL TABLE .. STORED AS KAFKA`.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::common::{Constraint, Result as DataFusionResult};
use datafusion::logical_expr::CreateExternalTable;

use crate::error::{Error, Result};
use crate::options::{KafkaSessionOptions, Mode, Options};
use crate::schema::KEY_COLUMN;
use crate::table::{KafkaTable, TableDefinition};

/// Makes Kafka tables for `CREATE EXTERNAL TABLE .. STORED AS KAFKA`.
///
/// [`register_kafka`](crate::register_kafka) registers one; without it:
/// ```
/// # use datafusion::prelude::SessionContext;
/// # let ctx = SessionContext::new();
/// use datafusion_kafka::KafkaTableFactory;
/// let state = ctx.state_ref();
/// state.write().table_factories_mut().insert("KAFKA".to_owned(), std::sync::Arc::new(KafkaTableFactory::default()));
/// ```
#[derive(Debug, Clone, Default)]
pub struct KafkaTableFactory {
    options: Options,
}

impl KafkaTableFactory {
    /// A factory whose tables have these options unless their own say otherwise.
    pub fn new(options: Options) -> Self {
        KafkaTableFactory { options }
    }
}

#[async_trait]
impl TableProviderFactory for KafkaTableFactory {
    async fn create(
        &self,
        state: &dyn Session,
        command: &CreateExternalTable,
    ) -> DataFusionResult<Arc<dyn TableProvider>> {
        let location = Location::parse(command)?;
        refuse_other_clauses(command)?;
        let options = Options::from_map(&command.options);
        let mut builder = KafkaTable::builder(&location.topic)
            .with_layers(vec![session_options(state), self.options.clone()])
            .with_options(options.clone())
            .with_servers(location.servers);
        if !command.schema.fields().is_empty() {
            builder = builder.with_schema(Arc::clone(command.schema.inner()));
        }
        let definition = Arc::new(builder.define().await?);
        check_constraints(command, &definition)?;
        let constraints = constraints(command, &definition);
        let table = KafkaTable::new(Some(Arc::clone(&definition)), Some(Arc::clone(&definition)))
            .with_ddl(
                constraints,
                command.column_defaults.clone(),
                definition_text(command, &definition, &options),
            );
        Ok(Arc::new(table))
    }
}

/// What `SET kafka.x = ..` has set in the session.
pub(crate) fn session_options(state: &dyn Session) -> Options {
    state
        .config_options()
        .extensions
        .get::<KafkaSessionOptions>()
        .map(KafkaSessionOptions::options)
        .unwrap_or_default()
}

/// Where a table lies: `kafka://host:9092/topic`, or the topic alone.
#[derive(Debug, PartialEq, Eq)]
struct Location {
    servers: Option<String>,
    topic: String,
}

impl Location {
    fn parse(command: &CreateExternalTable) -> Result<Self> {
        match command.locations.as_slice() {
            [location] => Location::parse_text(location),
            locations => Err(Error::InvalidLocation {
                location: format!("{} locations", locations.len()),
                reason: "a Kafka table has exactly one, such as `kafka://host:9092/topic`"
                    .to_owned(),
            }),
        }
    }

    fn parse_text(location: &str) -> Result<Self> {
        let invalid = |reason: &str| Error::InvalidLocation {
            location: without_login(location),
            reason: reason.to_owned(),
        };
        let (servers, topic) = match location.split_once("://") {
            None => (None, location),
            Some(("kafka", rest)) => match rest.split_once('/') {
                Some((servers, topic)) => (Some(servers), topic),
                None => return Err(invalid("names no topic; write `kafka://host:9092/topic`")),
            },
            Some(_) => return Err(invalid("must start with `kafka://` or be a topic's name")),
        };
        if servers.is_some_and(|servers| servers.contains('@')) {
            return Err(invalid(
                "holds a user; give `kafka.client.sasl.username` and `kafka.client.sasl.password` in OPTIONS",
            ));
        }
        if servers.is_some_and(|servers| servers.contains(',')) {
            return Err(invalid(
                "names several servers; give one here, or all of them in `kafka.bootstrap.servers`",
            ));
        }
        if servers.is_none() && topic.contains(':') {
            return Err(invalid("names a server; write `kafka://host:9092/topic`"));
        }
        if let Some(reason) = bad_topic_name(topic) {
            return Err(invalid(reason));
        }
        Ok(Location {
            servers: servers.filter(|s| !s.is_empty()).map(str::to_owned),
            topic: topic.to_owned(),
        })
    }
}

/// Kafka's own rules for the names of topics.
pub(crate) fn bad_topic_name(topic: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() {
        Some("names no topic; write `kafka://host:9092/topic`")
    } else if topic.len() > 249 || topic == "." || topic == ".." || !topic.chars().all(allowed) {
        Some(
            "is no topic's name, which has at most 249 letters, digits, dots, underscores and hyphens",
        )
    } else {
        None
    }
}

/// The location without what may be a login: the text before an `@`, and a query.
fn without_login(location: &str) -> String {
    let (place, query) = match location.split_once('?') {
        Some((place, _)) => (place, "?***"),
        None => (location, ""),
    };
    match place.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}{query}"),
        None => format!("{place}{query}"),
    }
}

fn refuse_other_clauses(command: &CreateExternalTable) -> Result<()> {
    let refused = if command.unbounded {
        "CREATE UNBOUNDED EXTERNAL TABLE is not supported for Kafka topics yet; leave UNBOUNDED out to read a topic up to its end"
    } else if !command.table_partition_cols.is_empty() {
        "PARTITIONED BY does not apply to Kafka topics; declare `_partition INT` to see a row's Kafka partition"
    } else if !command.order_exprs.is_empty() {
        "WITH ORDER does not apply to Kafka topics"
    } else {
        return Ok(());
    };
    Err(Error::Unsupported(refused.to_owned()))
}

/// The only promise a user can make is that a key lives in one partition.
fn check_constraints(command: &CreateExternalTable, definition: &TableDefinition) -> Result<()> {
    let fields = command.schema.fields();
    let is_key = |columns: &Vec<usize>| match columns.as_slice() {
        [column] => fields.get(*column).is_some_and(|f| f.name() == KEY_COLUMN),
        _ => false,
    };
    let upsert = definition.options.mode.unwrap_or_default() == Mode::Upsert;
    for constraint in command.constraints.iter() {
        let allowed = matches!(constraint, Constraint::PrimaryKey(columns) if is_key(columns));
        if !allowed || !upsert {
            return Err(Error::Unsupported(format!(
                "the only constraint of a Kafka table is PRIMARY KEY ({KEY_COLUMN}), in upsert mode"
            )));
        }
    }
    Ok(())
}

/// The declared constraints with positions in the table's final schema.
fn constraints(
    command: &CreateExternalTable,
    definition: &TableDefinition,
) -> datafusion::common::Constraints {
    let key = definition.schema.arrow().index_of(KEY_COLUMN).unwrap_or(0);
    let promised = command
        .constraints
        .iter()
        .map(|_| Constraint::PrimaryKey(vec![key]));
    datafusion::common::Constraints::new_unverified(promised.collect())
}

/// The statement that would make the table again, without secrets.
fn definition_text(
    command: &CreateExternalTable,
    definition: &TableDefinition,
    options: &Options,
) -> String {
    let columns: Vec<String> = definition
        .schema
        .columns()
        .map(|(_, field)| {
            let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
            let data_type = sql_type(field.data_type());
            format!("{} {data_type}{not_null}", quoted(field.name()))
        })
        .collect();
    let primary_key = match command.constraints.is_empty() {
        true => String::new(),
        false => format!(", PRIMARY KEY ({KEY_COLUMN})"),
    };
    let location = command.locations.first().map_or("", String::as_str);
    let options: Vec<String> = options
        .redacted()
        .map(|(key, value)| format!("'{key}' '{}'", value.replace('\'', "''")))
        .collect();
    let mut text = format!(
        "CREATE EXTERNAL TABLE {} ({}{primary_key}) STORED AS KAFKA LOCATION '{location}'",
        command.name.to_quoted_string(),
        columns.join(", "),
    );
    if !options.is_empty() {
        text.push_str(&format!(" OPTIONS ({})", options.join(", ")));
    }
    text
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The type as DDL names it; a type that DDL has no name for as Arrow does.
fn sql_type(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "TINYINT UNSIGNED",
        DataType::UInt16 => "SMALLINT UNSIGNED",
        DataType::UInt32 => "INT UNSIGNED",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTEA",
        DataType::Date32 => "DATE",
        DataType::Time64(TimeUnit::Nanosecond) => "TIME",
        DataType::Interval(IntervalUnit::MonthDayNano) => "INTERVAL",
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            return format!("DECIMAL({precision}, {scale})");
        }
        DataType::Timestamp(unit, zone) => {
            let digits = match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            };
            let zone = zone.as_ref().map_or("", |_| " WITH TIME ZONE");
            return format!("TIMESTAMP({digits}){zone}");
        }
        DataType::List(item) | DataType::LargeList(item) => {
            return format!("{}[]", sql_type(item.data_type()));
        }
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{} {}", quoted(field.name()), sql_type(field.data_type())))
                .collect();
            return format!("STRUCT<{}>", fields.join(", "));
        }
        other => return other.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(location: &str) -> (Option<String>, String) {
        let location = Location::parse_text(location).unwrap();
        (location.servers, location.topic)
    }

    #[test]
    fn a_location_is_a_url_or_a_topic() {
        let url = parsed("kafka://host:9092/orders.v1");
        assert_eq!(url, (Some("host:9092".into()), "orders.v1".into()));
        assert_eq!(parsed("orders-eu"), (None, "orders-eu".into()));
        assert_eq!(parsed("kafka:///orders"), (None, "orders".into()));
    }

    #[test]
    fn a_bad_location_says_what_is_allowed() {
        for (location, reason) in [
            ("kafka://host:9092", "names no topic"),
            ("kafka://host:9092/", "names no topic"),
            ("", "names no topic"),
            ("s3://bucket/file", "must start with `kafka://`"),
            ("kafka://a:1,b:2/t", "names several servers"),
            ("kafka://h:1/a/b", "is no topic's name"),
            ("host:9092/t", "names a server; write `kafka://"),
            ("two words", "is no topic's name"),
        ] {
            let error = Location::parse_text(location).unwrap_err().to_string();
            assert!(error.contains(reason), "{location}: {error}");
        }
    }

    #[test]
    fn a_password_in_a_location_is_refused_and_not_shown() {
        let error = Location::parse_text("kafka://alice:geheim@host:9092/t").unwrap_err();
        assert!(error.to_string().contains("sasl.password"), "{error}");
        for location in [
            "kafka://alice:geheim@host:9092/t",
            "KAFKA://alice:geheim@host:9092/t",
            "alice:geheim@host:9092/t",
            "kafka://host:9092/t?password=geheim",
            "kafka://host:9092/t?password=geheim@x",
            "alice:geheim://x@host:9092/t",
        ] {
            let error = Location::parse_text(location).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
