//! Servers that join several upstreams: what they declare, list, and find by name.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{Arrived, NOT_INITIALIZED, http, json_reply, method, unknown_method};
use strait_tests::{Client, Gateway, Scripted, Setup, Step};

use crate::common::KEY;

/// What an upstream declares, and what it lists under each method.
#[derive(Clone, Default)]
pub struct Offer {
    pub legacy: bool,
    pub capabilities: Value,
    pub lists: Value,
    pub instructions: Value,
    /// `ttlMs` of what it says of itself; everyone may be given it.
    pub ttl_ms: u64,
}

impl Offer {
    /// Answers what is not a list with the params as they arrived, under `seen`.
    pub fn answer(&self, request: &Arrived) -> Vec<Step> {
        let result = |mut result: Value| {
            if !self.legacy {
                result["resultType"] = json!("complete");
            }
            json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result}))
        };
        match method(request) {
            "server/discover" if self.legacy => {
                vec![Step::Send(http(400, "application/json", NOT_INITIALIZED))]
            }
            "server/discover" => result(json!({
                "supportedVersions": ["2026-07-28"], "capabilities": self.capabilities,
                "instructions": self.instructions, "ttlMs": self.ttl_ms, "cacheScope": "public"})),
            "initialize" => result(json!({
                "protocolVersion": "2025-11-25", "capabilities": self.capabilities,
                "instructions": self.instructions, "serverInfo": {"name": "scripted", "version": "1"}})),
            "notifications/initialized" => vec![Step::Send(strait_tests::scripted::ACCEPTED.to_vec())],
            list if list.ends_with("/list") => match self.lists.get(list) {
                Some(page) => result(page.clone()),
                None => unknown_method(request, if self.legacy { 200 } else { 404 }),
            },
            _ => result(json!({"seen": request.body["params"]})),
        }
    }

    pub fn start(self) -> Scripted {
        Scripted::start(move |request| self.answer(request))
    }
}

/// Two upstreams, `a` and `b`; `full` may use everything, `small` what is of `a`.
fn joined(a: &Scripted, b: &Scripted) -> String {
    format!(
        r#"
upstreams:
  a: {{ http: "{}" }}
  b: {{ http: "{}" }}
servers:
  default: {{ path: /mcp, auth: [staff], tools: ["*"], prompts: ["*"], resources: ["*"] }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
roles: {{ full: '"full" in principal.groups', small: '"small" in principal.groups' }}
policy:
  default: deny
  rules:
    - {{ id: all, allow: ["*"], to: [full] }}
    - {{ id: few, allow: ["a.*"], to: [small] }}
    - {{ id: private, deny: ["a.a://private*"] }}
"#,
        a.url(),
        b.url()
    )
}

pub fn start(a: &Scripted, b: &Scripted) -> Gateway {
    Gateway::start(Setup::new(joined(a, b)))
}

/// The result of a modern request.
pub fn ask(gateway: &Gateway, key: &str, method: &str, params: Value) -> Value {
    let answer = Client::connect(gateway.address).roundtrip(modern(key, 1, method, params)).json();
    assert!(answer.get("result").is_some(), "{method}: {answer}");
    answer["result"].clone()
}

/// The error of a modern request, and its status.
fn refused(gateway: &Gateway, key: &str, method: &str, params: Value) -> (u16, i64) {
    let answer = Client::connect(gateway.address).roundtrip(modern(key, 1, method, params));
    (answer.status, answer.error().0)
}

fn prompts(names: &[&str]) -> Value {
    json!({"prompts": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()})
}

#[test]
fn what_is_declared_is_what_upstreams_declare_and_only_that_is_asked_for() {
    let a = Offer { capabilities: json!({"prompts": {}, "completions": {}}), ..Offer::default() };
    let a = Offer { lists: json!({"prompts/list": prompts(&[])}), ..a }.start();
    let b = Offer {
        legacy: true,
        capabilities: json!({"resources": {"subscribe": true}, "logging": {},
            "extensions": {"io.modelcontextprotocol/ui": {}, "com.example/other": {}}}),
        ..Offer::default()
    };
    let lists =
        json!({"resources/list": {"resources": []}, "resources/templates/list": {"resourceTemplates": []}});
    let b = Offer { lists, ..b }.start();
    let gateway = start(&a, &b);
    let asked = |upstream: &Scripted| {
        ["tools/list", "prompts/list", "resources/list", "resources/templates/list"]
            .map(|method| upstream.arrived(method).len())
    };
    assert_eq!((asked(&a), asked(&b)), ([0, 1, 0, 0], [0, 0, 1, 1]));
    let declared = ask(&gateway, KEY, "server/discover", json!({}))["capabilities"].clone();
    let names: Vec<&String> = declared.as_object().unwrap().keys().collect();
    assert_eq!(names, ["prompts", "resources", "completions", "extensions"]);
    assert_eq!(declared["extensions"], json!({"io.modelcontextprotocol/ui": {}}));
    // Nothing to show is not the same as no such thing.
    assert_eq!(ask(&gateway, KEY, "prompts/list", json!({}))["prompts"], json!([]));
    assert_eq!(ask(&gateway, KEY, "resources/list", json!({}))["resources"], json!([]));
    assert_eq!(refused(&gateway, KEY, "tools/list", json!({})), (404, -32601));
    let mut client = Client::connect(gateway.address);
    let session = initialize(&mut client, KEY, "2025-11-25");
    let answer = client.roundtrip(legacy(KEY, &session, 1, "tools/list", json!({})));
    assert_eq!((answer.status, answer.error().0), (200, -32601));
}

#[test]
fn a_server_that_says_nothing_of_itself_is_asked_for_everything() {
    let a = Scripted::modern(|request| unknown_method(request, 404));
    let silent = |request: &Arrived| match method(request) {
        "server/discover" => unknown_method(request, 404),
        "prompts/list" => json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"],
            "result": {"resultType": "complete", "prompts": [{"name": "p"}]}})),
        _ => unknown_method(request, 404),
    };
    let b = Scripted::start(silent);
    let gateway = start(&a, &b);
    assert_eq!(ask(&gateway, KEY, "prompts/list", json!({}))["prompts"], json!([{"name": "b__p"}]));
}

