//! What users may implement: formats of their own, and what looks at records before they are
//! sent.

pub(crate) mod codec;
pub(crate) mod hook;

use std::sync::Arc;

use crate::extensions::codec::Codec;
use crate::extensions::hook::WriteHook;

/// What a table has in place of, or beside, what options can say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extensions {
    pub(crate) key_codec: Option<Arc<dyn Codec>>,
    pub(crate) value_codec: Option<Arc<dyn Codec>>,
    pub(crate) hook: Option<Arc<dyn WriteHook>>,
}
