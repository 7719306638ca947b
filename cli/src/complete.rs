//! Line editing at the prompt: datafusion-cli's, with completion of names.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use datafusion::prelude::SessionContext;
use datafusion_cli::helper::CliHelper;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper, Result};
use tokio::runtime::Handle;

use crate::script;
use crate::session::{Session, table_names};
use crate::statement;
use crate::tables::Topics;

/// How long completion waits for the columns of a topic that was not used before.
const PATIENCE: Duration = Duration::from_secs(2);

/// The editor's helper: completion, highlighting, hints and validation.
pub(crate) struct Prompt {
    cli: CliHelper,
    ctx: SessionContext,
    topics: Option<Arc<Topics>>,
}

impl Prompt {
    pub(crate) fn new(session: &Session) -> Self {
        let state = session.ctx.state();
        let dialect = &state.config_options().sql_parser.dialect;
        Prompt {
            cli: CliHelper::new(dialect, session.print.color),
            ctx: session.ctx.clone(),
            topics: session.topics.clone(),
        }
    }

    /// Applies session settings that a statement may have changed.
    pub(crate) fn follow(&mut self, session: &Session) {
        let state = session.ctx.state();
        self.cli
            .set_dialect(&state.config_options().sql_parser.dialect);
        self.cli.reset_hint();
    }

    /// The names that the word after `before` could stand for.
    fn candidates(&self, before: &str, line: &str) -> Vec<String> {
        match Place::of(before) {
            Place::Option => option_names(),
            Place::Setting => {
                let mut names = option_names();
                let options = self.ctx.state();
                let options = options.config_options().entries();
                names.extend(options.into_iter().map(|entry| entry.key));
                names
            }
            Place::Topic => self.topic_names(),
            Place::Table => self.table_names(),
            Place::Expression => {
                let mut names = self.columns(line);
                names.extend(self.table_names());
                names
            }
            Place::File => Vec::new(),
        }
    }

    fn topic_names(&self) -> Vec<String> {
        self.topics
            .as_ref()
            .map_or_else(Vec::new, |topics| topics.names())
    }

    fn table_names(&self) -> Vec<String> {
        let mut names = table_names(&self.ctx);
        names.extend(self.topic_names());
        names
    }

    /// The columns of the tables that are named in the line.
    fn columns(&self, line: &str) -> Vec<String> {
        let mut words = words(line);
        let mut columns = Vec::new();
        while let Some(word) = words.next() {
            if is_before_table(word)
                && let Some(table) = words.next()
            {
                columns.extend(self.columns_of(table.trim_matches('"')));
            }
        }
        columns
    }

    fn columns_of(&self, table: &str) -> Vec<String> {
        if !self.table_names().iter().any(|name| name == table) {
            return Vec::new();
        }
        let lookup = self.ctx.table_provider(format!("\"{table}\""));
        // Completion is called from synchronous code, on a thread of the runtime.
        let found = tokio::task::block_in_place(|| {
            Handle::current().block_on(tokio::time::timeout(PATIENCE, lookup))
        });
        let Ok(Ok(table)) = found else {
            return Vec::new();
        };
        let schema = table.schema();
        let fields = schema.fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }
}

/// The kind of name that belongs at a place in a statement.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// The name of a table option, in quotes.
    Option,
    /// The name of a setting, after SET.
    Setting,
    /// The name of a topic in quotes, as the argument of a function.
    Topic,
    Table,
    /// Columns, or tables to qualify columns with.
    Expression,
    /// Other text in quotes, such as a file name.
    File,
}

impl Place {
    fn of(before: &str) -> Self {
        let upper = before.to_ascii_uppercase();
        if before.matches('\'').count() % 2 == 1 {
            let text = upper.trim_end_matches('\'');
            return if text.contains("OPTIONS") {
                Place::Option
            } else if text.ends_with('(') && text.contains("KAFKA_") {
                Place::Topic
            } else {
                Place::File
            };
        }
        let outside = before.trim_end_matches('"');
        match words(outside).last() {
            Some(word) if word.eq_ignore_ascii_case("set") && words(outside).count() == 1 => {
                Place::Setting
            }
            Some(word) if is_before_table(word) => Place::Table,
            _ => Place::Expression,
        }
    }
}

