//! What is on trial, as `strait status` tells a person.

use serde_json::Value;

use crate::limits::SHADOW_TOLD_MAX;

/// Of what `/admin/trial` says; nothing where nothing was ever tried.
pub fn of(trial: &Value) -> String {
    let mut out = String::new();
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    match trial["state"].as_str() {
        Some("canary") => {
            out.push_str(&format!(
                "on trial: generation {} as a canary for {}, since {}; judged for {} s more\n",
                word(&trial["generation"]),
                word(&trial["serves"]),
                word(&trial["since"]),
                trial["left_s"]
            ));
            let conditions: Vec<&str> =
                trial["abort_if"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            out.push_str(&format!("  ends if {}\n", conditions.join(" or ")));
            out.push_str(&figures(&trial["figures"]));
        }
        Some("shadow") => {
            out.push_str(&format!(
                "on trial: generation {} as a shadow, since {}\n",
                word(&trial["generation"]),
                word(&trial["since"])
            ));
            out.push_str(&found(&trial["found"]));
        }
        _ => {}
    }
    let last = &trial["last"];
    if let Some(ended) = last["ended"].as_str() {
        out.push_str(&format!(
            "the last trial: generation {} was {} at {}",
            word(&last["generation"]),
            if ended == "promoted" { "promoted" } else { "rolled back" },
            word(&last["at"])
        ));
        out.push_str(&last["why"].as_str().map_or("\n".to_owned(), |why| format!(": {why}\n")));
    }
    out
}

fn figures(figures: &Value) -> String {
    let line = |name: &str| {
        let of = &figures[name];
        let rate = of["error_rate"].as_f64().unwrap_or_default() * 100.0;
        let p99 = of["added_p99_us"].as_u64().map_or("-".to_owned(), |us| us.to_string());
        format!(
            "  {name:<10} {:>9}  {:>8}  {rate:>7.2} %  {:>8}  {p99:>12}\n",
            of["answered"].to_string(),
            of["failed"].to_string(),
            of["denied"].to_string()
        )
    };
    let head = "             ANSWERED    FAILED               DENIED  ADDED P99 US\n";
    format!("{head}{}{}", line("live"), line("candidate"))
}

fn found(found: &Value) -> String {
    let all = found["differences"].as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        return "  nothing was decided differently so far\n".to_owned();
    }
    let mut out = "     OPENS    CLOSES  OTHER RULE  WHAT\n".to_owned();
    for one in all.iter().take(SHADOW_TOLD_MAX) {
        let count = |name: &str| one[name].to_string();
        out.push_str(&format!(
            "  {:>8}  {:>8}  {:>10}  {}\n",
            count("opens"),
            count("closes"),
            count("other_rule"),
            one["what"].as_str().unwrap_or("-")
        ));
    }
    let samples = found["samples"].as_array().map(Vec::as_slice).unwrap_or_default();
    for sample in samples.iter().take(SHADOW_TOLD_MAX) {
        let side = |side: &Value| {
            let by = side["limit"].as_str().or(side["rule"].as_str());
            let by = by.map_or(String::new(), |by| format!(" ({by})"));
            format!("{}{by}", side["verdict"].as_str().unwrap_or("-"))
        };
        out.push_str(&format!(
            "  {} {} {}: {} -> {}\n",
            sample["at"].as_str().unwrap_or("-"),
            sample["principal"].as_str().unwrap_or("-"),
            sample["what"].as_str().unwrap_or("-"),
            side(&sample["live"]),
            side(&sample["candidate"])
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_reads_how_a_canary_does() {
        let side = |answered: u64| json!({ "answered": answered, "failed": 1, "error_rate": 0.0125, "denied": 2, "added_p99_us": 57 });
        let text = of(&json!({
            "state": "canary", "generation": "abc", "serves": "5%", "since": "now", "left_s": 9,
            "abort_if": ["error_rate>1%"], "figures": { "live": side(800), "candidate": side(80) },
            "last": { "generation": "abd", "ended": "rolled_back", "at": "then", "why": "it was bad" },
        }));
        let expected = "on trial: generation abc as a canary for 5%, since now; judged for 9 s more
  ends if error_rate>1%
             ANSWERED    FAILED               DENIED  ADDED P99 US
  live             800         1     1.25 %         2            57
  candidate         80         1     1.25 %         2            57
the last trial: generation abd was rolled back at then: it was bad
";
        assert_eq!(text, expected);
        assert_eq!(of(&json!({ "state": "none", "last": null })), "");
    }

    #[test]
    fn a_person_reads_what_a_shadow_found() {
        let text = of(&json!({
            "state": "shadow", "generation": "abc", "since": "now", "last": null,
            "found": {
                "differences": [{ "what": "tool up.echo", "opens": 0, "closes": 3, "other_rule": 1 }],
                "samples": [{
                    "at": "now", "principal": "ann", "what": "tool up.echo", "difference": "closes",
                    "live": { "verdict": "permit", "rule": "all", "limit": null },
                    "candidate": { "verdict": "limit_calls", "rule": "all", "limit": "few" },
                }],
            },
        }));
        let expected = "on trial: generation abc as a shadow, since now
     OPENS    CLOSES  OTHER RULE  WHAT
         0         3           1  tool up.echo
  now ann tool up.echo: permit (all) -> limit_calls (few)
";
        assert_eq!(text, expected);
    }
}
