//! The banner for the first minute, on a terminal and in a pipe.

use strait_engine::UpstreamId;
use strait_policy::Principal;
use strait_table::bind;
use strait_table::rules::*;

use super::{Shown, *};
use crate::sample::{Kind, Sample as Server};
use strait_table::catalog::{Definition, Lists};

fn snapshot(auth: Vec<u16>, hidden: Option<&str>) -> Snapshot {
    let pattern = |glob: &str| strait_table::rules::Pattern { kind: PatternKind::Any, glob: glob.into() };
    let mut rules = crate::test_support::rules();
    rules.upstreams = vec![Upstream {
        name: "hello".into(),
        transport: Transport::Sample(Sample::Stdio),
        era: Era::Auto,
        credential: None,
        identity_header: None,
        timeout: Timeouts::default(),
        list_ttl_ms: 0,
        tls: Default::default(),
    }];
    rules.servers = vec![strait_table::rules::Server {
        name: "default".into(),
        path: "/mcp".into(),
        auth,
        tools: vec![pattern("*")],
        prompts: Vec::new(),
        resources: Vec::new(),
        naming: Naming::Auto,
        instructions: String::new(),
        shapes: Vec::new(),
    }];
    rules.paths = strait_table::names::Names::build(["/mcp"].into_iter());
    rules.identities = vec![
        Identity { name: "you".into(), method: AuthMethod::Generated { keys: Vec::new() } },
        Identity { name: "file".into(), method: AuthMethod::KeyFile { path: "keys.yaml".into() } },
    ];
    rules.policy.default = Effect::Allow;
    rules.policy.rules.extend(hidden.map(|hidden| Rule {
        id: "hidden".into(),
        effect: Effect::Deny,
        patterns: vec![pattern(hidden)],
        to: To::Everyone,
        condition: None,
        scopes: Vec::new(),
        audit: Default::default(),
        place: Place::default(),
    }));
    strait_table::snapshot::of_rules(&rules).unwrap()
}

/// The banner of the stdio sample's real lists.
fn banner(auth: Vec<u16>, secrets: bool) -> String {
    banner_without(auth, secrets, None)
}

/// The same where a rule hides what is called so.
fn banner_without(auth: Vec<u16>, secrets: bool, hidden: Option<&str>) -> String {
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let answer = Server::new(Kind::Hello).answer(&list).unwrap();
    let tools = answer["result"]["tools"].as_array().unwrap().iter();
    let tools =
        tools.map(|tool| Definition { name: tool["name"].as_str().unwrap().into(), json: tool.to_string() });
    let mut ledger = Ledger::new([(UpstreamId(0), "hello".to_owned())].into_iter());
    ledger.learned(UpstreamId(0), Ok(Lists { tools: tools.collect(), ..Lists::default() }));
    let snapshot = snapshot(auth, hidden);
    let snapshot = snapshot.with_bound(&bind(snapshot.rules(), ledger.catalog()).0).unwrap();
    let key = Generated {
        identity: 0,
        principal: Principal { id: "you".into(), groups: vec!["everyone".into()], ..Principal::default() },
        path: "/s/keys/it's.key".into(),
        key: "sk-strait-SECRET".into(),
    };
    let shown = Shown {
        snapshot: &snapshot,
        ledger: &ledger,
        addresses: &["0.0.0.0:8080".parse().unwrap()],
        generated: &[key],
        driver: "io_uring",
        workers: 2,
        admin: Some("127.0.0.1:8081"),
        state: Path::new("/s"),
        file: Path::new("strait.yaml"),
        kept_instead: None,
    };
    text(&shown, secrets)
}

fn check(text: &str, contains: &[&str]) {
    for expected in contains {
        assert!(text.contains(expected), "`{expected}` is not in\n{text}");
    }
}

#[test]
fn a_terminal_sees_everything_ready_to_copy() {
    check(
        &banner(vec![0], true),
        &[
            "2 workers on io_uring",
            "http://127.0.0.1:8080/mcp  `default`: 4 tools, 0 prompts",
            "hello (sample)  ready, 4 tools",
            "you (everyone)  sk-strait-SECRET",
            "-H 'Authorization: Bearer sk-strait-SECRET'",
            "-H 'Mcp-Method: tools/call'",
            "-H 'Mcp-Name: greet'",
            r#""arguments":{"name":"Ada"}"#,
            r#"{"mcpServers":{"strait":{"type":"http","url":"http://127.0.0.1:8080/mcp","headers":{"Authorization":"Bearer sk-strait-SECRET"}}}}"#,
        ],
    );
}

#[test]
fn a_list_that_is_shorter_than_what_there_is_says_so() {
    let whole = banner(vec![0], true);
    check(&whole, &["`default`: 4 tools", "\nList the tools\n"]);
    let hidden = banner_without(vec![0], true, Some("hello.greet"));
    check(&hidden, &["`default`: 4 tools", "\nList the tools that you may see: 3 of 4\n"]);
}

#[test]
fn a_pipe_never_sees_a_key() {
    let text = banner(vec![0], false);
    assert!(!text.contains("SECRET"), "{text}");
    check(
        &text,
        &[r#"-H "Authorization: Bearer $(cat '/s/keys/it'\''s.key')""#, "you (everyone)  in /s/keys"],
    );
}

#[test]
fn other_ways_to_be_known() {
    check(&banner(vec![1], true), &["$STRAIT_KEY", "strait keys new keys.yaml"]);
    assert!(!banner(Vec::new(), true).contains("Authorization: Bearer"));
}
