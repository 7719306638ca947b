//! The command line.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};
use clap_complete::Shell;
use datafusion_cli::object_storage::instrumented::InstrumentedObjectStoreMode;
use datafusion_cli::object_storage::is_stdin_location;
use datafusion_cli::pool_type::PoolType;
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::MaxRows;

use crate::stderr::LogFormat;

const EXAMPLES: &str = "\
Examples:
  Look around, with nothing installed:
    datafusion-kafka-cli --demo
  Every topic of a cluster is a table:
    datafusion-kafka-cli -b localhost:9092 -c \"SELECT * FROM orders LIMIT 10\"
  A topic as CSV, with the client.properties that Kafka's own tools use:
    datafusion-kafka-cli -b broker:9093 -F client.properties -q --format csv -c \"SELECT * FROM orders\"
  A topic and a file:
    datafusion-kafka-cli -b localhost:9092 -c \"SELECT * FROM orders o JOIN 'items.parquet' i ON o.item = i.id\"
  Write a topic:
    datafusion-kafka-cli -b localhost:9092 -c \"INSERT INTO totals SELECT customer AS _key, sum(amount) AS total FROM orders GROUP BY customer\"";

const RUN_EXAMPLE: &str = "\
Example, with totals.sql:
  CREATE EXTERNAL TABLE totals (_key VARCHAR, total DOUBLE) STORED AS KAFKA LOCATION 'totals'
    OPTIONS ('kafka.delivery' 'exactly_once');
  INSERT INTO totals SELECT customer AS _key, sum(amount) AS total FROM orders GROUP BY customer;

  datafusion-kafka-cli run totals.sql --name totals -b localhost:9092";

