//! To whoever answers: an upstream, this gateway itself, or the caller's session.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use strait_protocol::mcp::Method;

use super::approve::Clearance;
use super::arrive::Place;
use super::decode::Asked;
use super::identify::Caller;
use super::local::{self, Asking};
use super::record::Record;
use super::refusal::Refusal;
use super::resolve::{Act, Foreign, Local, Target};
use super::screen::Screened;
use super::{Incoming, hand_over, replay, shape, subscriptions, suspend, tasks, ticket};
use crate::core::{Adopted, Core, InFlight};
use crate::io::clock::Waited;
use crate::limits::TASK_RESULT_MS_MAX;
use crate::session::calls::UnderWay;
use crate::upstream::credential::lending;
use crate::upstream::reply::Subject;
use crate::upstream::statement::{About, Statement};
use crate::upstream::{self, Answering, Era, Order, Repeated, Reply, Upstream, UpstreamFault, Whom};

/// Said anew: what the client wrote may have line breaks, which end a line of a child.
const ROOTS_CHANGED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;

#[allow(clippy::too_many_arguments)] // the proofs and facts of every stage before meet here
pub async fn run(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    screened: Screened<'_>,
    target: &Target,
    clearance: Clearance,
    record: &mut Record,
) -> Result<Reply, Refusal> {
    let call = screened.call();
    let admitted = clearance.into_place();
    let (item, message) = match (target, &call.asked) {
        (Target::Upstream(item), Asked::Message(message)) => (item, message),
        (Target::Task(held), Asked::Message(message)) => (&held.item, message),
        (Target::Local { answer: Local::Tasks, view }, _) => {
            let page = tasks::list::list(core, adopted, incoming, place, caller, call, view).await?;
            return Ok(Answering::ready(core, page, None, admitted));
        }
        (Target::Local { answer, view }, Asked::Message(message)) => {
            let asking = Asking { core, adopted, incoming, place, call, message, view };
            let body = local::answer(&asking, *answer)?;
            if let (Local::SetLevel(level), Some(session)) = (answer, &call.session) {
                session.set_log_level(core, adopted, place.server, caller.digest, *level);
            }
            if let (Local::Unsubscribe, Some(session)) = (answer, &call.session) {
                let uri = message.uri.ok_or(Refusal::Params("`params.uri` is missing"))?;
                session.subscriptions.remove(uri.read(incoming.body, &mut Vec::new()));
            }
            let session = match answer {
                Local::Initialize => {
                    hand_over::begin_session(core, adopted, incoming, place, caller, call.revision, message)?
                }
                _ => None,
            };
            return Ok(Answering::ready(core, body, session, admitted));
        }
        (Target::Session(Act::End(session)), _) => {
            core.sessions.borrow_mut().take(session.id.serial);
            session.end(core);
            return Ok(Answering::empty(core, 204, admitted));
        }
        (Target::Session(Act::Answer(session)), Asked::Message(message)) => {
            session.answered(core, incoming.body, message);
            return Ok(Answering::empty(core, 202, admitted));
        }
        (Target::Session(Act::Cancel(session)), Asked::Message(message)) => {
            if let Some(id) = message.request_id {
                session.calls.cancel(id.of(incoming.body));
            }
            return Ok(Answering::empty(core, 202, admitted));
        }
        (Target::Session(Act::Progress(session)), Asked::Message(message)) => {
            session.progressed(core, incoming.body, message);
            return Ok(Answering::empty(core, 202, admitted));
        }
        (Target::Session(Act::RootsChanged(session)), _) => {
            core.upstreams.tell_session(core, session.id.serial, ROOTS_CHANGED);
            return Ok(Answering::empty(core, 202, admitted));
        }
        (Target::Session(Act::Absorb), _) => return Ok(Answering::empty(core, 202, admitted)),
        (Target::Foreign(method), Asked::Message(message)) => {
            let order = Order {
                body: incoming.body,
                message,
                bare: None,
                client: call.revision,
                head: None,
                whom: Whom { trace: record.trace.clone(), ..Whom::of(caller.digest, call.session.as_ref()) },
                client_fd: incoming.client,
                under_way: None,
            };
            return foreign(core, adopted, (method, caller), order, admitted, record).await;
        }
        (Target::Listen(_), _) => return Err(Refusal::Internal("a listen was forwarded")),
        (_, Asked::EndSession(_)) => {
            return Err(Refusal::Internal("an ended session was given a target"));
        }
    };
    let name =
        || adopted.snapshot.rules().upstreams.get(item.upstream).map_or("?", |u| u.name.as_str()).to_owned();
    let gone = || UpstreamFault::Unreachable("no longer configured".to_owned());
    let upstream =
        adopted.upstream(item.upstream).ok_or_else(|| Refusal::Upstream { name: name(), fault: gone() })?;
    record.asks(upstream.clone());
    let subject = Subject {
        adopted: adopted.clone(),
        server: place.server,
        kind: item.kind,
        index: item.index,
        covered: item.covered,
        own_uri: item.own_uri.clone(),
        drops: item.shape.filter(|shape| shape::drops(adopted, place.server, *shape)),
        principal: caller.digest,
        statement: stated(core, adopted, &upstream, item.upstream, caller)?,
        trace: record.trace.clone(),
    };
    if let Target::Task(held) = target
        && call.revision.is_modern()
        && upstream.known_era() == Some(Era::Legacy)
    {
        let answer = tasks::older::answer(core, &upstream, held, incoming, message).await?;
        let mut reply = Answering::ready(core, answer, None, admitted);
        reply.about(subject);
        return Ok(reply);
    }
    let mut waited = Waited::default();
    let lent = lending::lend(core, adopted, (item.upstream, &*upstream), caller.principal, &mut waited).await;
    let lent = lent.map_err(|fault| Refusal::Upstream { name: name(), fault })?;
    if let (Method::ResourcesSubscribe, Some(session)) = (message.method, &call.session) {
        let subscribed = subscriptions::make(core, adopted, incoming, place, caller, session, message);
        return Box::pin(subscribed).await.map(|body| Answering::ready(core, body, None, admitted));
    }
    if let (Some(session), Some(id)) = (&call.session, message.id) {
        record.under_way = Some(UnderWay::begin(session, id.of(incoming.body)));
    }
    let order = Order {
        body: incoming.body,
        message,
        bare: match target {
            Target::Task(held) => Some(&held.id.bare),
            _ => subject.bare(),
        },
        client: call.revision,
        head: match call.revision.is_modern() {
            // What the client's head repeats is not all that the upstream gets.
            true if screened.is_edited() => subject.annotated(),
            true => Some(Repeated::Said(incoming.head, incoming.bytes)),
            false if message.method == Method::ToolsCall => subject.annotated(),
            false => None,
        },
        whom: Whom {
            replica: match target {
                Target::Task(held) => Some(held.id.replica),
                _ => None,
            },
            statement: subject.statement.clone(),
            trace: subject.trace.clone(),
            lent,
            needs_task: tasks::must_begin(adopted, place, item, call, message),
            ..Whom::of(caller.digest, call.session.as_ref())
        },
        client_fd: incoming.client,
        under_way: record.under_way.as_ref(),
    };
    if call.revision.is_modern() && message.request_state.is_some() {
        match suspend::ticket(core, incoming, message) {
            Some(ticket) => {
                let server = adopted.server_digest(place.server);
                suspend::verify(core, incoming, message, &ticket, caller.digest, server)?;
                if ticket.kind == ticket::Kind::Suspended {
                    return suspend::resume(core, incoming, message, &ticket, admitted);
                }
                if let Some(body) = replay::judge(incoming, message, &ticket, &upstream.name)? {
                    return Ok(Answering::ready(core, body, None, admitted));
                }
            }
            None if is_legacy(core, &upstream)
                .await
                .map_err(|fault| Refusal::Upstream { name: name(), fault })? =>
            {
                return Err(Refusal::Params("`requestState` is not one that this gateway gave"));
            }
            // A modern server's own.
            None => {}
        }
    }
    let called = pin!(upstream::call(core, &upstream, &order, admitted));
    let called = match &record.under_way {
        Some(call) => call.run(called).await.unwrap_or(Err(UpstreamFault::Cancelled)),
        None => called.await,
    };
    let mut reply = called.map_err(|fault| Refusal::Upstream { name: name(), fault })?;
    if message.method == Method::TasksResult {
        reply.extend_deadline(core.clock.coarse_ms() + TASK_RESULT_MS_MAX);
    }
    reply.waited_elsewhere(waited.ns);
    reply.about(subject.clone());
    Ok(reply)
}

