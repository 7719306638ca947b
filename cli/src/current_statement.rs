//! The statement that runs now: a hint reads its text, and an interrupt reports what it has
//! written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::physical_plan::ExecutionPlan;

use crate::progress;

/// The statement that was started last, and its plan while the plan runs.
#[derive(Default)]
pub(crate) struct Running(Mutex<CurrentStatement>);

#[derive(Default)]
struct CurrentStatement {
    statement: Option<String>,
    plan: Option<Arc<dyn ExecutionPlan>>,
}

impl Running {
    pub(crate) fn begin(&self, statement: &str) {
        *self.lock() = CurrentStatement {
            statement: Some(statement.to_owned()),
            plan: None,
        };
    }

    /// The text of the statement that was started last.
    pub(crate) fn statement(&self) -> Option<String> {
        self.lock().statement.clone()
    }

    pub(crate) fn executes(&self, plan: &Arc<dyn ExecutionPlan>) {
        self.lock().plan = Some(Arc::clone(plan));
    }

    pub(crate) fn has_ended(&self) {
        self.lock().plan = None;
    }

    /// What an interrupted statement has written, if it writes to a topic.
    pub(crate) fn left_behind(&self) -> Option<String> {
        let plan = self.lock().plan.take()?;
        progress::left_behind(&plan)
    }

    fn lock(&self) -> MutexGuard<'_, CurrentStatement> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
