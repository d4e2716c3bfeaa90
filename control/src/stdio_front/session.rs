//! Requests of the older revisions: they live in a session, which the front begins, listens to, keeps and ends.
//!
//! The decision: the client never hears of the session. When the gateway has lost it, the stored `initialize` is
//! sent again, with whatever the client had set since, and what was refused for it is sent once more: a 404 proves
//! that nothing was accepted.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use strait_protocol::jsonrpc::{Kind, Members, Message};
use strait_protocol::mcp::{Method, Revision, header};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::Front;
use super::carry::{self, Asked, Carried, carry, gather, unasked};
use super::link::{Answer, Events, Headers, Media};
use super::mirror::string;
use super::trouble::Trouble;
use crate::limits::*;
use crate::log;

/// The session, while there is one. Whoever begins or renews it holds the lock, and everybody waits for that.
#[derive(Default)]
pub struct Keeper {
    session: Mutex<Option<Session>>,
}

struct Session {
    /// Counts renewals, so that of many who find it lost one renews it.
    epoch: u64,
    /// A gateway without sessions gives none.
    id: Option<HeaderValue>,
    /// As negotiated.
    revision: Vec<u8>,
    /// As the client wrote it; so is all that follows.
    initialize: Bytes,
    initialized: Option<Bytes>,
    level: Option<Bytes>,
    /// By URI.
    subscriptions: BTreeMap<Vec<u8>, Bytes>,
    /// The task that listens to what nobody asked for.
    ear: Option<AbortHandle>,
}

/// A session as one exchange uses it.
#[derive(Clone, Default)]
pub struct Pass {
    epoch: u64,
    headers: Headers,
    has_id: bool,
}

impl Session {
    fn pass(&self) -> Pass {
        let mut headers = Vec::new();
        if let Some(id) = &self.id {
            headers.push((HeaderName::from_static("mcp-session-id"), id.clone()));
        }
        // Older ones never heard of the header.
        let wants_version = Revision::parse(&self.revision).is_none_or(|r| r >= Revision::V2025_06_18);
        if let (true, Ok(version)) = (wants_version, HeaderValue::from_bytes(&self.revision)) {
            headers.push((HeaderName::from_static("mcp-protocol-version"), version));
        }
        Pass { epoch: self.epoch, headers, has_id: self.id.is_some() }
    }
}

impl Keeper {
    async fn pass(&self) -> Pass {
        self.session.lock().await.as_ref().map(Session::pass).unwrap_or_default()
    }
}

/// `initialize`: begins a session, after ending the one before.
pub async fn initialize(front: &Rc<Front>, asked: &mut Asked) -> Result<(), Trouble> {
    let mut kept = front.keeper.session.lock().await;
    if let Some(last) = kept.take() {
        goodbye(front, last).await;
    }
    asked.place.ticket.sent.set(true);
    let answer = front.link.post(asked.body.clone(), &Vec::new()).await?;
    let id = session_id(&answer);
    let (before, message, envelope) = gather(answer).await?;
    let answers = envelope.id.is_some_and(|id| asked.answered(id.of(&message)));
    if !answers {
        return Err(Trouble::NotMcp("it does not answer the request".into()));
    }
    if let Some(result) = envelope.result {
        *kept = Some(Session {
            epoch: 0,
            id,
            revision: revision(&message, result),
            initialize: asked.body.clone(),
            initialized: None,
            level: None,
            subscriptions: BTreeMap::new(),
            ear: None,
        });
    }
    for message in before.into_iter().chain([message]) {
        front.outbox.send(message).await;
    }
    Ok(())
}

pub async fn ask(front: &Rc<Front>, asked: &mut Asked) -> Result<(), Trouble> {
    let mut pass = front.keeper.pass().await;
    asked.place.ticket.sent.set(true);
    let mut answer = front.link.post(asked.body.clone(), &pass.headers).await?;
    if is_lost(&answer, &pass) {
        pass = renew(front, &pass).await?;
        answer = front.link.post(asked.body.clone(), &pass.headers).await?;
    }
    let mut carried = carry(front, answer, asked).await?;
    while let Carried::Cut(events, why) = carried {
        // No answer comes for what was cancelled.
        if asked.place.ticket.cancelled.get() {
            return Ok(());
        }
        carried = resume(front, *events, why, asked, &pass).await?;
    }
    remember(front, asked).await;
    Ok(())
}

