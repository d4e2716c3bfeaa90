//! Connections that a handshake of now would not let in.
//!
//! Whom a listener believes can change while its connections stand: an authority leaves its `client_ca`, or clients' certificates become
//! required. A connection that was let in before is then asked again whether it would be let in now: at each request, before anything is
//! said on an answer that stands open, and with every edition. A connection is outside, or it is not: what else its client brings, a token
//! or a key, does not count, as it would not in a handshake.

use std::sync::Arc;

use super::Connection;
use crate::core::{Adopted, Core};
use crate::exchange::Incoming;
use crate::handle::ListenerTls;
use crate::io::tls::{Believed, ClientCertificate};

/// Why a connection would not be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// It has shown no certificate, and needs one now.
    Bare,
    /// Its certificate is good no more.
    Untrusted,
    /// Its certificate was taken, and its listener takes none any more: what was said to whom that names is said no more.
    Unasked,
}

impl Outside {
    /// The word in records.
    pub fn label(self) -> &'static str {
        match self {
            Outside::Bare => "certificate_required",
            Outside::Untrusted | Outside::Unasked => "untrusted_certificate",
        }
    }

    pub fn message(self) -> &'static str {
        match self {
            Outside::Bare => {
                "request: this listener lets nobody in without a client certificate now, and this connection has shown none; connect \
                 again with one"
            }
            Outside::Untrusted | Outside::Unasked => {
                "request: the client certificate of this connection was issued by nobody that this listener trusts now; connect again \
                 with one of an authority in its `client_ca`"
            }
        }
    }
}

impl Core {
    /// Why a connection of this listener that has shown this would not be let in now; `None`: it would be.
    pub fn outside(&self, listener: u16, certificate: Option<&ClientCertificate>) -> Option<Outside> {
        self.with_listener_tls(listener, |tls| match (tls.and_then(believed), certificate) {
            (None, None) => None,
            (None, Some(_)) => Some(Outside::Unasked),
            (Some(believed), None) => believed.is_required().then_some(Outside::Bare),
            (Some(believed), Some(shown)) => {
                let is_good = shown.is_good_by(believed, self.clock.coarse_unix_ms());
                (!is_good).then_some(Outside::Untrusted)
            }
        })
    }

    /// Whether it was put outside since `adopted` was taken up, under which this arrived.
    pub fn has_put_outside(&self, adopted: &Adopted, incoming: &Incoming<'_>) -> bool {
        let shown = incoming.certificate.map(|certificate| &**certificate);
        self.serial.get() != adopted.serial && self.outside(incoming.listener, shown).is_some()
    }
}

impl Connection {
    pub(super) fn is_outside(&self, core: &Core) -> bool {
        core.outside(self.listener, self.certificate.as_deref()).is_some()
    }
}

/// The certificate that a connection has shown, where its listener takes any. Where it takes none any more it is as if none had been shown:
/// so would it be on the next connection.
pub(super) fn taken<'c>(
    core: &Core,
    listener: u16,
    shown: Option<&'c Arc<ClientCertificate>>,
) -> Option<&'c Arc<ClientCertificate>> {
    shown.filter(|_| core.with_listener_tls(listener, |tls| tls.and_then(believed).is_some()))
}

fn believed(tls: &ListenerTls) -> Option<&Believed> {
    match tls {
        ListenerTls::Ready(tls) => tls.believed.as_deref(),
        ListenerTls::Broken(_) => None,
    }
}