/// SQL over Kafka topics: every topic is a table.
///
/// This is datafusion-cli with Kafka in it: its flags, formats and backslash
/// commands are here too, and all that it reads (Parquet, CSV, JSON, Avro, S3)
/// can be joined with topics. Only `-b` means something else: the servers, as
/// in kcat.
#[derive(Debug, Parser)]
#[command(name = "datafusion-kafka-cli", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The Kafka servers to ask first
    #[arg(
        short,
        long,
        value_name = "HOST:PORT,..",
        env = "KAFKA_BOOTSTRAP_SERVERS",
        hide_env_values = true,
        global = true,
        value_parser = servers,
        help_heading = "Kafka"
    )]
    pub(crate) bootstrap_servers: Option<String>,

    /// Only topics that match this regular expression are tables [default: all]
    #[arg(long, value_name = "REGEX", global = true, help_heading = "Kafka")]
    pub(crate) topics: Option<String>,

    /// A client property in librdkafka's or Java's spelling, or an option of
    /// datafusion-kafka such as kafka.mode=append
    #[arg(
        short = 'X',
        long = "property",
        value_name = "PROPERTY=VALUE",
        global = true,
        value_parser = property,
        help_heading = "Kafka"
    )]
    pub(crate) properties: Vec<(String, String)>,

    /// A file with client properties in librdkafka's or Java's spelling
    #[arg(
        short = 'F',
        long,
        global = true,
        value_name = "FILE",
        value_parser = existing_file,
        help_heading = "Kafka"
    )]
    pub(crate) properties_file: Option<String>,

    /// Start a small Kafka in this process, with orders and customers to try
    #[arg(
        long,
        conflicts_with_all = ["properties_file", "topics"],
        help_heading = "Kafka"
    )]
    pub(crate) demo: bool,

    /// Path to your data, default to current directory
    #[arg(short = 'p', long, value_parser = existing_directory)]
    pub(crate) data_path: Option<String>,

    /// The batch size of each query, or use DataFusion default
    #[arg(long, value_parser = batch_size)]
    pub(crate) batch_size: Option<usize>,

    /// Execute the given command string(s), then exit
    #[arg(short, long, num_args = 0.., value_parser = NonEmptyStringValueParser::new())]
    pub(crate) command: Vec<String>,

    /// The memory pool limitation (e.g. '10g'), default to None (no limit)
    #[arg(short, long, global = true, value_parser = size)]
    pub(crate) memory_limit: Option<usize>,

    /// Execute commands from file(s), then exit
    #[arg(short, long, num_args = 0.., value_parser = existing_file)]
    pub(crate) file: Vec<String>,

    /// Run the provided files on startup instead of ~/.datafusionrc
    #[arg(short, long, num_args = 0.., value_parser = existing_file, conflicts_with = "file")]
    pub(crate) rc: Option<Vec<String>>,

    /// How results are printed: `automatic` is a table, or CSV for unbounded results
    #[arg(long, value_parser = formats(), default_value = "automatic")]
    pub(crate) format: PrintFormat,

    /// Reduce printing other than the results and work quietly
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Show no progress line
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,

    /// How notes and errors are written to standard error
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub(crate) log_format: LogFormat,

    /// Specify the memory pool type 'greedy' or 'fair'
    #[arg(long, default_value_t = PoolType::Greedy)]
    pub(crate) mem_pool_type: PoolType,

    /// The number of top memory consumers to display when query fails due to
    /// memory exhaustion; 0 disables memory consumer tracking
    #[arg(long, default_value = "3")]
    pub(crate) top_memory_consumers: usize,

    /// The max number of rows to display for 'Table' format
    /// [possible values: numbers(0/10/...), inf(no limit)]
    #[arg(long, default_value = "40")]
    pub(crate) maxrows: MaxRows,

    /// Enables console syntax highlighting
    #[arg(long)]
    pub(crate) color: bool,

    /// Available disk space for spilling queries (e.g. '10g'), default to None
    /// (uses DataFusion's default value of '100g')
    #[arg(short, long, value_parser = size)]
    pub(crate) disk_limit: Option<usize>,

    /// Specify the default object_store_profiling mode
    /// [possible values: disabled, summary, trace]
    #[arg(long, default_value_t = InstrumentedObjectStoreMode::Disabled)]
    pub(crate) object_store_profiling: InstrumentedObjectStoreMode,

    /// Print the man page or a shell's completions, and exit
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) generate: Option<Generated>,

    #[command(subcommand)]
    pub(crate) subcommand: Option<Subcommand>,
}

/// A subcommand, in place of running statements to their end.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subcommand {
    /// Keep a topic equal to a query, until SIGTERM or Ctrl-C
    #[command(after_help = RUN_EXAMPLE)]
    Run(RunArgs),
}

/// The arguments of a continuous query.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The statements: the last one, an INSERT, keeps running; those before it create its tables
    #[arg(value_parser = existing_file)]
    pub(crate) file: String,

    /// The query's name; after a restart the query continues from what this name has committed
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,

    /// How often a query that cannot go record by record checks its topics for new records
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = millis)]
    pub(crate) refresh_interval: Duration,

    /// Serve /metrics for Prometheus here, and /healthz and /readyz for probes; port 0 is any free
    /// port
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) metrics: Option<String>,

    /// /readyz answers ready when the query is at most this many records behind
    #[arg(
        long,
        value_name = "RECORDS",
        default_value_t = 0,
        requires = "metrics"
    )]
    pub(crate) ready_lag: u64,
}

/// What can be generated from the definition of the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Generated {
    Man,
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Generated {
    /// The shell for the completions; `None` for the man page.
    pub(crate) fn shell(self) -> Option<Shell> {
        match self {
            Generated::Man => None,
            Generated::Bash => Some(Shell::Bash),
            Generated::Elvish => Some(Shell::Elvish),
            Generated::Fish => Some(Shell::Fish),
            Generated::Powershell => Some(Shell::PowerShell),
            Generated::Zsh => Some(Shell::Zsh),
        }
    }
}

