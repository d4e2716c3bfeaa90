//! A client of 2026-07-28 that was told what input its call needs, and makes the call again with it.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use strait_engine::io::runtime::sleep;
use strait_engine::io::simulated::{Chance, say};

use super::asking::{Asked, Input, Manner, odd_id};
use super::{Client, Heard};
use crate::gateway::SUSPENDED_MS;
use crate::story::count;
use crate::upstream::Kind;
use crate::wire::Wire;

/// What an answer asks for.
pub struct Wanted {
    /// What the client has to say to it, by the server's or the gateway's keys.
    pub responses: Value,
    pub state: String,
}

/// How a client comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Prompt,
    Late {
        ms: u64,
    },
    /// One answer is missing: it is asked again.
    Lacking,
    /// A state that nobody gave comes first.
    Tampered,
    /// Somebody else comes first with the state.
    Stolen,
    /// With other arguments first.
    OtherCall,
    /// Once more when all is over.
    Again,
    /// And goes away in the middle.
    Leaving {
        ms: u64,
    },
    TooLate,
    Never,
}

impl Way {
    fn draw(chance: &mut Chance, kind: Kind) -> Way {
        // What a server of 2026-07-28 does with a state of its own is not the gateway's to refuse.
        let ways = if kind == Kind::Modern { 6 } else { 11 };
        match chance.within(0..ways + 8) {
            0 => Way::Late { ms: chance.magnitude(1..3_000) },
            1 | 2 => Way::Lacking,
            3 => Way::Leaving { ms: chance.magnitude(1..400) },
            4 => Way::Never,
            5 => Way::Late { ms: chance.magnitude(1..30) },
            14 => Way::Tampered,
            15 => Way::Stolen,
            16 => Way::OtherCall,
            17 => Way::Again,
            18 => Way::TooLate,
            _ => Way::Prompt,
        }
    }
}

impl Client {
    /// Makes a call again, as often as it needs; the connection, if it can be used again.
    pub(super) async fn come_back(
        self: &Rc<Self>,
        mut line: Option<Wire>,
        mut asked: Asked,
        mut wanted: Wanted,
        chance: &mut Chance,
    ) -> Option<Wire> {
        for _ in 0..12 {
            let kind = asked.plan.as_ref().map(|plan| plan.kind)?;
            let way = Way::draw(chance, kind);
            say(|| format!("client {} comes back for {}: {way:?}", self.number, asked.marker));
            count(&self.story.tally.comebacks);
            let mut responses = wanted.responses.clone();
            match way {
                Way::Never => return None,
                Way::Late { ms } => sleep(Duration::from_millis(ms)).await,
                Way::TooLate => sleep(Duration::from_millis(SUSPENDED_MS + 2_000)).await,
                Way::Lacking => {
                    let first = responses.as_object().and_then(|all| all.keys().next().cloned());
                    if let (Some(first), Some(all)) = (first, responses.as_object_mut()) {
                        all.remove(&first);
                    }
                }
                Way::Tampered | Way::Stolen | Way::OtherCall => {
                    self.is_refused_as(way, &asked, &wanted, chance).await;
                }
                Way::Prompt | Way::Again | Way::Leaving { .. } => {}
            }
            asked = self.again(&asked, Input { responses, state: wanted.state.clone() }, chance);
            let leaves_after_ms = if let Way::Leaving { ms } = way { Some(ms) } else { None };
            let manner = Manner { leaves_after_ms, ..Manner::default() };
            // On whichever worker another connection leads to.
            let wire = match line.take().filter(|_| chance.percent(40)) {
                Some(wire) => wire,
                None => match Wire::connect(self.gateway).await {
                    Ok(wire) => wire,
                    Err(_) => {
                        self.story.goes(&asked.marker);
                        return None;
                    }
                },
            };
            let (heard, usable) = self.exchange(wire, &asked, &manner, chance).await;
            line = usable;
            let Some(heard) = heard else {
                self.story.goes(&asked.marker);
                return line;
            };
            if way == Way::TooLate {
                self.must_be_refused(&asked, &heard, way);
                return line;
            }
            let more = self.judge(&asked, &heard);
            if way == Way::Again && heard.complete {
                self.is_refused_as(way, &asked, &wanted, chance).await;
            }
            match more {
                Some(more) => wanted = more,
                None => return line,
            }
        }
        self.story.wrong(format!("client {}: {} never has enough", self.number, asked.marker));
        line
    }

    /// The same call with another id, another token if it had one, and what it was told to bring.
    fn again(&self, before: &Asked, input: Input, chance: &mut Chance) -> Asked {
        let number = self.next_request.replace(self.next_request.get() + 1);
        let plan = before.plan.clone();
        let mut asked = self.asked(before.marker.clone(), odd_id(chance, number), plan, Manner::default());
        asked.token = before.token.as_ref().map(|_| odd_id(chance, number + 500));
        asked.input = Some(input);
        asked
    }

    /// Comes back in a way that must be refused, and changes nothing.
    async fn is_refused_as(self: &Rc<Self>, way: Way, before: &Asked, wanted: &Wanted, chance: &mut Chance) {
        let mut state = wanted.state.clone();
        if way == Way::Tampered {
            let at = chance.index(state.len());
            let other = if &state[at..=at] == "A" { "B" } else { "A" };
            state.replace_range(at..=at, other);
        }
        let asked = self.again(before, Input { responses: wanted.responses.clone(), state }, chance);
        let principal = match (way, self.principal) {
            (Way::Stolen, "ann") => "sam",
            (Way::Stolen, _) => "ann",
            (_, own) => own,
        };
        let mut request = self.request(&asked, principal);
        if way == Way::OtherCall {
            let text = String::from_utf8_lossy(&request).into_owned();
            request = text.replacen("\"wait\":", "\"wAit\":", 1).into_bytes();
        }
        let Ok(mut wire) = Wire::connect(self.gateway).await else { return };
        if wire.send(&request).await {
            let heard = self.hear(&mut wire).await;
            self.must_be_refused(&asked, &heard, way);
        }
    }

    fn must_be_refused(&self, asked: &Asked, heard: &Heard, way: Way) {
        for data in &heard.messages {
            let message: Value = serde_json::from_slice(data).unwrap_or_default();
            let is_refused = message["error"]["code"] == json!(-32_602);
            let (is_own, excused) = (message["id"] == id_of(asked), !self.story.is_calm);
            if !is_own || !(is_refused || excused && message.get("error").is_some()) {
                self.story.wrong(format!(
                    "client {}: {} came back {way:?} and was not refused: {message}",
                    self.number, asked.marker
                ));
            }
        }
        if self.story.is_calm && heard.messages.len() != 1 {
            self.story.wrong(format!("client {}: {} has no refusal", self.number, asked.marker));
        }
    }
}

fn id_of(asked: &Asked) -> Value {
    serde_json::from_str(&asked.id).unwrap_or_default()
}
