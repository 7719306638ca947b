//! [`KafkaTableFactory`]: runs `CREATE EXTERNAL TABLE .. STORED AS KAFKA`.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::common::{Constraint, Result as DataFusionResult};
use datafusion::logical_expr::CreateExternalTable;

use crate::client::KeptClients;
use crate::definition::metadata_columns::KEY_COLUMN;
use crate::definition::{TableDefinition, column_options};
use crate::error::{Error, Result};
use crate::options::{Envelope, KeyFormat, Mode, Options, Origin, ValueFormat};
use crate::sql_type::{quoted, sql_type};
use crate::table::KafkaTable;
use crate::table::location::Location;

/// Makes Kafka tables for `CREATE EXTERNAL TABLE .. STORED AS KAFKA`.
///
/// [`register_kafka`](crate::register_kafka) registers a factory. Without it:
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
    allows_references: bool,
}

impl KafkaTableFactory {
    /// A factory whose tables have these options, unless their own options override them.
    pub fn new(options: Options) -> Self {
        KafkaTableFactory {
            options,
            allows_references: false,
        }
    }

    /// Whether statements may refer to files and the environment; see
    /// [`KafkaConfig::allow_references_in_sql`](crate::KafkaConfig::allow_references_in_sql).
    /// Default: `false`.
    pub fn allow_references_in_sql(mut self, allowed: bool) -> Self {
        self.allows_references = allowed;
        self
    }
}

#[async_trait]
impl TableProviderFactory for KafkaTableFactory {
    async fn create(
        &self,
        state: &dyn Session,
        command: &CreateExternalTable,
    ) -> DataFusionResult<Arc<dyn TableProvider>> {
        let location = location(command)?;
        refuse_other_clauses(command)?;
        let origin = Origin::statement(self.allows_references);
        let options = Options::from_clause(&command.options, origin);
        let session = state.config_options();
        let mut builder = location.table(session, &self.options, options.clone(), origin);
        if !command.schema.fields().is_empty() {
            builder = builder.with_schema(Arc::clone(command.schema.inner()));
        }
        let kept = KeptClients::of(state.config());
        let definition = Arc::new(builder.with_kept_clients(kept).define().await?);
        check_constraints(command, &definition)?;
        let constraints = constraints(command, &definition);
        let text = definition_text(command, &definition, &options);
        let table = KafkaTable::of(definition, command.unbounded)?;
        let defaults = command.column_defaults.clone();
        Ok(Arc::new(table.with_ddl(constraints, defaults, text)))
    }
}

fn location(command: &CreateExternalTable) -> Result<Location> {
    match command.locations.as_slice() {
        [location] => Location::parse(location),
        locations => Err(Error::InvalidLocation {
            location: format!("{} locations", locations.len()),
            reason: "a Kafka table has exactly one, such as `kafka://host:9092/topic`".to_owned(),
        }),
    }
}

fn refuse_other_clauses(command: &CreateExternalTable) -> Result<()> {
    let refused = if command.unbounded && !command.constraints.is_empty() {
        "an UNBOUNDED table has a row for each change of a key, so its keys are not unique; leave PRIMARY KEY out"
    } else if !command.table_partition_cols.is_empty() {
        "PARTITIONED BY does not apply to Kafka topics; declare `_partition INT` to see a row's Kafka partition"
    } else if !command.order_exprs.is_empty() {
        "WITH ORDER does not apply to Kafka topics"
    } else {
        return Ok(());
    };
    Err(Error::Unsupported(refused.to_owned()))
}

/// Checks that the only constraint is PRIMARY KEY (_key), which promises that all records of a
/// key are in one partition.
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

/// The statement that would create the table again, without secrets.
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
    let given = options
        .redacted()
        .map(|(key, value)| format!("'{key}' '{}'", value.replace('\'', "''")));
    let found = found_in_sample(definition)
        .into_iter()
        .filter(|(key, _)| !options.iter().any(|(given, _)| given == key))
        .map(|(key, value)| format!("'{key}' '{value}'"));
    let options: Vec<String> = given.chain(found).collect();
    let mut text = format!(
        "CREATE {}EXTERNAL TABLE {} ({}{primary_key}) STORED AS KAFKA LOCATION '{location}'",
        if command.unbounded { "UNBOUNDED " } else { "" },
        command.name.to_quoted_string(),
        columns.join(", "),
    );
    if !options.is_empty() {
        text.push_str(&format!(" OPTIONS ({})", options.join(", ")));
    }
    text
}

/// The options that inference may have set, as far as they differ from the defaults.
fn found_in_sample(definition: &TableDefinition) -> Vec<(String, &'static str)> {
    let mut options = Vec::new();
    let mut found = |key: &str, value| options.push((key.to_owned(), value));
    if definition.options.mode == Some(Mode::Append) {
        found("kafka.mode", "append");
    }
    if let format @ (KeyFormat::Bytes | KeyFormat::Json) = definition.options.key_format() {
        found("kafka.key.format", format.name());
    }
    for (key, envelope) in [
        ("kafka.value.envelope", definition.options.value_envelope()),
        ("kafka.key.envelope", definition.options.key_envelope()),
    ] {
        if envelope != Envelope::None {
            found(key, envelope.name());
        }
    }
    match definition.schema.value_format() {
        ValueFormat::Json => {}
        ValueFormat::String => found("kafka.value.format", "string"),
        ValueFormat::Bytes => found("kafka.value.format", "bytes"),
    }
    for (_, field) in definition.schema.columns() {
        let unit = definition.options.decode.timestamp_unit;
        for (key, value) in column_options::options_of(field, unit) {
            found(&key, value);
        }
    }
    options
}
