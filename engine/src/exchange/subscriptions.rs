//! Resources that a client wants to hear of, held by its session or its listen.
//!
//! A client names them by URIs of ours and may hear only of what it may read, under the same URI. With every edition
//! that is decided again: what it may not read any more it does not hear of, and what another upstream has now is
//! subscribed to there. Whatever ends the session or the listen ends its subscriptions, by dropping them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use strait_policy::Verdict;
use strait_protocol::jsonrpc::{Members, Message, append_string};
use strait_protocol::mcp::{Method, meta};
use strait_table::Kind;

use super::arrive::Place;
use super::identify::Caller;
use super::refusal::Refusal;
use super::resolve::{Item, unknown};
use super::uris::{self, Served};
use super::{Incoming, authorize};
use crate::core::{Adopted, Core};
use crate::edition::UpstreamId;
use crate::io::buffer::Buf;
use crate::io::runtime;
use crate::limits::{SUBSCRIBE_MS_MAX, SUBSCRIPTIONS_MAX};
use crate::session::Session;
use crate::upstream::subscribe::route;
use crate::upstream::topics::{Hearer, Interest, Refused, Update, join};
use crate::upstream::{Upstream, UpstreamFault, Whom};

/// By the client's own URI, as text.
#[derive(Default)]
pub struct Subscriptions {
    held: RefCell<BTreeMap<Box<[u8]>, Held>>,
}

struct Held {
    upstream: UpstreamId,
    bare: Box<[u8]>,
    interest: Rc<Interest>,
}

/// A resource that a caller may read, and where it is.
pub struct Found {
    pub upstream: Rc<Upstream>,
    /// As its upstream calls it.
    pub bare: Vec<u8>,
    /// Its upstream tells when a resource changes.
    pub tells: bool,
}

/// Finds a resource among those that its caller may read.
pub fn find(core: &Core, adopted: &Rc<Adopted>, server: usize, caller: &Caller, uri: &[u8]) -> Option<Found> {
    let Served { kind, index, upstream, own } = uris::served(adopted, server, uri)?;
    let view = adopted.view(server, caller.traits)?;
    let bare = own.as_ref().map_or_else(|| uri.to_vec(), |own| own.as_bytes().to_vec());
    let item =
        Item { kind, index, upstream, view, covered: kind == Kind::Template, own_uri: own, shape: None };
    if !authorize::decide(core, adopted, server, &item, caller, None, uri).is_ok_and(Verdict::is_permit) {
        return None;
    }
    let tells = adopted.snapshot.bound().upstreams.get(upstream).is_some_and(|can| can.subscribe);
    Some(Found { upstream: adopted.upstream(upstream)?, bare, tells })
}

impl Subscriptions {
    pub fn count(&self) -> usize {
        self.held.borrow().len()
    }

    /// All of them, in order.
    pub fn uris(&self) -> Vec<Box<[u8]>> {
        self.held.borrow().keys().cloned().collect()
    }

    /// Lets go of one; nothing more is heard of it.
    pub fn remove(&self, uri: &[u8]) {
        let gone = self.held.borrow_mut().remove(uri);
        drop(gone);
    }

    /// Lets go of all.
    pub fn clear(&self) {
        let gone = self.held.take();
        drop(gone);
    }

    pub fn has(&self, uri: &[u8]) -> bool {
        self.held.borrow().contains_key(uri)
    }

    /// Wants to hear of a resource from now on; waits for nothing but to know what the upstream speaks.
    pub async fn begin(
        &self,
        core: &Rc<Core>,
        found: &Found,
        whom: Whom,
        uri: &[u8],
        hearer: Weak<dyn Hearer>,
    ) -> Result<Rc<Interest>, Refused> {
        if let Some(held) = self.held.borrow().get(uri) {
            return Ok(held.interest.clone());
        }
        let route = route(core, &found.upstream, whom).await?;
        if self.count() >= SUBSCRIPTIONS_MAX {
            return Err(UpstreamFault::Busy { limit: SUBSCRIPTIONS_MAX }.into());
        }
        let interest = Rc::new(join(core, &found.upstream, route, &found.bare, hearer, uri)?);
        let held = Held {
            upstream: found.upstream.id,
            bare: found.bare.as_slice().into(),
            interest: interest.clone(),
        };
        let before = self.held.borrow_mut().insert(uri.into(), held);
        drop(before);
        Ok(interest)
    }