/// Sends a notification, or the answer to a question of a server.
pub async fn tell(front: &Rc<Front>, message: &Message, body: Bytes) -> Result<(), Trouble> {
    let pass = front.keeper.pass().await;
    let mut answer = front.link.post(body.clone(), &pass.headers).await?;
    if is_lost(&answer, &pass) {
        // Who asked is gone with the session.
        if message.kind == Kind::Response {
            return Err(Trouble::refused(answer).await);
        }
        let pass = renew(front, &pass).await?;
        answer = front.link.post(body.clone(), &pass.headers).await?;
    }
    if !answer.status.is_success() {
        return Err(Trouble::refused(answer).await);
    }
    if message.method == Method::NotifyInitialized
        && let Some(session) = front.keeper.session.lock().await.as_mut()
    {
        session.initialized = Some(body);
        listen(front, session);
    }
    Ok(())
}

/// Says goodbye to the gateway.
pub async fn end(front: &Rc<Front>) {
    if let Some(session) = front.keeper.session.lock().await.take() {
        goodbye(front, session).await;
    }
}

async fn goodbye(front: &Rc<Front>, session: Session) {
    if let Some(ear) = &session.ear {
        ear.abort();
    }
    let pass = session.pass();
    if pass.has_id {
        // A session that nobody ends expires.
        let _ = timeout(FRONT_GOODBYE_WITHIN, front.link.delete(&pass.headers)).await;
    }
}

fn session_id(answer: &Answer) -> Option<HeaderValue> {
    let mut id = answer.headers.get(header::SESSION_ID).cloned()?;
    id.set_sensitive(true);
    Some(id)
}

fn is_lost(answer: &Answer, pass: &Pass) -> bool {
    answer.status == StatusCode::NOT_FOUND && pass.has_id
}

fn revision(message: &[u8], result: strait_protocol::Span) -> Vec<u8> {
    let said = Members::find(message, result, "protocolVersion").ok().flatten();
    let said = said.map(|said| said.of(message)).unwrap_or_default();
    string(said).unwrap_or_default()
}

/// Keeps what a renewed session must be told.
async fn remember(front: &Rc<Front>, asked: &Asked) {
    let Some(message) = &asked.message else { return };
    let mut scratch = Vec::new();
    let mut uri = || message.uri.map(|uri| uri.read(&asked.body, &mut scratch).to_vec()).unwrap_or_default();
    let mut session = front.keeper.session.lock().await;
    let Some(session) = session.as_mut() else { return };
    match message.method {
        Method::LoggingSetLevel => session.level = Some(asked.body.clone()),
        Method::ResourcesSubscribe if session.subscriptions.len() < FRONT_SUBSCRIPTIONS_MAX => {
            session.subscriptions.insert(uri(), asked.body.clone());
        }
        Method::ResourcesUnsubscribe => drop(session.subscriptions.remove(&uri())),
        _ => {}
    }
}

/// Begins the session again, unless somebody else just did.
async fn renew(front: &Rc<Front>, lost: &Pass) -> Result<Pass, Trouble> {
    let mut kept = front.keeper.session.lock().await;
    let Some(session) = kept.as_mut() else { return Err(Trouble::SessionLost("it was ended".into())) };
    if session.epoch != lost.epoch {
        return Ok(session.pass());
    }
    let again = async {
        let answer = front.link.post(session.initialize.clone(), &Vec::new()).await?;
        let id = session_id(&answer);
        let (_, message, envelope) = gather(answer).await?;
        let Some(result) = envelope.result else {
            return Err(Trouble::NotMcp("`initialize` was answered with an error".into()));
        };
        Ok((id, revision(&message, result)))
    };
    let (id, revision) = match timeout(FRONT_TELL_WITHIN, again).await {
        Ok(Ok(again)) => again,
        Ok(Err(why)) => return Err(Trouble::SessionLost(why.to_string())),
        Err(_) => return Err(Trouble::SessionLost("it did not answer in time".into())),
    };
    if revision != session.revision {
        let said = |revision: &[u8]| String::from_utf8_lossy(revision).escape_debug().to_string();
        let why = format!("it speaks {} now, and the client {}", said(&revision), said(&session.revision));
        return Err(Trouble::SessionLost(why));
    }
    session.epoch += 1;
    session.id = id;
    let pass = session.pass();
    let set = session.initialized.iter().chain(&session.level).chain(session.subscriptions.values());
    for said in set {
        // What fails now fails for the same reason when the client asks again.
        let _ = timeout(FRONT_TELL_WITHIN, front.link.post(said.clone(), &pass.headers)).await;
    }
    log::warn("strait stdio: the gateway had lost the session; it was begun again");
    if session.initialized.is_some() {
        listen(front, session);
    }
    Ok(pass)
}

