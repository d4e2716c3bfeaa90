//! What servers ask of the clients of their calls, and what comes back.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use strait_engine::io::runtime::timeout;
use strait_engine::io::simulated::{now_ns, say};

use super::call::Call;
use super::{HangUp, Upstream};
use crate::deed::{Ask, key};
use crate::story::count;
use crate::wire::Wire;

/// Longer than anything may leave a server's question open.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is on its way from one side may cross what is on its way from the other for so long.
const CROSSING_NS: u64 = 1_000_000_000;

/// A question of the older revisions: a request of the server's own.
pub struct Question {
    key: String,
    session: Option<String>,
    call: Rc<Call>,
    asked_ns: u64,
    answer: RefCell<Option<Value>>,
    /// What the call goes on with.
    outcome: RefCell<Option<Value>>,
}

impl Upstream {
    /// Asks a round of questions and waits for the answers, which go into the call.
    pub(super) async fn ask(
        &self,
        wire: &mut Wire,
        call: &Rc<Call>,
        session: Option<&str>,
        round: usize,
        asks: &[Ask],
    ) -> Result<(), HangUp> {
        let mut questions = Vec::new();
        for (n, ask) in asks.iter().enumerate() {
            let key = key(round, n);
            let number = self.questions.borrow().len();
            let id =
                if number.is_multiple_of(2) { json!(number) } else { json!(format!("q\u{e9} {number}/\"")) };
            let params = ask.matter.params(&call.marker, &key);
            let request =
                json!({"method": ask.matter.method(), "jsonrpc": "2.0", "params": params, "id": id});
            let question = Rc::new(Question {
                key,
                session: session.map(str::to_owned),
                call: call.clone(),
                asked_ns: now_ns(),
                answer: RefCell::default(),
                outcome: RefCell::default(),
            });
            self.questions.borrow_mut().insert(id.to_string(), question.clone());
            self.story.asks(&call.marker, &question.key);
            say(|| format!("{} asks {id}: {} {}", self.name, call.marker, question.key));
            if !(ask.aside && self.say_aside(session, &request.to_string())) {
                self.event(wire, &request.to_string()).await?;
            }
            questions.push(question);
        }
        let is_open = |question: &Rc<Question>| question.outcome.borrow().is_none();
        let answers = async {
            while questions.iter().any(is_open) && !call.is_cancelled.get() {
                call.changed.notified().await;
            }
        };
        let mut in_time = timeout(PATIENCE, answers).await.is_ok();
        if call.is_cancelled.get() {
            // What was open when its call was given up is answered all the same.
            let cancelled_ns = now_ns();
            let answers = async {
                // What it asks while it is being told goes nowhere.
                let is_old = |q: &Rc<Question>| q.asked_ns + CROSSING_NS < cancelled_ns && is_open(q);
                while questions.iter().any(is_old) {
                    call.changed.notified().await;
                }
            };
            in_time = timeout(PATIENCE, answers).await.is_ok();
        }
        let is_lost = session.is_some_and(|id| !self.sessions.borrow().contains_key(id));
        if !in_time && self.story.is_calm && !self.story.is_gone(&call.marker) && !is_lost {
            let open: Vec<&str> = questions.iter().filter(|q| is_open(q)).map(|q| q.key.as_str()).collect();
            self.story.wrong(format!("{}: {} got no answer to {open:?}", self.name, call.marker));
        }
        for question in questions {
            let outcome = question.outcome.borrow().clone();
            let outcome = outcome.unwrap_or_else(|| json!("unanswered"));
            call.answers.borrow_mut().insert(question.key.clone(), outcome);
        }
        Ok(())
    }

