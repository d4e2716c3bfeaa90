//! Whether what a client heard is what it must hear.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use strait_engine::io::simulated::now_ns;

use super::answering::{Plan, REFUSED};
use super::asking::Asked;
use super::comeback::Wanted;
use super::{Client, Heard, shortened};
use crate::deed::{Ask, Ending, Matter, Reaction};
use crate::story::count;
use crate::upstream::Kind;

/// What is on its way may still come.
const CANCELLED_NS_MAX: u64 = 2_000_000_000;

type Members = BTreeMap<String, Box<RawValue>>;

impl Client {
    /// Judges an answer; gives what it wants before it is a final one.
    pub(super) fn judge(&self, asked: &Asked, heard: &Heard) -> Option<Wanted> {
        let story = &self.story;
        let wrong = |what: String| story.wrong(format!("client {}, {}: {what}", self.number, asked.marker));
        let (mut responses, mut results, mut notes, mut wanted) = (0, 0, 0, None);
        let deed = asked.plan.as_ref().map(|plan| &plan.deed);
        for data in &heard.messages {
            story.look_for_strangers(data, &asked.marker, &format!("client {}", self.number));
            let Ok(message) = serde_json::from_slice::<Members>(data) else {
                wrong(format!("was sent what is no JSON object: {}", shortened(data)));
                continue;
            };
            if responses > 0 {
                wrong(format!("was sent more behind its answer: {}", shortened(data)));
            }
            match (message.get("method"), message.get("id")) {
                (Some(method), None) => {
                    notes += 1;
                    self.judge_note(asked, method.get(), message.get("params").map(|params| params.get()));
                }
                (Some(_), Some(_)) => wrong(format!("was asked, in 2026-07-28: {}", shortened(data))),
                (None, id) => {
                    responses += 1;
                    results += u64::from(message.contains_key("result"));
                    let id = id.map_or("nothing", |id| id.get());
                    if id != asked.id {
                        wrong(format!("was answered with the id {id} instead of {}", asked.id));
                    }
                    wanted = self.judge_response(asked, heard, &message);
                }
            }
        }
        let cancelled_ns = asked.cancelled_ns.get();
        if responses == 0 && heard.complete && !matches!(heard.status, Some(202)) && cancelled_ns.is_none() {
            wrong(format!("got no answer, with status {:?}", heard.status));
        }
        let late_ns = cancelled_ns.map_or(0, |cancelled_ns| now_ns().saturating_sub(cancelled_ns));
        if story.is_calm && late_ns > CANCELLED_NS_MAX && !asked.slow {
            wrong(format!("ended {} ms after it was cancelled", late_ns / 1_000_000));
        }
        if let Some(status) = heard.status
            && status != 200
        {
            count(&story.tally.refused);
            // A suspension that the weather ended is gone for its client too.
            let may_be_lost = !story.is_calm && (status == 404 || status == 400 && asked.input.is_some());
            if status != 503 && !may_be_lost {
                let told = heard.messages.first().map(|data| shortened(data));
                wrong(format!("got status {status}: {told:?}"));
            }
        }
        if !heard.complete {
            count(&story.tally.cut);
            story.goes(&asked.marker);
            let is_large = deed.is_some_and(|deed| deed.bytes > 15_000);
            let may_be_cut = is_large && (asked.slow || deed.is_some_and(|deed| !deed.ending.is_answered()));
            if story.is_calm && !may_be_cut && !asked.half_closed && cancelled_ns.is_none() {
                wrong("was cut off in calm weather".to_owned());
            }
        }
        if let Some(deed) = deed {
            let as_planned = story.is_calm && results > 0 && deed.streams && asked.token.is_some();
            // A client that is away loses progress. A call may have none and be answered with an error: its session was
            // lost, and the one that it was repeated in as well, so that it was never carried out.
            let all =
                as_planned && deed.ending == Ending::Answer && !asked.half_closed && deed.rounds.is_empty();
            if all && notes != deed.notes || notes > deed.notes {
                wrong(format!("heard {notes} of {} notes", deed.notes));
            }
        }
        wanted.filter(|_| heard.complete)
    }

    fn judge_note(&self, asked: &Asked, method: &str, params: Option<&str>) {
        count(&self.story.tally.notes);
        let params: Members = params.and_then(|params| serde_json::from_str(params).ok()).unwrap_or_default();
        match method {
            "\"notifications/progress\"" => {
                let token = params.get("progressToken").map(|token| token.get().to_owned());
                if token != asked.token {
                    self.story.wrong(format!(
                        "{}: progress of token {token:?} instead of {:?}",
                        asked.marker, asked.token
                    ));
                }
            }
            "\"notifications/message\"" => {}
            other => self.story.wrong(format!("{}: was sent {other} on its own stream", asked.marker)),
        }
    }

