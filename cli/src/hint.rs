//! What could help with a statement that failed.

use std::time::Duration;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion_kafka::Error;

use crate::session::{Session, table_names};
use crate::tables::Topics;

/// How long the names of all topics are waited for once something failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Columns that a topic has only where they are asked for.
const METADATA: [&str; 5] = ["_topic", "_partition", "_offset", "_timestamp", "_headers"];

/// What could help, as the end of the error's sentence.
pub(crate) async fn hint(error: &DataFusionError, session: &Session) -> Option<String> {
    if let DataFusionError::SchemaError(error, _) = error.find_root()
        && let SchemaError::FieldNotFound { field, .. } = error.as_ref()
        && METADATA.contains(&field.name())
    {
        return Some("; SET kafka.metadata = 'all' gives topics their metadata columns".to_owned());
    }
    let statement = session.running.statement().unwrap_or_default();
    let missing = missing(error);
    let is_syntax = matches!(error.find_root(), DataFusionError::SQL(..));
    if missing.is_none() && !(is_syntax && statement.contains(['-', '.'])) {
        return None;
    }
    let Some(topics) = &session.topics else {
        return missing.map(|_| {
            "; for topics name the servers with --bootstrap-servers, or try --demo".to_owned()
        });
    };
    let listed = tokio::time::timeout(PATIENCE, topics.refresh(&session.ctx)).await;
    listed.ok()?.ok()?;
    if let Some(topic) = unquoted(&statement, topics) {
        return Some(format!(
            "; write the topic's name in quotes, since it has other signs than letters, digits and `_`: \"{topic}\""
        ));
    }
    let missing = missing?;
    if topics.leaves_out(&missing) {
        return Some(format!(
            "; there is a topic `{missing}`, which --topics leaves out"
        ));
    }
    let mut names = topics.names();
    names.extend(table_names(&session.ctx));
    // A table may be there whose topic is not.
    names.retain(|name| *name != missing);
    let near = nearest(&missing, &names);
    (!near.is_empty()).then(|| format!("; did you mean {}?", near.join(" or ")))
}

/// The table or topic that was not found.
fn missing(error: &DataFusionError) -> Option<String> {
    match (Error::find(error), error.find_root()) {
        (Some(Error::TopicNotFound { topic, .. }), _) => Some(topic.clone()),
        (None, DataFusionError::Plan(text)) => {
            let (_, rest) = text.split_once("table '")?;
            let (name, rest) = rest.split_once('\'')?;
            if !rest.contains("not found") {
                return None;
            }
            Some(name.rsplit('.').next().unwrap_or(name).to_owned())
        }
        _ => None,
    }
}

/// The longest name that needs quotes and stands in the statement without.
fn unquoted(statement: &str, topics: &Topics) -> Option<String> {
    let names = topics.names();
    let found = names
        .into_iter()
        .filter(|name| name.contains(['-', '.']) && stands_alone(name, statement));
    found.max_by_key(String::len)
}

/// Whether a name stands in a text, neither in quotes nor as a part of a longer name.
fn stands_alone(name: &str, text: &str) -> bool {
    let is_other = |c: Option<char>| {
        c.is_none_or(|c| {
            !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'' | '`' | '/'))
        })
    };
    text.match_indices(name).any(|(start, _)| {
        let before = text.get(..start).unwrap_or_default();
        let after = text.get(start + name.len()..).unwrap_or_default();
        is_other(before.chars().next_back()) && is_other(after.chars().next())
    })
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
    fn a_name_stands_alone_without_quotes_and_more_letters() {
        for text in ["FROM a-b", "FROM a-b;", "FROM x, a-b WHERE", "FROM (a-b)"] {
            assert!(stands_alone("a-b", text), "{text}");
        }
        for text in [
            "FROM \"a-b\"",
            "FROM a-b-c",
            "'a-b'",
            "xa-b",
            "kafka://h/a-b",
            "",
        ] {
            assert!(!stands_alone("a-b", text), "{text}");
        }
    }
}
