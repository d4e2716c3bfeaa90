//! Whom and what nobody shall believe any more: `strait revoke`, the admin endpoint for the same, and the file `revoked.json` of the
//! state folder that both change.
//!
//! The decision: a revocation is no part of a configuration and asks for no compile. It stands in a file that every gateway with this
//! state folder goes by (`file.rs`), from its start on and whenever it changes; who has it changed by a gateway is answered when
//! every worker goes by it (`serve/revoke.rs`). What cannot be read revokes nobody less: a gateway does not start with it,
//! and one that runs keeps what it knew.

mod file;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strait_engine::trust::{Revoked, Role};

use crate::limits::{REVOCATION_REASON_BYTES_MAX, REVOCATIONS_KEPT_S, REVOCATIONS_MAX, REVOKED_ID_BYTES_MAX};
use crate::time::{rfc3339, unix_s};

pub use file::{File, change, change_at};

/// As what an id is revoked; of one that does not say it, as all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    Principal,
    User,
    Agent,
    Token,
}

impl Only {
    pub const ALL: [Only; 4] = [Only::Principal, Only::User, Only::Agent, Only::Token];

    pub fn word(self) -> &'static str {
        match self {
            Only::Principal => "principal",
            Only::User => "user",
            Only::Agent => "agent",
            Only::Token => "token",
        }
    }

    fn role(self) -> Role {
        match self {
            Only::Principal => Role::Principal,
            Only::User => Role::User,
            Only::Agent => Role::Agent,
            Only::Token => Role::Token,
        }
    }
}

/// One revocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
    pub at_unix_s: i64,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_unix_s: Option<i64>,
    pub by: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Entry {
    fn is_in_force(&self, now_unix_s: i64) -> bool {
        self.until_unix_s.is_none_or(|until| now_unix_s < until)
    }

    fn is_of(&self, id: &str, only: Option<Only>) -> bool {
        self.id == id && self.only == only
    }

    fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "only": self.only.map(Only::word),
            "at": rfc3339(self.at_unix_s),
            "until": self.until_unix_s.map(rfc3339),
            "by": self.by,
            "reason": self.reason,
        })
    }
}

/// All of them, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    pub revoked: Vec<Entry>,
}

/// What somebody wants changed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    pub ids: Vec<String>,
    #[serde(default)]
    pub only: Option<Only>,
    /// For so many seconds; for good when not said.
    #[serde(default)]
    pub for_s: Option<u32>,
    #[serde(default)]
    pub reason: Option<String>,
    /// They are believed again.
    #[serde(skip)]
    pub undo: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub ids: Vec<String>,
    /// They were revoked before, for as long.
    pub already: Vec<String>,
}

/// Why a change is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It makes no sense.
    Usage(String),
    /// What it undoes was not done.
    Unknown(String),
    /// The list cannot be read or written.
    Unfit(String),
}

impl Fault {
    pub fn told(&self) -> &str {
        match self {
            Fault::Usage(why) | Fault::Unknown(why) | Fault::Unfit(why) => why,
        }
    }
}

