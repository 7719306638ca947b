//! `COPY .. TO 'kafka://host:9092/topic' STORED AS KAFKA`.
//!
//! A COPY becomes an INSERT before it is planned any further. DataFusion's own plan of a COPY
//! shows all of its options, including passwords, and treats the target as a place in an object
//! store.

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

/// The name of the format in `STORED AS`.
const FORMAT: &str = "kafka";

/// Registers `STORED AS KAFKA` for COPY, and holds the options of the session's tables.
#[derive(Debug)]
pub(crate) struct KafkaFormat {
    options: Options,
    /// The origin of the options of a COPY.
    origin: Origin,
}

impl KafkaFormat {
    pub(crate) fn new(options: Options, origin: Origin) -> Self {
        KafkaFormat { options, origin }
    }

    /// The options that [`register_kafka`](crate::register_kafka) set for all tables of a
    /// session.
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
            "a topic is not a file; use COPY in a session that `datafusion_kafka::register_kafka` prepared, or CREATE EXTERNAL TABLE"
        )
    }

    /// Required by the trait, but DataFusion never uses the result.
    fn default(&self) -> Arc<dyn FileFormat> {
        JsonFormatFactory::new().default()
    }
}

/// Turns COPY TO a topic into INSERT.
///
/// This rule must be the first one: DataFusion logs the plan after each rule, and a COPY still
/// holds its options. The query is analyzed by the other rules here, so that the topic's columns
/// get the final types of the query's columns.
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

/// Turns COPY TO a topic into INSERT, also inside of EXPLAIN.
pub(crate) fn rewrite_all(
    plan: LogicalPlan,
    analyzer: &Analyzer,
    config: &ConfigOptions,
) -> DataFusionResult<LogicalPlan> {
    plan.transform_up(|plan| match plan {
        LogicalPlan::Copy(copy) => rewrite(copy, analyzer, config),
        // EXPLAIN also holds the text of the plan before the rewrite, which shows the options.
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

/// Adds the missing `STORED AS` to `COPY .. TO 'kafka://..'`, whose scheme names the format.
pub(crate) fn name_format(statement: &mut Statement) {
    match statement {
        Statement::Explain(explain) => name_format(&mut explain.statement),
        Statement::CopyTo(copy) if copy.stored_as.is_none() && copy.target.starts_with(SCHEME) => {
            copy.stored_as = Some(FORMAT.to_uppercase());
        }
        _ => {}
    }
}

/// Keeps the options of a COPY out of EXPLAIN. EXPLAIN VERBOSE, and EXPLAIN of a COPY with a
/// mistake, would show the plan from before the rewrite to INSERT.
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

/// Whether a text is a plan as [`LogicalPlan::Copy`] displays it, with a topic as its target.
fn is_copy_to_topic(plan: &str) -> bool {
    let Some((format, target)) = plan
        .strip_prefix("CopyTo: format=")
        .and_then(|copy| copy.split_once(" output_url="))
    else {
        return false;
    };
    format == FORMAT || target.starts_with(SCHEME)
}