    /// A response has come.
    pub(super) fn is_answered(&self, message: &Value, body: &[u8], session: Option<&str>) {
        let id = message["id"].to_string();
        let wrong = |what: String| self.story.wrong(format!("{}: {what}", self.name));
        let question = self.questions.borrow().get(&id).cloned();
        let Some(question) = question else {
            return wrong(format!("an answer to nothing that was asked: {message}"));
        };
        say(|| format!("{} has an answer to {id}: {message}", self.name));
        let marker = &question.call.marker;
        self.story.look_for_strangers(body, marker, &format!("{}, which asked {id}", self.name));
        if question.session.as_deref() != session {
            wrong(format!("{id} of {marker} was asked in {:?}, answered in {session:?}", question.session));
        }
        let outcome = match (message.get("result"), message.get("error")) {
            (Some(result), None) => {
                count(&self.story.tally.answered);
                json!({"result": result})
            }
            (None, Some(error)) => json!({"error": error}),
            _ => return wrong(format!("neither a result nor an error: {message}")),
        };
        // What a broken connection may have swallowed is said once more: the same.
        let is_repeated = !self.story.is_calm && question.answer.borrow().as_ref() == Some(&outcome);
        if question.answer.replace(Some(outcome.clone())).is_some() && !is_repeated {
            wrong(format!("{id} of {marker} was answered again: {message}"));
        }
        question.outcome.borrow_mut().get_or_insert(outcome);
        question.call.changed.notify_one();
    }

    /// A call is given up by its client.
    pub(super) fn is_cancelled(&self, message: &Value, session: Option<String>) {
        let id = message["params"]["requestId"].to_string();
        say(|| format!("{} hears that {id} is cancelled in {session:?}", self.name));
        let call = self.calls.borrow().get(&(session.unwrap_or_default(), id)).cloned();
        if let Some(call) = call {
            say(|| format!("{}: {} is cancelled", self.name, call.marker));
            call.is_cancelled.set(true);
            call.changed.notify_one();
        }
    }

    /// The next leg of a call to a server of 2026-07-28: what it still asks, and the state to come back with; `None` when
    /// it has all it wants.
    pub(super) fn wants(&self, call: &Call, params: &Value, rounds: &[Vec<Ask>]) -> Option<(Value, String)> {
        let declared = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        let state: Value = match params["requestState"].as_str() {
            None => json!({"leg": 0, "round": -1, "mk": call.marker, "answers": {}}),
            Some(state) => serde_json::from_str(state).unwrap_or_default(),
        };
        let (Some(mut round), true, Some(said)) =
            (state["round"].as_i64(), state["mk"] == call.marker.as_str(), state["answers"].as_object())
        else {
            self.story.wrong(format!("{}: {} came with the state {state}", self.name, call.marker));
            return None;
        };
        let mut answers = call.answers.borrow_mut();
        answers.extend(said.iter().map(|(key, answer)| (key.clone(), answer.clone())));
        for (key, answer) in params["inputResponses"].as_object().into_iter().flatten() {
            if !answers.contains_key(key) {
                count(&self.story.tally.answered);
            }
            answers.insert(key.clone(), json!({"result": answer}));
        }
        let leg = state["leg"].as_u64().unwrap_or_default();
        self.story.carries_out(&format!("{} {leg}", call.marker));
        loop {
            let asks = usize::try_from(round)
                .ok()
                .and_then(|round| rounds.get(round))
                .map_or(&[][..], Vec::as_slice);
            let mut requests = json!({});
            for (n, ask) in asks.iter().enumerate() {
                let key = key(round as usize, n);
                if ask.matter.capability().is_none_or(|name| declared.get(name).is_none()) {
                    answers.entry(key).or_insert_with(|| json!("undeclared"));
                } else if !answers.contains_key(&key) {
                    let params = ask.matter.params(&call.marker, &key);
                    self.story.asks(&call.marker, &key);
                    requests[key] = json!({"method": ask.matter.method(), "params": params});
                }
            }
            let is_bare =
                asks.is_empty() && round >= 0 && state["round"] != round && (round as usize) < rounds.len();
            if is_bare || requests.as_object().is_some_and(|requests| !requests.is_empty()) {
                let answers: serde_json::Map<String, Value> = answers.clone().into_iter().collect();
                let state = json!({"leg": leg + 1, "round": round, "mk": call.marker, "answers": answers})
                    .to_string();
                return Some((requests, state));
            }
            round += 1;
            if round as usize >= rounds.len() {
                return None;
            }
        }
    }
}
