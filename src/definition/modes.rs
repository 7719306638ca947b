//! Reads a table in another mode: record by record, or unbounded.

use crate::definition::TableDefinition;
use crate::definition::metadata_columns::Metadata;
use crate::definition::schema::KafkaSchema;
use crate::error::{Error, Result};
use crate::options::{Bound, CheckKeys, Mode};

impl TableDefinition {
    /// The same table, read record by record. In upsert mode the rows are the changes of the
    /// table.
    ///
    /// # Errors
    /// Payload columns are NOT NULL, but tombstones become rows.
    pub(crate) fn log(&self) -> Result<Self> {
        let mut log = self.clone();
        if log.options.mode.unwrap_or_default() == Mode::Upsert {
            log.options.mode = Some(Mode::Append);
            log.is_change_log = true;
        }
        let (options, extensions) = (&log.options, &log.extensions);
        log.schema = KafkaSchema::try_new(self.schema.arrow(), options, extensions)?;
        Ok(log)
    }

    /// The same table, with these columns of each row's source record added.
    ///
    /// Where tombstones and records that do not fit have become rows, their payload columns are
    /// NULL, even columns that are NOT NULL.
    ///
    /// # Errors
    /// Payload columns are NOT NULL, and a codec cannot say which NULLs are meant.
    pub(crate) fn with_record(&self, record: &[Metadata]) -> Result<Self> {
        let mut table = self.clone();
        table.schema = self.schema.with_record(record);
        match self.extensions.value_codec {
            Some(_) => table.schema.check_rows_without_payload(&table.options)?,
            None => table.schema = table.schema.with_rows_without_payload(),
        }
        Ok(table)
    }

    /// The same table, unbounded: a log of changes in upsert mode, a log of records in append
    /// mode.
    ///
    /// # Errors
    /// The options set an end, or a check that needs an end.
    pub(crate) fn without_end(&self) -> Result<Self> {
        let refused = if self.options.end != Bound::Latest {
            "an UNBOUNDED table does not end; leave `kafka.end` out"
        } else if self.options.check_keys == CheckKeys::Fail {
            "`kafka.check_keys` = `fail` looks at a table as a whole, which an UNBOUNDED table never is; leave it out"
        } else {
            let mut unbounded = self.log()?;
            unbounded.unbounded = true;
            return Ok(unbounded);
        };
        Err(Error::Unsupported(refused.to_owned()))
    }

    /// The mode that the table was declared with.
    pub(crate) fn declared_mode(&self) -> Mode {
        match self.is_change_log {
            true => Mode::Upsert,
            false => self.options.mode.unwrap_or_default(),
        }
    }

    /// Checks that the rows of a change log can show deletes. Without a column that marks
    /// deletes, the rows would be misleading.
    ///
    /// # Errors
    /// The table is a change log and has no column that marks deletes.
    pub(crate) fn check_deletes_are_seen(&self) -> Result<()> {
        if self.is_change_log && !self.schema.has_tombstones() {
            return Err(Error::Unsupported(format!(
                "the rows of UNBOUNDED topic `{}` in upsert mode are changes: declare `_tombstone BOOLEAN`, which is true where a key was deleted, or set `kafka.mode` = `append`; INSERT INTO another topic carries deletes without it",
                self.topic
            )));
        }
        Ok(())
    }
}
