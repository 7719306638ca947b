//! The end of the process.

use std::fs;
use std::io::{self, ErrorKind, Write as _};

use datafusion::execution::disk_manager::DiskManager;

use crate::stderr::error_to_stderr;

pub(crate) const SUCCESS: u8 = 0;
pub(crate) const FAILURE: u8 = 1;
/// The exit code that a shell reports for a program that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;
/// The same for `SIGTERM`.
pub(crate) const TERMINATED: u8 = 143;

/// Removes the directories of temporary files. Their files belong to the threads of queries, for
/// which the process does not wait when a query has failed or was interrupted.
pub(crate) fn remove_temporary_files(disk: &DiskManager) {
    for directory in disk.temp_dir_paths() {
        // A thread may make a file while its directory is removed, which then fails.
        let _ = (0..3).any(|_| fs::remove_dir_all(&directory).is_ok());
    }
}

/// Writes the buffered output and ends the process, without waiting for anything else.
///
/// No exit handlers run. OpenSSL's handler would free memory that librdkafka's threads still use;
/// some of them may not have ended yet, and the process would crash after its work was done.
pub(crate) fn leave(code: u8) -> ! {
    let code = match io::stdout().flush() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            error_to_stderr!("cannot write to standard output: {error}");
            FAILURE
        }
        _ => code,
    };
    signal_hook::low_level::exit(code.into())
}
