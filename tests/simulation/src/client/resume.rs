//! A client of the older revisions that lost the connection of an answer, and comes back for what follows the last event
//! that it has.

use std::rc::Rc;

use serde_json::Value;
use strait_engine::io::runtime::timeout;
use strait_engine::io::simulated::say;

use super::asking::{Asked, PATIENCE};
use super::{Client, Heard, shortened};
use crate::story::count;
use crate::wire::{Answer, Part, Wire};

impl Heard {
    /// The stream ended, there is no answer, and it said where it goes on.
    pub(super) fn is_polled(&self) -> bool {
        let is_answer = |data: &Vec<u8>| {
            serde_json::from_slice::<Value>(data).is_ok_and(|message| message.get("method").is_none())
        };
        self.complete && self.last_id.is_some() && !self.messages.iter().any(is_answer)
    }
}

impl Client {
    /// The rest of an answer; `None` when it cannot be had.
    pub(super) async fn resume(self: &Rc<Self>, asked: &Asked, mut heard: Heard) -> Option<Heard> {
        let resumed = timeout(PATIENCE, self.hear_rest(asked, &mut heard)).await;
        match resumed {
            Ok(Some(())) => return Some(heard),
            Ok(None) => {}
            Err(_) => {
                self.story.wrong(format!("client {}: the rest of {} has no end", self.number, asked.marker))
            }
        }
        self.story.goes(&asked.marker);
        None
    }

    /// The rest of an answer whose stream ended before it, to be asked for again: as often as that happens.
    pub(super) async fn poll(self: &Rc<Self>, asked: &Asked, mut heard: Heard) -> Option<Heard> {
        for _ in 0..5 {
            // One that was cancelled has none.
            if !heard.is_polled() || asked.cancelled_ns.get().is_some() {
                break;
            }
            heard.complete = false;
            heard = self.resume(asked, heard).await?;
        }
        Some(heard)
    }

    async fn hear_rest(self: &Rc<Self>, asked: &Asked, heard: &mut Heard) -> Option<()> {
        let (session, last) = (self.session.borrow().clone()?, heard.last_id.clone()?);
        let mut wire = Wire::connect(self.gateway).await.ok()?;
        let fields = [
            ("Mcp-Session-Id", session.id.as_str()),
            ("MCP-Protocol-Version", session.revision),
            ("Accept", "text/event-stream"),
            ("Last-Event-ID", last.as_str()),
        ];
        say(|| format!("client {} comes back for {} after {last}", self.number, asked.marker));
        count(&self.story.tally.resumed);
        let begun = wire.send(&self.bare("GET", &fields)).await;
        let answer = if begun { Answer::begin(&mut wire).await } else { None };
        let Some(mut answer) = answer.filter(|answer| answer.status == 200) else {
            self.excused(&format!("{} cannot be resumed", asked.marker));
            return None;
        };
        let (stream, number) = last.split_once('-')?;
        let mut number: u64 = number.parse().ok()?;
        loop {
            let part = answer.next(&mut wire).await;
            let data = match part {
                Part::Message(data) if data.is_empty() => continue,
                Part::Message(data) => data,
                Part::End => {
                    heard.complete = true;
                    return Some(());
                }
                Part::Cut => {
                    self.excused("the rest of an answer was cut");
                    return None;
                }
            };
            say(|| {
                format!("client {} hears the rest {:?} {}", self.number, answer.last_id, shortened(&data))
            });
            number += 1;
            heard.last_id.clone_from(&answer.last_id);
            if answer.last_id.as_deref() != Some(&format!("{stream}-{number}")) {
                let found = &answer.last_id;
                self.story
                    .wrong(format!("client {}: {found:?} follows {last} of {}", self.number, asked.marker));
                return None;
            }
            if !self.is_asked(&data) {
                heard.messages.push(data);
            }
        }
    }
}