#[test]
fn completions_go_to_who_offers_what_is_completed() {
    let completing = |legacy| Offer {
        legacy,
        capabilities: json!({"prompts": {}, "resources": {}, "completions": {}}),
        lists: json!({
            "prompts/list": prompts(&["review"]),
            "resources/list": {"resources": [{"uri": if legacy { "note://b" } else { "note://a" }, "name": "n"}]},
            "resources/templates/list": {"resourceTemplates": [
                {"uriTemplate": if legacy { "b://{x}" } else { "a://{x}" }, "name": "t"}]}}),
        ..Offer::default()
    };
    let (a, b) = (completing(false).start(), completing(true).start());
    let gateway = start(&a, &b);
    let argument = json!({"name": "x", "value": "caf\u{e9}"});
    let complete =
        |reference: &Value| json!({"ref": reference, "argument": argument, "context": {"n": 1.50}});
    let prompt = |name: &str| json!({"type": "ref/prompt", "name": name});
    let resource = |uri: &str| json!({"type": "ref/resource", "uri": uri});
    let cases = [
        (&a, prompt("a__review"), prompt("review")),
        (&b, prompt("b__review"), prompt("review")),
        (&a, resource("a://{x}"), resource("a://{x}")),
        (&b, resource("b://{x}"), resource("b://{x}")),
        (&b, resource("note://b"), resource("note://b")),
        (&a, resource("a://some"), resource("a://some")),
    ];
    let mut client = Client::connect(gateway.address);
    let session = initialize(&mut client, KEY, "2025-11-25");
    for (upstream, said, heard) in cases {
        let before = upstream.arrived("completion/complete").len();
        let answer = ask(&gateway, KEY, "completion/complete", complete(&said));
        let mut seen = answer["seen"].clone();
        seen.as_object_mut().unwrap().remove("_meta");
        assert_eq!(seen, complete(&heard));
        let answer = client.roundtrip(legacy(KEY, &session, 2, "completion/complete", complete(&said)));
        assert_eq!(answer.json()["result"]["seen"]["ref"], heard);
        let arrived = upstream.arrived("completion/complete");
        assert_eq!(arrived.len(), before + 2);
        assert!(arrived.iter().all(|request| request.header("mcp-name").is_none()));
    }
    for (key, reference, code) in [
        (KEY, prompt("review"), -32602),
        (KEY, prompt("c__review"), -32602),
        // What is hidden is not there.
        ("key-small", prompt("b__review"), -32602),
        ("key-small", resource("b://{x}"), -32602),
        ("key-small", resource("b://some"), -32602),
        // The template is shown; this of what it covers is not.
        (KEY, resource("a://private"), -32602),
    ] {
        let found = refused(&gateway, key, "completion/complete", complete(&reference));
        assert_eq!(found, (200, code), "{reference}");
    }
    for reference in [json!({}), json!({"name": "a__review", "uri": "a://{x}"}), json!(7)] {
        assert_eq!(refused(&gateway, KEY, "completion/complete", complete(&reference)), (400, -32602));
    }
    assert_eq!(a.arrived("completion/complete").len() + b.arrived("completion/complete").len(), 12);
}

