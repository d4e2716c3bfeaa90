//! `strait status`: what a running gateway says of itself, asked at its admin endpoints.

use serde_json::{Value, json};

use crate::ask::Gateway;
use crate::failure::Failure;

/// Everything that a gateway says of itself.
pub fn ask(gateway: &Gateway) -> Result<Value, Failure> {
    let (ready, open) = (gateway.get("/readyz")?, gateway.get("/admin/sessions")?);
    let (rollout, trial) = (gateway.get("/admin/rollout")?, gateway.get("/admin/trial")?);
    Ok(json!({ "gateway": ready, "open": open, "rollout": rollout, "trial": trial }))
}

/// For a person: what is served, then how upstreams are spoken to, then who is connected.
pub fn text(status: &Value) -> String {
    let (gateway, open) = (&status["gateway"], &status["open"]);
    let mut out = format!(
        "strait {} is {}: generation {}, catalog {}, up {} s, driver {}\n",
        word(&gateway["version"]),
        word(&gateway["phase"]),
        word(&gateway["generation"]),
        word(&gateway["catalog"]),
        gateway["uptime_s"],
        word(&gateway["driver"]),
    );
    out.push_str(&rollout(gateway, &status["rollout"]));
    out.push_str(&crate::trial::text::of(&status["trial"]));
    let known = |name: &Value| {
        let all = gateway["upstreams"].as_array().into_iter().flatten();
        all.into_iter().find(|upstream| upstream["name"] == *name)
    };
    out.push_str("\nUPSTREAM              STATE        ERA     CALLS  SESSIONS  CHILDREN\n");
    for upstream in open["upstreams"].as_array().into_iter().flatten() {
        let standing = known(&upstream["name"]);
        out.push_str(&format!(
            "{:<21} {:<12} {:<7} {:>5}  {:>8}  {:>8}\n",
            word(&upstream["name"]),
            standing.map_or("-".into(), |standing| word(&standing["state"])),
            word(&upstream["era"]),
            upstream["calls"].to_string(),
            upstream["sessions"].to_string(),
            upstream["children"].to_string(),
        ));
        if let Some(error) = standing.and_then(|standing| standing["error"].as_str()) {
            out.push_str(&format!("  {error}\n"));
        }
    }
    out.push_str(&shipping(&gateway["audit"]["shipping"]));
    let quarantine = &gateway["quarantine"];
    if quarantine["count"].as_u64().is_some_and(|count| count > 0) {
        out.push_str(&format!(
            "\n{} quarantined: review what changed, then run `strait lock`\n",
            quarantine["count"]
        ));
        for one in quarantine["shown"].as_array().into_iter().flatten() {
            let name = word(&one["name"]);
            let dot = if name.is_empty() { "" } else { "." };
            let (what, part, upstream) = (word(&one["what"]), word(&one["part"]), word(&one["upstream"]));
            out.push_str(&format!("  {what:<8} {part} {upstream}{dot}{name}\n"));
        }
    }
    table(
        &mut out,
        &open["sessions"],
        "sessions of older clients",
        "WORKER  SERVER           PRINCIPAL        REVISION    IDLE S  QUESTIONS  SUBSCRIBED  STREAM",
        |session| {
            format!(
                "{:>6}  {:<16} {:<16} {:<10} {:>7}  {:>9}  {:>10}  {}",
                session["worker"].to_string(),
                word(&session["server"]),
                word(&session["principal"]),
                word(&session["revision"]),
                seconds(&session["idle_ms"]),
                session["questions"].to_string(),
                session["subscriptions"].to_string(),
                if session["stream_open"] == true { "open" } else { "-" },
            )
        },
    );
    table(
        &mut out,
        &open["suspended"],
        "calls that wait for their clients' input",
        "WORKER  SERVER           PRINCIPAL        UPSTREAM         ITEM                  AGE S  LEFT S  QUESTIONS",
        |call| {
            format!(
                "{:>6}  {:<16} {:<16} {:<16} {:<20} {:>6} {:>7}  {:>9}",
                call["worker"].to_string(),
                word(&call["server"]),
                word(&call["principal"]),
                word(&call["upstream"]),
                word(&call["item"]),
                seconds(&call["age_ms"]),
                seconds(&call["left_ms"]),
                call["questions"].to_string(),
            )
        },
    );
    table(
        &mut out,
        &open["listens"],
        "listens of clients",
        "WORKER  SERVER           PRINCIPAL         AGE S  SUBSCRIBED  HEARS OF",
        |listen| {
            let filter = listen["filter"].as_array().into_iter().flatten().filter_map(Value::as_str);
            format!(
                "{:>6}  {:<16} {:<16} {:>6}  {:>10}  {}",
                listen["worker"].to_string(),
                word(&listen["server"]),
                word(&listen["principal"]),
                seconds(&listen["age_ms"]),
                listen["subscriptions"].to_string(),
                filter.collect::<Vec<_>>().join(" "),
            )
        },
    );
    for worker in open["silent_workers"].as_array().into_iter().flatten() {
        out.push_str(&format!("worker {worker} did not answer: what it has open is not shown\n"));
    }
    out
}