/// Whether a server gives no states of its own. One that could not be reached a moment ago may have become anything: it is
/// asked before a call goes to it for the second time as if it were the first.
async fn is_legacy(core: &Rc<Core>, upstream: &Rc<Upstream>) -> Result<bool, UpstreamFault> {
    if upstream.known_era().is_none() {
        Box::pin(upstream::greet(core, upstream)).await?;
    }
    Ok(upstream.known_era() == Some(Era::Legacy))
}

/// What an upstream is told of who calls, if it is to be told. Of nobody nothing is said.
fn stated(
    core: &Core,
    adopted: &Adopted,
    upstream: &Upstream,
    at: usize,
    caller: &Caller,
) -> Result<Option<Arc<Statement>>, Refusal> {
    let reach = upstream.reach.borrow();
    let Some(stated) = reach.stated().filter(|_| !caller.is_anonymous()) else { return Ok(None) };
    let whose = (at as u16, caller.principal);
    let statement =
        adopted.statements.get(&core.clock, stated, whose, || About::of(adopted, caller.principal));
    let fault =
        || UpstreamFault::Input("what it is to be told of the caller is too long for a header".to_owned());
    statement.map(Some).ok_or_else(|| Refusal::Upstream { name: upstream.name.clone(), fault: fault() })
}

/// A method that only the upstream knows: its params and what it says go through as they are.
async fn foreign(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    (method, caller): (&Foreign, &Caller),
    mut order: Order<'_>,
    admitted: InFlight,
    record: &mut Record,
) -> Result<Reply, Refusal> {
    let unknown = || Refusal::UnknownMethod { method: method.method.clone() };
    let upstream = adopted.upstream(method.upstream).ok_or_else(unknown)?;
    record.asks(upstream.clone());
    let refused = |fault| Refusal::Upstream { name: upstream.name.clone(), fault };
    order.whom.statement = stated(core, adopted, &upstream, method.upstream, caller)?;
    let mut waited = Waited::default();
    let lent =
        lending::lend(core, adopted, (method.upstream, &*upstream), caller.principal, &mut waited).await;
    order.whom.lent = lent.map_err(refused)?;
    let mut reply = upstream::call(core, &upstream, &order, admitted).await.map_err(refused)?;
    reply.waited_elsewhere(waited.ns);
    Ok(reply)
}
