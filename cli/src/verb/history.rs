//! `strait history`: what was put into use on a gateway, when, on whose word, and what was refused.

use serde_json::Value;
use strait_control::answers::asked::plain;
use strait_control::{Code, Failure};

use super::running::Running;
use crate::output::Output;

#[derive(clap::Args)]
pub struct History {
    #[command(flatten)]
    running: Running,
    /// At most so many acts, the newest first.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Only acts before number N.
    #[arg(long, value_name = "N")]
    before: Option<u64>,
}

impl History {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let before = self.before.map(|before| format!("&before={before}")).unwrap_or_default();
        let told = self.running.gateway()?.get(&format!("/admin/history?limit={}{before}", self.limit))?;
        output.facts(&told, || text(&told));
        match told["broken"].as_str() {
            Some(broken) => {
                Err(Failure::new(Code::Failed, format!("the history is broken: {}", plain(broken)))
                    .help("somebody changed it: what follows that place cannot be believed"))
            }
            None => Ok(()),
        }
    }
}

fn text(told: &Value) -> String {
    let word = |value: &Value| plain(value.as_str().unwrap_or("-"));
    let mut out = String::new();
    for entry in told["entries"].as_array().into_iter().flatten() {
        let short = |name: &str| word(&entry[name]).chars().take(12).collect::<String>();
        out.push_str(&format!(
            "{:>5}  {}  {:<8} {:<7}  {} -> {}  {}\n",
            entry["n"].to_string(),
            word(&entry["at"]),
            word(&entry["act"]),
            word(&entry["outcome"]),
            short("from"),
            short("to"),
            who(&entry["by"])
        ));
        if let Some(message) = entry["message"].as_str() {
            out.push_str(&format!("       \"{}\"\n", plain(message)));
        }
        if let Some(why) = entry["why"].as_str() {
            out.push_str(&format!("       {}\n", plain(why.lines().next().unwrap_or_default())));
        }
        let summary = &entry["summary"];
        let ways = ["opened", "closed"].map(|way| (way, summary[way].as_u64().unwrap_or_default()));
        let parts = summary["parts"].as_array().into_iter().flatten().map(word);
        let mut words: Vec<String> =
            ways.iter().filter(|(_, n)| *n > 0).map(|(way, n)| format!("{way} {n}")).collect();
        words.extend(parts);
        if !words.is_empty() {
            out.push_str(&format!("       {}\n", words.join(", ")));
        }
    }
    if told["torn"].as_u64().is_some_and(|torn| torn > 0) {
        out.push_str(&format!("the end of the history is torn: {} bytes count for nothing\n", told["torn"]));
    }
    out
}

fn who(by: &Value) -> String {
    let text = |name: &str| by[name].as_str().map(plain);
    match (by["via"].as_str(), &by["uid"]) {
        (Some("socket"), uid) => format!("user {uid}"),
        (Some("token"), _) => {
            format!("{} at {}", text("role").unwrap_or_default(), text("from").unwrap_or("-".into()))
        }
        (Some("file"), _) => text("path").unwrap_or_default(),
        _ => "-".to_owned(),
    }
}
