//! A modern server's `input_required`, carried out with a client of the older revisions.
//!
//! The modern server ends its answer and says what it needs; the older client knows only requests that come while its
//! call is under way. So each entry of `inputRequests` becomes a request on the stream of the client's own call, the
//! answers are gathered under the server's keys, and the call is made again with them, until the answer is final.
//!
//! What a further round needs is copied when the first one begins, so that it goes on when the client's connection
//! breaks; a call that needs no input pays nothing. A client that answers with an error has no words for it in
//! `inputResponses`: an elicitation counts as cancelled, anything else ends the call with the client's error.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use strait_protocol::Span;
use strait_protocol::decimal;
use strait_protocol::jsonrpc::{Envelope, Members, Splices};
use strait_protocol::mcp::{Method, Revision};

use super::tasks;
use crate::core::{Core, InFlight};
use crate::io::buffer::Buf;
use crate::io::runtime;
use crate::io::signal::{Queue, Signal};
use crate::limits::{QUESTIONS_MAX, ROUND_BACKOFF_MS, ROUNDS_MAX, ROUNDS_MS_MAX};
use crate::session::questions::{Asker, Question, RoundAnswer};
use crate::session::{Seal, Session};
use crate::upstream::dialect::Client;
use crate::upstream::reply::Subject;
use crate::upstream::{self, Event, Order, Reply, UpstreamFault, Whom};

/// The rounds of one call.
pub struct Rounds {
    session: Rc<Session>,
    /// The client's message, as it came.
    body: Box<[u8]>,
    /// The id of its request, as written there.
    id: Box<[u8]>,
    count: u32,
    deadline_ms: u64,
    /// The round under way; `None` while the upstream works.
    round: Option<Round>,
    /// A task wants the input, which is given to it; the call is not made again.
    for_task: bool,
}

/// What one `input_required` asks, and what has been answered.
struct Round {
    /// Requests that the client has not been sent yet.
    unsent: VecDeque<Buf>,
    questions: Vec<Asked>,
    answers: Rc<Queue<RoundAnswer>>,
    /// The members of `inputResponses` so far.
    responses: Vec<u8>,
    /// As written, with its quotes.
    request_state: Option<Box<[u8]>>,
}

/// A question that the client has not answered yet.
struct Asked {
    id: u64,
    key: Box<[u8]>,
    is_elicitation: bool,
}

/// Begins the next round of a call: `event` is a result that requires input.
pub fn begin(
    core: &Rc<Core>,
    reply: &mut Reply,
    client: &Client<'_>,
    event: &Event,
) -> Result<(), UpstreamFault> {
    let Some(session) = client.session.filter(|_| !client.body.is_empty()) else {
        return Err(input("its client has no session to be asked in"));
    };
    let Event::Message { envelope, .. } = event else { return Err(input("its result is incomplete")) };
    let mut rounds = reply.rounds.take().unwrap_or_else(|| {
        Box::new(Rounds {
            session: session.clone(),
            body: client.body.into(),
            id: client.id.into(),
            count: 0,
            deadline_ms: core.clock.coarse_ms() + ROUNDS_MS_MAX,
            round: None,
            for_task: false,
        })
    });
    rounds.count += 1;
    if rounds.count > ROUNDS_MAX {
        return Err(input("it was given input ten times over and wants more"));
    }
    rounds.round = Some(Round::of(core, session, event.bytes(), envelope)?);
    reply.rounds = Some(rounds);
    Ok(())
}

/// The same for the task that a call looks like to its client: `event` describes it.
pub fn begin_for_task(
    core: &Rc<Core>,
    reply: &mut Reply,
    client: &Client<'_>,
    event: &Event,
) -> Result<(), UpstreamFault> {
    begin(core, reply, client, event)?;
    if let Some(rounds) = reply.rounds.as_mut() {
        rounds.for_task = true;
    }
    Ok(())
}

/// What the client is to see next of the round under way; `None` once the call was made again.
pub async fn next(core: &Rc<Core>, reply: &mut Reply) -> Result<Option<Event>, UpstreamFault> {
    let Some(rounds) = reply.rounds.as_mut() else { return Ok(None) };
    let Some(round) = rounds.round.as_mut() else { return Ok(None) };
    if let Some(bytes) = round.unsent.pop_front() {
        return Ok(Some(Event::Ready { bytes, last: false }));
    }
    let began_ns = core.clock.now_ns();
    let refused = round.gather(core, rounds.deadline_ms).await?;
    if let Some(error) = refused {
        rounds.finish();
        return Ok(Some(Event::Ready { bytes: rounds.abort(&error), last: true }));
    }
    if round.responses.is_empty() {
        let backoff = ROUND_BACKOFF_MS.0 << rounds.count.min(8);
        runtime::sleep(Duration::from_millis(backoff.min(ROUND_BACKOFF_MS.1))).await;
    }
    reply.waited_elsewhere(core.clock.now_ns().saturating_sub(began_ns));
    again(core, reply).await?;
    Ok(None)
}

