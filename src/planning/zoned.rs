//! Plans TIMESTAMP WITH TIME ZONE in sessions without a time zone.
//!
//! DataFusion gives the type the zone of the session. In a session without a zone, the type would
//! have no zone either: it would be the same as TIMESTAMP, and would be written without an
//! offset.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{self, TimezoneInfo};

/// Gives TIMESTAMP WITH TIME ZONE the zone UTC where the session has no zone.
pub(crate) struct Zoned {
    /// Whether the session has a zone at the moment.
    has_zone: Box<dyn Fn() -> bool + Send + Sync>,
    /// The session's own type planner.
    own: Option<Arc<dyn TypePlanner>>,
}

impl Zoned {
    pub(crate) fn new(
        has_zone: impl Fn() -> bool + Send + Sync + 'static,
        own: Option<Arc<dyn TypePlanner>>,
    ) -> Self {
        Zoned {
            has_zone: Box::new(has_zone),
            own,
        }
    }
}

impl fmt::Debug for Zoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zoned").finish_non_exhaustive()
    }
}

impl TypePlanner for Zoned {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> DataFusionResult<Option<FieldRef>> {
        if let Some(own) = &self.own
            && let Some(field) = own.plan_type_field(sql_type)?
        {
            return Ok(Some(field));
        }
        let ast::DataType::Timestamp(precision, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) =
            sql_type
        else {
            return Ok(None);
        };
        let unit = match precision {
            Some(0) => TimeUnit::Second,
            Some(3) => TimeUnit::Millisecond,
            Some(6) => TimeUnit::Microsecond,
            None | Some(9) => TimeUnit::Nanosecond,
            // DataFusion reports that there is no such type.
            Some(_) => return Ok(None),
        };
        if (self.has_zone)() {
            return Ok(None);
        }
        let data_type = DataType::Timestamp(unit, Some("+00:00".into()));
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}
