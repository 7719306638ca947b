//! The records that INSERT writes, as another client reads them.

mod creating;
mod forms;
mod inserts;
mod json_text;
mod keyless;
mod keys;
mod metadata;
mod payloads;
mod slow;
mod types;
mod values;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array as _, ArrayRef, Int64Array, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use datafusion_kafka::KafkaTopics;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::broker::Broker;
use crate::session::{count, error, rows, session};

/// A session with a table `t` on a topic.
pub struct Writable {
    pub ctx: SessionContext,
    pub topic: String,
    broker: &'static Broker,
}

impl Writable {
    /// The same on a new topic of one partition.
    pub async fn new(broker: &'static Broker, columns: &str, options: &[(&str, &str)]) -> Self {
        let topic = broker.new_topic("writing", 1, &[]);
        Self::on(broker, topic, columns, options).await
    }

    pub async fn on(
        broker: &'static Broker,
        topic: String,
        columns: &str,
        options: &[(&str, &str)],
    ) -> Self {
        let ctx = session(broker, KafkaTopics::new());
        rows(&ctx, &create_table("t", columns, &topic, options)).await;
        Writable { ctx, topic, broker }
    }

    pub async fn insert(&self, rest: &str) -> u64 {
        count(&self.ctx, &format!("INSERT INTO t {rest}")).await
    }

    pub async fn refused(&self, rest: &str) -> String {
        error(&self.ctx, &format!("INSERT INTO t {rest}")).await
    }

    /// Keys and payloads in log order.
    pub fn records(&self) -> Vec<(String, Option<String>)> {
        records(self.broker, &self.topic)
    }

    /// Payloads in log order.
    fn payloads(&self) -> Vec<String> {
        let records = self.records().into_iter();
        records.map(|(_, payload)| payload.unwrap()).collect()
    }
}

/// `CREATE EXTERNAL TABLE`, for a session that knows the servers.
pub fn create_table(name: &str, columns: &str, topic: &str, options: &[(&str, &str)]) -> String {
    let columns = match columns {
        "" => String::new(),
        columns => format!("({columns})"),
    };
    let options: Vec<_> = options
        .iter()
        .map(|(key, value)| format!("'{key}' '{value}'"))
        .collect();
    let options = match options.as_slice() {
        [] => String::new(),
        options => format!("OPTIONS ({})", options.join(", ")),
    };
    format!(
        "CREATE EXTERNAL TABLE \"{name}\" {columns} STORED AS KAFKA LOCATION '{topic}' {options}"
    )
}

/// Keys and payloads in log order, as another client reads them.
pub fn records(broker: &Broker, topic: &str) -> Vec<(String, Option<String>)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let records = broker.read_all(topic).into_iter();
    records
        .map(|record| (text(record.key.unwrap()), record.payload.map(text)))
        .collect()
}

pub fn record(key: &str, payload: &str) -> (String, Option<String>) {
    (key.to_owned(), Some(payload.to_owned()))
}

#[track_caller]
pub fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

/// With this option, records wait for others so long that a busy machine makes large batches too.
pub const LARGE_BATCHES: (&str, &str) = ("kafka.producer.linger.ms", "5000");

const PEOPLE: &str = "_key VARCHAR NOT NULL, \"firstName\" VARCHAR, \"lastName\" VARCHAR";

/// A table `numbers` with one column `n`, in several partitions.
fn numbers(ctx: &SessionContext, n: i64) {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let (left, right): (Vec<i64>, Vec<i64>) = (0..n).partition(|n| n % 2 == 0);
    let batch = |numbers: Vec<i64>| {
        let column: ArrayRef = Arc::new(Int64Array::from(numbers));
        RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap()
    };
    let partitions = vec![vec![batch(left)], vec![batch(right)]];
    let table = MemTable::try_new(Arc::clone(&schema), partitions).unwrap();
    ctx.register_table("numbers", Arc::new(table)).unwrap();
}

/// A list of one row that contains all values.
fn list(values: ArrayRef) -> ArrayRef {
    let item = Field::new("item", values.data_type().clone(), true);
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    Arc::new(ListArray::new(Arc::new(item), offsets, values, None))
}

fn object<const N: usize>(columns: [(&str, ArrayRef); N]) -> ArrayRef {
    let field =
        |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let fields: Fields = columns.iter().map(field).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    Arc::new(StructArray::new(fields, arrays, None))
}

fn register<const N: usize>(ctx: &SessionContext, name: &str, columns: [(&str, ArrayRef); N]) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    ctx.register_batch(name, batch).unwrap();
}

async fn topic_configs(broker: &Broker, topic: &str) -> Vec<(String, Option<String>)> {
    let admin: AdminClient<DefaultClientContext> = broker.config().create().unwrap();
    let resource = ResourceSpecifier::Topic(topic);
    let described = admin.describe_configs([&resource], &AdminOptions::new());
    let mut described = described.await.unwrap();
    let entries = described.remove(0).unwrap().entries;
    entries.into_iter().map(|e| (e.name, e.value)).collect()
}

fn partitions(broker: &Broker, topic: &str) -> usize {
    let consumer: BaseConsumer = broker.config().create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30));
    metadata.unwrap().topics()[0].partitions().len()
}

/// Runs an ignored test in a process of its own.
pub async fn child(test: &str, env: &[(&str, &str)]) {
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .envs(env.iter().copied())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}