/// Makes the call again, with the input it wants.
async fn again(core: &Rc<Core>, reply: &mut Reply) -> Result<(), UpstreamFault> {
    let (Some(mut rounds), Some(upstream)) = (reply.rounds.take(), reply.upstream()) else { return Ok(()) };
    if rounds.for_task {
        let responses = rounds.round.as_mut().map(|round| std::mem::take(&mut round.responses));
        rounds.finish();
        tasks::work::give(core, reply, &responses.unwrap_or_default()).await?;
        reply.rounds = Some(rounds);
        return Ok(());
    }
    let Some(body) = rounds.body_again(core) else {
        return Err(input("the client's call has no place for it"));
    };
    rounds.finish();
    let decoded = core.decoder.borrow_mut().decode(&body).copied();
    let message = decoded.map_err(|fault| input(&fault.message()))?;
    let order = Order {
        body: &body,
        message: &message,
        bare: reply.subject().and_then(Subject::bare),
        client: rounds.session.id.revision,
        head: reply.subject().and_then(Subject::annotated),
        whom: reply.declared_for(Whom::of(rounds.session.id.principal, Some(&rounds.session))),
        client_fd: None,
        under_way: None,
    };
    let answer = upstream::call(core, &upstream, &order, InFlight::uncounted()).await?;
    reply.go_on_with(answer);
    reply.rounds = Some(rounds);
    Ok(())
}

fn input(why: &str) -> UpstreamFault {
    UpstreamFault::Input(why.to_owned())
}

impl Round {
    fn of(
        core: &Rc<Core>,
        session: &Rc<Session>,
        message: &[u8],
        envelope: &Envelope,
    ) -> Result<Round, UpstreamFault> {
        let result = envelope.result.ok_or_else(|| input("its result is no object"))?;
        let (mut requests, mut request_state) = (None, None);
        for member in Members::of(message, result).flatten() {
            if member.key_is(message, "inputRequests") {
                requests = Some(member.value);
            } else if member.key_is(message, "requestState") {
                request_state = Some(member.value.of(message)).filter(|state| state.starts_with(b"\""));
            }
        }
        let request_state = request_state.map(Box::from);
        let answers = Rc::new(Queue::new(QUESTIONS_MAX));
        let (unsent, questions, responses) = (VecDeque::new(), Vec::new(), Vec::new());
        let mut round = Round { unsent, questions, answers, responses, request_state };
        for member in requests.into_iter().flat_map(|requests| Members::of(message, requests)) {
            let member = member.map_err(|_| input("its `inputRequests` are not an object"))?;
            if let Err(fault) = round.ask(core, session, message, member.key, member.value) {
                round.withdraw(session);
                return Err(fault);
            }
        }
        if round.questions.is_empty() && round.request_state.is_none() {
            return Err(input("it says neither which nor how to go on"));
        }
        Ok(round)
    }

    /// Makes one entry a request of ours to the client.
    fn ask(
        &mut self,
        core: &Rc<Core>,
        session: &Rc<Session>,
        message: &[u8],
        key: Span,
        entry: Span,
    ) -> Result<(), UpstreamFault> {
        let member = |name: &str| Members::find(message, entry, name).ok().flatten();
        let (word, params) = (member("method"), member("params"));
        let plain = word.and_then(|word| word.of(message).strip_prefix(b"\"")?.strip_suffix(b"\""));
        let method = plain.map_or(Method::Unknown, Method::from_bytes);
        if !session.declared.permits(method, message, params) {
            return Err(input(&format!(
                "its client did not declare that it can be asked `{}`",
                method.as_str()
            )));
        }
        let key: Box<[u8]> = key.of(message).into();
        let question = Question {
            deadline_ms: core.clock.coarse_ms() + core.deadlines.question_ms,
            asker: Asker::Round { answers: self.answers.clone(), key: key.clone() },
        };
        let id =
            session.questions.put(question).map_err(|_| input("its client has too many questions open"))?;
        self.questions.push(Asked { id, key, is_elicitation: method == Method::ElicitationCreate });
        self.unsent.push_back(request(session.id.revision, id, method, message, params)?);
        Ok(())
    }

