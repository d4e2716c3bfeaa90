//! One call to a server, as its deed says.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use strait_engine::io::runtime::sleep;
use strait_engine::io::simulated::say;
use tokio::sync::Notify;

use super::{EVENTS, HangUp, JSON, Kind, NO_SESSION, Upstream};
use crate::deed::{Deed, Ending};
use crate::story::count;
use crate::wire::{self, Wire};

/// A call under way.
pub struct Call {
    pub marker: String,
    pub is_cancelled: Cell<bool>,
    /// Something was answered, or all of it cancelled.
    pub changed: Notify,
    /// To what was asked in it, by the key of each question.
    pub answers: RefCell<BTreeMap<String, Value>>,
}

impl Upstream {
    pub(super) async fn call(
        &self,
        wire: &mut Wire,
        message: &Value,
        session: Option<String>,
    ) -> Result<(), HangUp> {
        let arguments = &message["params"]["arguments"];
        let (Some(marker), Some(deed)) = (arguments["mk"].as_str(), Deed::of_json(&arguments["deed"])) else {
            self.story.wrong(format!("{} was sent a call that nobody made: {message}", self.name));
            return Err(HangUp);
        };
        self.belongs(session.as_deref(), marker, &arguments["can"]);
        if deed.ending == Ending::Lost
            && let Some(id) = &session
            && self.turned_away.borrow_mut().insert(marker.to_owned())
        {
            say(|| format!("{} loses {id} before {marker} is carried out", self.name));
            self.sessions.borrow_mut().remove(id);
            count(&self.story.losses);
            return self.say(wire, wire::answer(404, &[JSON], NO_SESSION)).await;
        }
        let call = Rc::new(Call {
            marker: marker.to_owned(),
            is_cancelled: Cell::new(false),
            changed: Notify::new(),
            answers: RefCell::default(),
        });
        if self.kind == Kind::Modern {
            return self.leg(wire, message, &call, &deed).await;
        }
        self.story.carries_out(marker);
        self.say_asides(session.as_deref(), marker, deed.asides);
        sleep(Duration::from_millis(deed.wait_ms)).await;
        if !deed.streams && deed.rounds.is_empty() && deed.ending != Ending::Resumed {
            return self.whole(wire, message, &call, &deed).await;
        }
        let key = (session.clone().unwrap_or_default(), message["id"].to_string());
        self.calls.borrow_mut().insert(key.clone(), call.clone());
        let streamed = self.streamed(wire, message, &call, &deed, session.as_deref()).await;
        self.calls.borrow_mut().remove(&key);
        streamed
    }

    /// One leg of a call to a server of 2026-07-28.
    async fn leg(
        &self,
        wire: &mut Wire,
        message: &Value,
        call: &Rc<Call>,
        deed: &Deed,
    ) -> Result<(), HangUp> {
        let params = &message["params"];
        let declared = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        self.declares(declared, &call.marker, &params["arguments"]["can"]);
        let Some((requests, state)) = self.wants(call, params, &deed.rounds) else {
            sleep(Duration::from_millis(deed.wait_ms)).await;
            return match deed.streams {
                true => self.streamed(wire, message, call, deed, None).await,
                false => self.whole(wire, message, call, deed).await,
            };
        };
        let mut result = json!({"resultType": "input_required", "requestState": state});
        if requests.as_object().is_some_and(|requests| !requests.is_empty()) {
            result["inputRequests"] = requests;
        }
        if !deed.streams {
            return self.result(wire, &message["id"], result, &[]).await;
        }
        self.say(wire, wire::chunked(&[EVENTS])).await?;
        self.event(wire, &json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string())
            .await?;
        self.say(wire, wire::chunk(b"")).await
    }

