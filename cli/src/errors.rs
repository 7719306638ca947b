//! What failed, in one line, and what could help.

use std::error::Error as StdError;
use std::io;

use datafusion::error::DataFusionError;
use datafusion_kafka::Error;

use crate::session::{Session, table_names};

/// Says on standard error what failed.
pub(crate) async fn report(error: &DataFusionError, session: Option<&Session>) {
    let hint = match session {
        Some(session) => hint(error, session).await,
        None => None,
    };
    eprintln!("Error: {}{}", message(error), hint.unwrap_or_default());
}

/// Whether nobody reads standard output any more.
pub(crate) fn is_broken_pipe(error: &DataFusionError) -> bool {
    let mut current: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = current {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::BrokenPipe;
        }
        current = error.source();
    }
    // Arrow's writers keep the text alone.
    error.to_string().contains("Broken pipe")
}

/// The error in one line, without what DataFusion wraps around it.
fn message(error: &DataFusionError) -> String {
    let message = match (Error::find(error), error.find_root()) {
        (Some(kafka), _) => match StdError::source(kafka) {
            Some(cause) if !kafka.to_string().contains(&cause.to_string()) => {
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
        (None, root) => root.message().into_owned(),
    };
    let lines: Vec<&str> = message.lines().map(str::trim).collect();
    lines.join(" ")
}

/// The names that a mistyped one could be.
async fn hint(error: &DataFusionError, session: &Session) -> Option<String> {
    let missing = match (Error::find(error), error.find_root()) {
        (Some(Error::TopicNotFound { topic, .. }), _) => topic.clone(),
        (None, DataFusionError::Plan(text)) => {
            let (_, rest) = text.split_once("table '")?;
            let (name, rest) = rest.split_once('\'')?;
            if !rest.contains("not found") {
                return None;
            }
            name.rsplit('.').next().unwrap_or(name).to_owned()
        }
        _ => return None,
    };
    let Some(topics) = &session.topics else {
        return Some(
            "; for topics name the servers with --bootstrap-servers, or try --demo".to_owned(),
        );
    };
    topics.refresh(&session.ctx).await.ok()?;
    let mut names = topics.names();
    names.extend(table_names(&session.ctx));
    // A table may be there whose topic is not.
    names.retain(|name| *name != missing);
    let near = nearest(&missing, &names);
    (!near.is_empty()).then(|| format!("; did you mean {}?", near.join(" or ")))
}

/// Up to three names that differ little.
fn nearest(name: &str, names: &[String]) -> Vec<String> {
    const SIMILAR: f64 = 0.6;
    let name = name.to_lowercase();
    let mut near: Vec<(f64, &String)> = names
        .iter()
        .map(|other| {
            (
                strsim::normalized_damerau_levenshtein(&name, &other.to_lowercase()),
                other,
            )
        })
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .collect();
    near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    near.dedup_by(|(_, one), (_, other)| one == other);
    near.into_iter()
        .take(3)
        .map(|(_, name)| format!("`{name}`"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_named_nearest_first() {
        let names = ["orders", "orders_eu", "customers"].map(str::to_owned);
        assert_eq!(nearest("ordrs", &names), ["`orders`"]);
        assert_eq!(nearest("Orders_e", &names), ["`orders_eu`", "`orders`"]);
        assert!(nearest("payments", &names).is_empty());
    }

    #[test]
    fn a_message_is_one_line() {
        let error = DataFusionError::Plan("one\n  two".to_owned());
        assert_eq!(message(&error), "one two");
        let error = DataFusionError::from(Error::Unsupported("no".to_owned()));
        assert_eq!(message(&error), "no");
    }

    #[test]
    fn a_broken_pipe_is_found() {
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&DataFusionError::from(pipe)));
        assert!(!is_broken_pipe(&DataFusionError::Plan("no".to_owned())));
    }
}
