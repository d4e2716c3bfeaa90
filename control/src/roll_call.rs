//! What is open in the running process: sessions, suspended calls, subscriptions, and how each upstream is spoken to.
//! Workers are asked when somebody wants to know, and one that does not answer in time is named.

use std::collections::{BTreeMap, HashMap};
use std::sync::Weak;

use serde_json::{Value, json};
use strait_engine::exchange::shadow::Differences;
use strait_engine::handle::Rolls;
use strait_engine::roll::{ListenLine, SessionLine, SuspendedLine};
use strait_engine::{Edition, Era, Roll, digest};
use tokio::time::{Instant, timeout_at};

use crate::limits::ROLL_WITHIN;

/// Where to ask, and whose names the answers speak of.
#[derive(Clone)]
pub struct RollCall {
    pub rolls: Rolls,
    /// Names are read from the edition in use; it is not kept alive for that.
    pub edition: Weak<Edition>,
}

impl RollCall {
    /// What `/admin/sessions` says.
    pub async fn run(&self) -> Value {
        let deadline = Instant::now() + ROLL_WITHIN;
        let mut answers = self.rolls.call();
        let mut rolls = BTreeMap::new();
        while let Ok(Some(roll)) = timeout_at(deadline, answers.recv()).await {
            rolls.insert(roll.worker, roll);
        }
        let silent: Vec<usize> =
            (0..self.rolls.workers()).filter(|worker| !rolls.contains_key(worker)).collect();
        shown(&rolls.into_values().collect::<Vec<_>>(), &silent, &self.names())
    }

    /// What a shadow has found, on the workers that answer in time.
    pub async fn differences(&self) -> Vec<Differences> {
        let deadline = Instant::now() + ROLL_WITHIN;
        let mut answers = self.rolls.differences();
        let mut found = Vec::new();
        while let Ok(Some(differences)) = timeout_at(deadline, answers.recv()).await {
            found.push(differences);
        }
        found
    }

    fn names(&self) -> Names {
        let Some(edition) = self.edition.upgrade() else { return Names::default() };
        let servers = edition.snapshot.rules().servers.iter().map(|server| server.name.as_str().to_owned());
        let principals = edition.keys.principals.iter().map(|principal| principal.id.clone());
        let by_digest = |name: String| (digest(&name), name);
        Names { servers: servers.map(by_digest).collect(), principals: principals.map(by_digest).collect() }
    }
}

/// What digests stand for.
#[derive(Default)]
struct Names {
    servers: HashMap<u64, String>,
    principals: HashMap<u64, String>,
}

impl Names {
    fn server(&self, digest: u64) -> Value {
        name(&self.servers, digest)
    }

    fn principal(&self, digest: u64) -> Value {
        name(&self.principals, digest)
    }
}

/// `null` for a name that the edition in use does not have any more.
fn name(names: &HashMap<u64, String>, digest: u64) -> Value {
    names.get(&digest).map_or(Value::Null, |name| name.as_str().into())
}

fn shown(rolls: &[Roll], silent: &[usize], names: &Names) -> Value {
    let sessions: Vec<Value> = rolls
        .iter()
        .flat_map(|roll| roll.sessions.told.iter().map(|line| session(roll.worker, line, names)))
        .collect();
    let suspended: Vec<Value> = rolls
        .iter()
        .flat_map(|roll| roll.suspended.told.iter().map(|line| suspended(roll.worker, line, names)))
        .collect();
    let listens: Vec<Value> = rolls
        .iter()
        .flat_map(|roll| roll.listens.told.iter().map(|line| listen(roll.worker, line, names)))
        .collect();
    let total = |of: fn(&Roll) -> usize| rolls.iter().map(of).sum::<usize>();
    json!({
        "sessions": { "total": total(|roll| roll.sessions.total), "shown": sessions },
        "suspended": { "total": total(|roll| roll.suspended.total), "shown": suspended },
        "listens": { "total": total(|roll| roll.listens.total), "shown": listens },
        "upstreams": upstreams(rolls),
        "silent_workers": silent,
    })
}

fn session(worker: usize, line: &SessionLine, names: &Names) -> Value {
    json!({
        "mark": format!("{:016x}", line.mark),
        "worker": worker,
        "server": names.server(line.server),
        "principal": names.principal(line.principal),
        "revision": line.revision.as_str(),
        "declared": line.declared.words(),
        "log_level": line.log_level.map(|level| level.as_str()),
        "idle_ms": line.idle_ms,
        "questions": line.questions,
        "subscriptions": line.subscriptions,
        "stream_open": line.is_listening,
    })
}

fn suspended(worker: usize, line: &SuspendedLine, names: &Names) -> Value {
    json!({
        "worker": worker,
        "server": names.server(line.server),
        "principal": names.principal(line.principal),
        "upstream": line.upstream,
        "method": line.method.as_str(),
        "item": line.item,
        "questions": line.questions,
        "age_ms": line.age_ms,
        "left_ms": line.left_ms,
    })
}

fn listen(worker: usize, line: &ListenLine, names: &Names) -> Value {
    json!({
        "worker": worker,
        "server": names.server(line.server),
        "principal": line.principal.map_or(Value::Null, |principal| names.principal(principal)),
        "filter": line.filter,
        "subscriptions": line.subscriptions,
        "age_ms": line.age_ms,
    })
}

/// Every worker has its own connections with an upstream: counts are summed.
fn upstreams(rolls: &[Roll]) -> Vec<Value> {
    let mut by_name: BTreeMap<&str, (&str, usize, usize, usize)> = BTreeMap::new();
    for line in rolls.iter().flat_map(|roll| &roll.upstreams) {
        let (era, calls, sessions, children) = by_name.entry(&line.name).or_insert(("unknown", 0, 0, 0));
        match line.era {
            Some(Era::Modern) => *era = "modern",
            Some(Era::Legacy) if line.is_sse => *era = "sse",
            Some(Era::Legacy) => *era = "legacy",
            None => {}
        }
        *calls += line.calls;
        *sessions += line.sessions;
        *children += line.children;
    }
    let shown = by_name.into_iter().map(|(name, (era, calls, sessions, children))| {
        json!({ "name": name, "era": era, "calls": calls, "sessions": sessions, "children": children })
    });
    shown.collect()
}
