//! Runs statements, one after the other.

use std::sync::Arc;

use datafusion::common::instant::Instant;
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{CopyToStatement, Statement};
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::{GenericDialect, dialect_from_str};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{
    Location, Token, TokenWithSpan, Tokenizer, TokenizerError,
};
use datafusion_cli::exec::exec_from_commands;
use datafusion_kafka::KafkaTable;

use crate::information_schema::{self, Shown};
use crate::output::Output;
use crate::progress::ProgressLine;
use crate::session::Session;
use crate::stderr::to_stderr;

/// Runs the statements of a text up to the first error.
pub(crate) async fn run(session: &Session, text: &str) -> Result<()> {
    for statement in split(session, text)? {
        run_one(session, statement).await?;
    }
    Ok(())
}

/// Whether the text ends where a statement ends, and not in a string or comment.
pub(crate) fn is_complete(ctx: &SessionContext, text: &str) -> bool {
    match tokens(ctx, text) {
        Ok(tokens) => {
            let mut tokens = tokens.iter().map(|token| &token.token);
            let last = tokens.rfind(|token| !matches!(token, Token::Whitespace(_)));
            last == Some(&Token::SemiColon)
        }
        // Text that no closing symbol completes is not SQL at all. Running it reports the error.
        Err(_) => !closing_signs(text)
            .iter()
            .any(|close| tokens(ctx, &format!("{text}{close}")).is_ok()),
    }
}

/// The symbols that may close a string, a name or a comment at the end of a text.
fn closing_signs(text: &str) -> Vec<String> {
    let mut signs = ["'", "\"", "`", "]"].map(str::to_owned).to_vec();
    // Comments can be nested.
    signs.push("*/".repeat(text.matches("/*").count()));
    // `$name$` opens a string, and the same text closes it.
    let names = text.split('$').skip(1);
    let names = names.filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'));
    signs.extend(names.map(|name| format!("${name}$")));
    signs
}

async fn run_one(session: &Session, text: &str) -> Result<()> {
    session.running.begin(text);
    let state = session.ctx.state();
    let dialect = state.config_options().sql_parser.dialect;
    let statement = state.sql_to_statement(text, &dialect)?;
    if is_about_files(&statement) {
        // datafusion-cli knows the object stores and their options.
        let text = text.to_owned();
        return exec_from_commands(&session.ctx, vec![text], &session.print).await;
    }
    let topics = session.topics.as_deref();
    let reads_schema = information_schema::is_read_by(&statement, &state);
    let shown = match topics {
        Some(topics) if reads_schema => Some(Shown::to(&statement, session, topics).await?),
        _ => None,
    };
    let all_rows = reads_schema || is_description(&statement);
    let result = execute(session, text, all_rows).await;
    drop(shown);
    if let Some(topics) = topics
        && result.is_ok()
        && !session.print.quiet
    {
        for topic in dropped(&statement).filter(|name| topics.names().contains(name)) {
            to_stderr!("The topic `{topic}` stays: only its table in this session was dropped.");
        }
    }
    result
}

/// Whether a statement adds rows to a topic each time it runs.
pub(crate) async fn inserts_into_topic(session: &Session, text: &str) -> Result<bool> {
    let mut state = session.ctx.state();
    let parser = &mut state.config_mut().options_mut().sql_parser;
    parser.enable_ident_normalization = false;
    let dialect = parser.dialect;
    let Statement::Statement(statement) = state.sql_to_statement(text, &dialect)? else {
        return Ok(false);
    };
    let ast::Statement::Insert(insert) = statement.as_ref() else {
        return Ok(false);
    };
    let ast::TableObject::TableName(name) = &insert.table else {
        return Ok(false);
    };
    if insert.overwrite {
        return Ok(false);
    }
    let Ok(table) = object_name_to_table_reference(name.clone(), false) else {
        return Ok(false);
    };
    let provider = session.ctx.table_provider(table).await;
    // A table that does not exist may be a topic that the INSERT creates.
    Ok(provider.map_or(true, |provider| {
        provider.downcast_ref::<KafkaTable>().is_some()
    }))
}

