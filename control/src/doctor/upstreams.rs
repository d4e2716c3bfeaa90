//! The upstreams of a table: whether somebody answers the telephone. An address must resolve and accept a connection,
//! a command must exist; what they say then, only serving tells.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access};
use strait_table::Snapshot;
use strait_table::rules::ArchivedTransport;

use super::Line;

/// Longer than this nobody waits for a doctor; a shorter `timeout.connect` counts.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

pub struct Facts {
    pub name: String,
    /// What was found of each address or command.
    pub found: Vec<Result<String, String>>,
}

pub fn look(table: &Snapshot, base: &Path) -> Vec<Facts> {
    let upstreams = table.rules().upstreams.iter().map(|upstream| {
        let connect = Duration::from_millis(upstream.timeout.connect_ms.to_native().into());
        let found = match &upstream.transport {
            ArchivedTransport::Http { endpoints } => endpoints
                .iter()
                .map(|endpoint| {
                    reach(endpoint.host.as_str(), endpoint.port.to_native(), connect.min(CONNECT_WITHIN))
                })
                .collect(),
            ArchivedTransport::Stdio(stdio) => vec![command(stdio.command.as_str(), base)],
            ArchivedTransport::Sample(_) => vec![Ok("a sample of our own".to_owned())],
        };
        Facts { name: upstream.name.as_str().to_owned(), found }
    });
    upstreams.collect()
}

pub(super) fn reach(host: &str, port: u16, within: Duration) -> Result<String, String> {
    let addresses =
        (host, port).to_socket_addrs().map_err(|error| format!("dns: `{host}` is not found: {error}"))?;
    let mut last = format!("dns: `{host}` has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, within) {
            Ok(_) => return Ok(format!("{address} accepts connections")),
            Err(error) => last = format!("connect: {address}: {error}"),
        }
    }
    Err(last)
}

fn command(command: &str, base: &Path) -> Result<String, String> {
    let runs = |file: &Path| file.is_file() && access(file, Access::EXEC_OK).is_ok();
    if command.contains('/') {
        let file = base.join(command);
        return if runs(&file) {
            Ok(format!("`{command}`"))
        } else {
            Err(format!("process: `{command}` is no program of this user's"))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(command)).find(|file| runs(file));
    found
        .map(|file| format!("`{}`", file.display()))
        .ok_or_else(|| format!("process: `{command}` is not in PATH"))
}

pub fn judge(facts: &[Facts]) -> Vec<Line> {
    let line = |facts: &Facts| {
        let bad: Vec<&str> =
            facts.found.iter().filter_map(|found| found.as_ref().err()).map(String::as_str).collect();
        let good: Vec<&str> =
            facts.found.iter().filter_map(|found| found.as_ref().ok()).map(String::as_str).collect();
        let name = &facts.name;
        match (good.is_empty(), bad.is_empty()) {
            (_, true) => Line::ok("upstream", format!("`{name}`: {}", good.join(", "))),
            (false, false) => Line::warn(
                "upstream",
                format!("`{name}`: {}; the others answer", bad.join("; ")),
                "start that replica, or take it out of the configuration",
            ),
            (true, false) => Line::fail(
                "upstream",
                format!("`{name}`: {}", bad.join("; ")),
                "start or install it, or correct its address; until then its tools are missing and all others work",
            ),
        }
    };
    facts.iter().map(line).collect()
}
