//! Ports for listeners.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Free ports of 127.0.0.1. All are held at the same time, so they differ.
pub(crate) fn free_ports() -> io::Result<[u16; 6]> {
    let hold = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = (0..6).map(hold).collect::<io::Result<Vec<_>>>()?;
    let mut ports = [0; 6];
    for (port, held) in ports.iter_mut().zip(&held) {
        *port = held.local_addr()?.port();
    }
    Ok(ports)
}
