//! Signals that tell the program to stop.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit;

/// Ctrl-C. Presses since this was created count, even while nothing waits for them.
pub(crate) struct Interrupt {
    #[cfg(unix)]
    signal: Signal,
    #[cfg(windows)]
    signal: tokio::signal::windows::CtrlC,
}

impl Interrupt {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Interrupt {
            #[cfg(unix)]
            signal: signal(SignalKind::interrupt())?,
            #[cfg(windows)]
            signal: tokio::signal::windows::ctrl_c()?,
        })
    }

    pub(crate) async fn next(&mut self) {
        self.signal.recv().await;
    }
}

/// Ctrl-C or `SIGTERM`, as for [`Interrupt`].
pub(crate) struct Signals {
    interrupt: Interrupt,
    #[cfg(unix)]
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Signals {
            interrupt: Interrupt::new()?,
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for a signal. Returns the exit code that a shell reports for a program it ended.
    pub(crate) async fn next(&mut self) -> u8 {
        #[cfg(unix)]
        let terminated = self.terminate.recv();
        #[cfg(not(unix))]
        let terminated = std::future::pending::<()>();
        tokio::select! {
            () = self.interrupt.next() => exit::INTERRUPTED,
            _ = terminated => exit::TERMINATED,
        }
    }
}
