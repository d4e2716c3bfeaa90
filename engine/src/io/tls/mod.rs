//! TLS under a connection: records, handshakes, and who the peer's certificate says it is.
//!
//! An adapter of our own between rustls and [`super::tcp::Stream`]. rustls gets and gives slices and owns no buffer
//! (its unbuffered interface), so what a connection holds comes from the pool of its worker and goes back there when it
//! waits: an idle TLS connection keeps its keys and nothing else, but for the certificates that its client has shown. `session.rs` knows
//! records and no sockets, `stream.rs` joins it with a socket, `peer.rs` reads names in certificates, `client.rs` judges them again. Which
//! certificates are served, and whose are believed, is control's to say; it hands over finished configurations ([`ServerTls`], [`ClientTls`]).

mod client;
mod fault;
mod peer;
#[cfg(not(feature = "simulation"))]
pub(super) mod session;
#[cfg(not(feature = "simulation"))]
mod stream;

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

pub use client::{Believed, ClientCertificate};
pub use fault::{Cause, HandshakeFault};
pub use peer::PeerCertificate;

/// What a client's handshake came to.
#[derive(Debug)]
pub struct Shaken {
    /// Who the client is, if it showed a certificate.
    pub certificate: Option<ClientCertificate>,
    pub is_resumed: bool,
}

/// How a listener speaks TLS: its certificates, whose it asks for, its ticket keys.
#[derive(Clone)]
pub struct ServerTls {
    pub config: Arc<ServerConfig>,
    /// Whose clients it lets in; `None`: it asks for no certificates.
    pub believed: Option<Arc<Believed>>,
}

/// How an upstream is spoken to.
#[derive(Clone)]
pub struct ClientTls {
    pub config: Arc<ClientConfig>,
    /// What its certificate must name.
    pub name: ServerName<'static>,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("ServerTls")
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ClientTls({})", self.name.to_str())
    }
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &ServerTls) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }
}

impl Eq for ServerTls {}

/// The same configuration, not one that says the same: control gives the same one for as long as nothing has changed.
impl PartialEq for ClientTls {
    fn eq(&self, other: &ClientTls) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl Eq for ClientTls {}
