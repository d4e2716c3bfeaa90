//! What an upstream of 2026-07-28 says of its own accord: it says it on a listen of ours.
//!
//! One worker listens to each upstream over HTTP, the one that asks for its lists; whatever is told there makes it ask
//! again, and the edition that follows tells everybody. A listen that breaks is opened again, and since nobody knows what
//! was said meanwhile, the lists are asked for then too. A server that does not offer it is asked again with its lists.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use strait_protocol::jsonrpc::Kind;
use strait_protocol::mcp::{Method, Revision};

use super::dialect::Client;
use super::learn::NOBODY;
use super::{Era, Event, Order, Upstream, UpstreamFault, Whom};
use crate::changes::List;
use crate::core::{Core, InFlight};
use crate::handle::Reach;
use crate::io::runtime;
use crate::io::signal::Signal;
use crate::limits::{LISTEN_AGAIN_MS, LISTEN_SILENT_MS_MAX};

/// Whether an upstream is listened to.
#[derive(Default)]
pub struct Hearing {
    is_on: Cell<bool>,
    /// Raised when no edition names the upstream any more.
    pub stop: Signal,
}

/// Listens to an upstream from now on, if it speaks of its own accord that way and nobody does yet.
pub fn hear(core: &Rc<Core>, upstream: &Rc<Upstream>) {
    let is_modern = upstream.known_era() == Some(Era::Modern);
    if !is_modern || !matches!(&**upstream.reach.borrow(), Reach::Http { .. }) || upstream.hearing.is_on.get()
    {
        return;
    }
    upstream.hearing.is_on.set(true);
    let on = On { core: core.clone(), upstream: upstream.clone(), was_open: false };
    runtime::spawn_guarded("listen at an upstream", on.keep());
}

/// A listen that is kept open.
struct On {
    core: Rc<Core>,
    upstream: Rc<Upstream>,
    was_open: bool,
}

impl On {
    async fn keep(mut self) {
        let upstream = self.upstream.clone();
        tokio::select! {
            () = self.reopen() => {}
            () = upstream.hearing.stop.wait() => {}
        }
    }

    /// Until the server says that it has no listens.
    async fn reopen(&mut self) {
        let mut wait_ms = LISTEN_AGAIN_MS.0;
        loop {
            let began_ms = self.core.clock.coarse_ms();
            let is_refused = matches!(self.once().await, Ok(false));
            if is_refused {
                return;
            }
            if self.core.clock.coarse_ms().saturating_sub(began_ms) > LISTEN_AGAIN_MS.1 {
                wait_ms = LISTEN_AGAIN_MS.0;
            }
            // The clock's nanoseconds spread those who lost the same server at the same time.
            let jitter_ms = self.core.clock.now_ns() % (wait_ms / 4);
            runtime::sleep(Duration::from_millis(wait_ms + jitter_ms)).await;
            wait_ms = (wait_ms * 2).min(LISTEN_AGAIN_MS.1);
        }
    }

    /// One listen, to its end; `false` when the server refused it.
    async fn once(&mut self) -> Result<bool, UpstreamFault> {
        let body = self.request();
        let decoded = self.core.decoder.borrow_mut().decode(&body);
        let message = decoded.map_err(|fault| UpstreamFault::NotMcp(fault.message()))?;
        let order = Order {
            body: &body,
            message: &message,
            bare: None,
            // What a request of 2026-07-28 has beside is added, as for any older client.
            client: Revision::LATEST_LEGACY,
            head: None,
            whom: Whom::of(NOBODY, None),
            client_fd: None,
            under_way: None,
        };
        let mut reply = super::call(&self.core, &self.upstream, &order, InFlight::uncounted()).await?;
        let method = Method::SubscriptionsListen;
        let client = Client { id: b"1", token: None, modern: false, method, session: None, body: &body };
        loop {
            // A connection may be dead without a sign: silence ends it, and it is opened again.
            reply.extend_deadline(self.core.clock.coarse_ms() + LISTEN_SILENT_MS_MAX);
            let Event::Message { envelope, last, .. } = reply.next(&self.core, &client).await? else {
                return Ok(false);
            };
            if last {
                return Ok(!envelope.has_error && self.was_open);
            }
            match envelope.method_known.filter(|_| envelope.kind() == Some(Kind::Notification)) {
                // What was said while nobody listened is not known.
                Some(Method::NotifySubscriptionsAcknowledged) if self.was_open => self.upstream.relist.set(),
                Some(Method::NotifySubscriptionsAcknowledged) => self.was_open = true,
                Some(method) => {
                    if let Some(list) = List::of(method) {
                        self.upstream.lists_changed(&self.core, list.into());
                    }
                }
                None => {}
            }
        }
    }

    fn request(&self) -> Vec<u8> {
        let mut body =
            br#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"#
                .to_vec();
        for (at, list) in List::ALL.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            body.extend_from_slice(format!("{comma}\"{}\":true", list.key()).as_bytes());
        }
        body.extend_from_slice(b"}}}");
        body
    }
}

impl Drop for On {
    fn drop(&mut self) {
        self.upstream.hearing.is_on.set(false);
    }
}
