//! What a server says to a legacy client of its own accord: questions under ids of ours, and notifications of no call;
//! and the way back of what the client answers.

use std::rc::Rc;

use strait_protocol::jsonrpc::{Envelope, Members, Message, Splices};
use strait_protocol::mcp::{LogLevel, Method, codes};
use strait_protocol::{Span, decimal};

use super::Session;
use super::questions::{Asker, Question, RoundAnswer};
use crate::changes::List;
use crate::core::{Adopted, Core};
use crate::exchange::identify;
use crate::exchange::subscriptions::{Subscriber, Subscriptions, follow, render};
use crate::exchange::tasks;
use crate::io::buffer::Buf;
use crate::io::runtime;
use crate::upstream::ask::ask;
use crate::upstream::topics::{Hearer, Update};
use crate::upstream::{Era, Responder, Upstream, Whom};

impl Session {
    /// Makes a server's request the client's: the same message under an id of ours, whose answer goes back to the
    /// server. `None` when the client did not declare what it takes, or has too many questions open.
    pub fn ask(
        &self,
        core: &Rc<Core>,
        responder: &Responder,
        message: &[u8],
        envelope: &Envelope,
    ) -> Option<Buf> {
        let (id, method) = (envelope.id?, envelope.method_known?);
        if !self.declared.permits(method, message, envelope.params) {
            return None;
        }
        let deadline_ms = core.clock.coarse_ms() + core.deadlines.question_ms;
        // Two servers may use the same token: towards the client it is the question's number, which is ours.
        let token = progress_token(message, envelope);
        let said = token.map(|token| token.of(message).into());
        let asker = Asker::Server { responder: responder.clone(), id: id.of(message).into(), token: said };
        let ours = self.questions.put(Question { deadline_ms, asker }).ok()?;
        let mut splices = Splices::new();
        for span in [Some(id), token].into_iter().flatten() {
            splices.replace_with(span, |out| decimal::append(out, ours)).ok()?;
        }
        let mut out = Buf::with_capacity(message.len() + 20);
        splices.write(message, out.vec()).ok()?;
        Some(out)
    }

    /// As [`Session::ask`], on the stream that belongs to no call; `false` when nobody reads it.
    pub fn ask_standing(
        &self,
        core: &Rc<Core>,
        responder: &Responder,
        message: &[u8],
        envelope: &Envelope,
    ) -> bool {
        if !self.standing.is_read() {
            return false;
        }
        let asked = self.ask(core, responder, message, envelope);
        asked.is_some_and(|message| self.standing.push(&message).is_some())
    }

    /// The client's response to a question. One that answers nothing we know of is forgotten: it was given up, or
    /// answered before.
    pub fn answered(&self, core: &Rc<Core>, body: &[u8], message: &Message) {
        let question = message.id.and_then(|id| self.questions.take(decimal::parse(id.of(body))?));
        let outcome = match (message.result, message.error) {
            (Some(result), _) => Ok(result.of(body)),
            (None, Some(error)) => Err(error.of(body)),
            (None, None) => return,
        };
        match question.map(|question| question.asker) {
            Some(Asker::Server { responder, id, .. }) => responder.answer(core, &id, outcome),
            Some(Asker::Round { answers, key }) => {
                let outcome = Some(outcome.map(<[u8]>::to_vec).map_err(<[u8]>::to_vec));
                let _ = answers.push(RoundAnswer { key, outcome });
            }
            None => {}
        }
    }

    /// How far the client is with a question: told to the server that asked, under its own token.
    pub fn progressed(&self, core: &Rc<Core>, body: &[u8], message: &Message) {
        let Some(reported) = message.reported_token else { return };
        let Some(number) = decimal::parse(reported.of(body)) else { return };
        self.questions.look(number, |question| {
            let Asker::Server { responder, token: Some(token), .. } = &question.asker else { return };
            let (mut splices, mut out) = (Splices::new(), Buf::with_capacity(body.len() + token.len()));
            if splices.replace(reported, token).is_ok() && splices.write(body, out.vec()).is_ok() {
                responder.progress(core, out);
            }
        });
    }

    /// What `logging/setLevel` said: kept for servers of 2026-07-28, which are told with each call, and told now to the
    /// others. One that does not take it has lost nothing: what it says is looked at here as well.
    pub fn set_log_level(
        self: &Rc<Self>,
        core: &Rc<Core>,
        adopted: &Adopted,
        server: usize,
        principal: u64,
        level: LogLevel,
    ) {
        self.log_level.set(Some(level));
        let bound = adopted.snapshot.bound();
        let reached = bound.servers.get(server).map_or(&[][..], |server| server.upstreams.as_slice());
        for index in reached.iter().map(|index| usize::from(index.to_native())) {
            let logs = bound.upstreams.get(index).is_some_and(|can| can.logging);
            let Some(upstream) = adopted.upstream(index).filter(|_| logs) else { continue };
            if upstream.known_era() != Some(Era::Legacy) {
                continue;
            }
            let (core, whom) = (core.clone(), Whom::of(principal, Some(self)));
            runtime::spawn_guarded("log level", async move {
                let member = format!("\"level\":\"{}\"", level.as_str());
                let told = ask(&core, &upstream, whom, Method::LoggingSetLevel, member.as_bytes());
                // A server that is away is told by whoever opens the next session with it, or says too much.
                let _ = told.await;
            });
        }
    }