/// The tables that a statement drops.
fn dropped(statement: &Statement) -> impl Iterator<Item = String> {
    let names = match statement {
        Statement::Statement(statement) => match statement.as_ref() {
            ast::Statement::Drop {
                object_type: ast::ObjectType::Table,
                names,
                ..
            } => names.as_slice(),
            _ => &[],
        },
        _ => &[],
    };
    let idents = names.iter().filter_map(|name| name.0.last()?.as_ident());
    idents.map(|ident| ident.value.clone())
}

async fn execute(session: &Session, text: &str, all_rows: bool) -> Result<()> {
    let start = Instant::now();
    let frame = datafusion_kafka::sql(&session.ctx, text).await?;
    let context = Arc::new(frame.task_ctx());
    let plan = frame.create_physical_plan().await?;
    let progress = match session.shows_progress {
        true => ProgressLine::of(&plan),
        false => ProgressLine::none(),
    };
    let output = Output::new(&session.print, start, all_rows);
    session.running.executes(&plan);
    let result = output.run(plan, context, progress).await;
    session.running.has_ended();
    result
}

/// Whether a statement shows the columns of a table or a plan. `--maxrows` does not shorten these.
fn is_description(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(statement) => {
            matches!(statement.as_ref(), ast::Statement::ExplainTable { .. })
        }
        Statement::Explain(_) => true,
        _ => false,
    }
}

/// Whether datafusion-cli itself runs the statement, because it concerns files and not topics.
fn is_about_files(statement: &Statement) -> bool {
    match statement {
        Statement::CreateExternalTable(create) => !create.file_type.eq_ignore_ascii_case("kafka"),
        Statement::CopyTo(CopyToStatement {
            target, stored_as, ..
        }) => {
            let to_kafka = stored_as
                .as_deref()
                .is_some_and(|format| format.eq_ignore_ascii_case("kafka"));
            !to_kafka && target.contains("://") && !target.starts_with("kafka://")
        }
        _ => false,
    }
}

/// The statements of a text, without the semicolons between them.
pub(crate) fn split<'a>(session: &Session, text: &'a str) -> Result<Vec<&'a str>> {
    let tokens = tokens(&session.ctx, text).map_err(ParserError::from);
    let mut statements = Vec::new();
    let mut places = Places::new(text);
    let mut start = 0;
    let mut is_empty = true;
    for token in tokens.map_err(|error| DataFusionError::SQL(Box::new(error), None))? {
        match token.token {
            Token::SemiColon => {
                let end = places.offset(token.span.start);
                if !is_empty {
                    statements.extend(text.get(start..end));
                }
                start = end + 1;
                is_empty = true;
            }
            Token::Whitespace(_) => {}
            _ => is_empty = false,
        }
    }
    if !is_empty {
        statements.extend(text.get(start..));
    }
    Ok(statements)
}

pub(crate) fn tokens(
    ctx: &SessionContext,
    text: &str,
) -> Result<Vec<TokenWithSpan>, TokenizerError> {
    let dialect = ctx.state().config_options().sql_parser.dialect;
    let dialect = dialect_from_str(dialect).unwrap_or_else(|| Box::new(GenericDialect {}));
    Tokenizer::new(dialect.as_ref(), text).tokenize_with_location()
}

/// Converts positions of a text, given in ascending order as line and column, to byte offsets.
struct Places<'a> {
    chars: std::str::CharIndices<'a>,
    line: u64,
    column: u64,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        Places {
            chars: text.char_indices(),
            line: 1,
            column: 1,
        }
    }

    fn offset(&mut self, location: Location) -> usize {
        while (self.line, self.column) < (location.line, location.column)
            && let Some((_, c)) = self.chars.next()
        {
            match c {
                '\n' => (self.line, self.column) = (self.line + 1, 1),
                _ => self.column += 1,
            }
        }
        self.chars.offset()
    }
}
