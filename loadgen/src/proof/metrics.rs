//! One number out of a page in Prometheus' text format, fetched over plain HTTP on a connection of its
//! own. The page is bounded, in bytes and in time, because it is read from a process that may be broken.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::target::Target;
use crate::words::printable;

pub const CPU_SECONDS: &str = "process_cpu_seconds_total";

/// Metrics of a large gateway take a few hundred KiB.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// For the whole page: one that comes a byte at a time would outlive any pause between two of them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Processor time as the gateway counts it.
pub fn cpu_seconds(target: &Target) -> Result<Duration, String> {
    let page = page(target)?;
    let seconds = sample(&page, CPU_SECONDS);
    let seconds = seconds.ok_or_else(|| format!("{} has no `{CPU_SECONDS}`", target.url))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("`{CPU_SECONDS}` is {seconds}: {error}"))
}

/// The whole page.
pub fn page(target: &Target) -> Result<String, String> {
    let page = fetch(target, PATIENCE).map_err(|error| format!("{} cannot be read: {error}", target.url))?;
    let (head, body) = page.split_once("\r\n\r\n").unwrap_or((&page, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("{}: expected 200, found `{}`", target.url, printable(status)));
    }
    Ok(body.to_owned())
}

fn fetch(target: &Target, patience: Duration) -> std::io::Result<String> {
    let until = Instant::now() + patience;
    let late = || Error::new(ErrorKind::TimedOut, format!("no whole page within {patience:?}"));
    let left = || Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
    let mut stream = TcpStream::connect_timeout(&target.address, patience)?;
    // HTTP/1.0: the answer ends with the connection and comes in no chunks.
    let (path, host) = (&target.path, &target.authority);
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: text/plain\r\n\r\n");
    stream.set_write_timeout(Some(left().ok_or_else(late)?))?;
    stream.write_all(request.as_bytes())?;
    let (mut page, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    while page.len() < PAGE_BYTES_MAX {
        stream.set_read_timeout(Some(left().ok_or_else(late)?))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => page.extend_from_slice(piece.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(late()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    String::from_utf8(page).map_err(|error| Error::new(ErrorKind::InvalidData, error))
}

/// The value of a series without labels.
fn sample(page: &str, name: &str) -> Option<f64> {
    let mut values = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.next()?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It hangs for as long as the page drips if each piece has a time of its own.
    #[test]
    fn a_page_that_drips_has_one_deadline() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::parse(&format!("http://{}/metrics", listener.local_addr().unwrap())).unwrap();
        let patience = Duration::from_millis(200);
        let dripping = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // 30 s: far more than was allowed, and an end for a reader that waits for it.
            let drip = (0..3_000).try_for_each(|_| {
                std::thread::sleep(patience / 20);
                stream.write_all(b"#")
            });
            assert!(drip.is_err(), "the reader gave up");
        });
        let error = fetch(&target, patience).unwrap_err();
        assert!(error.to_string().contains("no whole page"), "{error}");
        dripping.join().unwrap();
    }

    #[test]
    fn a_series_is_found_by_its_whole_name() {
        let page = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total_x 1\n\
                    process_cpu_seconds_total 12.5 1700000000\n";
        assert_eq!(sample(page, CPU_SECONDS), Some(12.5));
        assert_eq!(sample("a 1\n", CPU_SECONDS), None);
    }
}