/// Opens the stream of what nobody asked for.
fn listen(front: &Rc<Front>, session: &mut Session) {
    if let Some(ear) = session.ear.take() {
        ear.abort();
    }
    let (front, pass) = (front.clone(), session.pass());
    session.ear = Some(tokio::task::spawn_local(async move { ear(&front, pass).await }).abort_handle());
}

async fn ear(front: &Rc<Front>, pass: Pass) {
    let mut events: Option<Events> = None;
    let mut failures = 0;
    loop {
        let last = events.as_ref().and_then(Events::last_event_id);
        match again(front, &pass, last).await {
            Ok(answer) if is_lost(&answer, &pass) => {
                // Not here: this task ends with the session it listens to.
                let front = front.clone();
                tokio::task::spawn_local(async move { drop(renew(&front, &pass).await) });
                return;
            }
            Ok(answer) if answer.status.is_success() && answer.media() == Media::Events => {
                failures = 0;
                let stream = match &mut events {
                    Some(stream) => {
                        stream.resume(answer);
                        stream
                    }
                    None => events.insert(answer.events()),
                };
                while let Ok(Some(message)) = stream.next().await {
                    unasked(front, message).await;
                }
            }
            // 405: this gateway has nothing to say unasked.
            Ok(answer) if answer.status == StatusCode::METHOD_NOT_ALLOWED => return,
            Ok(answer) if !answer.status.is_server_error() => {
                return log::warn(format!(
                    "strait stdio: messages that nobody asked for will not be heard: the gateway answers {}",
                    answer.status
                ));
            }
            Ok(_) | Err(_) => failures += 1,
        }
        pause(events.as_ref().and_then(Events::retry_ms), failures).await;
    }
}

/// Asks for the rest of a stream that ended before its answer.
async fn resume(
    front: &Rc<Front>,
    mut events: Events,
    why: Trouble,
    asked: &mut Asked,
    pass: &Pass,
) -> Result<Carried, Trouble> {
    let Some(last) = events.last_event_id() else { return Err(why) };
    let mut failures = 0;
    loop {
        pause(events.retry_ms(), failures).await;
        match again(front, pass, Some(last.clone())).await {
            Ok(answer) if answer.status.is_success() && answer.media() == Media::Events => {
                events.resume(answer);
                return carry::events(front, events, asked).await;
            }
            Ok(answer) if is_lost(&answer, pass) => {
                return Err(Trouble::SessionLost("its answers are lost with it".into()));
            }
            Ok(answer) if !answer.status.is_server_error() => return Err(why),
            Ok(_) | Err(_) if failures < FRONT_RESUMES_MAX => failures += 1,
            Ok(answer) => return Err(Trouble::refused(answer).await),
            Err(trouble) => return Err(trouble),
        }
    }
}

async fn again(front: &Rc<Front>, pass: &Pass, last: Option<HeaderValue>) -> Result<Answer, Trouble> {
    let mut headers = pass.headers.clone();
    headers.extend(last.map(|last| (HeaderName::from_static("last-event-id"), last)));
    front.link.get(&headers).await
}

/// As long as the gateway asked for, or our own while; longer after each failure.
async fn pause(retry_ms: Option<u64>, failures: u32) {
    let asked_for = retry_ms.map_or(FRONT_RESUME_AFTER, Duration::from_millis).max(FRONT_RESUME_AFTER_MIN);
    let doublings = failures.saturating_sub(1).min(8);
    let grown = FRONT_RESUME_AFTER.saturating_mul(1 << doublings).min(FRONT_RESUME_AFTER_MAX);
    sleep(if failures == 0 { asked_for } else { asked_for.max(grown) }).await;
}