/// On whose word that is served, and what somebody wanted and did not get.
fn rollout(gateway: &Value, rollout: &Value) -> String {
    let mut out = String::new();
    if let Some(since) = rollout["since"].as_object() {
        let of = |name: &str| since.get(name).map_or("-".into(), word);
        out.push_str(&format!("in use since {}, by {}\n", of("at"), of("act")));
    }
    let signature = &rollout["signed"]["signature"];
    if signature.is_object() {
        let (key, sequence) = (word(&signature["key"]), &signature["sequence"]);
        let verified = match (signature["verified"].as_bool(), signature["by"].as_str()) {
            (Some(true), Some(by)) => format!("verified with `{by}`"),
            (Some(_), _) => "NOT VERIFIED".to_owned(),
            (None, _) => "which nobody asked for: start with --require-signed".to_owned(),
        };
        out.push_str(&format!("signed by {key}, sequence {sequence}, {verified}\n"));
    }
    let file = &rollout["file"];
    let path = word(&file["path"]);
    match file["state"].as_str() {
        Some("overruled") => out.push_str(&format!(
            "`{path}` says something else, generation {}: an operator put this one in its place\n",
            word(&file["generation"])
        )),
        Some("rejected") => out
            .push_str(&format!("`{path}` is REJECTED and not served: {}\n", word(&gateway["reload"]["why"]))),
        _ => {}
    }
    let rejected = &rollout["rejected"];
    if rejected.is_object() {
        out.push_str(&format!(
            "a candidate was REJECTED at {} and is not served (generation {}): {}\n",
            word(&rejected["at"]),
            word(&rejected["candidate"]),
            word(&rejected["why"])
        ));
    }
    if let Some(behind) = gateway["reload"]["behind"].as_array() {
        out.push_str(&format!("not taken up yet by workers {behind:?}\n"));
    }
    for member in ["found", "not_written"] {
        if let Some(text) = rollout["history"][member].as_str() {
            out.push_str(&format!("{text}\n"));
        }
    }
    out
}

/// Whom the audit log is sent to, and how far each is behind.
fn shipping(shipping: &Value) -> String {
    let mut out = String::new();
    let all = |name: &str| shipping[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let why = |one: &Value| one["why"].as_str().map_or_else(String::new, |why| format!("  {why}\n"));
    if !all("collectors").is_empty() {
        out.push_str("\nCOLLECTOR             STATE        SHIPPED  BEHIND  SINCE S\n");
    }
    for one in all("collectors") {
        out.push_str(&format!(
            "{:<21} {:<8} {:>11} {:>7} {:>8}\n{}",
            word(&one["id"]),
            word(&one["state"]),
            one["shipped"].to_string(),
            one["lag"].to_string(),
            one["lag_s"].as_f64().unwrap_or_default().round(),
            why(one),
        ));
        let missed = one["missed"].as_u64().unwrap_or_default();
        if missed > 0 {
            out.push_str(&format!("  {missed} records were removed from the log before they were sent\n"));
        }
    }
    if !all("anchors").is_empty() {
        out.push_str("\nANCHOR                                   STATE     RECORDS\n");
    }
    for one in all("anchors") {
        let (to, state) = (word(&one["to"]), word(&one["state"]));
        out.push_str(&format!("{to:<40} {state:<8} {:>8}\n{}", one["size"].to_string(), why(one)));
    }
    out
}

/// How many there are of a kind, then a line of each that is shown.
fn table(out: &mut String, kind: &Value, what: &str, head: &str, line: impl Fn(&Value) -> String) {
    out.push_str(&format!("\n{} {what}\n", kind["total"]));
    let shown = kind["shown"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !shown.is_empty() {
        out.push_str(&format!("{head}\n"));
    }
    for value in shown {
        out.push_str(&line(value));
        out.push('\n');
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn seconds(ms: &Value) -> u64 {
    ms.as_u64().unwrap_or_default() / 1_000
}