#[test]
fn where_nothing_completes_there_is_no_completion_and_where_another_does_there_are_no_values() {
    let lists = json!({"prompts/list": prompts(&["p"])});
    let plain = Offer { capabilities: json!({"prompts": {}}), lists, ..Offer::default() };
    let complete =
        json!({"ref": {"type": "ref/prompt", "name": "a__p"}, "argument": {"name": "x", "value": ""}});
    let (a, b) = (plain.clone().start(), plain.clone().start());
    let gateway = start(&a, &b);
    assert_eq!(refused(&gateway, KEY, "completion/complete", complete.clone()), (404, -32601));
    let capable = Offer { capabilities: json!({"prompts": {}, "completions": {}}), ..plain.clone() };
    let (a, b) = (plain.start(), capable.start());
    let gateway = start(&a, &b);
    let answer = ask(&gateway, KEY, "completion/complete", complete.clone());
    assert_eq!(answer["completion"], json!({"values": []}));
    assert_eq!(answer["resultType"], "complete");
    assert_eq!(a.arrived("completion/complete").len(), 0);
    // What is hidden reads like what does not exist, also here.
    let b = Scripted::modern(|request| unknown_method(request, 404));
    let gateway = start(
        &b,
        &Offer {
            capabilities: json!({"prompts": {}, "completions": {}}),
            lists: json!({"prompts/list": prompts(&["p"])}),
            ..Offer::default()
        }
        .start(),
    );
    let hidden =
        json!({"ref": {"type": "ref/prompt", "name": "b__p"}, "argument": {"name": "x", "value": ""}});
    assert_eq!(refused(&gateway, "key-small", "completion/complete", hidden), (200, -32602));
}

#[test]
fn instructions_are_those_of_upstreams_that_the_caller_sees() {
    let offer = |text: &str, names: &[&str]| {
        Offer {
            capabilities: json!({"prompts": {}}),
            lists: json!({"prompts/list": prompts(names)}),
            instructions: json!(text),
            ..Offer::default()
        }
        .start()
    };
    let (a, b) = (offer("use \"a\"", &["p"]), offer("use b", &["p"]));
    let gateway = start(&a, &b);
    let told = |key| ask(&gateway, key, "server/discover", json!({}))["instructions"].clone();
    assert_eq!(told(KEY), "# a\nuse \"a\"\n# b\nuse b\n");
    assert_eq!(told("key-small"), "# a\nuse \"a\"\n");
}