    /// Waits for the answer to [`Subscriptions::begin`]. What was refused is let go of.
    pub async fn settled(&self, uri: &[u8], interest: Rc<Interest>, within_ms: u64) -> Result<(), Refused> {
        let settled = runtime::timeout(Duration::from_millis(within_ms), interest.settled()).await;
        let late = UpstreamFault::CallTimeout { ms: u32::try_from(within_ms).unwrap_or(u32::MAX) };
        let outcome = settled.unwrap_or(Err(Refused::Fault(late)));
        if outcome.is_err() {
            let is_same =
                self.held.borrow().get(uri).is_some_and(|held| Rc::ptr_eq(&held.interest, &interest));
            if is_same {
                self.remove(uri);
            }
        }
        outcome
    }

    /// Looks at all of them under another edition: lets go of what may not be heard any more, and gives what must be
    /// subscribed to again because it is somewhere else now.
    pub fn look_again(
        &self,
        core: &Core,
        adopted: &Rc<Adopted>,
        server: usize,
        caller: &Caller,
    ) -> Vec<(Box<[u8]>, Found)> {
        let known: Vec<_> = {
            let held = self.held.borrow();
            held.iter().map(|(uri, held)| (uri.clone(), held.upstream, held.bare.clone())).collect()
        };
        let mut moved = Vec::new();
        for (uri, upstream, bare) in known {
            match find(core, adopted, server, caller, &uri).filter(|found| found.tells) {
                Some(found) if found.upstream.id == upstream && *found.bare == *bare => {}
                Some(found) => {
                    self.remove(&uri);
                    moved.push((uri, found));
                }
                None => self.remove(&uri),
            }
        }
        moved
    }
}

/// Makes a session's subscription, and gives the whole answer.
pub async fn make(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    session: &Rc<Session>,
    message: &Message,
) -> Result<Buf, Refusal> {
    let mut text = Vec::new();
    let uri = message.uri.map(|uri| uri.read(incoming.body, &mut text)).unwrap_or_default();
    let found =
        find(core, adopted, place.server, caller, uri).ok_or_else(|| unknown(Kind::Resource, uri, false))?;
    if !found.tells {
        return Err(Refusal::Params("the server of this resource does not tell when one changes"));
    }
    let (held, whom) = (&session.subscriptions, Whom::of(caller.digest, Some(session)));
    let outcome = match held.begin(core, &found, whom, uri, hearer(session)).await {
        Ok(interest) => held.settled(uri, interest, u64::from(found.upstream.timeouts.call_ms)).await,
        Err(refused) => Err(refused),
    };
    let mut out = Buf::new();
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(message.id.map_or(&b"null"[..], |id| id.of(incoming.body)));
    match outcome {
        Ok(()) => out.extend_from_slice(b",\"result\":{}}"),
        Err(Refused::Error(error)) => {
            for part in [b",\"error\":", &error[..], b"}"] {
                out.extend_from_slice(part);
            }
        }
        Err(Refused::Fault(fault)) => {
            return Err(Refusal::Upstream { name: found.upstream.name.clone(), fault });
        }
        Err(Refused::NotOffered) => {
            return Err(Refusal::Params("the server of this resource took no subscription to it"));
        }
    }
    Ok(out)
}

/// A client that holds subscriptions.
pub trait Subscriber: Hearer {
    fn subscriptions(&self) -> &Subscriptions;
}

