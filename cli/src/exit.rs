//! The end of the process.

use crate::stderr::error_to_stderr;
use std::io::{self, ErrorKind, Write as _};

pub(crate) const SUCCESS: u8 = 0;
pub(crate) const FAILURE: u8 = 1;
/// What a shell says of a program that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// Ends the process once all that was printed is written, and waits for nothing else.
///
/// No exit handlers run: OpenSSL's would free what librdkafka's threads still use, some of
/// which may not have ended yet, and crash the process after its work was done.
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
