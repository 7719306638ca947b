//! Results on standard output, as datafusion-cli prints them.

use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _};
use std::sync::Arc;

use datafusion::arrow::json::ArrayWriter;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::instant::Instant;
use datafusion::config::FormatOptions;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _, execute_stream};
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::{MaxRows, PrintOptions};
use futures::StreamExt as _;

use crate::cells;
use crate::progress::Progress;

/// Runs a plan and prints its rows.
pub(crate) struct Output {
    print: PrintOptions,
    start: Instant,
}

impl Output {
    /// Of a statement that began at `start`; `all_rows` whatever `--maxrows` says.
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
        progress: Progress,
    ) -> Result<()> {
        let endless = plan.boundedness().is_unbounded();
        self.print.format = match (self.print.format, endless) {
            (PrintFormat::Automatic, false) => PrintFormat::Table,
            // The width of columns is not known before the last row.
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

    /// No more rows than are shown are kept.
    async fn print_table(
        self,
        mut rows: SendableRecordBatchStream,
        context: &TaskContext,
        progress: Progress,
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
        let schema = rows.schema();
        let format = format_options(context);
        self.print
            .print_batches(schema, &batches, self.start, count, format)
    }

    /// Rows as they come.
    async fn print_lines(
        self,
        mut rows: SendableRecordBatchStream,
        context: &TaskContext,
        progress: Progress,
    ) -> Result<()> {
        let mut count = 0;
        let format = format_options(context);
        let mut progress = Some(progress);
        let mut out = BufWriter::new(io::stdout().lock());
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
                self.print
                    .format
                    .print_batches(&mut out, schema, &batches, all, header, format)?;
                out.flush()?;
            }
        }
        drop((out, progress));
        self.print_end(&rows, count, format)
    }

    /// One JSON array, however many batches there are.
    async fn print_array(
        self,
        mut rows: SendableRecordBatchStream,
        context: &TaskContext,
        progress: Progress,
    ) -> Result<()> {
        let mut count = 0;
        let mut progress = Some(progress);
        let mut out = ArrayWriter::new(BufWriter::new(io::stdout().lock()));
        while let Some(batch) = rows.next().await.transpose()? {
            give_way(&mut progress);
            count += batch.num_rows();
            out.write(&batch)?;
        }
        out.finish()?;
        let mut out: BufWriter<StdoutLock<'_>> = out.into_inner();
        writeln!(out)?;
        out.flush()?;
        drop((out, progress));
        self.print_end(&rows, count, format_options(context))
    }

    /// How many rows there were and how long it took, below rows that were printed.
    fn print_end(
        &self,
        rows: &SendableRecordBatchStream,
        count: usize,
        format: &FormatOptions,
    ) -> Result<()> {
        let none: &[RecordBatch] = &[];
        self.print
            .print_batches(rows.schema(), none, self.start, count, format)
    }
}

/// Ends the progress line where it would stand among the rows.
fn give_way(progress: &mut Option<Progress>) {
    if io::stdout().is_terminal() {
        *progress = None;
    }
}

fn format_options(context: &TaskContext) -> &FormatOptions {
    &context.session_config().options().format
}
