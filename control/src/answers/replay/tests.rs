use super::*;
use serde_json::json;
use strait_config_compiler::load_text;
use strait_table::snapshot;

use std::sync::Arc;

fn open(rules: &str) -> Opened {
    let text = format!(
        "strait: 1\nlisteners: {{ main: {{ bind: \"127.0.0.1:0\" }} }}\nupstreams: {{ up: {{ http: \"http://127.0.0.1:1/mcp\" }} }}\n\
         identity: {{ keys: {{ api_keys: {{ generate: [{{ id: ann, groups: [staff] }}] }} }} }}\n\
         servers:\n  default: {{ path: /mcp, tools: [\"up.*\"], resources: [\"up.*\"] }}\n  staff: {{ path: /staff, auth: [keys], tools: [\"up.*\"] }}\n\
         roles: {{ staff: '\"staff\" in principal.groups' }}\npolicy:\n  default: deny\n  rules:\n{rules}"
    );
    let outcome = load_text("strait.yaml", &text, &|_| None);
    let rules = outcome.rules.as_ref().unwrap_or_else(|| panic!("{:?}", outcome.findings));
    Opened { snapshot: Arc::new(snapshot::of_rules(rules).unwrap()), base: ".".into(), outcome: None }
}

fn record(server: &str, tool: &str, verdict: &str, rule: &str) -> Value {
    json!({ "ts": "2026-11-22T12:00:00.000Z", "kind": "exchange", "principal": "ann", "server": server, "method": "tools/call",
        "tool": tool, "verdict": verdict, "rule": rule, "peer": "10.0.0.7", "ns": { "total": 1_000_000 } })
}

fn put(rules: &str, record: &Value, arguments: &Arguments) -> Came {
    Replay::new(&open(rules), &[]).unwrap().put(record, arguments)
}

