//! A table whose rows are requested from the brokers when a query runs.

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::TableType;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream;

use crate::client::{Cancel, KeptClients, blocking};
use crate::error::Result;

/// The request behind a listing.
pub(super) trait Ask: fmt::Debug + Send + Sync + 'static {
    fn schema(&self) -> SchemaRef;

    /// Returns all columns. Columns that are not in `read` may hold any values. Blocks.
    fn ask(&self, read: &[usize], kept: &KeptClients, cancel: &Cancel) -> Result<Vec<ArrayRef>>;
}

/// The answer to a request, as a table.
#[derive(Debug)]
pub(super) struct Listing<A>(pub(super) Arc<A>);

#[async_trait]
impl<A: Ask> TableProvider for Listing<A> {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let answer = Answer {
            ask: Arc::clone(&self.0),
            schema: Arc::clone(&schema),
            read: match projection {
                Some(projection) => projection.clone(),
                None => (0..schema.fields().len()).collect(),
            },
        };
        let scan = StreamingTableExec::try_new(
            schema,
            vec![Arc::new(answer)],
            projection,
            [],
            false,
            limit,
        )?;
        Ok(Arc::new(scan))
    }
}

#[derive(Debug)]
struct Answer<A> {
    ask: Arc<A>,
    schema: SchemaRef,
    read: Vec<usize>,
}

impl<A: Ask> PartitionStream for Answer<A> {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (ask, read) = (Arc::clone(&self.ask), self.read.clone());
        let schema = Arc::clone(&self.schema);
        let kept = KeptClients::of(context.session_config());
        let answer = async move {
            let columns = blocking(move |cancel| ask.ask(&read, &kept, cancel)).await?;
            Ok(RecordBatch::try_new(schema, columns)?)
        };
        let schema = Arc::clone(&self.schema);
        Box::pin(RecordBatchStreamAdapter::new(schema, stream::once(answer)))
    }
}
