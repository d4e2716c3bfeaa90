//! The floor of `bench/side-by-side`: `floor LISTEN UPSTREAM …` copies bytes both ways and reads none of them.
//!
//! One thread, one ring with the flags that a worker of Strait asks for, one upstream connection per client connection,
//! one buffer per direction. What this costs per request is what the kernel takes for two sockets on this runtime;
//! what another proxy costs above it is its own.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, Splitable};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};

/// Any message of any workload in one receive.
const BUFFER_BYTES: usize = 64 * 1024;
/// As `RING_ENTRIES` of `engine/src/io/runtime.rs`.
const RING_ENTRIES: u32 = 4096;

fn main() -> ExitCode {
    match routes() {
        Some(routes) => match relay(routes) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("floor: {error}");
                ExitCode::FAILURE
            }
        },
        None => {
            eprintln!("usage: floor LISTEN UPSTREAM [LISTEN UPSTREAM …], each as IP:PORT");
            ExitCode::from(64)
        }
    }
}

/// What listens for whom.
fn routes() -> Option<Vec<(SocketAddr, SocketAddr)>> {
    let addresses: Result<Vec<SocketAddr>, _> = std::env::args().skip(1).map(|text| text.parse()).collect();
    let addresses = addresses.ok()?;
    let routes = addresses.chunks_exact(2);
    let is_complete = !addresses.is_empty() && routes.remainder().is_empty();
    is_complete.then(|| routes.map(|pair| (pair[0], pair[1])).collect())
}

fn relay(routes: Vec<(SocketAddr, SocketAddr)>) -> io::Result<()> {
    let mut ring = io_uring_06::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun();
    let mut runtime =
        RuntimeBuilder::<IoUringDriver>::new().uring_builder(ring).with_entries(RING_ENTRIES).build()?;
    runtime.block_on(async {
        let mut accepting = Vec::new();
        for (listen, upstream) in routes {
            accepting.push(monoio::spawn(accept(TcpListener::bind(listen)?, upstream)));
        }
        for listener in accepting {
            listener.await?;
        }
        Ok(())
    })
}

async fn accept(listener: TcpListener, upstream: SocketAddr) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        monoio::spawn(pair(client, upstream));
    }
}

/// Until either side ends or fails.
async fn pair(client: TcpStream, upstream: SocketAddr) {
    let Ok(server) = TcpStream::connect_addr(upstream).await else { return };
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
        return;
    }
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    monoio::spawn(copy(server_reads, client_writes));
    copy(client_reads, server_writes).await;
}

async fn copy(mut from: impl AsyncReadRent, mut to: impl AsyncWriteRent) {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (read, filled) = from.read(buffer).await;
        if !read.is_ok_and(|bytes| bytes > 0) {
            let _ = to.shutdown().await;
            return;
        }
        let (written, emptied) = to.write_all(filled).await;
        if written.is_err() {
            return;
        }
        buffer = emptied;
        buffer.clear();
    }
}