fn missing(came: Came) -> Vec<Missing> {
    match came {
        Came::Unknown(missing, _) => missing.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

fn way(came: Came) -> Option<Way> {
    match came {
        Came::Same => None,
        Came::Changed(way, _) => Some(way),
        other => panic!("{other:?}"),
    }
}

const ALL: &str = "    - { id: all, allow: [\"up.*\"] }\n";

#[test]
fn a_call_is_decided_by_the_other_policy() {
    let unknown = Arguments::Unknown;
    let permitted = record("default", "up.echo", "permit", "all");
    assert_eq!(put(ALL, &permitted, &unknown), Came::Same);
    let closed = put(&format!("{ALL}    - {{ id: no, deny: [up.echo] }}\n"), &permitted, &unknown);
    let Came::Changed(Way::Closed, said) = closed else { panic!("{closed:?}") };
    assert_eq!((said.verdict.as_str(), said.rule.as_deref()), ("deny", Some("no")));
    let refused = record("default", "up.echo", "deny", "no");
    assert_eq!(way(put(ALL, &refused, &unknown)), Some(Way::Opened));
    let renamed = "    - { id: other, allow: [\"up.*\"] }\n";
    assert_eq!(way(put(renamed, &permitted, &unknown)), Some(Way::Otherwise));
    // What is not there any more is refused.
    for (server, tool) in [("gone", "up.echo"), ("default", "down.echo")] {
        assert_eq!(way(put(ALL, &record(server, tool, "permit", "all"), &unknown)), Some(Way::Closed));
    }
    for (name, value) in [("kind", json!("intent")), ("verdict", Value::Null), ("tool", Value::Null)] {
        let mut other = permitted.clone();
        other[name] = value;
        assert_eq!(put(ALL, &other, &unknown), Came::NoCall);
    }
}

/// A condition over arguments, what is kept of them, and what is missing; without: it is decided that way.
#[track_caller]
fn asks(condition: &str, arguments: Arguments, expected: Result<Option<Way>, Missing>) {
    let rules = format!("    - {{ id: all, allow: [\"up.*\"], when: '{condition}' }}\n");
    let came = put(&rules, &record("default", "up.echo", "permit", "all"), &arguments);
    match expected {
        Ok(expected) => assert_eq!(way(came), expected, "{condition} {arguments:?}"),
        Err(expected) => assert_eq!(missing(came), [expected], "{condition} {arguments:?}"),
    }
}

#[test]
fn what_the_log_does_not_hold_is_not_guessed() {
    let (arguments, closed) = (Err(Missing::Arguments), Ok(Some(Way::Closed)));
    let whole = || Arguments::Whole(r#"{"n":12,"text":"ab"}"#.into());
    let redacted = |text: &str| Arguments::Redacted(text.to_owned());
    asks("args.n == 12", Arguments::Unknown, arguments);
    asks("args.n == 12", whole(), Ok(None));
    asks("args.n == 13", whole(), closed);
    asks("args.n == 12", redacted(r#"{"n":12,"text":"<2>"}"#), Ok(None));
    asks("args.n == 13", redacted(r#"{"n":12,"text":"<2>"}"#), closed);
    asks("args.n > 13", redacted(r#"{"n":"<number>"}"#), arguments);
    asks(r#"args.text == "ab""#, redacted(r#"{"text":"<2>"}"#), arguments);
    // A text of three bytes, as it seems: it may have been one.
    asks(r#"args.text == "<2>""#, redacted(r#"{"text":"<2>"}"#), arguments);
    asks("has(args.text)", redacted(r#"{"text":"<2>"}"#), Ok(None));
    asks("has(args.other)", redacted(r#"{"text":"<2>"}"#), closed);
    asks("has(args.other)", redacted(r#"{"<70>":1}"#), arguments);
    asks("has(args.text.more)", redacted(r#"{"text":"<2>"}"#), closed);
    asks("args.list.exists(e, e == 2)", redacted(r#"{"list":[1,2]}"#), Ok(None));
    asks("args.list.exists(e, e == 2)", redacted(r#"{"list":[1,"<2>"]}"#), arguments);
    asks("size(args.list) == 2", redacted(r#"{"list":[1,2]}"#), Ok(None));
    asks("size(args.text) == 2", redacted(r#"{"text":"<2>"}"#), arguments);
}

#[test]
fn headers_and_addresses_are_asked_for_too() {
    let none = || Arguments::Unknown;
    asks(r#"request.headers["x-team"] == "a""#, none(), Err(Missing::Headers));
    let rules = "    - { id: all, allow: [\"up.*\"], when: 'cidr(\"10.0.0.0/8\").containsIP(request.ip)' }\n";
    let mut call = record("default", "up.echo", "permit", "all");
    assert_eq!(put(rules, &call, &none()), Came::Same);
    call["peer"] = Value::Null;
    assert_eq!(missing(put(rules, &call, &none())), [Missing::Address]);
}

#[test]
fn a_rule_that_could_change_nothing_is_not_asked() {
    let rules =
        "    - { id: no, deny: [up.echo] }\n    - { id: all, allow: [\"up.*\"], when: 'args.n == 12' }\n";
    let came = put(rules, &record("default", "up.echo", "deny", "no"), &Arguments::Unknown);
    assert_eq!(came, Came::Same);
}

#[test]
fn callers_are_those_of_the_candidate() {
    let rules = "    - { id: all, allow: [\"up.*\"], to: [staff] }\n";
    let mut call = record("staff", "up.echo", "permit", "all");
    assert_eq!(put(rules, &call, &Arguments::Unknown), Came::Same);
    call["principal"] = "bob".into();
    assert_eq!(way(put(rules, &call, &Arguments::Unknown)), Some(Way::Closed), "bob has no key");
    let opened = open(rules);
    let described = [r#"{"id":"bob","groups":["staff"]}"#.to_owned()];
    let mut replay = Replay::new(&opened, &described).unwrap();
    assert_eq!(replay.put(&call, &Arguments::Unknown), Came::Same);
    // Another agent than the key is of.
    call["principal"] = "ann".into();
    call["agent"] = "other".into();
    assert_eq!(missing(put(rules, &call, &Arguments::Unknown)), [Missing::Caller]);
}

#[test]
fn a_template_does_not_tell_the_resource() {
    let mut call = record("default", "up.echo", "permit", "all");
    call["tool"] = Value::Null;
    call["template"] = "up.file:///{path}".into();
    assert_eq!(missing(put(ALL, &call, &Arguments::Unknown)), [Missing::Resource]);
}