fn is_before_table(word: &str) -> bool {
    const WORDS: [&str; 9] = [
        "FROM",
        "JOIN",
        "INTO",
        "UPDATE",
        "TABLE",
        "DESCRIBE",
        "OVERWRITE",
        "USING",
        "\\D",
    ];
    WORDS.iter().any(|known| word.eq_ignore_ascii_case(known))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | ';'))
        .filter(|word| !word.is_empty())
}

fn option_names() -> Vec<String> {
    datafusion_kafka::options::all()
        .iter()
        .map(|option| option.name)
        .map(|name| name.split_once('<').map_or(name, |(prefix, _)| prefix))
        .map(str::to_owned)
        .collect()
}

/// The start of the word at the end of the text.
fn word_start(text: &str) -> usize {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    let rest = text.trim_end_matches(is_part);
    rest.len()
}

/// The name as SQL needs it: quoted unless it is a plain name or a quote is already open.
fn spelt(name: &str, before: &str) -> String {
    let in_quotes = before.ends_with(['"', '\'']) || before.matches('\'').count() % 2 == 1;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match in_quotes || (starts_plain && name.chars().all(plain)) {
        true => name.to_owned(),
        false => format!("\"{name}\""),
    }
}

impl Completer for Prompt {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, ctx: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let typed = line.get(..pos).unwrap_or(line);
        let start = word_start(typed);
        let (before, word) = typed.split_at(start);
        let place = Place::of(before);
        if place == Place::File {
            return self.cli.complete(line, pos, ctx);
        }
        let in_sql = matches!(place, Place::Table | Place::Expression);
        let mut names = self.candidates(before, line);
        names.retain(|name| name.starts_with(word));
        names.sort_unstable();
        names.dedup();
        let pairs = names.into_iter().map(|name| Pair {
            replacement: match in_sql {
                true => spelt(&name, before),
                false => name.clone(),
            },
            display: name,
        });
        Ok((start, pairs.collect()))
    }
}

impl Highlighter for Prompt {
    fn highlight<'l>(&self, line: &'l str, pos: usize) -> Cow<'l, str> {
        self.cli.highlight(line, pos)
    }

    fn highlight_char(&self, line: &str, pos: usize, kind: CmdKind) -> bool {
        self.cli.highlight_char(line, pos, kind)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        self.cli.highlight_hint(hint)
    }
}

impl Hinter for Prompt {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, ctx: &Context<'_>) -> Option<String> {
        self.cli.hint(line, pos, ctx)
    }
}

impl Validator for Prompt {
    /// Only decides whether more lines are needed. Mistakes are reported when the statement runs.
    fn validate(&self, ctx: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        self.cli.reset_hint();
        let input = ctx.input();
        let is_complete = input.trim().is_empty()
            || input.starts_with('\\')
            || script::plain_command(input).is_some()
            || statement::is_complete(&self.ctx, input);
        Ok(match is_complete {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Helper for Prompt {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_names_of_its_kind() {
        for (before, place) in [
            ("SELECT ", Place::Expression),
            ("SELECT * FROM ", Place::Table),
            ("select * from orders o join ", Place::Table),
            ("SELECT * FROM \"", Place::Table),
            ("SELECT * FROM orders WHERE ", Place::Expression),
            ("INSERT INTO ", Place::Table),
            ("\\d ", Place::Table),
            ("SET ", Place::Setting),
            ("UPDATE orders SET ", Place::Expression),
            ("SELECT * FROM kafka_log('", Place::Topic),
            (
                "CREATE EXTERNAL TABLE t STORED AS KAFKA LOCATION 't' OPTIONS ('",
                Place::Option,
            ),
            (
                "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '",
                Place::File,
            ),
        ] {
            assert_eq!(Place::of(before), place, "{before}");
        }
    }

    #[test]
    fn names_are_quoted_where_sql_needs_it() {
        assert_eq!(spelt("orders", "FROM "), "orders");
        assert_eq!(spelt("orders-eu.v1", "FROM "), "\"orders-eu.v1\"");
        assert_eq!(spelt("orders-eu", "FROM \""), "orders-eu");
        assert_eq!(word_start("SELECT * FROM orders-e"), 14);
    }
}
