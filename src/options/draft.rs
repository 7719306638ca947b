//! The values that the list of options fills in.

use std::collections::BTreeMap;

use super::table::{NewTopic, TableOptions};

/// The options of a table while they are being collected.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) table: TableOptions,
    pub(super) create_topic: bool,
    pub(super) topic: NewTopic,
}

impl Default for Draft {
    fn default() -> Self {
        Draft {
            table: TableOptions::default(),
            create_topic: false,
            topic: NewTopic {
                partitions: None,
                replication: None,
                config: BTreeMap::new(),
            },
        }
    }
}
