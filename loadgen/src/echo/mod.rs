//! `strait echo`: an MCP server made to be measured against. It speaks both eras, answers a call with
//! the text it was given (or with so many bytes), after a latency that is drawn, counted or stalled, and
//! is never the bottleneck next to a proxy: one thread, one epoll, no allocation per request.
//!
//! The decision: what it does to a call is set once, on its command line, and not by the caller, so
//! that load meets the same server whatever is sent. Read `server.rs` for the loop, `answer.rs` for the
//! words, `latency.rs` for the times.

mod answer;
mod latency;
mod server;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

pub use latency::Latency;
pub(crate) use server::raise_descriptors;
pub use server::{ECHO_CONNECTIONS_MAX, Echo};

/// What the server does with a call.
#[derive(Clone, Debug)]
pub struct Options {
    pub bind: SocketAddr,
    pub latency: Latency,
    /// Bytes of text in each result; `None` says back what was said.
    pub size: Option<usize>,
    /// Progress events before each answer; more than 0 makes every answer an event stream.
    pub events: u32,
    /// Between two events, and before the first.
    pub interval_ns: u64,
    /// The share of calls that fail with `isError`, 0 to 1.
    pub errors: f64,
    pub tools: usize,
    /// At most so many calls at once; the others wait in line.
    pub workers: Option<usize>,
    pub seed: u64,
}

/// Bounds of the options; each keeps a reply within memory that 12,000 connections can have.
pub const SIZE_MAX: usize = 16 * 1024 * 1024;
pub const EVENTS_MAX: u32 = 10_000;
pub const TOOLS_MAX: usize = 100_000;

impl Options {
    pub fn new(bind: SocketAddr) -> Options {
        Options {
            bind,
            latency: Latency::None,
            size: None,
            events: 0,
            interval_ns: 0,
            errors: 0.0,
            tools: 4,
            workers: None,
            seed: 1,
        }
    }
}

/// An echo server on a thread of its own, for tests and self-tests; it stops when this is dropped.
pub struct Running {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    pub fn start(options: Options) -> io::Result<Running> {
        let stop = Arc::new(AtomicBool::new(false));
        let bound = Echo::bind(&options)?;
        let address = bound.address();
        let flag = stop.clone();
        let thread =
            std::thread::Builder::new().name("strait-echo".to_owned()).spawn(move || bound.run(&flag))?;
        Ok(Running { address, stop, thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
