//! [`StreamingQuery`]: the continuous query that unbounded rows are written for.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::sink::instance::Positions;
use crate::sink::producer::Producer;
use crate::sink::refused::Refused;
use crate::sink::report::WriteReport;
use crate::source::passed::Passed;

/// What a writer asks of its continuous query, and what the writer reports to the query.
pub(crate) trait StreamingQuery: fmt::Debug + Send + Sync {
    /// The producer that has taken over from earlier instances of the query. Only the first
    /// call returns it.
    fn take_producer(&self) -> Option<Producer>;

    /// The committed offsets, by topic.
    fn positions(&self) -> Positions;

    /// Becomes `true` when the query is to stop.
    fn stopped(&self) -> watch::Receiver<bool>;

    /// How far the query's scan has read.
    fn passed(&self) -> &Arc<Passed>;

    /// The records that the brokers refuse.
    fn refused(&self) -> &Refused;

    /// Reports that writing has begun.
    fn running(&self);

    /// Reports that a batch of rows was processed.
    fn batch(&self);

    /// Reports the bytes that are reserved for keys in memory.
    fn keeps(&self, bytes: usize);

    /// Reports a commit of these offsets and of all records before them. `report` covers
    /// everything written so far.
    fn committed(&self, read: &Positions, report: &WriteReport);

    /// Reports that unchanged offsets were committed again, so that the brokers keep them.
    fn renewed(&self);
}
