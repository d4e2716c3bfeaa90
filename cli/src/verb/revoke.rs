//! `strait revoke ID...`: nobody believes these any more, whatever they bring. Through the gateway that has the state folder, or, where
//! none runs, in the folder, for the next one.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strait_control::answers::asked::plain;
use strait_control::ask::Gateway;
use strait_control::revocations::{self, Change, Fault, File, Only};
use strait_control::{Code, Failure};

use crate::output::{Output, count};

const ABOUT: &str = "An ID is that of a principal, a user, an agent or a token (`jti`); without --only it is revoked as all of them. Whoever is
revoked is refused with API keys, tokens and certificates alike, and what stands open for him ends. It holds until it is undone, also for
credentials that are made later, and for every gateway with the state folder.";

#[derive(clap::Args)]
#[command(after_help = ABOUT)]
pub struct Revoke {
    /// Whom, or which token.
    #[arg(value_name = "ID", required_unless_present = "list")]
    ids: Vec<String>,
    /// As this alone.
    #[arg(long, value_name = "principal|user|agent|token", value_parser = only)]
    only: Option<Only>,
    /// Until so much time has passed, as `90s`, `12h` or `7d`.
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    within: Option<u32>,
    /// Why, for whoever looks at the list or the history.
    #[arg(short, long, value_name = "TEXT")]
    reason: Option<String>,
    /// Believe them again.
    #[arg(long, conflicts_with_all = ["within", "reason", "list"])]
    undo: bool,
    /// Tell who is revoked.
    #[arg(long, conflicts_with_all = ["ids", "only", "within", "reason"])]
    list: bool,
    /// The gateway's state folder.
    #[arg(long, value_name = "DIR", default_value = ".strait")]
    state: PathBuf,
    /// Where the gateway's admin listener is, if it is not asked through its state folder.
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
}

impl Revoke {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let gateway = self.gateway()?;
        if self.list {
            let shown = match &gateway {
                Some(gateway) => gateway.get("/admin/revocations")?,
                None => File::open(&self.state).map_err(|why| Failure::new(Code::Unfit, why))?.list.to_json(),
            };
            output.facts(&shown, || text(&shown));
            return Ok(());
        }
        let Revoke { ids, only, within: for_s, reason, undo, .. } = self;
        let change = Change { ids, only, for_s, reason, undo };
        let facts = match &gateway {
            Some(gateway) => gateway.revoke(&change)?,
            None => offline(&self.state, &change)?,
        };
        told(output, &change, &facts)
    }

    /// `None`: none runs, and the folder is changed.
    fn gateway(&self) -> Result<Option<Gateway>, Failure> {
        match &self.admin {
            Some(_) => Gateway::at(self.admin.as_deref(), &self.state).map(Some),
            None if self.state.is_dir() => Ok(Gateway::of_socket(&self.state)),
            None => {
                let message = format!("there is no state folder `{}`", self.state.display());
                Err(Failure::new(Code::Unfit, message).help(
                    "name the gateway's state folder with `--state DIR`: elsewhere nobody would be revoked",
                ))
            }
        }
    }
}

fn offline(state: &Path, change: &Change) -> Result<Value, Failure> {
    let by = json!({ "via": "verb", "uid": rustix::process::getuid().as_raw() });
    let (_, changed) = revocations::change(state, change, &by).map_err(|fault| {
        let code = match fault {
            Fault::Usage(_) => Code::Usage,
            Fault::Unknown(_) => Code::Failed,
            Fault::Unfit(_) => Code::Unfit,
        };
        Failure::new(code, fault.told())
    })?;
    Ok(json!({ "ids": changed.ids, "already": changed.already, "workers": 0, "behind": [] }))
}

fn told(output: &Output, change: &Change, facts: &Value) -> Result<(), Failure> {
    let (workers, us) = (facts["workers"].as_u64().unwrap_or_default(), &facts["took_us"]);
    let behind = facts["behind"].as_array().map_or(0, Vec::len);
    output.facts(facts, || {
        let number = |name: &str| facts[name].as_array().map_or(0, Vec::len);
        let mut out = match (change.undo, number("ids")) {
            (true, n) => format!("{} believed again", count(n, "id")),
            (false, n) => format!("{} revoked", count(n, "id")),
        };
        if number("already") > 0 {
            out.push_str(&format!(", {} before", number("already")));
        }
        match workers {
            0 => out.push_str("; no gateway runs with this state folder: the next one goes by it\n"),
            _ => out.push_str(&format!(": {} after {us} us\n", count(workers as usize - behind, "worker"))),
        }
        out
    });
    match behind {
        0 => Ok(()),
        n => Err(Failure::new(Code::Unreachable, format!("not taken up in time by {}", count(n, "worker")))
            .help("`/healthz` names a worker that stands still")),
    }
}

fn text(shown: &Value) -> String {
    let word = |value: &Value| plain(value.as_str().unwrap_or("-"));
    let mut out = String::new();
    for entry in shown["revoked"].as_array().into_iter().flatten() {
        let role = entry["only"].as_str().map_or(String::new(), |only| format!(" as {only} alone"));
        let until = entry["until"].as_str().map_or(String::new(), |until| format!(", until {until}"));
        out.push_str(&format!("{}{role}  since {}{until}\n", word(&entry["id"]), word(&entry["at"])));
        if let Some(reason) = entry["reason"].as_str() {
            out.push_str(&format!("       \"{}\"\n", plain(reason)));
        }
    }
    if out.is_empty() {
        out.push_str("nobody is revoked\n");
    }
    if let Some(problem) = shown["problem"].as_str() {
        out.push_str(&format!("{}: this is what the gateway goes by\n", plain(problem)));
    }
    out
}

fn only(text: &str) -> Result<Only, String> {
    let known = Only::ALL.into_iter().find(|only| only.word() == text);
    known.ok_or_else(|| "expected principal, user, agent or token".to_owned())
}

fn seconds(text: &str) -> Result<u32, String> {
    let unit = |unit: char| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(60 * 60),
        'd' => Some(24 * 60 * 60),
        _ => None,
    };
    let split = text.char_indices().next_back().and_then(|(at, last)| Some((text.get(..at)?, unit(last)?)));
    let seconds = split.and_then(|(number, unit)| number.parse::<u32>().ok()?.checked_mul(unit));
    seconds.filter(|seconds| *seconds > 0).ok_or_else(|| "expected a time, as 90s, 30m, 12h or 7d".to_owned())
}