impl Change {
    /// Whether it could be made anywhere.
    pub fn check(&self) -> Result<(), Fault> {
        let usage = |why: String| Err(Fault::Usage(why));
        if self.ids.is_empty() {
            return usage("nobody is named: expected an id".to_owned());
        }
        if self.ids.len() > REVOCATIONS_MAX {
            return usage(format!("{} ids: at most {REVOCATIONS_MAX} are revoked", self.ids.len()));
        }
        for id in &self.ids {
            check_id(id).map_err(Fault::Usage)?;
        }
        if self.undo && (self.for_s.is_some() || self.reason.is_some()) {
            return usage("what is undone has no end and no reason".to_owned());
        }
        if self.for_s == Some(0) {
            return usage("a revocation lasts for a second at least".to_owned());
        }
        match &self.reason {
            Some(reason) if reason.len() > REVOCATION_REASON_BYTES_MAX => usage(format!(
                "the reason has {} bytes, at most {REVOCATION_REASON_BYTES_MAX} are kept",
                reason.len()
            )),
            Some(reason) if reason.contains(char::is_control) => {
                usage("the reason has control characters in it".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn check_id(id: &str) -> Result<(), String> {
    match id {
        "" => Err("an id is empty".to_owned()),
        "anonymous" => Err(
            "`anonymous` is whoever comes to a server that asks for no credential: give that server an `auth`"
                .to_owned(),
        ),
        id if id.len() > REVOKED_ID_BYTES_MAX => {
            Err(format!("an id has {} bytes: at most {REVOKED_ID_BYTES_MAX} are one", id.len()))
        }
        id if id.contains(char::is_control) => {
            Err(format!("`{}` has control characters in it: no id of anybody has", id.escape_debug()))
        }
        _ => Ok(()),
    }
}

impl List {
    /// Whoever is in it and should not be, as somebody may have written it by hand.
    fn check(&self) -> Result<(), String> {
        if self.revoked.len() > REVOCATIONS_MAX {
            return Err(format!("it has {} entries, at most {REVOCATIONS_MAX} are kept", self.revoked.len()));
        }
        self.revoked.iter().try_for_each(|entry| check_id(&entry.id))
    }

    /// Makes a change that was checked. What has ended for long goes.
    pub fn change(&mut self, change: &Change, by: &Value, now_unix_s: i64) -> Result<Changed, Fault> {
        // A clock that was ahead for a while has ended nothing for good.
        let is_kept = |entry: &Entry| entry.is_in_force(now_unix_s.saturating_sub(REVOCATIONS_KEPT_S));
        self.revoked.retain(is_kept);
        match change.undo {
            true => self.undo(change),
            false => self.revoke(change, by, now_unix_s),
        }
    }

    fn undo(&mut self, change: &Change) -> Result<Changed, Fault> {
        let is_meant = |entry: &Entry, id: &str| match change.only {
            None => entry.id == id,
            only => entry.is_of(id, only),
        };
        for id in &change.ids {
            if !self.revoked.iter().any(|entry| is_meant(entry, id)) {
                let role = change.only.map_or(String::new(), |only| format!(" as {} alone", only.word()));
                return Err(Fault::Unknown(format!(
                    "`{id}` is not revoked{role}; nothing was changed, `strait revoke --list` shows what is"
                )));
            }
        }
        let wanted: std::collections::HashSet<&str> = change.ids.iter().map(String::as_str).collect();
        self.revoked.retain(|entry| !(wanted.contains(entry.id.as_str()) && is_meant(entry, &entry.id)));
        Ok(Changed { ids: change.ids.clone(), already: Vec::new() })
    }

    fn revoke(&mut self, change: &Change, by: &Value, now_unix_s: i64) -> Result<Changed, Fault> {
        let places = self.revoked.iter().enumerate().filter(|(_, entry)| entry.only == change.only);
        let mut places: std::collections::HashMap<String, usize> =
            places.map(|(at, entry)| (entry.id.clone(), at)).collect();
        let until_unix_s = change.for_s.map(|seconds| now_unix_s.saturating_add(seconds.into()));
        let mut changed = Changed::default();
        for id in &change.ids {
            let entry = Entry {
                id: id.clone(),
                only: change.only,
                at_unix_s: now_unix_s,
                until_unix_s,
                by: by.clone(),
                reason: change.reason.clone(),
            };
            let known = places.get(id).and_then(|at| self.revoked.get_mut(*at));
            match known {
                // Nobody is let in sooner because he was revoked once more.
                Some(known) if !outlasts(until_unix_s, known.until_unix_s) => {
                    changed.already.push(id.clone());
                }
                Some(known) => {
                    *known = entry;
                    changed.ids.push(id.clone());
                }
                None => {
                    places.insert(id.clone(), self.revoked.len());
                    self.revoked.push(entry);
                    changed.ids.push(id.clone());
                }
            }
        }
        match self.revoked.len() > REVOCATIONS_MAX {
            true => Err(Fault::Usage(format!(
                "that would be {} revocations, at most {REVOCATIONS_MAX} are kept: undo those that matter no more, or \
                 take the issuer's key out of its JWKS",
                self.revoked.len()
            ))),
            false => Ok(changed),
        }
    }

    /// What workers go by now, how many there are, and when the next one ends.
    pub fn in_force(&self, now_unix_s: i64) -> (Revoked, usize, Option<i64>) {
        let (mut revoked, mut count) = (Revoked::default(), 0);
        for entry in self.revoked.iter().filter(|entry| entry.is_in_force(now_unix_s)) {
            count += 1;
            match entry.only {
                Some(only) => revoked.add(only.role(), &entry.id),
                None => Only::ALL.iter().for_each(|only| revoked.add(only.role(), &entry.id)),
            }
        }
        let ends = self.revoked.iter().filter_map(|entry| entry.until_unix_s);
        (revoked, count, ends.filter(|end| *end > now_unix_s).min())
    }

    pub fn to_json(&self) -> Value {
        let now = unix_s();
        let shown: Vec<Value> =
            self.revoked.iter().filter(|entry| entry.is_in_force(now)).map(Entry::to_json).collect();
        json!({ "revoked": shown })
    }
}

/// Whether what ends then ends later than what ends at `other`; `None` never does.
fn outlasts(one: Option<i64>, other: Option<i64>) -> bool {
    match (one, other) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(one), Some(other)) => one > other,
    }
}

#[cfg(test)]
mod tests;
