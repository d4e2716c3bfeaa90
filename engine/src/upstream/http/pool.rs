//! Idle connections to one endpoint, the most recently used first: those that are needed stay warm,
//! the rest age out.

use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;

use crate::core::Core;
use crate::handle::HttpEndpoint;
use crate::io::runtime::timeout;
use crate::io::tcp::Stream;
use crate::io::tls::ClientTls;
use crate::limits::{UPSTREAM_IDLE_MAX, UPSTREAM_IDLE_MS_MAX, UPSTREAM_TRUST_MS};
use crate::upstream::{Upstream, UpstreamFault};

#[derive(Default)]
pub struct Pool {
    idle: Vec<Idle>,
}

struct Idle {
    stream: Stream,
    since_ms: u64,
    is_suspect: bool,
}

impl Pool {
    #[cfg(feature = "simulation")]
    pub fn len(&self) -> usize {
        self.idle.len()
    }

    fn take(&mut self, now_ms: u64) -> Option<Stream> {
        while let Some(Idle { mut stream, since_ms, is_suspect }) = self.idle.pop() {
            let idle_ms = now_ms.saturating_sub(since_ms);
            // Looking costs a system call, so only those that had time or a reason to be closed are looked at.
            let is_trusted = idle_ms < UPSTREAM_TRUST_MS && !is_suspect;
            if is_trusted || (idle_ms < UPSTREAM_IDLE_MS_MAX && !stream.peer_closed()) {
                return Some(stream);
            }
        }
        None
    }

    fn put(&mut self, stream: Stream, now_ms: u64) {
        if self.idle.len() < UPSTREAM_IDLE_MAX {
            self.idle.push(Idle { stream, since_ms: now_ms, is_suspect: false });
        }
    }

    /// A connection to there broke: those that idle are looked at before they are used, however short that is.
    fn distrust(&mut self) {
        for idle in &mut self.idle {
            idle.is_suspect = true;
        }
    }

    pub fn sweep(&mut self, now_ms: u64) {
        self.idle.retain(|idle| now_ms.saturating_sub(idle.since_ms) < UPSTREAM_IDLE_MS_MAX);
    }
}

/// A connection, and whether it had been used before.
pub struct Line {
    pub stream: Stream,
    pub reused: bool,
}

/// An idle connection of the pool, or a new one.
pub async fn line(
    core: &Rc<Core>,
    upstream: &Upstream,
    endpoint: &HttpEndpoint,
    replica: usize,
) -> Result<Line, UpstreamFault> {
    let now_ms = core.clock.coarse_ms();
    let pooled = upstream.http.pools.borrow_mut().get_mut(replica).and_then(|pool| pool.take(now_ms));
    match pooled {
        Some(stream) => Ok(Line { stream, reused: true }),
        // Rare, and its future is large: in a box it does not make every call's future larger.
        None => Box::pin(fresh(upstream, endpoint)).await,
    }
}

pub async fn fresh(upstream: &Upstream, endpoint: &HttpEndpoint) -> Result<Line, UpstreamFault> {
    let stream = connected(upstream, endpoint).await?;
    let stream = match &endpoint.tls {
        None => stream,
        Some(tls) => shaken(upstream, stream, tls).await?,
    };
    Ok(Line { stream, reused: false })
}

/// The handshake has as long as the connect had.
async fn shaken(upstream: &Upstream, mut stream: Stream, tls: &ClientTls) -> Result<Stream, UpstreamFault> {
    let ms = upstream.timeouts.connect_ms;
    // What a handshake that is given up has received is lost, and its connection with it.
    let fault = match timeout(Duration::from_millis(ms.into()), stream.begin_tls(tls)).await {
        Ok(Ok(())) => return Ok(stream),
        Ok(Err(fault)) => fault.why,
        Err(_elapsed) => format!("it timed out after {ms} ms"),
    };
    stream.abandon();
    upstream.era.set(None);
    Err(UpstreamFault::Tls(fault))
}

async fn connected(upstream: &Upstream, endpoint: &HttpEndpoint) -> Result<Stream, UpstreamFault> {
    let ms = upstream.timeouts.connect_ms;
    match Stream::connect(endpoint.address, Duration::from_millis(ms.into())).await {
        Ok(stream) => Ok(stream),
        Err(error) => {
            // Whatever answers there next may be another version of it. That we have no file left for a
            // socket says nothing about the upstream.
            if !matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) {
                upstream.era.set(None);
            }
            Err(if error.kind() == std::io::ErrorKind::TimedOut {
                UpstreamFault::ConnectTimeout { ms }
            } else {
                UpstreamFault::Connect(format!("{} ({})", plain(&error), endpoint.address))
            })
        }
    }
}

/// Gives a connection back whose last reply was read to its end.
pub fn give_back(core: &Rc<Core>, upstream: &Upstream, replica: usize, stream: Stream) {
    let mut pools = upstream.http.pools.borrow_mut();
    if pools.len() <= replica {
        pools.resize_with(replica + 1, Pool::default);
    }
    if let Some(pool) = pools.get_mut(replica) {
        pool.put(stream, core.clock.coarse_ms());
    }
}

/// A connection broke under a call: who serves there may have ended, and closed the idle ones with it.
pub fn distrust(upstream: &Upstream, replica: usize) {
    if let Some(pool) = upstream.http.pools.borrow_mut().get_mut(replica) {
        pool.distrust();
    }
}

/// An I/O error without "(os error N)".
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
