//! `kafka_topics()`: the topics that exist.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::Result as DataFusionResult;

use crate::client::{self, Cancel, KeptClients};
use crate::error::Result;
use crate::functions::arguments::Arguments;
use crate::functions::listing::{Ask, Listing};
use crate::functions::lookup;
use crate::options::{Options, TableOptions};

/// The function `kafka_topics`: the topics on the session's servers.
#[derive(Debug)]
pub(super) struct Topics(pub(super) Options);

impl TableFunctionImpl for Topics {
    fn call_with_args(
        &self,
        args: TableFunctionArgs<'_, '_>,
    ) -> DataFusionResult<Arc<dyn TableProvider>> {
        let arguments = Arguments::new("kafka_topics()", 0..=0, &args)?;
        let layers = lookup::layers(arguments.session(), &self.0);
        let options = TableOptions::parse(&layers.iter().collect::<Vec<_>>())?;
        options.client.bootstrap_servers()?;
        Ok(Arc::new(Listing(Arc::new(Cluster { options }))))
    }
}

#[derive(Debug)]
struct Cluster {
    options: TableOptions,
}

impl Ask for Cluster {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("topic", DataType::Utf8View, false),
            Field::new("partitions", DataType::Int32, false),
            Field::new("replication", DataType::Int32, true),
            Field::new("internal", DataType::Boolean, false),
        ]))
    }

    fn ask(&self, _read: &[usize], kept: &KeptClients, cancel: &Cancel) -> Result<Vec<ArrayRef>> {
        let topics = client::topics(&self.options, kept, cancel)?;
        let internal = |name: &String| Some(name.starts_with("__"));
        Ok(vec![
            Arc::new(StringViewArray::from_iter_values(topics.keys())),
            Arc::new(Int32Array::from_iter_values(
                topics.values().map(|topic| topic.partitions),
            )),
            Arc::new(
                topics
                    .values()
                    .map(|topic| topic.replication)
                    .collect::<Int32Array>(),
            ),
            Arc::new(topics.keys().map(internal).collect::<BooleanArray>()),
        ])
    }
}