impl Args {
    /// Parses the arguments of this process; exits the process on a mistake.
    pub(crate) fn of_process() -> Self {
        let matches = Args::command().get_matches();
        let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        // The environment variable may be set for each program, so with `--demo` it is not an
        // error.
        let servers = matches.value_source("bootstrap_servers");
        if args.demo && servers == Some(ValueSource::CommandLine) {
            let message = "--demo has a Kafka of its own; leave --bootstrap-servers out";
            Args::command()
                .error(ErrorKind::ArgumentConflict, message)
                .exit();
        }
        args
    }

    /// Whether statements come from standard input.
    pub(crate) fn reads_input(&self) -> bool {
        self.command.is_empty() && self.file.is_empty()
    }

    /// Whether standard input holds statements, and not the data of a table.
    pub(crate) fn input_is_statements(&self) -> bool {
        self.reads_input() || self.file.iter().any(|file| is_stdin_location(file))
    }
}

/// The formats of datafusion-cli. `nd-json` is also accepted as `ndjson`, its usual spelling.
fn formats() -> impl TypedValueParser<Value = PrintFormat> {
    const NDJSON: &str = "nd-json";
    let names = PrintFormat::value_variants()
        .iter()
        .filter_map(ValueEnum::to_possible_value)
        .map(|name| match name.get_name() {
            NDJSON => name.alias("ndjson"),
            _ => name,
        });
    PossibleValuesParser::new(names).try_map(|name| match name.as_str() {
        "ndjson" => NDJSON.parse(),
        other => <PrintFormat as FromStr>::from_str(other),
    })
}

fn servers(text: &str) -> Result<String, String> {
    match text.parse::<usize>() {
        Ok(_) => Err(format!(
            "expected servers such as `localhost:9092`; write `--batch-size {text}` for a batch size"
        )),
        Err(_) => Ok(text.to_owned()),
    }
}

fn property(text: &str) -> Result<(String, String), String> {
    // The text may hold a secret: no error repeats it.
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("expected `property=value`".to_owned()),
    }
}

fn existing_file(path: &str) -> Result<String, String> {
    match Path::new(path) {
        file if file.exists() && !file.is_dir() => Ok(path.to_owned()),
        _ => Err("there is no such file".to_owned()),
    }
}

fn existing_directory(path: &str) -> Result<String, String> {
    match Path::new(path).is_dir() {
        true => Ok(path.to_owned()),
        false => Err("there is no such directory".to_owned()),
    }
}

fn millis(text: &str) -> Result<Duration, String> {
    match u64::from_str(text) {
        Ok(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
        _ => Err("expected a number of milliseconds above 0".to_owned()),
    }
}

fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && u16::from_str(port).is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("expected an address such as `127.0.0.1:9464`".to_owned()),
    }
}

fn batch_size(text: &str) -> Result<usize, String> {
    match usize::from_str(text) {
        Ok(size) if size > 0 => Ok(size),
        _ => Err("expected a number above 0".to_owned()),
    }
}

/// A size as in datafusion-cli: a number of bytes, or a number with a unit from `k` to `tb`.
fn size(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = lower.split_at(digits.unwrap_or(lower.len()));
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        _ => return Err("expected a size such as `512m` or `10g`".to_owned()),
    };
    let number = usize::from_str(number)
        .map_err(|_| "expected a size such as `512m` or `10g`".to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "the size is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [("5", 5), ("4k", 4096), ("20MB", 20 << 20), ("2g", 2 << 30)] {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "kb", "4kbx", "-20mb", "99999999999tb"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for text in ["127.0.0.1:9464", "localhost:0", "[::1]:9464"] {
            assert_eq!(address(text).as_deref(), Ok(text));
        }
        for text in [
            "9464",
            ":9464",
            "localhost",
            "localhost:",
            "localhost:99999",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_property_is_a_name_and_a_value() {
        let jaas = property("sasl.jaas.config=x y=\"z\";");
        assert_eq!(jaas, Ok(("sasl.jaas.config".into(), "x y=\"z\";".into())));
        assert!(property("secret").is_err());
    }
}
