//! The stdio front: a client that speaks lines over stdin and stdout, in front of a gateway that speaks Streamable
//! HTTP. `strait stdio` is this and nothing else; with a configuration the gateway runs in the same process.
//!
//! The decision that shaped it: one bridge, whatever is behind it. Each line becomes an exchange by the rules of
//! its own revision (`modern.rs`, `session.rs`), found from the line itself, so that a client may try one revision
//! and then the other; each message of an answer becomes a line (`carry.rs`). Whatever fails on the way becomes
//! the JSON-RPC error of the request it failed for (`trouble.rs`). It runs on one thread, as tasks of a local set:
//! what they share is in cells.

mod budget;
mod carry;
mod lane;
mod link;
mod mirror;
mod modern;
mod outbox;
mod session;
#[cfg(test)]
mod tests;
mod trouble;
mod under_way;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::path::Path;
use std::rc::Rc;

use hyper::body::Bytes;
use strait_protocol::Span;
use strait_protocol::jsonrpc::{
    DecodeCause, DecodeFault, Decoder, Elements, ErrorId, Kind, Members, Message, append_error,
};
use strait_protocol::mcp::{Method, codes};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::failure::{Code, Failure};
use crate::limits::*;
use crate::log;
use crate::private::{Private, Wish};
use crate::serve::{self, Setup};
use crate::state::read_secret;
use budget::Budget;
use carry::Asked;
use lane::Lane;
use link::{Endpoint, Link};
use mirror::Mirror;
use outbox::{Line, Outbox, Streams, Written};
use session::Keeper;
use trouble::Trouble;
use under_way::{Cancelled, Era, Id, UnderWay};

/// The variable that holds the key of the client.
pub const KEY_VARIABLE: &str = "STRAIT_KEY";

/// What all tasks share.
struct Front {
    link: Rc<Link>,
    outbox: Outbox,
    budget: Budget,
    under_way: Rc<UnderWay>,
    lane: Rc<Lane>,
    keeper: Keeper,
    mirror: RefCell<Mirror>,
    /// The client has begun a session, or is about to.
    has_session: Cell<bool>,
    /// The version that the last request with one spoke; empty before.
    modern_version: RefCell<Vec<u8>>,
}

/// The key of the client, from a file or from the environment. It is never an argument: others may read those.
pub fn key(file: Option<&Path>) -> Result<Option<String>, Failure> {
    match file {
        Some(path) => read_secret(path).map(Some).map_err(|error| {
            Failure::new(Code::Usage, format!("cannot read the key file `{}`: {error}", path.display()))
        }),
        None => Ok(std::env::var(KEY_VARIABLE).ok().filter(|key| !key.is_empty())),
    }
}

/// Bridges to a gateway that runs elsewhere, until stdin ends.
pub fn to(url: &str, key: Option<&str>) -> Result<(), Failure> {
    let endpoint = Endpoint::parse(url).map_err(|why| Failure::new(Code::Usage, why))?;
    let streams = Streams::claim().map_err(unfit)?;
    log::info(format!("strait stdio: to the gateway at {endpoint}"));
    on_this_thread(async { over(streams, endpoint, key, told_to_stop()?).await })
}

/// Starts a private gateway in this process and bridges to it, until stdin ends or the gateway does.
pub fn with_gateway(mut setup: Setup, wish: Wish) -> Result<(), Failure> {
    let private = Private::new(wish)?;
    let (key, path) = (private.key().to_owned(), private.path(&setup.start.opened.snapshot)?);
    setup.private = Some(private);
    let streams = Streams::claim().map_err(unfit)?;
    let mut gateway = serve::start(setup)?;
    on_this_thread(async {
        let told = told_to_stop()?;
        tokio::pin!(told);
        let address = tokio::select! {
            address = &mut gateway.opened => address,
            () = &mut told => return Ok(()),
        };
        // Without an address it has ended: why is told below.
        if let Ok(address) = address {
            let stop = async {
                tokio::select! { () = told => {}, _ = &mut gateway.ended => {} }
            };
            over(streams, Endpoint::at(address, path), Some(&key), stop).await?;
        }
        Ok(())
    })?;
    gateway.stop(FRONT_GATEWAY_ENDS_WITHIN)
}

fn on_this_thread(front: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = serve::runtime()?;
    let done = LocalSet::new().block_on(&runtime, front);
    runtime.shutdown_background();
    done
}

fn unfit(error: io::Error) -> Failure {
    Failure::new(Code::Unfit, format!("cannot take over stdin and stdout: {error}"))
}

/// Ends when the process is told to stop.
fn told_to_stop() -> Result<impl Future<Output = ()>, Failure> {
    let on =
        |kind| signal(kind).map_err(|e| Failure::new(Code::Unfit, format!("cannot listen for signals: {e}")));
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    })
}