#[test]
fn lists_may_be_kept_as_long_as_every_part_of_them_and_by_whom_every_part_allows() {
    let page = |kind: &str, ttl_ms: u64, scope: &str| json!({kind: [], "ttlMs": ttl_ms, "cacheScope": scope});
    let a = Offer {
        capabilities: json!({"tools": {}, "prompts": {}, "resources": {}}),
        lists: json!({
            "tools/list": page("tools", 600_000, "public"),
            "prompts/list": page("prompts", 600_000, "public"),
            "resources/list": page("resources", 600_000, "private"),
            "resources/templates/list": page("resourceTemplates", 600_000, "public")}),
        ttl_ms: 600_000,
        ..Offer::default()
    };
    let b = Offer { capabilities: json!({"tools": {}}), ttl_ms: 90_000, ..Offer::default() };
    let b = Offer { lists: json!({"tools/list": page("tools", 60_000, "public")}), ..b };
    let c = Offer { legacy: true, capabilities: json!({"prompts": {}}), ..Offer::default() };
    let c = Offer { lists: json!({"prompts/list": prompts(&[])}), ..c };
    let (a, b, c) = (a.start(), b.start(), c.start());
    let open = |upstreams: &str, names: &str| {
        format!(
            "upstreams:\n{upstreams}\nservers: {{ default: {{ path: /mcp, auth: none, tools: {names}, prompts: {names}, \
             resources: {names} }} }}\npolicy: {{ default: allow }}"
        )
    };
    let kept = |gateway: &Gateway, method: &str| {
        let result = ask(gateway, KEY, method, json!({}));
        (
            result["ttlMs"].as_u64().expect("a number"),
            result["cacheScope"].as_str().expect("a word").to_owned(),
        )
    };
    #[track_caller]
    fn about(found: (u64, String), ttl_ms: u64, scope: &str) {
        // What has passed since it was asked for is little, but some.
        let passed = ttl_ms.checked_sub(found.0).unwrap_or_else(|| panic!("{found:?} is more than {ttl_ms}"));
        assert!(passed < 60_000 && found.1 == scope, "{found:?}");
    }
    let both = format!("  a: {{ http: \"{}\" }}\n  b: {{ http: \"{}\" }}", a.url(), b.url());
    let gateway = Gateway::start(Setup::new(open(&both, "[\"*\"]")));
    about(kept(&gateway, "tools/list"), 60_000, "public");
    // That `b` has no prompts is what it says of itself.
    about(kept(&gateway, "prompts/list"), 600_000, "public");
    about(kept(&gateway, "resources/list"), 600_000, "private");
    about(kept(&gateway, "resources/templates/list"), 600_000, "public");
    about(kept(&gateway, "server/discover"), 90_000, "public");
    let first = kept(&gateway, "tools/list").0;
    wait_for("time to pass", || kept(&gateway, "tools/list").0 < first);
    // A server that knows who asks shows each what is his.
    about(kept(&start(&a, &b), "tools/list"), 60_000, "private");
    // Older revisions have no word for it: what is configured counts.
    for (configured, ttl_ms) in [("", 0), (", list_ttl: 2m", 120_000)] {
        let upstreams =
            format!("  a: {{ http: \"{}\" }}\n  c: {{ http: \"{}\"{configured} }}", a.url(), c.url());
        let gateway = Gateway::start(Setup::new(open(&upstreams, "[\"*\"]")));
        about(kept(&gateway, "prompts/list"), ttl_ms, "private");
    }
    // One that cannot be reached has promised nothing.
    let upstreams = format!("  a: {{ http: \"{}\" }}\n  d: {{ http: \"http://127.0.0.1:1/mcp\" }}", a.url());
    let gateway = Gateway::start(Setup::new(open(&upstreams, "[\"*\"]")));
    assert_eq!(kept(&gateway, "tools/list").0, 0);
}

