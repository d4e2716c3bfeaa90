//! A draft as the text of a configuration: the same draft gives the same bytes. Texts are quoted unless they are plain
//! words, so that nothing of a foreign file is ever taken for anything but text.

use std::fmt::Write as _;

use super::{
    draft::{Credential, Draft, Limit, Reach, Rule, Upstream},
    report::shown,
};

/// The identity and its file, where callers must be known.
const CALLERS: &str = "callers";
const CALLERS_FILE: &str = "callers.yaml";

pub fn text(draft: &Draft, from: &str) -> String {
    let mut out = format!("# Written by `strait import` from {}.\n", comment(from));
    if draft.servers.iter().any(|server| server.auth) {
        let _ = writeln!(out, "# Keys of callers: strait keys new {CALLERS_FILE} --id NAME --groups GROUP");
    }
    out.push_str("strait: 1\n");
    if let Some(bind) = &draft.bind {
        let _ = writeln!(out, "\nlisteners:\n  main: {{ bind: {} }}", quoted(bind));
    }
    out.push_str("\nupstreams:\n");
    draft.upstreams.iter().for_each(|upstream| self::upstream(&mut out, upstream));
    out.push_str("\nservers:\n");
    for server in &draft.servers {
        let _ = writeln!(out, "  {}:\n    path: {}", quoted(&server.name), quoted(&server.path));
        if server.auth {
            let _ = writeln!(out, "    auth: [{CALLERS}]");
        }
        let of = |pick: fn(&Upstream) -> &Option<Vec<String>>| -> Vec<String> {
            let upstreams = server
                .upstreams
                .iter()
                .filter_map(|name| draft.upstreams.iter().find(|upstream| upstream.name == *name));
            upstreams
                .flat_map(|upstream| match pick(upstream) {
                    None => vec![format!("{}.*", upstream.name)],
                    Some(only) => only.iter().map(|rest| format!("{}.{rest}", upstream.name)).collect(),
                })
                .collect()
        };
        list(&mut out, 4, "tools", &of(|upstream| &upstream.tools));
        list(&mut out, 4, "prompts", &of(|upstream| &upstream.prompts));
        list(&mut out, 4, "resources", &of(|upstream| &upstream.resources));
    }
    if draft.servers.iter().any(|server| server.auth) {
        let _ = writeln!(out, "\nidentity:\n  {CALLERS}: {{ api_keys: {CALLERS_FILE} }}");
    }
    out.push_str("\npolicy:\n  default: deny\n  rules:\n");
    draft.rules.iter().for_each(|rule| self::rule(&mut out, rule));
    if !draft.limits.is_empty() {
        out.push_str("\nlimits:\n");
        draft.limits.iter().for_each(|limit| self::limit(&mut out, limit));
    }
    if !draft.left_out.is_empty() {
        out.push_str("\n# Left out, because it cannot be carried whole:\n");
        for left in &draft.left_out {
            let _ =
                writeln!(out, "#   {} ({}): {}", comment(&left.name), comment(&left.at), comment(&left.why));
        }
    }
    out
}

fn upstream(out: &mut String, upstream: &Upstream) {
    let _ = writeln!(out, "  {}:", quoted(&upstream.name));
    match &upstream.reach {
        Reach::Http(url) => {
            let _ = writeln!(out, "    http: {}", quoted(url));
        }
        Reach::Stdio { command, args, env, cwd } => {
            let _ = writeln!(out, "    stdio:\n      command: {}", quoted(command));
            if !args.is_empty() {
                list(out, 6, "args", args);
            }
            if !env.is_empty() {
                out.push_str("      env:\n");
                for (name, value) in env {
                    let _ = writeln!(out, "        {}: {}", quoted(name), quoted(value));
                }
            }
            if let Some(cwd) = cwd {
                let _ = writeln!(out, "      cwd: {}", quoted(cwd));
            }
        }
    }
    if upstream.is_sse {
        out.push_str("    era: sse\n");
    }
    match &upstream.credential {
        None => {}
        Some(Credential::Bearer(text)) => {
            let _ = writeln!(out, "    credential: {{ bearer: {} }}", quoted(text));
        }
        Some(Credential::Header { name, value }) => {
            let (name, value) = (quoted(name), quoted(value));
            let _ = writeln!(out, "    credential: {{ header: {{ name: {name}, value: {value} }} }}");
        }
    }
    if let Some(ms) = upstream.call_ms {
        let _ = writeln!(out, "    timeout: {{ call: {ms}ms }}");
    }
}

fn rule(out: &mut String, rule: &Rule) {
    let _ = writeln!(out, "    - id: {}", quoted(&rule.id));
    list(out, 6, rule.effect, &rule.patterns);
    for (key, text) in [("when", &rule.when), ("unless", &rule.unless)] {
        if let Some(text) = text {
            let _ = writeln!(out, "      {key}: {}", quoted(text));
        }
    }
}

fn limit(out: &mut String, limit: &Limit) {
    let _ = write!(out, "  - {{ id: {}, per: [], {}: {}", quoted(&limit.id), limit.what, limit.value);
    if let Some(burst) = limit.burst {
        let _ = write!(out, ", burst: {burst}");
    }
    if !limit.on.is_empty() {
        let on: Vec<String> = limit.on.iter().map(|pattern| quoted(pattern)).collect();
        let _ = write!(out, ", on: [{}]", on.join(", "));
    }
    out.push_str(" }\n");
}

/// On one line while that is short.
fn list(out: &mut String, indent: usize, key: &str, items: &[String]) {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    let one = items.join(", ");
    if one.len() + indent + key.len() < 110 {
        let _ = writeln!(out, "{:indent$}{key}: [{one}]", "");
        return;
    }
    let _ = writeln!(out, "{:indent$}{key}:", "");
    for item in items {
        let _ = writeln!(out, "{:indent$}  - {item}", "");
    }
}

/// Plain where nobody could take it for anything but this text.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(plain)
        && !words.contains(&text.to_ascii_lowercase().as_str());
    if is_word {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // What YAML does not let stand as it is.
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
            {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// For a line that nobody reads as anything but a comment.
fn comment(text: &str) -> String {
    text.split(' ').map(shown).collect::<Vec<_>>().join(" ")
}
