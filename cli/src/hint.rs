//! Hints for a statement that failed.

use std::ops::ControlFlow;
use std::time::Duration;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::visit_relations;
use datafusion::sql::sqlparser::tokenizer::{Token, Whitespace};
use datafusion_kafka::Error;

use crate::session::{Session, table_names};
use crate::statement;
use crate::tables::Topics;

/// How long a hint waits for the names of all topics.
const PATIENCE: Duration = Duration::from_secs(2);

/// Columns that a topic has only with `kafka.metadata`.
const METADATA: [&str; 5] = ["_topic", "_partition", "_offset", "_timestamp", "_headers"];

/// A hint, as the end of the error's sentence.
pub(crate) async fn hint(error: &DataFusionError, session: &Session) -> Option<String> {
    if let DataFusionError::SchemaError(error, _) = error.find_root()
        && let SchemaError::FieldNotFound { field, .. } = error.as_ref()
        && METADATA.contains(&field.name())
    {
        return Some("; SET kafka.metadata = 'all' gives topics their metadata columns".to_owned());
    }
    let text = session.running.statement().unwrap_or_default();
    let state = session.ctx.state();
    let statement = state.sql_to_statement(&text, &state.config_options().sql_parser.dialect);
    let parts = statement.as_ref().ok().and_then(name_of_many_parts);
    let missing = missing(error, statement.ok().as_ref(), &state);
    let is_syntax = matches!(error.find_root(), DataFusionError::SQL(..));
    if missing.is_none() && parts.is_none() && !(is_syntax && text.contains(['-', '.'])) {
        return None;
    }
    if let Some(topics) = &session.topics
        && let Ok(Ok(())) = tokio::time::timeout(PATIENCE, topics.refresh(&session.ctx)).await
        && let Some(hint) = hint_of_topics(&text, missing.as_deref(), topics, session)
    {
        return Some(hint);
    }
    if let Some(name) = parts {
        return Some(format!(
            "; write a topic's name that has dots in quotes: \"{name}\""
        ));
    }
    missing.filter(|_| session.topics.is_none()).map(|_| {
        "; to query topics, name the servers with --bootstrap-servers, or try --demo".to_owned()
    })
}

/// A hint that the names of the topics give.
fn hint_of_topics(
    statement: &str,
    missing: Option<&str>,
    topics: &Topics,
    session: &Session,
) -> Option<String> {
    let code = without_text(statement, &session.ctx);
    if let Some(topic) = unquoted(&code, topics) {
        return Some(format!(
            "; write the topic's name in quotes, since it has characters other than letters, digits and `_`: \"{topic}\""
        ));
    }
    let missing = missing?;
    if topics.leaves_out(missing) {
        return Some(format!(
            "; there is a topic `{missing}`, which --topics leaves out"
        ));
    }
    let mut names = topics.names();
    names.extend(table_names(&session.ctx));
    // A table may exist whose topic does not.
    names.retain(|name| name != missing);
    let near = nearest(missing, &names);
    (!near.is_empty()).then(|| format!("; did you mean {}?", near.join(" or ")))
}

/// The table or topic that was not found.
fn missing(
    error: &DataFusionError,
    statement: Option<&Statement>,
    state: &SessionState,
) -> Option<String> {
    match (Error::find(error), error.find_root()) {
        (Some(Error::TopicNotFound { topic, .. }), _) => Some(topic.clone()),
        // DataFusion names the table only in the text of the error. It is one that the statement
        // names.
        (None, DataFusionError::Plan(text)) => {
            let named = state.resolve_table_references(statement?).ok()?;
            let defaults = &state.config_options().catalog;
            let missing = named.into_iter().find(|table| {
                let table = table.clone();
                let table = table.resolve(&defaults.default_catalog, &defaults.default_schema);
                text.starts_with(&format!("table '{table}' not found"))
            });
            Some(missing?.table().to_owned())
        }
        _ => None,
    }
}

/// A name with more parts than a table name can have, joined with dots.
fn name_of_many_parts(statement: &Statement) -> Option<String> {
    const MOST: usize = 3;
    let Statement::Statement(statement) = statement else {
        return None;
    };
    let found = visit_relations(statement, |name| match name.0.len() > MOST {
        true => ControlFlow::Break(name.clone()),
        false => ControlFlow::Continue(()),
    });
    let name = found.break_value()?;
    let parts = name.0.iter().filter_map(|part| part.as_ident());
    let parts: Vec<&str> = parts.map(|part| part.value.as_str()).collect();
    Some(parts.join("."))
}

/// The statement's words and symbols, with `'` for each string, quoted name and comment.
fn without_text(statement: &str, ctx: &SessionContext) -> String {
    let tokens = statement::tokens(ctx, statement).unwrap_or_default();
    let code = tokens.iter().map(|token| match &token.token {
        Token::DollarQuotedString(_)
        | Token::Whitespace(
            Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_),
        ) => "'".to_owned(),
        token => match token.to_string() {
            text if text.contains(['\'', '"', '`']) => "'".to_owned(),
            sign => sign,
        },
    });
    code.collect()
}

/// The longest topic name that needs quotes and appears in the statement without them.
fn unquoted(statement: &str, topics: &Topics) -> Option<String> {
    let names = topics.names();
    let found = names
        .into_iter()
        .filter(|name| name.contains(['-', '.']) && stands_alone(name, statement));
    found.max_by_key(String::len)
}

/// Whether a name appears in a text without quotes, and not as a part of a longer name.
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

/// Up to three names that are spelled similarly, the most similar first.
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
