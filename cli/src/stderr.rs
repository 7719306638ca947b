//! Lines on standard error.

/// Writes a line as `eprintln!` does. Where nobody can read it, as with a closed pipe or
/// a full disk, the program goes on: `eprintln!` would end it with a panic.
macro_rules! to_stderr {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub(crate) use to_stderr;
