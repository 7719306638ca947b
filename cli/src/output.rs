//! Results on standard output, as datafusion-cli prints them.

use std::error::Error;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::{fmt, mem};

use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::json::ArrayWriter;
use datafusion::common::exec_datafusion_err;
use datafusion::common::instant::Instant;
use datafusion::config::FormatOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _, execute_stream};
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::{MaxRows, PrintOptions};
use futures::StreamExt as _;

use crate::cells;
use crate::progress::ProgressLine;

/// Runs a plan and prints its rows.
pub(crate) struct Output {
    print: PrintOptions,
    start: Instant,
}

impl Output {
    /// The output of a statement that started at `start`. `all_rows` overrides `--maxrows`.
    pub(crate) fn new(print: &PrintOptions, start: Instant, all_rows: bool) -> Self {
        let mut print = print.clone();
        if all_rows {
            print.maxrows = MaxRows::Unlimited;
        }
        Output { print, start }
    }

    pub(crate) async fn run(
        mut self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        progress: ProgressLine,
    ) -> Result<()> {
        let unbounded = plan.boundedness().is_unbounded();
        self.print.format = match (self.print.format, unbounded) {
            (PrintFormat::Automatic, false) => PrintFormat::Table,
            // A table needs the width of its columns, which is not known before the last row.
            (PrintFormat::Automatic | PrintFormat::Table, true) => PrintFormat::Csv,
            (format, _) => format,
        };
        let rows = execute_stream(plan, Arc::clone(&context))?;
        match self.print.format {
            PrintFormat::Table => self.print_table(rows, &context, progress).await,
            PrintFormat::Json => self.print_array(rows, &context, progress).await,
            _ => self.print_lines(rows, &context, progress).await,
        }
    }

    /// Prints a table. Keeps only as many rows in memory as are shown.
    async fn print_table(
        self,
        mut rows: SendableRecordBatchStream,
        context: &TaskContext,
        progress: ProgressLine,
    ) -> Result<()> {
        let memory = MemoryConsumer::new("results to be printed").register(context.memory_pool());
        let shown = match self.print.maxrows {
            MaxRows::Unlimited => usize::MAX,
            MaxRows::Limited(rows) => rows,
        };
        let mut batches = Vec::new();
        let mut count = 0;
        while let Some(batch) = rows.next().await.transpose()? {
            if count <= shown {
                memory.try_grow(get_record_batch_memory_size(&batch))?;
                batches.push(batch.clone());
            }
            count += batch.num_rows();
        }
        drop(progress);
        let mut out = Vec::new();
        let format = format_options(context);
        let (print, schema) = (&self.print, rows.schema());
        print
            .format
            .print_batches(&mut out, schema, &batches, print.maxrows, true, format)?;
        write(&out)?;
        self.print_end(count, format)
    }

    /// Prints rows as they come.
    async fn print_lines(
        self,
        mut rows: SendableRecordBatchStream,
        context: &TaskContext,
        progress: ProgressLine,
    ) -> Result<()> {
        let mut count = 0;
        let format = format_options(context);
        let mut progress = Some(progress);
        let mut out = Vec::new();
        while let Some(batch) = rows.next().await.transpose()? {
            if batch.num_rows() > 0 {
                give_way(&mut progress);
                let header = count == 0;
                count += batch.num_rows();
                let batch = match self.print.format {
                    PrintFormat::Csv | PrintFormat::Tsv => cells::flat(&batch)?,
                    _ => batch,
                };
                let schema = batch.schema();
                let batches = [batch];
                let all = MaxRows::Unlimited;
                out.clear();
                self.print
                    .format
                    .print_batches(&mut out, schema, &batches, all, header, format)?;
                write(&out)?;
            }
        }
        drop(progress);
        self.print_end(count, format)
    }

    /// Prints one JSON array, whatever the number of batches.
    async fn print_array(
        self,
        mut rows: SendableRecordBatchStream,
        context: &TaskContext,
        progress: ProgressLine,
    ) -> Result<()> {
        let mut count = 0;
        let mut progress = Some(progress);
        let mut array = ArrayWriter::new(Vec::new());
        while let Some(batch) = rows.next().await.transpose()? {
            give_way(&mut progress);
            count += batch.num_rows();
            array.write(&batch)?;
            write(&mem::take(array.get_mut()))?;
        }
        array.finish()?;
        let mut out = array.into_inner();
        out.push(b'\n');
        write(&out)?;
        drop(progress);
        self.print_end(count, format_options(context))
    }

    /// Prints the number of rows and the elapsed time, below the rows.
    fn print_end(&self, count: usize, format: &FormatOptions) -> Result<()> {
        // An empty schema without batches: only the summary is printed.
        let schema = Arc::new(Schema::empty());
        only_prints(
            self.print
                .print_batches(schema, &[], self.start, count, format),
        )
    }
}

/// Writes to standard output.
pub(crate) fn write(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(not_written)
}

/// The result of a function of datafusion-cli that does no other I/O than writing to standard
/// output.
pub(crate) fn only_prints(result: Result<()>) -> Result<()> {
    result.map_err(|error| match error {
        DataFusionError::IoError(error) => not_written(error),
        other => other,
    })
}

fn not_written(error: io::Error) -> DataFusionError {
    match error.kind() {
        ErrorKind::BrokenPipe => DataFusionError::External(Box::new(ReaderGone)),
        _ => exec_datafusion_err!("cannot write to standard output: {error}"),
    }
}

/// The reader of standard output has gone. Only writes to standard output fail with this error,
/// since a connection to a server can break its pipe too.
#[derive(Debug)]
struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads standard output any more")
    }
}

impl Error for ReaderGone {}

/// Whether a statement failed because the reader of standard output has gone.
pub(crate) fn is_reader_gone(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::External(error) if error.is::<ReaderGone>())
}

/// Ends the progress line if it would appear among the rows.
fn give_way(progress: &mut Option<ProgressLine>) {
    if io::stdout().is_terminal() {
        *progress = None;
    }
}

fn format_options(context: &TaskContext) -> &FormatOptions {
    &context.session_config().options().format
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_standard_output_can_lose_its_reader() {
        let pipe = || DataFusionError::from(io::Error::from(ErrorKind::BrokenPipe));
        let printed = only_prints(Err(pipe())).unwrap_err();
        assert!(is_reader_gone(&printed));
        assert!(is_reader_gone(&printed.context("while printing")));
        // Broken pipes of a file or a socket, and of a broker's connection.
        assert!(!is_reader_gone(&pipe()));
        let said = exec_datafusion_err!("Disconnected: Broken pipe (os error 32)");
        assert!(!is_reader_gone(&only_prints(Err(said)).unwrap_err()));
        let full = DataFusionError::from(io::Error::from(ErrorKind::StorageFull));
        let full = only_prints(Err(full)).unwrap_err();
        assert!(full.to_string().contains("cannot write to standard output"));
        assert!(!is_reader_gone(&full));
    }
}
