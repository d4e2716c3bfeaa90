//! Access lines: workers hand whole buffers of them to a thread that writes them to a file or to
//! stdout, so that no worker ever makes a blocking call. It is not the audit log's: a terminal that nobody reads
//! must not hold up a commit.
//!
//! A worker gathers lines in one buffer and hands it over when it is full or at the next tick. When
//! the writer is too far behind, access lines are dropped and counted: they are telemetry, and a slow
//! disk must not slow a call.

use std::cell::{Cell, RefCell};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::limits::{LOG_BUFFERS_MAX, LOG_END_LOOK_MS, LOG_END_MS_MAX, LOG_FLUSH_BYTES};

/// Where access lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Off,
    Stdout,
    File(PathBuf),
}

/// The running writer.
pub struct AccessLog {
    full: Option<SyncSender<Vec<u8>>>,
    writer: Option<JoinHandle<()>>,
}

impl AccessLog {
    /// Opens the destination and starts the thread; one set of [`LogLines`] per worker.
    pub fn start(to: &Destination, workers: usize) -> std::io::Result<(AccessLog, Vec<LogLines>)> {
        let mut out: Box<dyn Write + Send> = match to {
            Destination::Off => {
                let off = (0..workers).map(|_| LogLines::new(None)).collect();
                return Ok((AccessLog { full: None, writer: None }, off));
            }
            Destination::Stdout => Box::new(std::io::stdout()),
            Destination::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let (full, filled) = sync_channel::<Vec<u8>>(LOG_BUFFERS_MAX);
        let mut returns = Vec::new();
        let lines = (0..workers)
            .map(|_| {
                let (give_back, empties) = sync_channel(LOG_BUFFERS_MAX);
                returns.push(give_back);
                LogLines::new(Some(Channel { full: full.clone(), empties, owner: returns.len() as u8 - 1 }))
            })
            .collect();
        let writer = std::thread::Builder::new().name("strait-access".into()).spawn(move || {
            while let Ok(mut buffer) = filled.recv() {
                // The last byte says whose buffer it is; an empty buffer is the end.
                let Some(owner) = buffer.pop() else { return };
                if let Err(error) = out.write_all(&buffer).and_then(|()| out.flush()) {
                    eprintln!("strait: cannot write the access log: {error}; these lines are lost");
                }
                buffer.clear();
                if let Some(owner) = returns.get(usize::from(owner)) {
                    let _ = owner.try_send(buffer);
                }
            }
        })?;
        Ok((AccessLog { full: Some(full), writer: Some(writer) }, lines))
    }

    /// Writes what is left and ends the thread, as long as somebody takes it. Workers must be gone: the runtime does not drop their
    /// tasks, so their ends of the channel outlive them.
    pub fn close(self) {
        let (Some(full), Some(writer)) = (self.full, self.writer) else { return };
        let until = Instant::now() + Duration::from_millis(LOG_END_MS_MAX);
        let mut is_told = false;
        while Instant::now() < until {
            is_told = is_told || !matches!(full.try_send(Vec::new()), Err(TrySendError::Full(_)));
            if is_told && writer.is_finished() {
                let _ = writer.join();
                return;
            }
            std::thread::sleep(Duration::from_millis(LOG_END_LOOK_MS));
        }
        eprintln!("strait: nobody takes the access log: its last lines are lost");
    }
}

/// Full buffers out, empty ones back.
struct Channel {
    full: SyncSender<Vec<u8>>,
    empties: Receiver<Vec<u8>>,
    /// Which worker's buffers these are.
    owner: u8,
}

/// One worker's end.
pub struct LogLines {
    channel: Option<Channel>,
    gathering: RefCell<Vec<u8>>,
    dropped: Cell<u64>,
}

impl LogLines {
    fn new(channel: Option<Channel>) -> LogLines {
        let capacity = if channel.is_some() { LOG_FLUSH_BYTES + 8 * 1024 } else { 0 };
        LogLines { channel, gathering: RefCell::new(Vec::with_capacity(capacity)), dropped: Cell::new(0) }
    }

    pub fn is_on(&self) -> bool {
        self.channel.is_some()
    }

    /// Lines that were lost because the writer was behind.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    /// Appends one line with `write`.
    pub fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.channel.is_none() {
            return;
        }
        let mut gathering = self.gathering.borrow_mut();
        write(&mut gathering);
        let full = gathering.len() >= LOG_FLUSH_BYTES;
        drop(gathering);
        if full {
            self.flush();
        }
    }

    /// Hands over what was gathered. Called from the worker's tick.
    pub fn flush(&self) {
        let Some(Channel { full, empties, owner }) = &self.channel else { return };
        let mut gathering = self.gathering.borrow_mut();
        if gathering.is_empty() {
            return;
        }
        gathering.push(*owner);
        let empty = empties.try_recv().unwrap_or_else(|_| Vec::with_capacity(gathering.capacity()));
        match full.try_send(std::mem::replace(&mut gathering, empty)) {
            Ok(()) => {}
            Err(TrySendError::Full(mut lines) | TrySendError::Disconnected(mut lines)) => {
                let lost = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
                self.dropped.set(self.dropped.get() + lost);
                lines.clear();
                *gathering = lines;
            }
        }
    }
}
