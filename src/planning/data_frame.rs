//! [`KafkaDataFrame`]: writes the rows of a DataFrame to a topic.

use std::future::Future;
use std::sync::Arc;

use datafusion::common::{Result as DataFusionResult, TableReference, internal_datafusion_err};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::physical_plan::collect;

use crate::options::{Options, Origin};
use crate::planning::copy::KafkaFormat;
use crate::planning::insert_order::keep_order;
use crate::sink::report::WriteReport;
use crate::table::location::Location;
use crate::table::write_query::{analyzed, write_query};

/// Writes a [`DataFrame`] to a topic, as [`DataFrame::write_json`] writes one to a file.
pub trait KafkaDataFrame {
    /// Runs the DataFrame and writes one record per row.
    ///
    /// `topic` is a topic's name or, with the server, `kafka://host:9092/topic`. `options` are
    /// options of a table (see [`options`](crate::options)). They override the options that the
    /// session has from [`register_kafka`](crate::register_kafka) and `SET`. In a session without
    /// such options, `options` must contain `kafka.bootstrap.servers` and all other options that
    /// are needed.
    ///
    /// # Shape
    /// The DataFrame's columns are the columns of the topic. `_key` is required and becomes the
    /// record's key. `_tombstone`, `_partition`, `_timestamp` and `_headers` mean the same as in
    /// an `INSERT`. All other columns become the properties of the JSON payload, in their order.
    ///
    /// # Errors
    /// Before anything is written: the errors of options,
    /// [`Error::InvalidLocation`](crate::Error::InvalidLocation), a missing `_key`,
    /// [`Error::InvalidColumn`](crate::Error::InvalidColumn) for a type that a record cannot
    /// hold, errors of reaching the servers, and
    /// [`Error::TopicNotFound`](crate::Error::TopicNotFound) without `kafka.create_topic`. Later:
    /// the errors of the DataFrame itself, [`Error::InvalidRow`](crate::Error::InvalidRow),
    /// [`Error::EncodeRow`](crate::Error::EncodeRow) and errors of producing. `kafka.delivery`
    /// decides what is then left in the topic.
    ///
    /// # Cancellation
    /// Dropping the future stops the DataFrame and the writing, like dropping an `INSERT`.
    /// Acknowledged records stay in the topic, unless `kafka.delivery` is `exactly_once`.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use datafusion::prelude::SessionContext;
    /// use datafusion_kafka::{EmbeddedKafka, KafkaDataFrame, Options};
    ///
    /// let kafka = EmbeddedKafka::start()?; // or a broker of yours
    /// kafka.create_topic("totals", 1)?;
    /// let ctx = SessionContext::new();
    /// let totals = ctx
    ///     .sql("SELECT customer AS _key, sum(amount) AS total
    ///           FROM (VALUES ('c1', 5), ('c2', 7), ('c1', 1)) AS orders (customer, amount)
    ///           GROUP BY customer")
    ///     .await?;
    /// let options = Options::new().with_option("kafka.bootstrap.servers", kafka.bootstrap_servers());
    /// let report = totals.write_kafka("totals", options).await?;
    /// assert_eq!(report.upserts, 2);
    /// # Ok(()) }
    /// ```
    fn write_kafka(
        self,
        topic: &str,
        options: Options,
    ) -> impl Future<Output = DataFusionResult<WriteReport>> + Send;
}

impl KafkaDataFrame for DataFrame {
    async fn write_kafka(self, topic: &str, options: Options) -> DataFusionResult<WriteReport> {
        let (mut state, query) = self.into_parts();
        keep_order(&mut state);
        let location = Location::parse(topic)?;
        let target = TableReference::bare(location.topic.as_str());
        let defaults = KafkaFormat::options_of(&state);
        let topic = location.table(state.config_options(), &defaults, options, Origin::Program);
        let query = analyzed(query, state.analyzer(), state.config_options())?;
        let insert = write_query(
            "write_kafka to",
            query,
            target,
            topic.into(),
            InsertOp::Append,
        )?;
        let plan = state.create_physical_plan(&insert).await?;
        collect(Arc::clone(&plan), state.task_ctx()).await?;
        WriteReport::of(&plan).ok_or_else(|| {
            internal_datafusion_err!(
                "the rows were written, but the session's plan for the statement does not report them"
            )
        })
    }
}
