//! stdin and stdout as lines. Each is a thread of its own, because reading and writing them may block for ever, and
//! a channel of a few lines: a client that does not read holds up the front and nothing else.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::limits::{FRONT_GOODBYE_WITHIN, FRONT_LINE_BYTES_MAX, FRONT_LINES_AHEAD_MAX};
use crate::log;

/// stdin and stdout, taken from the process: whatever else would print to stdout prints to stderr from now on, and
/// whatever else would read finds nothing. A client must find nothing but MCP in them.
pub struct Streams {
    pub stdin: File,
    pub stdout: File,
}

impl Streams {
    pub fn claim() -> io::Result<Streams> {
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        rustix::stdio::dup2_stdout(io::stderr())?;
        Ok(Streams { stdin, stdout })
    }
}

/// What stdin brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its line break.
    Whole(Vec<u8>),
    /// Longer than any message; it was read to its end and dropped.
    TooLong,
}

/// Lines to the client.
#[derive(Clone)]
pub struct Outbox {
    lines: mpsc::Sender<Vec<u8>>,
}

/// After it nothing is written.
const END: Vec<u8> = Vec::new();

/// Ends when everything was written, or nothing can be any more.
pub type Written = oneshot::Receiver<()>;

impl Outbox {
    /// Starts writing to `out`.
    pub fn start(mut out: impl Write + Send + 'static) -> io::Result<(Outbox, Written)> {
        let (lines, mut filled) = mpsc::channel::<Vec<u8>>(FRONT_LINES_AHEAD_MAX);
        let (ended, written) = oneshot::channel();
        std::thread::Builder::new().name("strait-stdout".into()).spawn(move || {
            while let Some(line) = filled.blocking_recv() {
                if line == END || out.write_all(&line).and_then(|()| out.flush()).is_err() {
                    // Whoever closed it has seen enough. That the channel closes tells everybody.
                    break;
                }
            }
            let _ = ended.send(());
        })?;
        Ok((Outbox { lines }, written))
    }

    /// Writes a message as one line.
    pub async fn send(&self, mut message: Vec<u8>) {
        flatten(&mut message);
        message.push(b'\n');
        // Nobody reads any more: the front ends.
        let _ = self.lines.send(message).await;
    }

    /// Waits until all lines are written, but not for a client that does not read.
    pub async fn finish(&self, written: Written) {
        let all = async {
            let _ = self.lines.send(END).await;
            let _ = written.await;
        };
        let _ = timeout(FRONT_GOODBYE_WITHIN, all).await;
    }

    /// Nobody reads any more.
    pub async fn closed(&self) {
        self.lines.closed().await;
    }
}

/// A message of JSON has line breaks only as white space: one line says the same.
pub fn flatten(message: &mut [u8]) {
    for byte in message.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
}

/// Starts reading; the channel ends with `input`.
pub fn read(mut input: impl BufRead + Send + 'static) -> io::Result<mpsc::Receiver<Line>> {
    let (lines, read) = mpsc::channel(FRONT_LINES_AHEAD_MAX);
    std::thread::Builder::new().name("strait-stdin".into()).spawn(move || {
        loop {
            match next_line(&mut input, FRONT_LINE_BYTES_MAX) {
                Ok(Some(line)) => {
                    if lines.blocking_send(line).is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return log::error(format!("strait stdio: cannot read stdin: {error}")),
            }
        }
    })?;
    Ok(read)
}

/// The next line of at most `max` bytes; none at the end. A last line without a line break counts.
fn next_line(input: &mut impl BufRead, max: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok(match (too_long, line.is_empty()) {
                (true, _) => Some(Line::TooLong),
                (false, true) => None,
                (false, false) => Some(Line::Whole(line)),
            });
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let piece = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
        too_long |= line.len() + piece.len() > max;
        match too_long {
            true => line = Vec::new(),
            false => line.extend_from_slice(piece),
        }
        let used = piece.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(Some(if too_long { Line::TooLong } else { Line::Whole(line) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(text: &str, capacity: usize) -> Vec<Line> {
        let mut input = BufReader::with_capacity(capacity, text.as_bytes());
        std::iter::from_fn(|| next_line(&mut input, 6).unwrap()).collect()
    }

    #[test]
    fn lines_come_whole_whatever_the_pieces() {
        let whole = |text: &str| Line::Whole(text.into());
        for capacity in [1, 2, 7, 100] {
            assert_eq!(
                lines("ab\n\ncdefgh\nx", capacity),
                [whole("ab"), whole(""), whole("cdefgh"), whole("x")]
            );
            assert_eq!(lines("abcdefg\nok\n", capacity), [Line::TooLong, whole("ok")]);
            assert_eq!(lines("abcdefgh", capacity), [Line::TooLong]);
            assert_eq!(lines("", capacity), []);
        }
    }

    #[test]
    fn a_message_becomes_one_line() {
        let mut message = b"{\r\n \"a\": \"b\\n\"\n}".to_vec();
        flatten(&mut message);
        assert_eq!(message, b"{   \"a\": \"b\\n\" }");
    }
}