#[test]
fn ten_thousand_tools_are_listed_in_order_without_asking_anyone() {
    let tools = |name: &str| -> Value {
        (0..5_000)
            .map(|n| json!({"name": format!("{name}-{n}"), "inputSchema": {"type": "object"}}))
            .collect()
    };
    let offer = |legacy, name| {
        let offer = Offer { legacy, capabilities: json!({"tools": {}}), ..Offer::default() };
        Offer { lists: json!({"tools/list": {"tools": tools(name)}}), ..offer }.start()
    };
    let (a, b) = (offer(false, "x"), offer(true, "y"));
    let gateway = start(&a, &b);
    let before = (a.requests(), b.requests());
    let mut client = Client::connect(gateway.address);
    let session = initialize(&mut client, KEY, "2025-11-25");
    let expected: Vec<String> =
        (0..10_000).map(|n| format!("{}-{}", if n < 5_000 { "a__x" } else { "b__y" }, n % 5_000)).collect();
    for asked in 0..4 {
        let mut names = Vec::new();
        let mut params = json!({});
        loop {
            let page = match asked % 2 {
                0 => ask(&gateway, KEY, "tools/list", params),
                _ => {
                    client.roundtrip(legacy(KEY, &session, 1, "tools/list", params)).json()["result"].clone()
                }
            };
            let tools = page["tools"].as_array().expect("tools");
            names.extend(tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
            match page["nextCursor"].as_str() {
                Some(cursor) => params = json!({"cursor": cursor}),
                None => break,
            }
        }
        assert!(names == expected, "{} names", names.len());
    }
    assert_eq!((a.requests(), b.requests()), before);
}

#[test]
fn an_empty_cursor_of_an_upstream_is_one() {
    let pages = |request: &Arrived| {
        let page = match request.body["params"].get("cursor").map(|cursor| cursor.as_str().unwrap()) {
            None => json!({"prompts": [{"name": "first"}], "nextCursor": ""}),
            Some("") => json!({"prompts": [{"name": "second"}]}),
            Some(other) => panic!("nobody gave out {other}"),
        };
        json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": page}))
    };
    let offer = Offer { capabilities: json!({"prompts": {}}), ..Offer::default() };
    let a = Scripted::start(move |request| match method(request) {
        "prompts/list" => pages(request),
        _ => offer.answer(request),
    });
    let b = Offer { capabilities: json!({}), ..Offer::default() }.start();
    let gateway = start(&a, &b);
    let listed = ask(&gateway, KEY, "prompts/list", json!({}));
    assert_eq!(listed["prompts"], json!([{"name": "a__first"}, {"name": "a__second"}]));
}

#[test]
fn clients_are_shown_tools_as_their_revision_has_them() {
    let offer = |legacy| Offer {
        legacy,
        capabilities: json!({"tools": {}}),
        lists: json!({"tools/list": {"tools": [
            {"name": "t", "execution": {"taskSupport": "optional"}, "outputSchema": {"type": "array"}}]}}),
        ..Offer::default()
    };
    let (a, b) = (offer(false).start(), offer(true).start());
    let gateway = start(&a, &b);
    let (task, array) = (json!({"taskSupport": "optional"}), json!({"type": "array"}));
    let newer = ask(&gateway, KEY, "tools/list", json!({}))["tools"].clone();
    assert_eq!(
        newer,
        json!([{"name": "a__t", "execution": task, "outputSchema": array}, {"name": "b__t", "outputSchema": array}])
    );
    let mut client = Client::connect(gateway.address);
    let session = initialize(&mut client, KEY, "2025-11-25");
    let older = client.roundtrip(legacy(KEY, &session, 1, "tools/list", json!({}))).json();
    assert_eq!(
        older["result"]["tools"],
        json!([{"name": "a__t", "execution": task}, {"name": "b__t", "execution": task, "outputSchema": array}])
    );
}

#[test]
fn a_tool_that_is_listed_only_to_a_client_that_can_be_asked_is_known() {
    for legacy in [false, true] {
        let few = json!({"tools/list": {"tools": [{"name": "plain"}]}});
        let all = json!({"tools/list": {"tools": [{"name": "plain"}, {"name": "asks"}]}});
        let few = Offer { legacy, capabilities: json!({"tools": {}}), lists: few, ..Offer::default() };
        let all = Offer { lists: all, ..few.clone() };
        let told = Arc::new(Mutex::new(Value::Null));
        let told_of = told.clone();
        let a = Scripted::start(move |request| {
            let params = &request.body["params"];
            match method(request) {
                "initialize" => *told_of.lock().unwrap() = params["capabilities"].clone(),
                "tools/list" if !legacy => {
                    *told_of.lock().unwrap() =
                        params["_meta"]["io.modelcontextprotocol/clientCapabilities"].clone();
                }
                _ => {}
            }
            let can = told_of.lock().unwrap()["elicitation"].is_object();
            if can { all.answer(request) } else { few.answer(request) }
        });
        let b = Offer { legacy, capabilities: json!({"tools": {}}), ..Offer::default() }.start();
        let gateway = start(&a, &b);
        let tools = ask(&gateway, KEY, "tools/list", json!({}))["tools"].clone();
        assert_eq!(tools, json!([{"name": "a__plain"}, {"name": "a__asks"}]), "legacy {legacy}");
        let wanted = json!({"sampling": {"context": {}, "tools": {}}, "elicitation": {"form": {}, "url": {}}, "roots": {}});
        assert_eq!(*told.lock().unwrap(), wanted, "legacy {legacy}");
        // Who calls is another: what its client declared is what the server is told of it.
        ask(&gateway, KEY, "tools/call", json!({"name": "a__asks", "arguments": {}}));
        if legacy {
            assert_eq!(*told.lock().unwrap(), json!({}), "a client that declares nothing");
        }
    }
}
