//! The files in `tests/slt`: SQL statements and their expected answers, on a real broker.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::error::Result as DataFusionResult;
use datafusion::prelude::SessionContext;
use datafusion_kafka::KafkaTopics;
use futures::future::join_all;
use sqllogictest::{
    AsyncDB, DBOutput, DefaultColumnType, Runner, default_validator, parse_file,
    strict_column_validator,
};

use crate::broker::{self, Broker, PATIENCE, Rec, topic_name};
use crate::session::{cells, session};

/// If this variable is set, the tests write the actual answers to the files.
const UPDATE: &str = "UPDATE_SLT";

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_answers_as_its_file_says() {
    let Some(broker) = broker::required("every_statement_answers") else {
        return;
    };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let entries = fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "slt"));
    assert!(!files.is_empty());
    let results = join_all(files.iter().map(|file| run(broker, file))).await;
    let failures = results.concat();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Runs a file in a session of its own. Returns the statements with other answers than expected,
/// and their lines.
async fn run(broker: &'static Broker, file: &Path) -> Vec<String> {
    let mut runner = Runner::new(|| async { Ok(Database::new(broker)) });
    runner.with_normalizer(as_written);
    runner.with_column_validator(strict_column_validator);
    if std::env::var_os(UPDATE).is_none() {
        let mut failures = Vec::new();
        for record in parse_file(file).unwrap() {
            if let Err(error) = runner.run_async(record).await {
                failures.push(error.to_string());
            }
        }
        return failures;
    }
    let columns = strict_column_validator;
    let updated = runner.update_test_file(file, " ", default_validator, as_written, columns);
    updated.await.unwrap();
    Vec::new()
}

/// Ignores blanks at the end of a line, since editors may remove them.
#[allow(clippy::ptr_arg)]
fn as_written(line: &String) -> String {
    line.trim_end().to_owned()
}

/// A session on the broker. The broker may be shared, so `{run}` in a statement makes the names of
/// its topics unique.
struct Database {
    broker: &'static Broker,
    ctx: SessionContext,
    run: String,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

impl Database {
    fn new(broker: &'static Broker) -> Self {
        Database {
            broker,
            ctx: session(broker, KafkaTopics::new()),
            run: topic_name("slt"),
        }
    }

    /// Replaces text that differs from run to run by the placeholder that the files contain.
    fn shown(&self, text: &str) -> String {
        text.replace(&self.run, "{run}")
            .replace(&self.broker.servers, "{servers}")
    }

    async fn answer(&self, sql: &str) -> DataFusionResult<DBOutput<DefaultColumnType>> {
        let frame = datafusion_kafka::sql(&self.ctx, sql).await?;
        let fields = frame.schema().fields().clone();
        let rows = cells(&frame.collect().await?);
        if fields.is_empty() {
            return Ok(DBOutput::StatementComplete(0));
        }
        let cell = |(text, field): (String, &arrow::datatypes::FieldRef)| match field.data_type() {
            DataType::Float32 | DataType::Float64 => match text.strip_suffix(".0") {
                Some(whole) => whole.to_owned(),
                None => text,
            },
            _ if text.is_empty() => "(empty)".to_owned(),
            _ => self.shown(&text).replace('\n', "\\n"),
        };
        let row = |row: Vec<String>| row.into_iter().zip(fields.iter()).map(cell).collect();
        Ok(DBOutput::Rows {
            types: fields.iter().map(|field| kind(field.data_type())).collect(),
            rows: rows.into_iter().map(row).collect(),
        })
    }
}

/// The types `I`, `R` and `T` as in DataFusion's own files. All other types are `?`.
fn kind(data_type: &DataType) -> DefaultColumnType {
    match data_type {
        other if other.is_integer() => DefaultColumnType::Integer,
        other if other.is_floating() || other.is_decimal() => DefaultColumnType::FloatingPoint,
        other if other.is_string() => DefaultColumnType::Text,
        _ => DefaultColumnType::Any,
    }
}

#[async_trait]
impl AsyncDB for Database {
    type Error = Refused;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refused> {
        let sql = sql
            .replace("{run}", &self.run)
            .replace("{servers}", &self.broker.servers);
        // `WITHOUT KEY <topic> <payload>` writes a record without a key, which no INSERT can do.
        if let Some((topic, payload)) = sql
            .strip_prefix("WITHOUT KEY ")
            .and_then(|record| record.split_once(' '))
        {
            let record = Rec {
                payload: Some(payload.as_bytes().to_vec()),
                ..Rec::default()
            };
            self.broker.produce(topic, &[record]);
            return Ok(DBOutput::StatementComplete(1));
        }
        let answer = tokio::time::timeout(PATIENCE, self.answer(&sql)).await;
        match answer {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(Refused(self.shown(&error.to_string()))),
            Err(_) => Err(Refused(format!("no answer within {PATIENCE:?}"))),
        }
    }

    async fn shutdown(&mut self) {}
}