    /// Whether a log message is severe enough; anything else is.
    pub fn wants(&self, message: &[u8], envelope: &Envelope) -> bool {
        let least = self.log_level.get().filter(|_| envelope.method_known == Some(Method::NotifyMessage));
        let (Some(least), Some(level)) = (least, envelope.level) else { return true };
        let level = level.of(message);
        LogLevel::parse(level.get(1..level.len().saturating_sub(1)).unwrap_or_default())
            .is_none_or(|level| level >= least)
    }

    /// A notification that belongs to no call, from a conversation that is this session's alone. What its client's
    /// revision does not know, and what it did not ask for, is not passed on; lists and resources it is told of by
    /// whoever compares them ([`Session::look_again`]) or subscribed to them.
    pub fn hear(&self, _core: &Rc<Core>, upstream: &Rc<Upstream>, message: &[u8], envelope: &Envelope) {
        let concerns = match envelope.method_known {
            Some(Method::NotifyMessage) => self.wants(message, envelope),
            Some(Method::NotifyElicitationComplete | Method::NotifyTasksStatus) => true,
            _ => false,
        };
        let is_known = envelope.method_known.is_some_and(|method| method.is_known_in(self.id.revision));
        if concerns
            && is_known
            && let Some(message) = tasks::heard(self, upstream, message, envelope)
        {
            self.standing.push(&message);
        }
    }

    /// Compares what its client sees with what it saw, and tells of the lists that differ. What nobody has taken yet is
    /// not said twice.
    pub fn look_again(self: &Rc<Self>, core: &Rc<Core>) {
        let adopted = self.sight.adopted(core);
        if !self.sight.is_due(&adopted) {
            return;
        }
        let known = adopted
            .server_of(self.id.server)
            .and_then(|server| Some((server, identify::known(core, &adopted, server, self.id.principal)?)));
        let Some((server, caller)) = known else {
            return self.subscriptions.clear();
        };
        let moved = self.subscriptions.look_again(core, &adopted, server, &caller);
        follow(core, self, Whom::of(self.id.principal, Some(self)), moved);
        let Some(now) = adopted.outline(server, caller.traits) else { return };
        self.sight.look(now).iter().for_each(|list| self.list_changed(list));
    }

    /// Something on its stream was lost before its client took it: what the client knows of any list may be old.
    pub fn missed(&self, core: &Rc<Core>) {
        let adopted = self.sight.adopted(core);
        let bound = adopted.snapshot.bound();
        let server = adopted.server_of(self.id.server).and_then(|server| bound.servers.get(server));
        let Some(can) = server.map(|server| &server.capabilities) else { return };
        let declared = [can.tools, can.prompts, can.resources];
        let lists = List::ALL.into_iter().zip(declared).filter(|(_, is_declared)| *is_declared);
        lists.for_each(|(list, _)| self.list_changed(list));
    }

    fn list_changed(&self, list: List) {
        let mut told = self.told.get();
        let Some(last) = told.get_mut(list as usize) else { return };
        if !self.standing.has_waiting(*last) {
            let message = format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, list.method().as_str());
            *last = self.standing.push(message.as_bytes()).unwrap_or_default();
            self.told.set(told);
        }
    }
}

impl Subscriber for Session {
    fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }
}

impl Hearer for Session {
    fn updated(&self, core: &Rc<Core>, update: &Update<'_>, known_as: &[u8]) {
        let session = core.sessions.borrow().find(self.id.serial).cloned();
        // An edition may have come that its task has not told of yet.
        if let Some(session) = session {
            session.look_again(core);
        }
        if self.subscriptions.has(known_as) {
            self.standing.push(&render(update, known_as, None));
        }
    }
}

/// The token under which a server wants to hear of progress, as written.
fn progress_token(message: &[u8], envelope: &Envelope) -> Option<Span> {
    let member = |object: Span, key: &str| Members::find(message, object, key).ok().flatten();
    member(member(envelope.params?, "_meta")?, "progressToken")
}

/// Nobody will answer this question.
pub fn give_up(core: &Rc<Core>, question: Question) {
    match question.asker {
        Asker::Server { responder, id, .. } => {
            responder.refuse(core, &id, codes::INTERNAL_ERROR, "client did not answer");
        }
        Asker::Round { answers, key } => {
            let _ = answers.push(RoundAnswer { key, outcome: None });
        }
    }
}
