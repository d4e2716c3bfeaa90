//! Policies of a route: who may call, which rules, how often, with which credential. What is not known blocks the route.

use super::{Route, UNKNOWN, block, entries};
use crate::import::{
    report::{Reader, text_of},
    rules, secret,
    variables::{Place, Variables},
};
use crate::source::{Entry, Value};

pub fn policies(reader: &mut Reader<'_>, entry: &Entry, route: &mut Route) {
    reader.mapped(entry, "policy");
    let Some(keys) = reader.map(entry) else {
        route.why.push("its policies cannot be read".to_owned());
        return;
    };
    for key in keys {
        match key.key.as_str() {
            "cors" => reader.ignored_whole(
                key,
                "only pages of this machine are accepted, unless `origins` of the listener says more",
            ),
            "jwtAuth" | "mcpAuthentication" | "apiKey" | "basicAuth" | "oidc" => {
                route.auth = true;
                reader.asked_whole(key, "callers show an API key here: make them with `strait keys new callers.yaml`, with the claims that rules ask for");
            }
            "mcpAuthorization" => authorization(reader, key, route),
            "localRateLimit" => rate(reader, key, route),
            "backendAuth" => backend_auth(reader, key, route),
            "timeout" => timeout(reader, key, route),
            "retry" => reader.ignored_whole(key, "Strait asks again only where nothing was accepted"),
            _ => block(reader, key, route, UNKNOWN),
        }
    }
}

fn authorization(reader: &mut Reader<'_>, entry: &Entry, route: &mut Route) {
    reader.guard(entry);
    reader.mapped(entry, "policy.rules");
    let Some(keys) = reader.map(entry) else {
        route.why.push("its rules cannot be read".to_owned());
        return;
    };
    for key in keys {
        if key.key != "rules" {
            block(reader, key, route, UNKNOWN);
            continue;
        }
        reader.mapped(key, "policy.rules");
        let Some(items) = reader.list(key) else {
            route.why.push("its rules cannot be read".to_owned());
            continue;
        };
        for (at, item) in items.iter().enumerate() {
            let (how, text) = match &item.value {
                Value::Map(keys) => match keys.as_slice() {
                    [one] => (one.key.as_str(), text_of(&one.value)),
                    _ => ("", None),
                },
                _ => ("allow", text_of(item)),
            };
            entries(item).iter().for_each(|said| reader.mapped(said, "a rule"));
            rule(reader, key, route, at + 1, how, text);
        }
    }
}

fn rule(
    reader: &mut Reader<'_>,
    entry: &Entry,
    route: &mut Route,
    number: usize,
    how: &str,
    text: Option<&str>,
) {
    let is_exact = how != "allow";
    let said =
        text.ok_or_else(|| "it cannot be read".to_owned()).and_then(|text| rules::spoken(text, is_exact));
    route.has_allow |= how == "allow";
    match (how, said) {
        ("allow", Ok(rule)) => route.allow.push(rule),
        ("deny", Ok(rule)) => route.deny.push(rule),
        ("require", Ok(rule)) if rule.kind.is_none() => route.require.push(rule),
        // Without it less is allowed.
        ("allow", Err(why)) => {
            reader.asked(entry, format!("rule {number} is not carried, so that it allows nothing: {why}"))
        }
        (_, said) => {
            let why =
                said.err().unwrap_or_else(|| "what it requires cannot be said of single things".to_owned());
            let why = format!("rule {number} holds something back and cannot be said: {why}");
            reader.asked(entry, format!("the route is left out until it is decided: {why}"));
            route.why.push(why);
        }
    }
}

fn rate(reader: &mut Reader<'_>, entry: &Entry, route: &mut Route) {
    reader.guard(entry);
    reader.mapped(entry, "limits");
    for item in reader.list(entry).unwrap_or_default() {
        let of = |key: &str| entries(item).iter().find(|entry| entry.key == key);
        let number = |key: &str| {
            of(key).and_then(|entry| text_of(&entry.value)).and_then(|text| text.parse::<u64>().ok())
        };
        let unit = match of("fillInterval").and_then(|entry| text_of(&entry.value)) {
            Some("1s") => Some("s"),
            Some("1m" | "60s") => Some("min"),
            Some("1h" | "60m") => Some("h"),
            _ => None,
        };
        let kind = of("type").and_then(|entry| text_of(&entry.value)).unwrap_or("requests");
        let fill =
            number("tokensPerFill").or(number("maxTokens")).filter(|fill| (1..=1_000_000).contains(fill));
        let (Some(fill), Some(unit), "requests") = (fill, unit, kind) else {
            block(reader, entry, route, "this limit cannot be said: `limits` counts calls per s, min or h");
            continue;
        };
        for key in entries(item) {
            if matches!(key.key.as_str(), "maxTokens" | "tokensPerFill" | "fillInterval" | "type") {
                reader.mapped(key, "limits");
            }
        }
        let burst = number("maxTokens").filter(|burst| (1..=1_000_000).contains(burst) && *burst != fill);
        route.limits.push((format!("{fill}/{unit}"), burst));
    }
}

fn timeout(reader: &mut Reader<'_>, entry: &Entry, route: &mut Route) {
    reader.mapped(entry, "timeout");
    for key in reader.map(entry).unwrap_or_default() {
        let seconds = text_of(&key.value)
            .and_then(|text| text.strip_suffix('s'))
            .and_then(|text| text.parse::<u64>().ok());
        match seconds.filter(|seconds| (1..=3_600).contains(seconds)) {
            Some(seconds) => {
                reader.mapped(key, "timeout.call");
                route.call_ms = Some(seconds * 1_000);
            }
            None => reader.asked(key, "a deadline of 1 to 3600 whole seconds can be said; 60 s holds"),
        }
    }
}

fn backend_auth(reader: &mut Reader<'_>, entry: &Entry, route: &mut Route) {
    let keys = reader.map(entry).unwrap_or_default();
    reader.mapped(entry, "credential");
    for key in keys {
        match (key.key.as_str(), text_of(&key.value)) {
            ("passthrough", _) => reader.asked_whole(
                key,
                "a caller's token is never sent to an upstream: give it a `credential` of its own",
            ),
            ("key", Some(text)) => {
                let spoken = Variables::default().spoken(text, Place::Secret);
                route.credential = match spoken {
                    Ok(spoken) if spoken.has_reference && !secret::looks_like_one(&spoken.literal) => {
                        Some(spoken.text)
                    }
                    _ => Some("${secret:imported-backend-key}".to_owned()),
                };
                reader.mapped(key, "credential, as a reference");
            }
            _ => block(reader, key, route, "this version cannot authenticate to an upstream in this way"),
        }
    }
}
