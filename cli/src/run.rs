//! `run FILE --name NAME`: a continuous query that runs until it is told to stop.

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::common::{exec_datafusion_err, plan_datafusion_err};
use datafusion::error::Result;
use datafusion_kafka::{ContinuousOptions, ContinuousQuery, QueryProgress, QueryStatus};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::RunArgs;
use crate::health::{self, Watched};
use crate::http::Server;
use crate::session::Session;
use crate::signals::Signals;
use crate::statement;
use crate::stderr::to_stderr;

/// Runs the statements of a file. The last one is the continuous query. A signal stops it: it
/// commits what it has read, and the program ends with success.
pub(crate) async fn run(session: &Session, args: &RunArgs, quiet: bool) -> Result<()> {
    let line = Line::new(session, quiet);
    let memory = &session.ctx.runtime_env().memory_pool;
    let watched = Arc::new(Watched::new(&args.name, args.ready_lag, memory));
    let server = match &args.metrics {
        Some(address) => Some(serve(address, &watched, &line).await?),
        None => None,
    };
    let done = run_watched(session, args, &line, &watched).await;
    if let Some(server) = server {
        server.close().await;
    }
    done
}

async fn serve(address: &str, watched: &Arc<Watched>, line: &Line) -> Result<Server> {
    let pages = Arc::clone(watched);
    let server = Server::start(address, move |path| pages.page(path)).await;
    let server = server.map_err(|error| {
        let help = match error.kind() {
            ErrorKind::AddrInUse => "; give --metrics another port, where nothing listens yet",
            _ => "",
        };
        exec_datafusion_err!("cannot serve metrics at {address}: {error}{help}")
    })?;
    line.say(&format!("metrics: http://{}/metrics", server.address()));
    Ok(server)
}

async fn run_watched(
    session: &Session,
    args: &RunArgs,
    line: &Line,
    watched: &Watched,
) -> Result<()> {
    let path = &args.file;
    let text = fs::read_to_string(path)
        .map_err(|error| exec_datafusion_err!("cannot read {path}: {error}"))?;
    let statements = statement::split(session, &text)?;
    let Some((last, before)) = statements.split_last() else {
        return Err(plan_datafusion_err!("{path} contains no statement"));
    };
    for statement in before {
        if statement::inserts_into_topic(session, statement).await? {
            return Err(plan_datafusion_err!(
                "{path} has more than one INSERT INTO a topic: only the last statement goes on, \
                 and the others would write their rows again at each start; run each INSERT from a \
                 file of its own under a name of its own, or combine them with UNION ALL"
            ));
        }
        statement::run(session, statement).await?;
    }
    let options = ContinuousOptions::new().with_refresh_interval(args.refresh_interval);
    let query = ContinuousQuery::start(&session.ctx, &args.name, last, options).await?;
    let query = Arc::new(query);
    watched.starts(&query);
    let mut signals = Signals::new()?;
    let mut was_up_to_date = false;
    let mut note = Note::new(&args.name);
    loop {
        tokio::select! {
            ended = query.wait() => {
                line.clear();
                return Ok(ended?);
            }
            _ = signals.next() => break,
            () = tokio::time::sleep(REDRAW) => line.show(&query.progress()),
        }
        let progress = query.progress();
        match query.status() {
            QueryStatus::Retrying { error, .. } => {
                was_up_to_date = false;
                if line.quiet {
                    note.say(&format!("is retried: {error}"));
                }
            }
            _ if line.quiet && progress.ends_age.is_some_and(|age| age >= SILENT) => {
                note.say("is waiting for the brokers, which have not answered for half a minute");
            }
            _ => {}
        }
        if !was_up_to_date && health::behind(&query.status(), &progress, 0).is_none() {
            was_up_to_date = true;
            line.say(&format!("up to date: {}", figures(&progress)));
        }
    }
    watched.stops();
    line.say("stopping: committing what was read; a second signal ends the program immediately");
    let told = Instant::now();
    loop {
        tokio::select! {
            stopped = query.stop() => break stopped?,
            // A supervisor may signal each process of a group and then the group.
            _ = signals.next() => if told.elapsed() > TOGETHER {
                return Err(exec_datafusion_err!("ended before the last commit"));
            },
        }
    }
    line.say(&format!("stopped: {}", figures(&query.progress())));
    line.clear();
    Ok(())
}

/// Signals within this time count as one.
const TOGETHER: Duration = Duration::from_millis(300);

const REDRAW: Duration = Duration::from_millis(200);

/// Notes about a query that makes no progress, with `--quiet`, which hides the log.
struct Note<'a> {
    query: &'a str,
    said: Option<Instant>,
}

/// How long the brokers may be silent before a note says so.
const SILENT: Duration = Duration::from_secs(30);

/// The shortest time between two notes.
const NOTED: Duration = Duration::from_secs(60);

impl<'a> Note<'a> {
    fn new(query: &'a str) -> Self {
        Note { query, said: None }
    }

    fn say(&mut self, why: &str) {
        if self.said.is_none_or(|said| said.elapsed() >= NOTED) {
            self.said = Some(Instant::now());
            to_stderr!("continuous query `{}` {why}", self.query);
        }
    }
}

/// Lines on standard error, and a progress line if standard error is a terminal.
struct Line {
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Line {
    fn new(session: &Session, quiet: bool) -> Self {
        let bar = session.shows_progress.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let template = ProgressStyle::with_template("{spinner} {msg}");
            bar.with_style(template.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Line { bar, quiet }
    }

    fn show(&self, progress: &QueryProgress) {
        if let Some(bar) = &self.bar {
            bar.set_message(figures(progress));
            bar.tick();
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| to_stderr!("{text}")),
            None => to_stderr!("{text}"),
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn figures(progress: &QueryProgress) -> String {
    let mut parts = vec![
        format!("{} upserts", HumanCount(progress.upserts)),
        format!("{} tombstones", HumanCount(progress.tombstones)),
        format!("{} commits", HumanCount(progress.commits)),
    ];
    if progress.dead_letters > 0 {
        parts.push(format!(
            "{} dead letters",
            HumanCount(progress.dead_letters)
        ));
    }
    parts.push(format!("{} records behind", HumanCount(progress.lag())));
    parts.join(", ")
}
