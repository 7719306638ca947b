//! DELETE, UPDATE, MERGE, TRUNCATE and INSERT OVERWRITE on a real broker.

mod faults;
mod merge;
mod model;
mod overwrite;
mod review;
mod time_limits;
mod transactions;
mod traps;
mod update;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaTopics, WriteReport};

use crate::broker::{Broker, Rec, Stored};
use crate::session::{counted, rows, session, within};
use crate::writing::create_table;

/// A table `t` on a topic that already has records.
pub struct Changing {
    pub ctx: SessionContext,
    pub topic: String,
    pub broker: &'static Broker,
    /// How many records the topic had.
    before: usize,
}

/// The effect of a statement, as seen by an independent consumer.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    pub count: u64,
    /// Payloads by key in log order; a tombstone has `None`.
    pub sent: Vec<(String, Option<String>)>,
}

impl Changing {
    pub async fn new(broker: &'static Broker, columns: &str, records: &[Rec]) -> Self {
        Self::with(broker, 1, columns, records, &[]).await
    }

    pub async fn with(
        broker: &'static Broker,
        partitions: i32,
        columns: &str,
        records: &[Rec],
        options: &[(&str, &str)],
    ) -> Self {
        let topic = broker.new_topic("changing", partitions, &[]);
        broker.produce(&topic, records);
        let ctx = session(broker, KafkaTopics::new());
        rows(&ctx, &create_table("t", columns, &topic, options)).await;
        Changing {
            ctx,
            before: records.len(),
            topic,
            broker,
        }
    }

    /// Runs a statement and reads the records that it sent.
    pub async fn run(&mut self, sql: &str) -> Done {
        let (count, sent, _) = self.run_reported(sql).await;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let sent = sent.into_iter();
        let sent = sent.map(|stored| (text(stored.key.unwrap()), stored.payload.map(text)));
        Done {
            count,
            sent: sent.collect(),
        }
    }

    /// Runs a statement. Returns its count, the records that it sent, and its report.
    pub async fn run_reported(&mut self, sql: &str) -> (u64, Vec<Stored>, WriteReport) {
        let old: Vec<_> = self.places();
        let (count, report) = within(sql, async {
            let statement = datafusion_kafka::sql(&self.ctx, sql).await;
            let statement = statement.unwrap_or_else(|error| panic!("{sql}: {error}"));
            let plan = statement.create_physical_plan().await;
            let plan = plan.unwrap_or_else(|error| panic!("{sql}: {error}"));
            let rows = collect(Arc::clone(&plan), self.ctx.task_ctx()).await;
            let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
            (counted(&rows), WriteReport::of(&plan).unwrap())
        })
        .await;
        let mut sent = self.broker.read_all(&self.topic);
        sent.retain(|stored| !old.contains(&(stored.partition, stored.offset)));
        assert_eq!(report.rows, count, "{sql}");
        assert_eq!(report.upserts + report.tombstones, count, "{sql}");
        (count, sent, report)
    }

    fn places(&self) -> Vec<(i32, i64)> {
        let stored = self.broker.read_all(&self.topic).into_iter();
        stored.map(|s| (s.partition, s.offset)).collect()
    }

    /// The table as an independent consumer builds it from the log.
    pub fn state(&self) -> BTreeMap<String, String> {
        latest(self.broker.read_all(&self.topic))
    }

    pub fn is_untouched(&self) -> bool {
        self.broker.read_uncommitted(&self.topic).len() == self.before
    }
}

/// The latest payload of every key.
pub fn latest(stored: Vec<Stored>) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    for record in stored {
        let key = String::from_utf8(record.key.unwrap()).unwrap();
        match record.payload {
            Some(payload) => state.insert(key, String::from_utf8(payload).unwrap()),
            None => state.remove(&key),
        };
    }
    state
}

pub fn sent(records: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
    let records = records.iter();
    records
        .map(|(key, payload)| ((*key).to_owned(), payload.map(str::to_owned)))
        .collect()
}