    fn judge_response(&self, asked: &Asked, heard: &Heard, message: &Members) -> Option<Wanted> {
        let story = &self.story;
        let wrong = |what: String| story.wrong(format!("client {}, {}: {what}", self.number, asked.marker));
        let is_result = message.contains_key("result");
        if is_result == message.contains_key("error") {
            wrong("an answer is either a result or an error".to_owned());
        }
        let body = message.get("result").or(message.get("error")).map_or("", |body| body.get());
        let value: Value = serde_json::from_str(body).unwrap_or_default();
        if is_result && value["resultType"] == "input_required" {
            return self.judge_wants(asked, &value);
        }
        count(if is_result { &story.tally.results } else { &story.tally.errors });
        let Some(plan) = &asked.plan else {
            if !is_result && story.is_calm {
                wrong(format!("a list was answered with an error: {body}"));
            }
            return None;
        };
        // A call is carried to a new session once, and what was asked in a lost one cannot be answered.
        let losses = story.losses.get() - plan.losses;
        let (deed, before) = (&plan.deed, plan.losses);
        let hangs_on_it = !deed.rounds.is_empty() || deed.ending == Ending::Resumed;
        let is_lost = losses >= 2 || losses == 1 && (hangs_on_it || before > 0);
        // The time for an answer begins when the question is asked, not when somebody slow has read what came before it.
        let was_too_slow = self.reads_slowly(asked) && plan.is_asked_late.get();
        let is_left = asked.half_closed || asked.cancelled_ns.get().is_some();
        let excused = !story.is_calm || is_lost || is_left || was_too_slow;
        if is_result && !body.contains(&asked.marker) {
            wrong(format!("the result is not its own: {}", shortened(body.as_bytes())));
        }
        if is_result {
            self.judge_answers(asked, plan, &value, excused);
        }
        let ended_by = self.ends(plan);
        match (ended_by, plan.deed.ending) {
            (Some(code), _) => {
                if is_result || (value["code"] != code && !excused) {
                    wrong(format!("its client ends it with {code}, got {}", shortened(body.as_bytes())));
                }
            }
            (None, Ending::Error) => {
                if is_result || (value["code"] != -32_050 && !excused) {
                    wrong(format!("wanted the upstream's error, got {}", shortened(body.as_bytes())));
                }
            }
            (None, ending) if ending.is_answered() => {
                if !is_result && !excused {
                    let status = heard.status.unwrap_or(0);
                    wrong(format!(
                        "wanted a result ({ending:?}), got {status} {}",
                        shortened(body.as_bytes())
                    ));
                }
            }
            (None, ending) => {
                if is_result && !ending.is_doubtful() {
                    wrong(format!("got a result, where the upstream does this: {ending:?}"));
                }
            }
        }
        None
    }

    /// What a modern client is told to bring: each a question of its own call.
    fn judge_wants(&self, asked: &Asked, result: &Value) -> Option<Wanted> {
        if !self.is_modern() || asked.plan.is_none() {
            self.story.wrong(format!("client {}: {} got {result}", self.number, asked.marker));
            return None;
        }
        let data = result.to_string();
        let mut responses = json!({});
        for (name, entry) in result["inputRequests"].as_object().into_iter().flatten() {
            let method = entry["method"].as_str().unwrap_or("");
            let (marker, key, _, ask) = self.question(method, &entry["params"], data.as_bytes())?;
            responses[name] = ask.matter.answer(&marker, &key);
        }
        let state = result["requestState"].as_str();
        if state.is_none() {
            self.story
                .wrong(format!("client {}: {} has no state to come back with", self.number, asked.marker));
        }
        Some(Wanted { responses, state: state?.to_owned() })
    }

    /// What the server was told to each of its questions.
    fn judge_answers(&self, asked: &Asked, plan: &Plan, result: &Value, excused: bool) {
        for (key, ask) in plan.deed.asks() {
            let told = &result["answers"][&key];
            let expected = self.expected(plan, &asked.marker, &key, ask);
            let is_error = |code: i64| told["error"]["code"] == code;
            // One that belongs to no call by its stream may be declined; what the weather broke, or nobody came for.
            let lenient = (ask.aside && (is_error(-32_601) || is_error(-32_603)))
                || (excused && (is_error(-32_601) || is_error(-32_603) || told == "unanswered"))
                || (excused && told["result"] == json!({"action": "cancel"}))
                // The first of two answers was lost on its way.
                || (!self.story.is_calm && ask.reaction == Reaction::Twice && told["result"]["again"] == *asked.marker);
            let fits = match &expected {
                Expected::Told(value) => told == value,
                Expected::Code(code) => is_error(*code),
            };
            if !fits && !lenient {
                self.story.wrong(format!(
                    "client {}, {}: its server was told {told} to {key} ({ask:?}) instead of {expected:?}",
                    self.number, asked.marker
                ));
            }
        }
    }

    fn expected(&self, plan: &Plan, marker: &str, key: &str, ask: &Ask) -> Expected {
        let is_modern_server = plan.kind == Kind::Modern;
        if ask.matter == Matter::Ping && !is_modern_server {
            return Expected::Told(json!({"result": {}}));
        }
        if !self.may_be_asked(ask.matter) {
            return if is_modern_server {
                Expected::Told(json!("undeclared"))
            } else {
                Expected::Code(-32_601)
            };
        }
        match ask.reaction {
            Reaction::Error if !self.is_modern() && is_modern_server => {
                Expected::Told(json!({"result": {"action": "cancel"}}))
            }
            Reaction::Error if !self.is_modern() => Expected::Code(REFUSED),
            Reaction::Never if !self.is_modern() => Expected::Code(-32_603),
            _ => Expected::Told(json!({"result": ask.matter.answer(marker, key)})),
        }
    }

    /// The code of the error with which a client of the older revisions ends its own call: it did not give a modern
    /// server what it wanted.
    fn ends(&self, plan: &Plan) -> Option<i64> {
        if self.is_modern() || plan.kind != Kind::Modern {
            return None;
        }
        // An error is said at once, so it ends a round before a silence does.
        plan.deed.rounds.iter().find_map(|round| {
            let asks = || round.iter().filter(|ask| self.may_be_asked(ask.matter));
            let is_refused =
                asks().any(|ask| ask.reaction == Reaction::Error && ask.matter != Matter::Elicitation);
            let is_silent = || asks().any(|ask| ask.reaction == Reaction::Never);
            if is_refused { Some(REFUSED) } else { is_silent().then_some(-32_603) }
        })
    }
}

#[derive(Debug)]
enum Expected {
    Told(Value),
    Code(i64),
}
