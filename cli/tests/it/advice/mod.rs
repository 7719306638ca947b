//! The advice in messages about records is followed, and must give the value that was meant.

mod records;
mod values;

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::SessionContext;
use datafusion_kafka::{EmbeddedKafka, KafkaConfig, register_kafka, sql};

const NONE: &str = "";
const TEXT: &str = "'kafka.value.format' 'string'";
const NULL: &str = "'kafka.on_bad_record' 'null'";
const LENIENT: &str = "'kafka.json.lenient' 'true'";

fn session(kafka: &EmbeddedKafka) -> SessionContext {
    let ctx = SessionContext::new();
    let config = KafkaConfig::new();
    let config = config.with_option("kafka.bootstrap.servers", kafka.bootstrap_servers());
    register_kafka(&ctx, config).unwrap();
    ctx
}

/// Declares a table `t` on a topic.
async fn declare(ctx: &SessionContext, topic: &str, columns: &str, options: &str) {
    let options = match options {
        "" => String::new(),
        options => format!("OPTIONS ({options})"),
    };
    let declaration = format!(
        "CREATE OR REPLACE EXTERNAL TABLE t ({columns}) STORED AS KAFKA LOCATION '{topic}' {options}"
    );
    answer(ctx, &declaration).await.unwrap();
}

/// The single value that a statement returns, if any, or its error.
async fn answer(ctx: &SessionContext, statement: &str) -> Result<String, String> {
    let rows = async { sql(ctx, statement).await?.collect().await };
    let batches = rows.await.map_err(|error| error.to_string())?;
    let options = FormatOptions::default().with_null("NULL");
    let mut values = Vec::new();
    for batch in batches.iter().filter(|batch| batch.num_columns() > 0) {
        let formatter = ArrayFormatter::try_new(batch.column(0), &options).unwrap();
        values.extend((0..batch.num_rows()).map(|row| formatter.value(row).to_string()));
    }
    Ok(values.join("\n"))
}
