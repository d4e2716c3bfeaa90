//! A client of 2025-03-26 that asks for several things in one POST: every answer comes on the stream of that POST, in
//! whichever order, and is judged like any other.

use std::cell::RefCell;
use std::rc::Rc;

use strait_engine::io::runtime::timeout;
use strait_engine::io::simulated::{Chance, say};

use super::asking::{Asked, Manner, PATIENCE, odd_id};
use super::{Client, Heard, shortened};
use crate::deed::Deed;
use crate::story::count;
use crate::wire::{Pace, Wire};

impl Client {
    /// Asks for two to four things at once; the connection, if it can be used again.
    pub(super) async fn ask_many(self: &Rc<Self>, mut wire: Wire, chance: &mut Chance) -> Option<Wire> {
        let manner = Manner { slow: chance.percent(8), ..Manner::default() };
        let all: Vec<Asked> = (0..chance.within(2..5)).map(|_| self.one_of_many(&manner, chance)).collect();
        let messages: Vec<String> = all.iter().map(|asked| self.message(asked)).collect();
        for asked in &all {
            let deed = asked.plan.as_ref().map(|plan| &plan.deed);
            say(|| {
                format!("client {} asks {} in a batch as {} ({deed:?})", self.number, asked.marker, asked.id)
            });
            count(&self.story.tally.calls);
        }
        count(&self.story.tally.batches);
        wire.pace = if manner.slow { Pace::slow(chance) } else { Pace::prompt() };
        if !wire.send(&self.post(&format!("[{}]", messages.join(",")), &[])).await {
            self.excused("cannot send a batch");
            return None;
        }
        let heard = RefCell::new(Heard::default());
        if timeout(PATIENCE, self.hear_into(&mut wire, &heard)).await.is_err() {
            self.story.wrong(format!("client {}: a batch has no end after {PATIENCE:?}", self.number));
            return None;
        }
        let mut heard = heard.into_inner();
        for asked in &all {
            let (own, others) = heard.messages.drain(..).partition(|data| asked.is_meant(data));
            heard.messages = others;
            let own =
                Heard { status: heard.status, messages: own, complete: heard.complete, ..Heard::default() };
            self.judge(asked, &own);
        }
        for data in &heard.messages {
            self.story.wrong(format!("client {}: a batch was told {}", self.number, shortened(data)));
        }
        (heard.complete && !wire.is_over).then_some(wire)
    }

    fn one_of_many(&self, manner: &Manner, chance: &mut Chance) -> Asked {
        let number = self.next_request.replace(self.next_request.get() + 1);
        let marker = format!("mk-{}-{}-{number}-x", self.principal, self.number);
        let deed = Deed::draw(chance, true);
        let plan = chance.percent(85).then(|| self.plan(&marker, deed, chance));
        let mut asked = self.asked(marker, odd_id(chance, number), plan, manner.clone());
        if asked.plan.is_some() && chance.percent(60) {
            asked.token = Some(odd_id(chance, number + 500));
        }
        asked
    }
}
