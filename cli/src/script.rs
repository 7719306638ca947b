//! Statements and backslash commands from a file or from standard input.

use std::fs::File;
use std::io::{BufRead, BufReader};

use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion_cli::command::{Command, OutputFormat};

use crate::output;
use crate::session::Session;
use crate::statement;

/// Runs a file up to its first error.
pub(crate) async fn run_file(session: &mut Session, path: &str) -> Result<()> {
    let file =
        File::open(path).map_err(|error| exec_datafusion_err!("cannot open {path}: {error}"))?;
    // A file may include another one.
    Box::pin(run_lines(session, &mut BufReader::new(file))).await
}

/// Runs each statement as soon as its last line was read, up to the first error.
pub(crate) async fn run_lines(session: &mut Session, reader: &mut dyn BufRead) -> Result<()> {
    let mut pending = String::new();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            break;
        }
        if line.starts_with("#!") {
            continue;
        }
        if pending.trim().is_empty() && line.starts_with('\\') {
            match run_command(session, line.trim_end()).await? {
                Next::Continue => continue,
                Next::Quit => return Ok(()),
            }
        }
        pending.push_str(&line);
        if line.trim_end().ends_with(';') && statement::is_complete(&session.ctx, &pending) {
            statement::run(session, &std::mem::take(&mut pending)).await?;
        }
    }
    statement::run(session, &pending).await
}

/// What to do after a backslash command.
pub(crate) enum Next {
    Continue,
    Quit,
}

/// The backslash command for a plain word, such as `quit`, that is not SQL.
pub(crate) fn plain_command(line: &str) -> Option<&'static str> {
    match line
        .trim()
        .trim_end_matches(';')
        .to_ascii_lowercase()
        .as_str()
    {
        "exit" | "quit" => Some("\\q"),
        "help" => Some("\\?"),
        _ => None,
    }
}

/// Runs a backslash command of datafusion-cli.
pub(crate) async fn run_command(session: &mut Session, line: &str) -> Result<Next> {
    let command = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let invalid = || exec_datafusion_err!("`{command}` is not a command; `\\?` shows all commands");
    let name = command.strip_prefix('\\').unwrap_or(&command);
    match name.parse::<Command>().map_err(|()| invalid())? {
        Command::Quit => return Ok(Next::Quit),
        // Run as SQL, so that topics are listed and looked up as for these statements.
        Command::ListTables => statement::run(session, "SHOW TABLES").await?,
        Command::DescribeTableStmt(table) => {
            statement::run(session, &format!("SHOW COLUMNS FROM {table}")).await?;
        }
        Command::Include(Some(path)) => run_file(session, &path).await?,
        Command::OutputFormat(Some(subcommand)) => {
            let format: OutputFormat = subcommand.parse().map_err(|()| invalid())?;
            format.execute(&mut session.print)?;
        }
        Command::OutputFormat(None) => {
            let format = session.print.format;
            output::write(format!("Output format is {format:?}.\n").as_bytes())?;
        }
        other => {
            output::only_prints(other.execute(&session.ctx, &mut session.print).await)?;
        }
    }
    Ok(Next::Continue)
}
