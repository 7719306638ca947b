//! Holds the traits that users may implement: formats of their own, and hooks that see records
//! before they are sent.

mod binary_key;
pub(crate) mod codec;
pub(crate) mod hook;
pub(crate) mod json_document;

use std::sync::Arc;

use crate::extensions::codec::Codec;
use crate::extensions::hook::WriteHook;

/// The extensions of a table, which replace or complement its options.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extensions {
    pub(crate) key_codec: Option<Arc<dyn Codec>>,
    pub(crate) value_codec: Option<Arc<dyn Codec>>,
    /// Whether `value_codec` reads the payload as JSON, into the one column `_value`.
    pub(crate) is_document: bool,
    pub(crate) hook: Option<Arc<dyn WriteHook>>,
}
