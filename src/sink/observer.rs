//! [`StreamingQuery`]: the continuous query for which rows without an end are written.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::sink::instance::Positions;
use crate::sink::producer::Producer;
use crate::sink::refused::Refused;
use crate::sink::report::WriteReport;
use crate::source::passed::Passed;

/// What a writer asks of the continuous query that it writes for, and tells it.
pub(crate) trait StreamingQuery: fmt::Debug + Send + Sync {
    /// The producer that has claimed the query's transactions, for the first writer that asks.
    fn take_producer(&self) -> Option<Producer>;

    /// What is committed, by topic.
    fn positions(&self) -> Positions;

    /// Becomes true when the query is told to stop.
    fn stopped(&self) -> watch::Receiver<bool>;

    /// How far the scan of the query has read.
    fn passed(&self) -> &Arc<Passed>;

    /// The records that brokers refuse.
    fn refused(&self) -> &Refused;

    /// Writing has begun.
    fn running(&self);

    /// Something was done with a batch of rows.
    fn batch(&self);

    /// So many bytes are reserved for keys that are kept.
    fn keeps(&self, bytes: usize);

    /// These positions and all records before them are committed; the report is that of all
    /// that was written so far.
    fn committed(&self, read: &Positions, report: &WriteReport);

    /// The same positions were committed again, so that brokers keep them.
    fn renewed(&self);
}
