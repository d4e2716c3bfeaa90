//! Sockets: several workers share a port, and the kernel chooses between them.

use std::io;
use std::net::SocketAddr;

use strait_engine::io::tcp::{BACKLOG, listen};

use super::Line;

pub struct Facts {
    /// Why two sockets could not share a port.
    pub shared: Result<(), String>,
    /// `net.ipv4.tcp_migrate_req`, where it exists.
    pub migrates: Option<bool>,
    /// Connections that may wait to be accepted.
    pub backlog: Option<u64>,
}

/// A burst of this many is nothing unusual.
const BACKLOG_MIN: u64 = 1_024;

pub fn look() -> Facts {
    let share = || -> io::Result<()> {
        let first = listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        listen(first.local_addr()?).map(drop)
    };
    let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    Facts {
        shared: share().map_err(|error| error.to_string()),
        migrates: read("/proc/sys/net/ipv4/tcp_migrate_req").map(|value| value == 1),
        backlog: read("/proc/sys/net/core/somaxconn"),
    }
}

pub fn judge(facts: &Facts) -> Vec<Line> {
    let mut lines = vec![match &facts.shared {
        Err(why) => Line::fail(
            "shared ports",
            format!("two sockets may not share a port (SO_REUSEPORT): {why}"),
            "Linux 3.9 or newer allows it; a sandbox that forbids it can run one worker: --workers 1",
        ),
        Ok(()) => {
            let migrates = match facts.migrates {
                Some(true) => "; what waits for a worker that ends goes to the others",
                Some(false) => "; what waits for a worker that ends is reset (net.ipv4.tcp_migrate_req = 0)",
                None => "",
            };
            Line::ok("shared ports", format!("SO_REUSEPORT works{migrates}"))
        }
    }];
    lines.push(match facts.backlog {
        Some(backlog) if backlog < BACKLOG_MIN => Line::warn(
            "backlog",
            format!("{backlog} connections may wait to be accepted: a burst of more is dropped"),
            format!("sysctl -w net.core.somaxconn={BACKLOG}"),
        ),
        Some(backlog) => Line::ok("backlog", format!("{backlog} connections may wait to be accepted")),
        None => Line::ok("backlog", "unknown"),
    });
    lines
}
