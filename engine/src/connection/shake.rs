//! The beginning of a connection on a listener that speaks TLS.
//!
//! A handshake costs a signature, a hundred times what a request costs, and whoever connects has shown nothing yet: it
//! has a deadline, a core works on a bounded number at once, and what went wrong is counted by cause and told now and
//! then, not each time.

use std::rc::Rc;

use super::{Connection, linger};
use crate::core::Core;
use crate::exchange::refusal::Refusal;
use crate::exchange::respond::{self, Sink};
use crate::handle::{Level, ListenerTls};
use crate::io::buffer::Buf;
use crate::io::tls::{Cause, HandshakeFault, Shaken};
use crate::limits::{HANDSHAKE_TOLD_MS, HANDSHAKES_PER_CORE_MAX};

/// Lets a client in; `false` when it stays outside, and was told why as far as that is possible.
pub(super) async fn run(core: &Rc<Core>, connection: &mut Connection, tls: ListenerTls) -> bool {
    let began_ns = core.clock.now_ns();
    match shaken(core, connection, tls).await {
        Ok(shaken) => {
            let figures = &core.figures.handshakes;
            let count = if shaken.is_resumed { &figures.resumed } else { &figures.full };
            count.add(1);
            figures.duration.record(core.clock.now_ns().saturating_sub(began_ns));
            connection.certificate = shaken.certificate.map(Into::into);
            true
        }
        Err(fault) => {
            core.figures.handshakes.failed(fault.cause).add(1);
            if fault.cause == Cause::PlainHttp {
                respond::refuse_unread(
                    core,
                    &mut Sink::Stream(&mut connection.stream),
                    &Refusal::TlsExpected,
                )
                .await;
                linger(core, &mut connection.stream, Buf::new()).await;
            }
            tell(core, connection, &fault);
            false
        }
    }
}

async fn shaken(
    core: &Rc<Core>,
    connection: &mut Connection,
    tls: ListenerTls,
) -> Result<Shaken, HandshakeFault> {
    let tls = match tls {
        ListenerTls::Ready(tls) => tls,
        ListenerTls::Broken(why) => return Err(HandshakeFault::new(Cause::NoCertificate, why)),
    };
    if core.handshaking.get() >= HANDSHAKES_PER_CORE_MAX {
        return Err(HandshakeFault::new(Cause::TooMany, "too many handshakes at once"));
    }
    let _place = Handshaking::new(core);
    let deadline_ms = core.clock.coarse_ms() + core.deadlines.handshake_ms;
    let watch = core.watches.shutdown_at(deadline_ms, connection.stream.fd());
    let shaken = connection.stream.serve_tls(&tls).await;
    if watch.fired() {
        return Err(HandshakeFault::new(Cause::Slow, "it did not end in time"));
    }
    let shaken = shaken?;
    // A session that goes on with a ticket is not verified again, and its certificate may have ended meanwhile.
    let now_s = (core.clock.coarse_unix_ms() / 1_000) as i64;
    match &shaken.certificate {
        Some(shown) if shown.names.not_after_unix_s < now_s => {
            Err(HandshakeFault::new(Cause::Certificate, "the peer's certificate has expired"))
        }
        _ => Ok(shaken),
    }
}

/// One line for many: whoever can connect must not be able to fill the log.
fn tell(core: &Rc<Core>, connection: &Connection, fault: &HandshakeFault) {
    let told = &core.handshakes_told;
    let now_ms = core.clock.coarse_ms();
    told.unsaid.set(told.unsaid.get() + 1);
    if told.next_ms.get() > now_ms {
        return;
    }
    told.next_ms.set(now_ms + HANDSHAKE_TOLD_MS);
    let others = match told.unsaid.replace(0) - 1 {
        0 => String::new(),
        others => format!(" ({others} more failed since the last such line)"),
    };
    let text = format!("TLS handshake with {} failed: {}{others}", connection.peer, fault.why);
    core.notice(Level::Warn, text);
}

struct Handshaking {
    core: Rc<Core>,
}

impl Handshaking {
    fn new(core: &Rc<Core>) -> Handshaking {
        core.handshaking.set(core.handshaking.get() + 1);
        Handshaking { core: core.clone() }
    }
}

impl Drop for Handshaking {
    fn drop(&mut self) {
        self.core.handshaking.set(self.core.handshaking.get() - 1);
    }
}
