//! The prompt.

use std::fs;
use std::io;
use std::path::PathBuf;

use datafusion::error::{DataFusionError, Result};
use datafusion_cli::DATAFUSION_CLI_VERSION;
use rustyline::Editor;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;

use crate::args::Args;
use crate::complete::Prompt;
use crate::demo;
use crate::errors;
use crate::script::{self, Next};
use crate::session::Session;
use crate::signals::Interrupt;
use crate::statement;
use crate::stderr::to_stderr;

/// Reads statements and backslash commands, and runs them, until the user leaves.
///
/// # Errors
/// An error that keeps the prompt from being shown. Errors of statements are printed.
pub(crate) async fn run(session: &mut Session, args: &Args) -> Result<()> {
    if !args.quiet {
        to_stderr!(
            "datafusion-kafka-cli v{} (DataFusion CLI v{DATAFUSION_CLI_VERSION})",
            env!("CARGO_PKG_VERSION")
        );
    }
    // A wrong password is reported before the first statement.
    match &session.topics {
        Some(topics) => topics.refresh(&session.ctx).await?,
        None if !args.quiet => to_stderr!(
            "No Kafka servers are named, so topics are not tables. See --bootstrap-servers and --demo."
        ),
        None => {}
    }
    if !args.quiet
        && let Some(kafka) = &session.demo
    {
        demo::say_what_to_try(kafka);
    }
    for file in rc_files(args) {
        if let Err(error) = script::run_file(session, &file).await {
            errors::report(&error, Some(session)).await;
        }
    }
    let mut editor = Editor::new().map_err(not_read)?;
    editor.set_helper(Some(Prompt::new(session)));
    let history = history_file();
    load_history(&mut editor, history.as_ref());
    let left = read(session, &mut editor).await;
    if let Some(history) = &history {
        // A history that cannot be saved does not concern a user who leaves.
        let _ = editor.save_history(history);
    }
    left
}

async fn read(session: &mut Session, editor: &mut Editor<Prompt, DefaultHistory>) -> Result<()> {
    loop {
        let line = match editor.readline("> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                println!("^C");
                continue;
            }
            Err(ReadlineError::Eof) => {
                println!("\\q");
                return Ok(());
            }
            Err(error) => return Err(not_read(error)),
        };
        if line.trim().is_empty() {
            continue;
        }
        editor
            .add_history_entry(line.trim_end())
            .map_err(not_read)?;
        let mut interrupt = Interrupt::new()?;
        let run = async {
            let command = script::plain_command(&line);
            let command = command.or_else(|| line.starts_with('\\').then(|| line.trim_end()));
            if let Some(command) = command {
                return script::run_command(session, command).await;
            }
            statement::run(session, &line).await?;
            Ok(Next::Continue)
        };
        // Dropping a statement ends it.
        let done = tokio::select! {
            done = run => done,
            () = interrupt.next() => {
                // On a new line after the `^C` that the terminal prints.
                println!();
                if let Some(left) = session.running.left_behind() {
                    to_stderr!("{left}");
                }
                Ok(Next::Continue)
            }
        };
        match done {
            Ok(Next::Continue) => {}
            Ok(Next::Quit) => return Ok(()),
            Err(error) => errors::report(&error, Some(session)).await,
        }
        if let Some(prompt) = editor.helper_mut() {
            prompt.follow(session);
        }
    }
}

fn not_read(error: ReadlineError) -> DataFusionError {
    DataFusionError::IoError(io::Error::other(error))
}

/// The startup files of the command line, or `~/.datafusionrc` if it exists.
fn rc_files(args: &Args) -> Vec<String> {
    if let Some(files) = &args.rc {
        return files.clone();
    }
    let file = dirs::home_dir().map(|home| home.join(".datafusionrc"));
    let file = file.filter(|file| file.is_file());
    file.and_then(|file| file.into_os_string().into_string().ok())
        .into_iter()
        .collect()
}

/// A file in the user's data directory, which is created if it is missing.
fn history_file() -> Option<PathBuf> {
    let directory = dirs::data_dir()?.join("datafusion-kafka-cli");
    fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}

fn load_history(editor: &mut Editor<Prompt, DefaultHistory>, file: Option<&PathBuf>) {
    if let Some(file) = file {
        // The file does not exist before the first run.
        let _ = editor.load_history(file);
    }
}