/// Subscribes again to what is somewhere else now. Whoever subscribed is told of it: it may be another content.
pub fn follow<S: Subscriber + 'static>(
    core: &Rc<Core>,
    subscriber: &Rc<S>,
    whom: Whom,
    moved: Vec<(Box<[u8]>, Found)>,
) {
    if moved.is_empty() {
        return;
    }
    let (core, subscriber) = (core.clone(), subscriber.clone());
    runtime::spawn_guarded("subscriptions that moved", async move {
        for (uri, found) in moved {
            let subscriptions = subscriber.subscriptions();
            let begun = subscriptions.begin(&core, &found, whom.clone(), &uri, hearer(&subscriber)).await;
            let Ok(interest) = begun else { continue };
            if subscriptions.settled(&uri, interest.clone(), SUBSCRIBE_MS_MAX).await.is_ok() {
                interest.missed(&core);
            }
        }
    });
}

/// How topics know a subscriber.
pub fn hearer<S: Subscriber + 'static>(subscriber: &Rc<S>) -> Weak<dyn Hearer> {
    let hearer: Rc<dyn Hearer> = subscriber.clone();
    Rc::downgrade(&hearer)
}

/// A server's notification as a client is to have it: under the URI that it knows, and the id of its listen if it came by
/// one. Everything else of `params` stays as it is.
pub fn render(update: &Update<'_>, known_as: &[u8], listen: Option<&[u8]>) -> Vec<u8> {
    let message = update.message;
    let mut out = Vec::with_capacity(message.len() + 128);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"");
    out.extend_from_slice(Method::NotifyResourcesUpdated.as_str().as_bytes());
    out.extend_from_slice(b"\",\"params\":{\"uri\":");
    append_string(&mut out, known_as);
    let mut tags = Vec::new();
    if let Some(id) = listen {
        append_string(&mut tags, meta::SUBSCRIPTION_ID.as_bytes());
        tags.push(b':');
        tags.extend_from_slice(id);
        tags.push(b',');
    }
    let params = update.envelope.params.into_iter().flat_map(|params| Members::of(message, params));
    for member in params.map_while(Result::ok) {
        if member.key_is(message, "_meta") {
            let inner = Members::of(message, member.value).map_while(Result::ok);
            for tag in inner.filter(|tag| !tag.key_is(message, meta::SUBSCRIPTION_ID)) {
                append_member(message, tag.key, tag.value, &mut tags);
            }
        } else if !member.key_is(message, "uri") {
            out.push(b',');
            append_member(message, member.key, member.value, &mut out);
            out.pop();
        }
    }
    if tags.pop().is_some() {
        out.extend_from_slice(b",\"_meta\":{");
        out.extend_from_slice(&tags);
        out.push(b'}');
    }
    out.extend_from_slice(b"}}");
    out
}

fn append_member(
    message: &[u8],
    key: strait_protocol::Span,
    value: strait_protocol::Span,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(key.of(message));
    out.push(b':');
    out.extend_from_slice(value.of(message));
    out.push(b',');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::subscribe::read;

    fn rendered(message: &str, listen: Option<&[u8]>) -> String {
        let envelope = read(message.as_bytes()).unwrap();
        let update = Update { message: message.as_bytes(), envelope: &envelope };
        String::from_utf8(render(&update, b"mine:\"1", listen)).unwrap()
    }

    #[test]
    fn an_update_keeps_what_it_says_and_gets_the_clients_names() {
        let begin =
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"mine:\"1""#;
        let bare = r#"{"method":"notifications/resources/updated","params":{"uri":"x"},"jsonrpc":"2.0"}"#;
        assert_eq!(rendered(bare, None), format!("{begin}}}}}"));
        let tag = r#""_meta":{"io.modelcontextprotocol/subscriptionId":"\u0041 7""#;
        assert_eq!(rendered(bare, Some(br#""\u0041 7""#)), format!("{begin},{tag}}}}}}}"));
        let full = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":{"a": 1,
            "io.modelcontextprotocol/subscriptionId":3},"title" : "T","uri":"x","more":[1, 2]}}"#;
        let more = r#","title":"T","more":[1, 2],"#;
        assert_eq!(rendered(full, None), format!("{begin}{more}\"_meta\":{{\"a\":1}}}}}}"));
        assert_eq!(rendered(full, Some(br#""\u0041 7""#)), format!("{begin}{more}{tag},\"a\":1}}}}}}"));
    }
}
