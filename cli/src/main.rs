//! SQL over Kafka topics on the command line.

mod args;
mod cells;
mod complete;
mod current_statement;
mod demo;
mod errors;
mod exit;
mod health;
mod hint;
mod http;
mod information_schema;
mod metrics;
mod output;
mod progress;
mod repl;
mod run;
mod script;
mod session;
mod signals;
mod statement;
mod stderr;
mod tables;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory as _;
use datafusion::error::Result;
use datafusion_kafka::wait_for_clients;
use mimalloc::MiMalloc;
use tokio::runtime::Runtime;

use crate::args::{Args, Generated, Subcommand};
use crate::session::Session;
use crate::signals::Signals;
use crate::stderr::{error_to_stderr, to_stderr};

#[global_allocator]
static GLOBAL: MiMalloc = MiMalloc;

/// How long an interrupted program waits for the brokers to abort its transaction.
const ABORT_PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let args = Args::of_process();
    if let Some(what) = args.generate {
        return match generate(what) {
            Err(error) if !output::is_reader_gone(&error) => {
                error_to_stderr!("{}", errors::message(&error));
                ExitCode::FAILURE
            }
            _ => ExitCode::SUCCESS,
        };
    }
    stderr::init(args.log_format, args.quiet);
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            error_to_stderr!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    exit::leave(runtime.block_on(start(&args)))
}

/// Runs what the arguments ask for. Returns the exit code.
async fn start(args: &Args) -> u8 {
    let mut session = match Session::new(args).await {
        Ok(session) => session,
        Err(error) => {
            errors::report(&error, None).await;
            return exit::FAILURE;
        }
    };
    let end = run(&mut session, args).await;
    let runtime = session.ctx.runtime_env();
    if let End::Signal(_) = end
        && let Some(left) = session.running.left_behind()
    {
        to_stderr!("{left}");
        // A transaction that is not aborted blocks readers of committed records. The session is
        // dropped first, since it keeps idle clients.
        drop(session);
        wait_for_clients(ABORT_PATIENCE).await;
    }
    exit::remove_temporary_files(&runtime.disk_manager);
    match end {
        End::Code(code) | End::Signal(code) => code,
    }
}

/// How the program ends, with its exit code.
enum End {
    /// All is done, or has failed.
    Code(u8),
    /// A signal came before that.
    Signal(u8),
}

/// Runs what the arguments ask for in the session, until it ends or a signal comes.
async fn run(session: &mut Session, args: &Args) -> End {
    if let Some(Subcommand::Run(run)) = &args.subcommand {
        let ended = run::run(session, run, args.quiet).await;
        return End::Code(exit_code(ended, session).await);
    }
    if args.reads_input() && io::stdin().is_terminal() {
        let left = repl::run(session, args).await;
        return End::Code(exit_code(left, session).await);
    }
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return End::Code(exit_code(Err(error.into()), session).await),
    };
    let done = tokio::select! {
        done = statements(session, args) => done,
        code = signals.next() => return End::Signal(code),
    };
    End::Code(exit_code(done, session).await)
}

async fn exit_code(done: Result<()>, session: &Session) -> u8 {
    match done {
        Ok(()) => exit::SUCCESS,
        Err(error) if output::is_reader_gone(&error) => exit::SUCCESS,
        Err(error) => {
            errors::report(&error, Some(session)).await;
            exit::FAILURE
        }
    }
}

/// Runs the files and commands of the command line, or else the statements on standard input.
async fn statements(session: &mut Session, args: &Args) -> Result<()> {
    for file in &args.file {
        script::run_file(session, file).await?;
    }
    for command in &args.command {
        statement::run(session, command).await?;
    }
    if args.reads_input() {
        script::run_lines(session, &mut io::stdin().lock()).await?;
    }
    Ok(())
}

fn generate(what: Generated) -> Result<()> {
    let mut command = Args::command();
    let mut out = Vec::new();
    match what.shell() {
        None => clap_mangen::Man::new(command).render(&mut out)?,
        Some(shell) => {
            let name = command.get_name().to_owned();
            clap_complete::generate(shell, &mut command, name, &mut out);
        }
    }
    output::write(&out)
}
