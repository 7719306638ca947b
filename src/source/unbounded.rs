//! Tables that never end.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::options::{Bound, CheckKeys, Mode};
use crate::schema::{KafkaSchema, Metadata};
use crate::table::TableDefinition;

impl TableDefinition {
    /// The same table, read without an end: a log of changes in upsert mode, of
    /// records in append mode.
    ///
    /// # Errors
    /// An end, checks that need one, or upsert mode without a column that tells
    /// deletes from other changes.
    pub(crate) fn without_end(self: &Arc<Self>) -> Result<Self> {
        let mut endless = TableDefinition::clone(self);
        let declared = self.options.mode.unwrap_or_default();
        let refused = if self.options.end != Bound::Latest {
            "an UNBOUNDED table does not end; leave `kafka.end` out"
        } else if self.options.check_keys == CheckKeys::Fail {
            "`kafka.check_keys` = `fail` looks at a table as a whole, which an UNBOUNDED table never is; leave it out"
        } else if declared == Mode::Upsert && !self.schema.has(Metadata::Tombstone) {
            "in upsert mode an UNBOUNDED table is a stream of changes: declare `_tombstone BOOLEAN`, which is true where a key was deleted, or set `kafka.mode` = `append`"
        } else {
            endless.options.mode = Some(Mode::Append);
            endless.unbounded = Some(declared);
            let (options, extensions) = (&endless.options, &endless.extensions);
            endless.schema = KafkaSchema::try_new(self.schema.arrow(), options, extensions)?;
            return Ok(endless);
        };
        Err(Error::Unsupported(refused.to_owned()))
    }
}
