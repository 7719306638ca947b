//! [`KafkaChanges`]: the target of a rewritten statement.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result as DataFusionResult, internal_err};
use datafusion::datasource::TableType;
use datafusion::datasource::sink::DataSinkExec;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::physical_plan::ExecutionPlan;

use crate::definition::TableDefinition;
use crate::sink::change::Change;
use crate::sink::exec::KafkaSink;
use crate::sink::stream::StreamWrite;

/// A table that is only written. Its rows say in a column which change they are.
///
/// It exists only inside of the plan of a rewritten statement and is in no catalog.
pub(crate) struct KafkaChanges {
    table: Arc<TableDefinition>,
    schema: SchemaRef,
    changes: Vec<Change>,
    unique_keys: bool,
    stream: Option<StreamWrite>,
}

impl KafkaChanges {
    pub(crate) fn new(
        table: Arc<TableDefinition>,
        schema: &SchemaRef,
        changes: Vec<Change>,
        unique_keys: bool,
    ) -> Self {
        KafkaChanges {
            table,
            schema: Arc::clone(schema),
            changes,
            unique_keys,
            stream: None,
        }
    }

    /// The same table for unbounded rows.
    pub(crate) fn with_stream(self, stream: StreamWrite) -> Self {
        KafkaChanges {
            stream: Some(stream),
            ..self
        }
    }

    /// Whether a key may change more than once, in which case the order of the rows matters.
    pub(crate) fn is_ordered(&self) -> bool {
        self.stream.is_some()
    }
}

impl fmt::Debug for KafkaChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaChanges")
            .field("topic", &self.table.topic)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for KafkaChanges {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        internal_err!("changes of a topic are written, not read")
    }

    async fn insert_into(
        &self,
        _state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        _insert_op: InsertOp,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let sink = KafkaSink::with_changes(
            Arc::clone(&self.table),
            input.schema(),
            self.changes.clone(),
            self.unique_keys,
        );
        let sink = sink.with_stream(self.stream.clone());
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(sink), None)))
    }
}
