//! A listener of the admin endpoints that lets only so many connections in, and none that is silent for ever: they have their files
//! from the process that the workers have theirs from.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use crate::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_SILENT_MAX};

pub struct Bounded<L> {
    listener: L,
    places: Arc<Semaphore>,
}

/// A connection that has a place.
pub struct Placed<S> {
    stream: S,
    silent: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl<S> Placed<S> {
    pub fn stream(&self) -> &S {
        &self.stream
    }
}

impl<L> Bounded<L> {
    pub fn new(listener: L) -> Bounded<L> {
        Bounded { listener, places: Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX)) }
    }
}

impl<L: Listener> Listener for Bounded<L>
where
    L::Io: Unpin,
{
    type Io = Placed<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Placed<L::Io>, L::Addr) {
        let Ok(place) = self.places.clone().acquire_owned().await else {
            // Nobody closes it.
            return std::future::pending().await;
        };
        let (stream, address) = self.listener.accept().await;
        (Placed { stream, silent: Box::pin(sleep(ADMIN_SILENT_MAX)), _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Placed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buf) {
            self.silent.as_mut().reset(Instant::now() + ADMIN_SILENT_MAX);
            return Poll::Ready(read);
        }
        self.silent.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Placed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