/// Bridges the streams of this process.
async fn over(
    streams: Streams,
    endpoint: Endpoint,
    key: Option<&str>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let lines = outbox::read(io::BufReader::new(streams.stdin)).map_err(unfit)?;
    let (outbox, written) = Outbox::start(streams.stdout).map_err(unfit)?;
    let budget = Budget::new(FRONT_BYTES_MAX);
    let link = Link::new(endpoint, key, budget.clone()).map_err(|why| Failure::new(Code::Usage, why))?;
    bridge(link, budget, lines, outbox, written, stop).await;
    Ok(())
}

/// The whole of it: until `lines` end, nobody reads what is written, or it is told to stop.
async fn bridge(
    link: Rc<Link>,
    budget: Budget,
    mut lines: mpsc::Receiver<Line>,
    outbox: Outbox,
    written: Written,
    stop: impl Future<Output = ()>,
) {
    let front = Rc::new(Front {
        link,
        outbox,
        budget,
        under_way: Rc::default(),
        lane: Lane::start(),
        keeper: Keeper::default(),
        mirror: RefCell::default(),
        has_session: Cell::new(false),
        modern_version: RefCell::default(),
    });
    let whole = async {
        let mut decoder = Decoder::new();
        while let Some(line) = lines.recv().await {
            heard(&front, &mut decoder, line).await;
            decoder.trim();
        }
        finish(&front).await;
    };
    tokio::select! {
        () = whole => {}
        () = front.outbox.closed() => log::info("strait stdio: nobody reads stdout any more"),
        () = stop => log::info("strait stdio: told to stop"),
    }
    let _ = timeout(FRONT_GOODBYE_WITHIN, session::end(&front)).await;
    // Tasks that go on hold the outbox too, so closing it would not be heard.
    front.outbox.finish(written).await;
}

/// Stdin has ended: what is under way may end.
async fn finish(front: &Rc<Front>) {
    front.under_way.end_endless();
    let ended = async {
        front.lane.mark().passed().await;
        front.under_way.empty().await;
    };
    if timeout(FRONT_END_WITHIN, ended).await.is_err() {
        log::warn("strait stdio: some requests had no answer in time after stdin ended; they are given up");
    }
}

/// Starts what a line asks for; waits for nothing but room.
async fn heard(front: &Rc<Front>, decoder: &mut Decoder, line: Line) {
    let body = match line {
        Line::Whole(body) => body,
        Line::TooLong => {
            let message = format!("request: a line may have {FRONT_LINE_BYTES_MAX} bytes, found more");
            return refuse(front, ErrorId::Null, codes::PARSE_ERROR, &message).await;
        }
    };
    if body.trim_ascii().is_empty() {
        return;
    }
    let body = Bytes::from(body);
    match decoder.decode(&body).copied() {
        Ok(message) => match message.kind {
            Kind::Request => request(front, body, message).await,
            Kind::Notification => notification(front, body, message).await,
            Kind::Response => in_turn(front, body, message, Era::Legacy).await,
        },
        Err(fault) if fault.cause == DecodeCause::Batch => batch(front, body).await,
        Err(fault) => unreadable(front, &body, fault).await,
    }
}

async fn request(front: &Rc<Front>, body: Bytes, message: Message) {
    let raw = message.id.map(|id| id.of(&body).to_vec()).unwrap_or_default();
    let is_initialize = message.method == Method::Initialize && message.protocol_version.is_none();
    if is_initialize {
        front.has_session.set(true);
    }
    let era = era(front, &message, &body);
    let is_endless = message.method == Method::SubscriptionsListen;
    let asked = enter(front, body, Some(message), vec![raw], era, is_endless).await;
    let Some(mut asked) = asked else { return };
    if is_initialize {
        let step = {
            let front = front.clone();
            async move {
                let done = session::initialize(&front, &mut asked).await;
                answered(&front, &asked, done).await;
            }
        };
        return front.lane.enter(step).await;
    }
    let (serial, mark) = (asked.place.serial(), front.lane.mark());
    let task = {
        let front = front.clone();
        async move {
            let done = match era {
                Era::Modern => modern::ask(&front, &mut asked, &message).await,
                Era::Legacy => {
                    mark.passed().await;
                    session::ask(&front, &mut asked).await
                }
            };
            answered(&front, &asked, done).await;
        }
    };
    front.under_way.started(serial, tokio::task::spawn_local(task).abort_handle());
}

/// 2025-03-26 alone has batches; the gateway knows whether the session may.
async fn batch(front: &Rc<Front>, body: Bytes) {
    let ids = match ids_of_batch(&body) {
        Some(ids) => ids,
        None => {
            return refuse(
                front,
                ErrorId::Null,
                codes::PARSE_ERROR,
                "request: expected JSON, found a broken array",
            )
            .await;
        }
    };
    let Some(mut asked) = enter(front, body.clone(), None, ids, Era::Legacy, false).await else { return };
    let (serial, mark) = (asked.place.serial(), front.lane.mark());
    let task = {
        let front = front.clone();
        async move {
            mark.passed().await;
            let done = session::ask(&front, &mut asked).await;
            answered(&front, &asked, done).await;
        }
    };
    front.under_way.started(serial, tokio::task::spawn_local(task).abort_handle());
}

