//! Revocations on a gateway that serves: an order of an operator, a file that somebody else has changed, and ends that come by themselves.
//!
//! What is to be believed no more is written down first and in force at once, whatever else is under way; whoever ordered it is answered
//! when every worker goes by it, that of a candidate included.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::control::Control;
use super::rollout::{Waiting, answer, told};
use crate::limits::{ADOPT_WITHIN, SUMMARY_PARTS_MAX};
use crate::log;
use crate::revocations::{self, Change, Fault, File};
use crate::rollout::history::Act;
use crate::rollout::order::{Answer, No};
use crate::time::unix_s;

/// What the loop keeps of it.
pub struct Revocations {
    file: File,
    in_force: usize,
    /// When the next one ends by itself.
    ends_unix_s: Option<i64>,
    /// What the clock said when that was found: one that was put back since may have ended some too early.
    found_unix_s: i64,
    /// Why the file is not what is gone by.
    fault: Option<String>,
    /// Who waits for every worker, and for which edition and word about a candidate.
    answers: Vec<(u64, u64, Waiting)>,
}

impl Revocations {
    pub fn new(file: File) -> Revocations {
        let found_unix_s = unix_s();
        let (_, in_force, ends_unix_s) = file.list.in_force(found_unix_s);
        Revocations { file, in_force, ends_unix_s, found_unix_s, fault: None, answers: Vec::new() }
    }
}

impl Control {
    pub fn revoke(&mut self, change: Change, by: Value, reply: oneshot::Sender<Answer>) {
        let root = self.loader.state.root();
        let (list, changed) = match revocations::change(root, &change, &by) {
            Ok(done) => done,
            Err(fault) => {
                let why = fault.told().to_owned();
                log::warn(format!("revocation by {} refused: {why}", told(&by)));
                return answer(
                    reply,
                    Answer::No(match fault {
                        Fault::Usage(_) => No::Usage { why },
                        Fault::Unknown(_) => No::Unknown { why },
                        Fault::Unfit(_) => No::NotKept { why },
                    }),
                );
            }
        };
        self.revocations.file.wrote(list);
        self.revocations.fault = None;
        let act = if change.undo { Act::Unrevoke } else { Act::Revoke };
        if !changed.ids.is_empty() {
            self.note_revocation(act, &by, &changed.ids, &change);
        }
        self.go_by_revocations();
        let facts = json!({ "act": act.word(), "ids": changed.ids, "already": changed.already });
        let waiting = Waiting::new(reply, facts);
        self.revocations.answers.push((self.edition.serial, self.trials.told(), waiting));
        self.answer_revocations();
    }

    /// Has workers go by the list as it is now.
    fn go_by_revocations(&mut self) {
        let now = unix_s();
        let (revoked, in_force, ends) = self.revocations.file.list.in_force(now);
        (self.revocations.in_force, self.revocations.ends_unix_s) = (in_force, ends);
        self.revocations.found_unix_s = now;
        self.identity.revoke(Arc::new(revoked));
        self.believe();
        self.show_revocations();
    }

    /// Looks whether somebody else has changed the file, or one has ended.
    pub fn look_at_revocations(&mut self) {
        let now = unix_s();
        let Revocations { ends_unix_s, found_unix_s, .. } = self.revocations;
        let has_turned = ends_unix_s.is_some_and(|end| end <= now) || now < found_unix_s;
        match self.revocations.file.look() {
            Ok(true) => {
                self.revocations.fault = None;
                let by = json!({ "via": "file", "path": self.revocations.file.path().display().to_string() });
                let ids: Vec<String> =
                    self.revocations.file.list.revoked.iter().rev().map(|entry| entry.id.clone()).collect();
                self.note_revocation(Act::Revoke, &by, &ids, &Change::default());
                self.go_by_revocations();
            }
            Ok(false) if has_turned => {
                let before = self.revocations.in_force;
                self.go_by_revocations();
                if self.revocations.in_force != before {
                    log::info(format!("revocations in force by the clock: {}", self.revocations.in_force));
                }
            }
            Ok(false) => {}
            Err(why) => {
                log::error(format!("{why}; whoever was revoked before stays so"));
                self.revocations.fault = Some(why);
                self.show_revocations();
            }
        }
        self.answer_revocations();
    }

    fn note_revocation(&mut self, act: Act, by: &Value, ids: &[String], change: &Change) {
        let shown: Vec<String> =
            ids.iter().take(SUMMARY_PARTS_MAX).map(|id| format!("`{}`", id.escape_debug())).collect();
        let more = match ids.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let role = change.only.map_or(String::new(), |only| format!(" as {} alone", only.word()));
        log::info(format!("{} by {}: {}{more}{role}", act.word(), told(by), shown.join(", ")));
        let summary = json!({ "parts": shown, "ids": ids.len(), "only": change.only });
        let running = self.edition.snapshot.generation();
        if let Some(rollout) = &mut self.orders.rollout {
            rollout.revokes(act, by, running, summary, change.reason.as_deref());
        }
    }

    pub fn show_revocations(&self) {
        let Revocations { file, in_force, fault, .. } = &self.revocations;
        let mut shown = file.list.to_json();
        shown["problem"] = fault.clone().into();
        self.board.revocations(shown, *in_force, fault.is_none());
    }

    /// Answers whom every worker has heard, or who has waited long enough.
    pub fn answer_revocations(&mut self) {
        let workers = self.handle.figures().len();
        for (serial, trial, waiting) in std::mem::take(&mut self.revocations.answers) {
            let mut behind = self.handle.behind(serial);
            behind.extend(self.handle.behind_trial(trial));
            behind.sort_unstable();
            behind.dedup();
            match behind.is_empty() || waiting.since() > ADOPT_WITHIN {
                true => waiting.answer(workers, &behind),
                false => self.revocations.answers.push((serial, trial, waiting)),
            }
        }
    }
}
