//! Between the errors of this crate and those of DataFusion, inside of which they travel.

use datafusion::error::DataFusionError;

use crate::error::Error;

impl Error {
    /// The [`Error`] inside a DataFusion error, through any context that was
    /// put around it.
    pub fn find(error: &DataFusionError) -> Option<&Error> {
        let mut current: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = current {
            if let Some(found) = error.downcast_ref::<Error>() {
                return Some(found);
            }
            current = match error.downcast_ref::<DataFusionError>() {
                Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
                Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
                Some(DataFusionError::Context(_, inner)) => Some(inner.as_ref()),
                Some(DataFusionError::Diagnostic(_, inner)) => Some(inner.as_ref()),
                _ => error.source(),
            };
        }
        None
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::DataFusion(error) => DataFusionError::Shared(error),
            error => DataFusionError::External(Box::new(error)),
        }
    }
}