/// The ids of the requests in an array; none when it is no array of objects.
fn ids_of_batch(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let start = body.len() - body.trim_ascii_start().len();
    let mut ids = Vec::new();
    for element in Elements::of(body, Span::between(start, body.trim_ascii_end().len())) {
        let element = element.ok()?;
        let method = Members::find(body, element, "method").ok()?;
        let id = Members::find(body, element, "id").ok()?;
        if let (Some(_), Some(id)) = (method, id) {
            ids.push(id.of(body).to_vec());
        }
    }
    Some(ids)
}

async fn notification(front: &Rc<Front>, body: Bytes, message: Message) {
    if message.method == Method::NotifyCancelled {
        let Some(id) = message.request_id.map(|id| Id::of(id.of(&body))) else { return };
        match front.under_way.cancel(&id) {
            Cancelled::Ended => return,
            Cancelled::Tell => {}
            // Answered meanwhile. A gateway that knows sessions is the one to judge that.
            Cancelled::Unknown if front.has_session.get() => {}
            Cancelled::Unknown => return,
        }
        return in_turn(front, body, message, Era::Legacy).await;
    }
    let era = era(front, &message, &body);
    in_turn(front, body, message, era).await;
}

/// By whose rules a message travels: its own metadata tell, else what the client did before.
fn era(front: &Front, message: &Message, body: &[u8]) -> Era {
    if let Some(version) = message.protocol_version {
        let mut scratch = Vec::new();
        *front.modern_version.borrow_mut() = version.read(body, &mut scratch).to_vec();
        return Era::Modern;
    }
    match front.has_session.get() || front.modern_version.borrow().is_empty() {
        true => Era::Legacy,
        false => Era::Modern,
    }
}

/// Sends what has no answer, after all that stood before it.
async fn in_turn(front: &Rc<Front>, body: Bytes, message: Message, era: Era) {
    if era == Era::Legacy && !front.has_session.get() {
        return log::warn(
            "strait stdio: a message that belongs to a session came before `initialize`; it is passed over",
        );
    }
    let Some(held) = front.budget.hold(body.len()) else {
        return log::warn("strait stdio: too many bytes held at once; a message of the client is lost");
    };
    let to = front.clone();
    let step = async move {
        let _held = held;
        let telling = async {
            match era {
                Era::Modern => modern::tell(&to, &message, body).await,
                Era::Legacy => session::tell(&to, &message, body).await,
            }
        };
        match timeout(FRONT_TELL_WITHIN, telling).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => log::warn(format!("strait stdio: {} was lost: {why}", named(&message))),
            Err(_) => log::warn(format!("strait stdio: {} was not acknowledged in time", named(&message))),
        }
    };
    front.lane.enter(step).await;
}

fn named(message: &Message) -> &'static str {
    match message.kind {
        Kind::Response => "an answer of the client",
        _ if message.method == Method::Unknown => "a notification of the client",
        _ => message.method.as_str(),
    }
}

/// A place for a request, or the error that there is none.
async fn enter(
    front: &Rc<Front>,
    body: Bytes,
    message: Option<Message>,
    ids: Vec<Vec<u8>>,
    era: Era,
    is_endless: bool,
) -> Option<Asked> {
    let held = front.budget.hold(body.len()).ok_or(Trouble::Full("bytes held at once"));
    let place = front.under_way.enter(ids.iter().map(|id| Id::of(id)).collect(), era, is_endless);
    match held.and_then(|held| Ok((held, place?))) {
        Ok((held, place)) => Some(Asked::new(body, message, ids, place, held)),
        Err(trouble) => {
            for id in ids {
                let mut out = Vec::new();
                trouble.append(&mut out, &id);
                front.outbox.send(out).await;
            }
            None
        }
    }
}

/// Whatever has no answer when its task ends gets an error; what was cancelled gets nothing.
async fn answered(front: &Front, asked: &Asked, done: Result<(), Trouble>) {
    let trouble = match done {
        Ok(()) => return,
        Err(_) if asked.place.ticket.cancelled.get() => return,
        Err(trouble) => trouble,
    };
    // What the gateway said for itself is in its own log.
    if !matches!(trouble, Trouble::Refused { error: Some(_), .. }) {
        log::warn(trouble.to_string());
    }
    if !asked.is_answered() {
        front.outbox.send(asked.errors(&trouble)).await;
    }
}

async fn unreadable(front: &Front, body: &[u8], fault: DecodeFault) {
    let message = format!("request: {}", fault.message());
    let id = fault.id.map_or(ErrorId::Null, |id| ErrorId::Raw(id.of(body)));
    refuse(front, id, fault.code(), &message).await;
}

async fn refuse(front: &Front, id: ErrorId<'_>, code: i64, message: &str) {
    let mut out = Vec::new();
    append_error(&mut out, id, code, message, None);
    front.outbox.send(out).await;
}
