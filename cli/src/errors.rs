//! Errors as one line of text.

use std::error::Error as StdError;

use datafusion::error::DataFusionError;
use datafusion_kafka::{Error, ErrorKind};

use crate::hint::hint;
use crate::session::Session;
use crate::stderr::error_to_stderr;

/// Writes an error to standard error, with a hint where there is one.
pub(crate) async fn report(error: &DataFusionError, session: Option<&Session>) {
    let hint = match session {
        Some(session) => hint(error, session).await,
        None => None,
    };
    error_to_stderr!("{}{}", message(error), hint.unwrap_or_default());
}

/// The error in one line, without what DataFusion wraps around it.
pub(crate) fn message(error: &DataFusionError) -> String {
    let message = match (Error::find(error), error.find_root()) {
        (Some(kafka), _) => match StdError::source(kafka) {
            // What the codec says is in the message already, in the words of SQL.
            Some(cause)
                if kafka.kind() != ErrorKind::Data
                    && !kafka.to_string().contains(&cause.to_string()) =>
            {
                format!("{kafka}: {cause}")
            }
            _ => kafka.to_string(),
        },
        (None, DataFusionError::SQL(error, _)) => match error.as_ref() {
            datafusion::sql::sqlparser::parser::ParserError::ParserError(text)
            | datafusion::sql::sqlparser::parser::ParserError::TokenizerError(text) => {
                text.to_owned()
            }
            other => other.to_string(),
        },
        (None, root @ DataFusionError::IoError(_)) => match context(error) {
            Some(context) => format!("{context}: {}", root.message()),
            None => root.message().into_owned(),
        },
        (None, root) => root.message().into_owned(),
    };
    let lines: Vec<&str> = message.lines().map(str::trim).collect();
    lines.join(" ")
}

/// What was done when the error came.
fn context(error: &DataFusionError) -> Option<&str> {
    let first: &(dyn StdError + 'static) = error;
    let mut chain = std::iter::successors(Some(first), |error| (*error).source());
    chain.find_map(|error| match error.downcast_ref() {
        Some(DataFusionError::Context(text, _)) => Some(text.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        let error = DataFusionError::Plan("one\n  two".to_owned());
        assert_eq!(message(&error), "one two");
        let error = DataFusionError::from(Error::Unsupported("no".to_owned()));
        assert_eq!(message(&error), "no");
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = DataFusionError::from(missing).context("topic `t`: temporary file");
        assert_eq!(
            message(&error),
            "topic `t`: temporary file: entity not found"
        );
    }
}