    /// Waits until the client has answered everything. `Some`: with an error that ends the call.
    async fn gather(&mut self, core: &Rc<Core>, deadline_ms: u64) -> Result<Option<Vec<u8>>, UpstreamFault> {
        let expired = Rc::new(Signal::new());
        let _watch = core.watches.wake_at(deadline_ms, expired.clone());
        while !self.questions.is_empty() {
            let answer = tokio::select! {
                biased;
                answer = self.answers.pop() => answer,
                () = expired.wait() => None,
            };
            let Some(RoundAnswer { key, outcome: Some(outcome) }) = answer else {
                return Err(UpstreamFault::Unanswered);
            };
            let Some(at) = self.questions.iter().position(|asked| asked.key == key) else { continue };
            let asked = self.questions.swap_remove(at);
            let result = match outcome {
                Ok(result) => result,
                Err(_) if asked.is_elicitation => br#"{"action":"cancel"}"#.to_vec(),
                Err(error) => return Ok(Some(error)),
            };
            if !self.responses.is_empty() {
                self.responses.push(b',');
            }
            for part in [&key[..], b":", &result] {
                self.responses.extend_from_slice(part);
            }
        }
        Ok(None)
    }

    /// Nobody waits for these answers any more.
    fn withdraw(&mut self, session: &Session) {
        for asked in self.questions.drain(..) {
            session.questions.take(asked.id);
        }
    }
}

/// A request of ours to an older client. URL elicitation had an id then, which the newer server does not give.
fn request(
    revision: Revision,
    id: u64,
    method: Method,
    message: &[u8],
    params: Option<Span>,
) -> Result<Buf, UpstreamFault> {
    let mut out = Buf::new();
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    decimal::append(out.vec(), id);
    for part in [&b",\"method\":\""[..], method.as_str().as_bytes(), b"\""] {
        out.extend_from_slice(part);
    }
    if let Some(params) = params.filter(|params| params.of(message).starts_with(b"{")) {
        out.extend_from_slice(b",\"params\":{");
        let says = |key: &str| Members::find(message, params, key).ok().flatten();
        let is_url = says("mode").is_some_and(|mode| mode.of(message) == b"\"url\"");
        if is_url && revision == Revision::V2025_11_25 && says("elicitationId").is_none() {
            let serial = Seal::serial().map_err(|_| input("the gateway has no random numbers for its id"))?;
            out.extend_from_slice(format!("\"elicitationId\":\"{serial:032x}\",").as_bytes());
        }
        out.extend_from_slice(params.of(message).get(1..).unwrap_or_default());
    }
    out.extend_from_slice(b"}");
    Ok(out)
}

impl Rounds {
    /// The client's call with the input it must have. Members of these names in an older client's own call would
    /// mean nothing, and two of a name could be read either way.
    fn body_again(&self, core: &Rc<Core>) -> Option<Vec<u8>> {
        let message = core.decoder.borrow_mut().decode(&self.body).copied().ok()?;
        let (round, params) = (self.round.as_ref()?, message.params?);
        if message.input_responses.is_some() || message.request_state.is_some() {
            return None;
        }
        let mut members = Vec::new();
        if !round.responses.is_empty() {
            for part in [&b"\"inputResponses\":{"[..], &round.responses, b"},"] {
                members.extend_from_slice(part);
            }
        }
        if let Some(state) = &round.request_state {
            for part in [&b"\"requestState\":"[..], state, b","] {
                members.extend_from_slice(part);
            }
        }
        if message.params_empty {
            members.pop();
        }
        let mut splices = Splices::new();
        splices.insert(params.start + 1, &members).ok()?;
        let mut body = Vec::with_capacity(self.body.len() + members.len());
        splices.write(&self.body, &mut body).ok()?;
        Some(body)
    }

    /// The client's error as the answer to its own call.
    fn abort(&self, error: &[u8]) -> Buf {
        let mut out = Buf::with_capacity(error.len() + self.id.len() + 64);
        for part in [&b"{\"jsonrpc\":\"2.0\",\"id\":"[..], &self.id, b",\"error\":", error, b"}"] {
            out.extend_from_slice(part);
        }
        out
    }

    fn finish(&mut self) {
        if let Some(mut round) = self.round.take() {
            round.withdraw(&self.session);
        }
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.finish();
    }
}
