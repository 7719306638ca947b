//! `kafka_offsets('orders')`: the first and last offsets of a topic's partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::Result as DataFusionResult;
use rdkafka_extra::Record;

use crate::client::{Cancel, Client, KeptClients, OffsetRange};
use crate::error::Result;
use crate::functions::arguments::Arguments;
use crate::functions::listing::{Ask, Listing};
use crate::functions::lookup;
use crate::options::{Options, TableOptions};
use crate::source::fetch::{Chunk, Fetch, FetchProgress, POLL, PartitionFetch};

/// The function `kafka_offsets`.
#[derive(Debug)]
pub(super) struct Offsets(pub(super) Options);

impl TableFunctionImpl for Offsets {
    fn call_with_args(
        &self,
        args: TableFunctionArgs<'_, '_>,
    ) -> DataFusionResult<Arc<dyn TableProvider>> {
        let arguments = Arguments::new("kafka_offsets(topic)", 1..=1, &args)?;
        let (topic, options) = lookup::topic(&arguments, &self.0)?;
        options.client.bootstrap_servers()?;
        Ok(Arc::new(Listing(Arc::new(Partitions { topic, options }))))
    }
}

#[derive(Debug)]
struct Partitions {
    topic: String,
    options: TableOptions,
}

/// The position of `newest_timestamp`, the only column that needs records.
const NEWEST: usize = 4;

impl Ask for Partitions {
    fn schema(&self) -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("partition", DataType::Int32, false),
            Field::new("low", DataType::Int64, false),
            Field::new("high", DataType::Int64, false),
            Field::new("records", DataType::Int64, false),
            Field::new("newest_timestamp", time, true),
        ]))
    }

    fn ask(&self, read: &[usize], kept: &KeptClients, cancel: &Cancel) -> Result<Vec<ArrayRef>> {
        let client = Arc::new(Client::kept(&self.topic, &self.options, kept)?);
        let partitions = client.partitions(cancel)?;
        let watermarks = client.watermarks(&partitions, cancel)?;
        let newest = match read.contains(&NEWEST) {
            true => self
                .newest_timestamps(&client, &watermarks, cancel)
                .inspect_err(|_| client.discard())?,
            false => BTreeMap::new(),
        };
        let newest: TimestampMillisecondArray = watermarks
            .keys()
            .map(|partition| newest.get(partition).copied().flatten())
            .collect();
        let column = |value: fn(&OffsetRange) -> i64| {
            Arc::new(Int64Array::from_iter_values(watermarks.values().map(value)))
        };
        Ok(vec![
            Arc::new(Int32Array::from_iter_values(watermarks.keys().copied())),
            column(|range| range.start),
            column(|range| range.end),
            column(|range| range.end - range.start),
            Arc::new(newest.with_timezone("UTC")),
        ])
    }
}

impl Partitions {
    fn newest_timestamps(
        &self,
        client: &Arc<Client>,
        watermarks: &BTreeMap<i32, OffsetRange>,
        cancel: &Cancel,
    ) -> Result<BTreeMap<i32, Option<i64>>> {
        let mut tails = Vec::new();
        for (&partition, &range) in watermarks {
            if range.is_empty() {
                continue;
            }
            let client = Arc::clone(client);
            let mut fetch = PartitionFetch::alone(client, partition, self.options.timeout)?;
            // All partitions are fetched at the same time, so that the waits for brokers overlap.
            fetch.seek(range.end - 1)?;
            tails.push((partition, range, fetch));
        }
        let newest = tails.into_iter().map(|(partition, range, mut fetch)| {
            Ok((partition, newest_timestamp(&mut fetch, range, cancel)?))
        });
        newest.collect()
    }
}

/// The timestamp of the last record. Markers, aborted records and compacted records may come
/// after it, so ranges further back are read until a record is found. `fetch` is at the last
/// offset.
fn newest_timestamp(
    fetch: &mut PartitionFetch,
    range: OffsetRange,
    cancel: &Cancel,
) -> Result<Option<i64>> {
    let mut chunk = fetch.chunk();
    let mut current = OffsetRange {
        start: range.end - 1,
        end: range.end,
    };
    loop {
        let mut newest = None;
        let mut progress = FetchProgress::More;
        while progress == FetchProgress::More {
            fetch.wait(POLL)?;
            progress = fetch.fetch(current.end, &mut chunk)?;
            if let Some(last) = chunk.len().checked_sub(1) {
                newest = chunk.get(last).map(|record| record.timestamp());
            }
            chunk.clear();
            if cancel.is_cancelled() {
                return Ok(None);
            }
        }
        if newest.is_some() || current.start <= range.start {
            return Ok(newest.flatten());
        }
        let span = (current.end - current.start).saturating_mul(4);
        current = OffsetRange {
            start: current.start.saturating_sub(span).max(range.start),
            end: current.start,
        };
        fetch.seek(current.start)?;
    }
}