    /// The answer as one body.
    async fn whole(&self, wire: &mut Wire, message: &Value, call: &Call, deed: &Deed) -> Result<(), HangUp> {
        let body = self.last(message, call, deed).into_bytes();
        match deed.ending {
            Ending::Close => Err(HangUp),
            Ending::Hang => self.hang(wire).await,
            Ending::Status => {
                self.say(wire, wire::answer(502, &[("Content-Type", "text/plain")], b"no")).await
            }
            Ending::Garbage => self.say(wire, wire::answer(200, &[JSON], b"}{ this is no message")).await,
            Ending::Cut => {
                let whole = wire::answer(200, &[JSON], &body);
                self.say(wire, whole[..whole.len() - body.len().div_ceil(2)].to_vec()).await?;
                Err(HangUp)
            }
            _ => self.say(wire, wire::answer(200, &[JSON], &body)).await,
        }
    }

    /// The answer as an event stream, behind what is said and asked about the call.
    async fn streamed(
        &self,
        wire: &mut Wire,
        message: &Value,
        call: &Rc<Call>,
        deed: &Deed,
        session: Option<&str>,
    ) -> Result<(), HangUp> {
        if deed.ending == Ending::Status {
            return self.whole(wire, message, call, deed).await;
        }
        self.say(wire, wire::chunked(&[EVENTS])).await?;
        if self.kind != Kind::Modern {
            for (round, asks) in deed.rounds.iter().enumerate() {
                self.ask(wire, call, session, round, asks).await?;
                if call.is_cancelled.get() {
                    return self.say(wire, wire::chunk(b"")).await;
                }
            }
        }
        for number in 1..=deed.notes {
            let token = &message["params"]["_meta"]["progressToken"];
            let note = if token.is_null() {
                json!({"jsonrpc": "2.0", "method": "notifications/message",
                    "params": {"level": "info", "data": call.marker}})
            } else {
                json!({"jsonrpc": "2.0", "method": "notifications/progress",
                    "params": {"progressToken": token, "progress": number, "message": call.marker}})
            };
            self.event(wire, &note.to_string()).await?;
            sleep(Duration::from_millis(deed.gap_ms)).await;
        }
        let last = self.last(message, call, deed);
        match deed.ending {
            Ending::Close => return Err(HangUp),
            Ending::Hang => return self.hang(wire).await,
            Ending::Garbage => self.event(wire, "}{ this is no message").await?,
            Ending::Cut => {
                let event = wire::chunk(format!("data: {last}\n\n").as_bytes());
                self.say(wire, event[..event.len() / 2].to_vec()).await?;
                return Err(HangUp);
            }
            Ending::Resumed if self.offers_streams && session.is_some() => {
                let id = format!("after {}", call.marker);
                self.broken.borrow_mut().insert(id.clone(), last);
                self.say(wire, wire::chunk(format!("id: {id}\nretry: 20\ndata:\n\n").as_bytes())).await?;
                if deed.gap_ms.is_multiple_of(2) {
                    self.say(wire, wire::chunk(b"")).await?;
                }
                return Err(HangUp);
            }
            Ending::Twice => {
                self.event(wire, &last).await?;
                self.event(wire, &last).await?;
            }
            Ending::Stranger => {
                let other = json!({"jsonrpc": "2.0", "id": 987_654_321, "result": {"content": [], "for": "mk-nobody-x"}});
                self.event(wire, &other.to_string()).await?;
                self.event(wire, &last).await?;
            }
            _ => self.event(wire, &last).await?,
        }
        self.say(wire, wire::chunk(b"")).await
    }

    /// What ends a call, by its deed.
    fn last(&self, message: &Value, call: &Call, deed: &Deed) -> String {
        let marker = &call.marker;
        let id = match (deed.ending, message["id"].as_i64()) {
            (Ending::WrongId, Some(id)) => json!(id + 1_000_000),
            _ => message["id"].clone(),
        };
        if deed.ending == Ending::Error {
            let error = json!({"code": -32_050, "message": format!("as asked by {marker}")});
            return json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string();
        }
        let padding = "p".repeat(deed.bytes as usize);
        let mut result = json!({"content": [{"type": "text", "text": format!("{marker} {padding}")}]});
        if self.kind == Kind::Modern {
            result["resultType"] = json!("complete");
        }
        let answers: serde_json::Map<String, Value> = call.answers.borrow().clone().into_iter().collect();
        result["answers"] = Value::Object(answers);
        json!({"jsonrpc": "2.0", "result": result, "id": id}).to_string()
    }
}
