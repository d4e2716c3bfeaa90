//! One number out of a page in Prometheus' text format, fetched over plain HTTP on a connection of its
//! own. The page is bounded, because it is read from a process that may be broken.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::target::Target;

pub const CPU_SECONDS: &str = "process_cpu_seconds_total";

/// Metrics of a large gateway take a few hundred KiB.
const PAGE_BYTES_MAX: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(5);

/// Processor time as the gateway counts it.
pub fn cpu_seconds(target: &Target) -> Result<Duration, String> {
    let page = fetch(target).map_err(|error| format!("{} cannot be read: {error}", target.url))?;
    let (head, body) = page.split_once("\r\n\r\n").unwrap_or((&page, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("{}: expected 200, found `{status}`", target.url));
    }
    let seconds = sample(body, CPU_SECONDS);
    let seconds = seconds.ok_or_else(|| format!("{} has no `{CPU_SECONDS}`", target.url))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("`{CPU_SECONDS}` is {seconds}: {error}"))
}

fn fetch(target: &Target) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&target.address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the answer ends with the connection and comes in no chunks.
    let (path, host) = (&target.path, &target.authority);
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: text/plain\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut page = String::new();
    stream.take(PAGE_BYTES_MAX).read_to_string(&mut page)?;
    Ok(page)
}

/// The value of a series without labels.
fn sample(page: &str, name: &str) -> Option<f64> {
    let mut values = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.next()?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_found_by_its_whole_name() {
        let page = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total_x 1\n\
                    process_cpu_seconds_total 12.5 1700000000\n";
        assert_eq!(sample(page, CPU_SECONDS), Some(12.5));
        assert_eq!(sample("a 1\n", CPU_SECONDS), None);
    }
}
