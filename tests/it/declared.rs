//! A topic as a table that a test declares, and its rows as sorted lines of text.

use std::future::Future;

use datafusion::prelude::SessionContext;
use datafusion_kafka::KafkaTopics;

use crate::broker::{Broker, PATIENCE};
use crate::session::{cells, session};

/// Waits for a future, up to the limit above.
pub async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: no answer within {PATIENCE:?}"),
    }
}

/// A session with the topic as table `t`.
pub struct Declared {
    pub ctx: SessionContext,
}

impl Declared {
    /// Declares these columns, or none so that they are inferred.
    pub async fn new(
        broker: &Broker,
        topic: &str,
        columns: &str,
        options: &[(&str, &str)],
    ) -> Self {
        match Self::try_new(broker, topic, columns, options).await {
            Ok(declared) => declared,
            Err(error) => panic!("{topic}: {error}"),
        }
    }

    /// The table, or the error of CREATE.
    pub async fn try_new(
        broker: &Broker,
        topic: &str,
        columns: &str,
        options: &[(&str, &str)],
    ) -> Result<Self, String> {
        let declared = Declared {
            ctx: session(broker, KafkaTopics::new()),
        };
        declared.add("t", topic, columns, options).await?;
        Ok(declared)
    }

    /// Adds a table to the same session.
    pub async fn add(
        &self,
        name: &str,
        topic: &str,
        columns: &str,
        options: &[(&str, &str)],
    ) -> Result<(), String> {
        self.create("CREATE", name, topic, columns, options).await
    }

    /// The same as an UNBOUNDED table, in place of an existing table of that name.
    pub async fn add_unbounded(
        &self,
        name: &str,
        topic: &str,
        columns: &str,
        options: &[(&str, &str)],
    ) -> Result<(), String> {
        let create = "CREATE OR REPLACE UNBOUNDED";
        self.create(create, name, topic, columns, options).await
    }

    async fn create(
        &self,
        create: &str,
        name: &str,
        topic: &str,
        columns: &str,
        options: &[(&str, &str)],
    ) -> Result<(), String> {
        let columns = match columns {
            "" => String::new(),
            columns => format!("({columns})"),
        };
        let options: Vec<String> = options
            .iter()
            .map(|(key, value)| format!("'{key}' '{value}'"))
            .collect();
        let options = match options.as_slice() {
            [] => String::new(),
            options => format!("OPTIONS ({})", options.join(", ")),
        };
        let create = format!(
            "{create} EXTERNAL TABLE {name} {columns} STORED AS KAFKA LOCATION '{topic}' {options}"
        );
        self.try_rows(&create).await.map(drop)
    }

    /// The rows as text, with `|` between values, sorted.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        match self.try_rows(sql).await {
            Ok(rows) => rows,
            Err(error) => panic!("{sql}: {error}"),
        }
    }

    /// The error message of a statement that fails.
    pub async fn error(&self, sql: &str) -> String {
        match self.try_rows(sql).await {
            Ok(rows) => panic!("{sql} gave {rows:?} and no error"),
            Err(error) => error,
        }
    }

    async fn try_rows(&self, sql: &str) -> Result<Vec<String>, String> {
        let work = async {
            let frame = datafusion_kafka::sql(&self.ctx, sql).await?;
            frame.collect().await
        };
        let batches = in_time(sql, work)
            .await
            .map_err(|error| error.to_string())?;
        let mut rows: Vec<String> = cells(&batches).iter().map(|row| row.join("|")).collect();
        rows.sort_unstable();
        Ok(rows)
    }
}

/// The option that makes every record a row.
pub const APPEND: (&str, &str) = ("kafka.mode", "append");
