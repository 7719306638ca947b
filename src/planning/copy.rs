//! `COPY .. TO 'kafka://host:9092/topic' STORED AS KAFKA`.
//!
//! A COPY becomes an INSERT before it is planned further. DataFusion's own plan
//! of a COPY shows all of its options, passwords too, and takes its target for a
//! place in an object store.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::config::ConfigOptions;
use datafusion::common::display::PlanType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{GetExt, Result as DataFusionResult, TableReference, plan_err};
use datafusion::datasource::file_format::json::JsonFormatFactory;
use datafusion::datasource::file_format::{DefaultFileType, FileFormat, FileFormatFactory};
use datafusion::execution::SessionState;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::dml::{CopyTo, InsertOp};
use datafusion::logical_expr::{LogicalPlan, ToStringifiedPlan};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement;

use crate::error::Error;
use crate::options::{Options, Origin};
use crate::table::location::{Location, SCHEME};
use crate::table::write_query::{analyzed, write_query};

/// What `STORED AS` calls a topic.
const FORMAT: &str = "kafka";

/// Makes COPY know `STORED AS KAFKA`, and keeps the options of the session's tables.
#[derive(Debug)]
pub(crate) struct KafkaFormat {
    options: Options,
    /// Who writes a COPY.
    origin: Origin,
}

impl KafkaFormat {
    pub(crate) fn new(options: Options, origin: Origin) -> Self {
        KafkaFormat { options, origin }
    }

    /// The options that [`register_kafka`](crate::register_kafka) gave to all
    /// tables of a session.
    pub(crate) fn options_of(state: &SessionState) -> Options {
        let format = state.get_file_format_factory(FORMAT);
        let format = format.as_deref().and_then(|f| f.downcast_ref::<Self>());
        format.map_or_else(Options::new, |format| format.options.clone())
    }

    fn of(copy: &CopyTo) -> Option<&Self> {
        let file_type = copy.file_type.as_any().downcast_ref::<DefaultFileType>()?;
        file_type.as_format_factory().downcast_ref::<Self>()
    }
}

impl GetExt for KafkaFormat {
    fn get_ext(&self) -> String {
        FORMAT.to_owned()
    }
}

impl FileFormatFactory for KafkaFormat {
    fn create(
        &self,
        _: &dyn Session,
        _: &HashMap<String, String>,
    ) -> DataFusionResult<Arc<dyn FileFormat>> {
        plan_err!(
            "a topic is no file; use COPY in a session that `datafusion_kafka::register_kafka` prepared, or CREATE EXTERNAL TABLE"
        )
    }

    /// Must be something, and is nothing that DataFusion asks for.
    fn default(&self) -> Arc<dyn FileFormat> {
        JsonFormatFactory::new().default()
    }
}

/// Turns COPY TO a topic into INSERT.
///
/// Must be the first rule, since what each of them leaves is logged with the
/// options that a COPY still has. The topic's columns have the types that all
/// others give to the query's.
#[derive(Debug)]
pub(crate) struct RewriteCopy {
    others: Analyzer,
}

impl RewriteCopy {
    pub(crate) fn new(others: Analyzer) -> Self {
        RewriteCopy { others }
    }
}

impl AnalyzerRule for RewriteCopy {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> DataFusionResult<LogicalPlan> {
        rewrite_all(plan, &self.others, config)
    }

    fn name(&self) -> &str {
        "kafka_rewrite_copy"
    }
}

/// Turns COPY TO a topic into INSERT, also below EXPLAIN.
pub(crate) fn rewrite_all(
    plan: LogicalPlan,
    analyzer: &Analyzer,
    config: &ConfigOptions,
) -> DataFusionResult<LogicalPlan> {
    plan.transform_up(|plan| match plan {
        LogicalPlan::Copy(copy) => rewrite(copy, analyzer, config),
        // It holds the text of what it explained before.
        LogicalPlan::Explain(mut explain) => {
            let plan = explain.plan.to_stringified(PlanType::InitialLogicalPlan);
            explain.stringified_plans = vec![plan];
            Ok(Transformed::no(LogicalPlan::Explain(explain)))
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn rewrite(
    copy: CopyTo,
    analyzer: &Analyzer,
    config: &ConfigOptions,
) -> DataFusionResult<Transformed<LogicalPlan>> {
    let Some(format) = KafkaFormat::of(&copy) else {
        if copy.output_url.starts_with(SCHEME) {
            return plan_err!(
                "COPY TO a topic needs STORED AS KAFKA; `{}` is a format of files",
                copy.file_type.get_ext()
            );
        }
        return Ok(Transformed::no(LogicalPlan::Copy(copy)));
    };
    let location = Location::parse(&copy.output_url)?;
    if !copy.partition_by.is_empty() {
        return Err(Error::Unsupported(
            "PARTITIONED BY does not apply to Kafka topics; a column `_partition` of the query says which Kafka partition a row goes to"
                .to_owned(),
        )
        .into());
    }
    let target = TableReference::bare(location.topic.as_str());
    let own = Options::from_clause(&copy.options, format.origin);
    let topic = location.table(config, &format.options, own, format.origin);
    let query = analyzed(Arc::unwrap_or_clone(copy.input), analyzer, config)?;
    let plan = write_query("COPY TO", query, target, topic.into(), InsertOp::Append)?;
    Ok(Transformed::yes(plan))
}

/// `COPY .. TO 'kafka://..'` says by its scheme what it is stored as.
pub(crate) fn name_format(statement: &mut Statement) {
    match statement {
        Statement::Explain(explain) => name_format(&mut explain.statement),
        Statement::CopyTo(copy) if copy.stored_as.is_none() && copy.target.starts_with(SCHEME) => {
            copy.stored_as = Some(FORMAT.to_uppercase());
        }
        _ => {}
    }
}

/// Keeps the options of a COPY out of what EXPLAIN VERBOSE, and EXPLAIN of a
/// COPY with a mistake, show of the plan before it was an INSERT.
#[derive(Debug)]
pub(crate) struct RedactCopyPlanner(pub(crate) Arc<dyn QueryPlanner + Send + Sync>);

#[async_trait]
impl QueryPlanner for RedactCopyPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let LogicalPlan::Explain(explain) = plan else {
            return self.0.create_physical_plan(plan, session).await;
        };
        let mut explain = explain.clone();
        explain
            .stringified_plans
            .retain(|shown| !is_copy_to_topic(&shown.plan));
        let plan = LogicalPlan::Explain(explain);
        self.0.create_physical_plan(&plan, session).await
    }
}

/// Whether this is the text of a plan as [`LogicalPlan::Copy`] shows itself.
fn is_copy_to_topic(plan: &str) -> bool {
    let Some((format, target)) = plan
        .strip_prefix("CopyTo: format=")
        .and_then(|copy| copy.split_once(" output_url="))
    else {
        return false;
    };
    format == FORMAT || target.starts_with(SCHEME)
}
