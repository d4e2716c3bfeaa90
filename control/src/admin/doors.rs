//! The two ways in to the admin endpoints, the listener and the socket of the state folder, opened together: at once, or, where a
//! predecessor serves, once this process does. One that never comes to serve has taken nothing from the one before.

use std::io;
use std::net::TcpListener;

use tokio::task::AbortHandle;

use super::{Desk, socket, start};
use crate::log;

pub struct Doors {
    /// `None`: nothing listens.
    pub listener: Option<TcpListener>,
    pub has_socket: bool,
    pub desk: Desk,
}

impl Doors {
    /// `takes_over`: another process has the socket, and gives it up. Gives what accepts on the listener.
    pub fn open(self, takes_over: bool) -> io::Result<Option<AbortHandle>> {
        let Doors { listener, has_socket, desk } = self;
        let path = socket::path(&desk.root);
        let serving = listener.map(|listener| start(listener, desk.clone())).transpose()?;
        if has_socket && let Err(error) = socket::start(desk, takes_over) {
            log::warn(format!(
                "no admin socket at `{}`: {error}; the admin listener is the way in",
                path.display()
            ));
        }
        Ok(serving)
    }
}
