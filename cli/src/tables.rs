//! The names of the default schema: registered tables, files, `kafka://` locations, and the list of
//! topics. The library resolves the names of topics.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use datafusion::arrow::array::AsArray as _;
use datafusion::arrow::datatypes::Schema;
use datafusion::catalog::{SchemaProvider, TableProvider, TableProviderFactory as _};
use datafusion::common::{DFSchema, TableReference, plan_datafusion_err};
use datafusion::datasource::TableType;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::CreateExternalTable;
use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaTableFactory, Options};
use regex::Regex;

/// The topics that are tables, as of the last request to the brokers.
pub(crate) struct Topics {
    pattern: Regex,
    names: RwLock<Vec<String>>,
    left_out: RwLock<Vec<String>>,
    listing: RwLock<Listing>,
}

/// The topics that a statement about tables and columns sees.
#[derive(Default)]
pub(crate) struct Listing {
    /// Whether all topics are listed as tables, and not only those that were used before.
    pub(crate) all: bool,
    /// Tables that are shown without columns, and are not looked up.
    pub(crate) without_columns: BTreeSet<String>,
}

impl Topics {
    /// The topics whose name matches; without a pattern, all topics.
    pub(crate) fn new(pattern: Option<&str>) -> Result<Self> {
        let pattern = Regex::new(pattern.unwrap_or_default()).map_err(|error| {
            plan_datafusion_err!("--topics is not a regular expression: {error}")
        })?;
        Ok(Topics {
            pattern,
            names: RwLock::default(),
            left_out: RwLock::default(),
            listing: RwLock::default(),
        })
    }

    pub(crate) fn pattern(&self) -> &str {
        self.pattern.as_str()
    }

    /// Lists the topics of the brokers.
    pub(crate) async fn refresh(&self, ctx: &SessionContext) -> Result<()> {
        let query = "SELECT topic FROM kafka_topics() WHERE NOT internal ORDER BY topic";
        let batches = datafusion_kafka::sql(ctx, query).await?.collect().await?;
        let mut names = Vec::new();
        for batch in &batches {
            let topics = batch.column_by_name("topic").map(|topics| topics.as_ref());
            let topics = topics.and_then(|topics| topics.as_string_view_opt());
            names.extend(topics.into_iter().flatten().flatten().map(str::to_owned));
        }
        let (names, left_out) = names
            .into_iter()
            .partition(|name| self.pattern.is_match(name));
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        *self
            .left_out
            .write()
            .unwrap_or_else(PoisonError::into_inner) = left_out;
        Ok(())
    }

    /// The names, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.clone()
    }

    /// Whether a topic of this name exists and the regular expression leaves it out.
    pub(crate) fn leaves_out(&self, name: &str) -> bool {
        let names = self.left_out.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().any(|other| other == name)
    }

    /// Sets the listing that statements see from now on.
    pub(crate) fn list(&self, listing: Listing) {
        *self.listing.write().unwrap_or_else(PoisonError::into_inner) = listing;
    }

    fn listing(&self) -> RwLockReadGuard<'_, Listing> {
        self.listing.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The default schema, without the topics. `register_kafka` wraps it, and looks up topics.
pub(crate) struct Tables {
    /// Registered tables, and files by path.
    files: Arc<dyn SchemaProvider>,
    topics: Option<Arc<Topics>>,
    options: Options,
    state: State,
}

/// The session's state; `None` after the session has ended.
pub(crate) type State = Box<dyn Fn() -> Option<SessionState> + Send + Sync>;

impl Tables {
    pub(crate) fn new(
        files: Arc<dyn SchemaProvider>,
        topics: Option<Arc<Topics>>,
        options: Options,
        state: State,
    ) -> Self {
        Tables {
            files,
            topics,
            options,
            state,
        }
    }

    /// `SELECT * FROM 'kafka://host:9092/topic'`
    async fn at(&self, location: &str) -> Result<Arc<dyn TableProvider>> {
        let gone = || plan_datafusion_err!("the session has ended");
        let state = (self.state)().ok_or_else(gone)?;
        let create = CreateExternalTable::builder(
            TableReference::bare(location),
            location,
            "KAFKA",
            Arc::new(DFSchema::empty()),
        );
        KafkaTableFactory::new(self.options.clone())
            .allow_references_in_sql(true)
            .create(&state, &create.build())
            .await
    }

    fn is_without_columns(&self, name: &str) -> bool {
        let topics = self.topics.as_ref();
        topics.is_some_and(|topics| topics.listing().without_columns.contains(name))
    }

    /// Where a name may be a topic, it is a file only if the file exists.
    fn is_file(&self, name: &str) -> bool {
        self.topics.is_none() || name.contains('/') || Path::new(name).is_file()
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.files.table_names();
        if let Some(topics) = &self.topics
            && topics.listing().all
        {
            names.extend(topics.names());
        }
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.files.table_exist(name) {
            self.files.table(name).await
        } else if self.is_without_columns(name) {
            let schema = Arc::new(Schema::empty());
            Ok(Some(Arc::new(EmptyTable::new(schema))))
        } else if name.starts_with("kafka://") {
            self.at(name).await.map(Some)
        } else if self.is_file(name) {
            self.files.table(name).await
        } else {
            Ok(None)
        }
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        if self.files.table_exist(name) {
            return self.files.table_type(name).await;
        }
        Ok(Some(TableType::Base))
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        self.files.register_table(name, table)
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        self.files.deregister_table(name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.files.table_exist(name)
    }
}
