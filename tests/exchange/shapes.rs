//! Shapes: tools shown otherwise than their upstream lists them, calls that are narrowed and completed on their way, and
//! results that lose fields on theirs.

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern, post};
use strait_tests::scripted::{self, Arrived, json_reply, method};
use strait_tests::{Answer, Client, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives};
use crate::tasks_across;

const SHAPES: &str = r#"
      up.refund:
        - name: refund_small
          title: Refund
          description: Gives back at most 500.
          args:
            amount: { max: 500, min: 0.01, required: true }
            currency: { enum: [USD, EUR] }
            region: { fix: eu }
            note: { default: "via support" }
            debug: { hide: true }
            opts.mode: { fix: [1, { a: "b" }] }
            opts.dry: { enum: [true] }
        - { name: refund }
"#;

/// The tool that is shaped, and one that is not.
fn tools() -> Value {
    json!([{"name": "refund", "description": "Gives back anything.", "inputSchema": {"type": "object", "properties": {
        "amount": {"type": "number"}, "currency": {"type": "string"}, "debug": {"type": "boolean"},
        "region": {"type": "string", "x-mcp-header": "Region"}, "note": {"type": "string"},
        "opts": {"type": "object", "properties": {"mode": {}, "dry": {"type": "boolean"}}}},
        "required": ["amount", "region"]}}, {"name": "echo", "inputSchema": {"type": "object"}}])
}

/// A server of either era with these tools.
fn server(is_legacy: bool, call: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static) -> Scripted {
    match is_legacy {
        false => Scripted::modern_with(tools(), call),
        true => {
            let rest = scripted::legacy(call);
            Scripted::start(move |request| match method(request) {
                "tools/list" => json_reply(
                    &json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"tools": tools()}}),
                ),
                _ => rest(request),
            })
        }
    }
}

fn start(upstream: &Scripted, shapes: &str) -> Gateway {
    Gateway::start(Setup::new(config(upstream, shapes)))
}

fn config(upstream: &Scripted, shapes: &str) -> String {
    let config = crate::common::config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    let old = r#"servers: { default: { path: /mcp, auth: [staff], tools: ["*"] } }"#;
    assert!(config.contains(old));
    let servers = format!(
        "servers:\n  default:\n    path: /mcp\n    auth: [staff]\n    tools: [\"*\"]\n    shape:{shapes}"
    );
    config.replace(old, &servers)
}

/// A client of either era.
enum Peer {
    Modern(Client),
    Legacy(Client, String),
}

impl Peer {
    fn both(gateway: &Gateway) -> [Peer; 2] {
        let mut older = Client::connect(gateway.address);
        let session = initialize(&mut older, KEY, "2025-11-25");
        [Peer::Modern(Client::connect(gateway.address)), Peer::Legacy(older, session)]
    }

    fn ask(&mut self, method: &str, params: Value) -> Answer {
        match self {
            Peer::Modern(client) => client.roundtrip(modern(KEY, 7, method, params)),
            Peer::Legacy(client, session) => client.roundtrip(legacy(KEY, session, 7, method, params)),
        }
    }

    fn call(&mut self, name: &str, arguments: Value) -> Value {
        let answer = self.ask("tools/call", json!({"name": name, "arguments": arguments}));
        assert_eq!(answer.status, 200);
        let message = answer.messages().pop().expect("an answer");
        assert_eq!(message["id"], 7);
        message
    }

    /// What a call is told that its shape refuses.
    fn refused(&mut self, name: &str, arguments: Value) -> String {
        let message = self.call(name, arguments);
        assert_eq!(message["result"]["isError"], true, "{message}");
        message["result"]["content"][0]["text"].as_str().expect("a text").to_owned()
    }
}

#[test]
fn a_variant_is_listed_as_its_shape_says_beside_the_tool_itself() {
    for is_legacy in [false, true] {
        let upstream = server(is_legacy, |request| json_reply(&scripted::echoed(request)));
        let gateway = start(&upstream, SHAPES);
        for mut peer in Peer::both(&gateway) {
            let list = peer.ask("tools/list", json!({})).json()["result"]["tools"].clone();
            assert_eq!(
                list[0],
                json!({"name": "refund_small", "title": "Refund", "description": "Gives back at most 500.",
                "inputSchema": {"type": "object", "properties": {
                    "amount": {"type": "number", "minimum": 0.01, "maximum": 500},
                    "currency": {"type": "string", "enum": ["USD", "EUR"]},
                    "note": {"type": "string", "default": "via support"},
                    "opts": {"type": "object", "properties": {"dry": {"type": "boolean", "enum": [true]}}}},
                    "required": ["amount"]}})
            );
            assert_eq!((&list[1], &list[2], list.get(3)), (&tools()[0], &tools()[1], None));
        }
    }
}

#[test]
fn a_call_of_a_variant_is_completed_and_everything_else_of_it_is_forwarded_byte_for_byte() {
    for is_legacy in [false, true] {
        let upstream = server(is_legacy, |request| json_reply(&scripted::echoed(request)));
        let gateway = start(&upstream, SHAPES);
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-11-25");
        let mut sent = |arguments: &str| {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{ "x" : 1e2, "name":"refund_small"{arguments}}}}}"#
            );
            let bearer = format!("Bearer {KEY}");
            let headers = [("Authorization", bearer.as_str()), ("Mcp-Session-Id", session.as_str())];
            let answer = client.roundtrip(post(&headers, body.as_bytes()));
            assert_eq!(answer.messages().pop().expect("an answer")["id"], 7);
            upstream.arrived("tools/call").pop().map(|arrived| {
                let raw = String::from_utf8(arrived.raw.clone()).unwrap();
                let at = raw.find(r#""arguments":"#).expect("arguments");
                (
                    raw[at + 12..].trim_end_matches("}").to_owned(),
                    arrived.header("mcp-param-region").map(str::to_owned),
                )
            })
        };
        let added = r#""note":"via support","opts":{"mode":[1,{"a":"b"}]},"region":"eu","#;
        for (arguments, expected) in [
            (r#","arguments":{ "amount" : 5.00 , "more":[ ]}"#, format!(r#"{{{added} "amount" : 5.00 , "more":[ ]"#)),
            (
                r#","arguments":{"note":null,"amount":500.0,"opts":{ }}"#,
                r#"{"region":"eu","note":null,"amount":500.0,"opts":{"mode":[1,{"a":"b"}] "#.to_owned(),
            ),
            (
                r#","arguments":{"n\u006fte":"","amount":1,"opts":{"dry":true},"currency":"\u0055SD"}"#,
                r#"{"region":"eu","n\u006fte":"","amount":1,"opts":{"mode":[1,{"a":"b"}],"dry":true},"currency":"\u0055SD""#.to_owned(),
            ),
        ] {
            let (raw, header) = sent(arguments).expect("a call");
            assert_eq!(raw, expected.trim_end_matches('}'), "{arguments}");
            assert_eq!(header.as_deref(), Some("eu").filter(|_| !is_legacy));
        }
        assert!(upstream.arrived("tools/call").iter().all(|call| call.body["params"]["name"] == "refund"));
        // The tool itself is what it was.
        let mut peers = Peer::both(&gateway);
        let calls = upstream.arrived("tools/call").len();
        peers[1].call("refund", json!({"amount": 9000, "debug": true, "region": "us"}));
        let last = upstream.arrived("tools/call").pop().unwrap();
        assert_eq!(last.body["params"]["arguments"], json!({"amount": 9000, "debug": true, "region": "us"}));
        assert_eq!(upstream.arrived("tools/call").len(), calls + 1);
    }
}

#[test]
fn what_a_shape_does_not_admit_is_refused_in_words_for_the_model() {
    let upstream = server(false, |request| json_reply(&scripted::echoed(request)));
    let gateway = start(&upstream, SHAPES);
    for mut peer in Peer::both(&gateway) {
        let amount = "argument `amount` must be a number of at least 0.01 and at most 500";
        for (arguments, expected) in [
            (json!({"amount": 501}), amount),
            (json!({"amount": 0}), amount),
            (json!({"amount": "5"}), amount),
            (json!({"amount": null}), amount),
            (json!({"amount": [5]}), amount),
            (json!({}), "argument `amount` must be there"),
            (json!({"amount": 5, "currency": "usd"}), "argument `currency` must be one of \"USD\", \"EUR\""),
            (
                json!({"amount": 5, "region": "eu"}),
                "argument `region` is not one of this tool's: leave it out",
            ),
            (json!({"amount": 5, "debug": null}), "argument `debug` is not one of this tool's: leave it out"),
            (json!({"amount": 5, "opts": []}), "argument `opts` must be an object"),
            (
                json!({"amount": 5, "opts": {"mode": 1}}),
                "argument `opts.mode` is not one of this tool's: leave it out",
            ),
            (json!({"amount": 5, "opts": {"dry": false}}), "argument `opts.dry` must be true"),
        ] {
            assert_eq!(peer.refused("refund_small", arguments.clone()), expected, "{arguments}");
        }
    }
    assert_eq!(upstream.arrived("tools/call").len(), 0);
    assert_lives(&gateway);
    let lines = gateway.stop();
    let refused = lines.iter().filter(|line| line["refused"] == "argument").count();
    assert_eq!(refused, 24);
}

#[test]
fn rules_and_limits_see_a_shaped_call_as_its_upstream_gets_it() {
    for is_legacy in [false, true] {
        let upstream = server(is_legacy, |request| json_reply(&scripted::echoed(request)));
        let everything = r#"- { id: all, allow: ["*"], to: [full, small] }"#;
        let config = config(&upstream, SHAPES);
        assert!(config.contains(everything));
        let rule = r#"- { id: eu, allow: [up.refund], to: [full], when: 'args.region == "eu" && args.amount <= 100' }
limits:
  - { id: few, per: [principal], on: [up.refund], calls: 2/day }"#;
        let gateway = Gateway::start(Setup::new(config.replace(everything, rule)));
        let [mut peer, mut older] = Peer::both(&gateway);
        // The region is its shape's, not the caller's.
        assert_eq!(peer.call("refund_small", json!({"amount": 100}))["result"]["isError"], Value::Null);
        let refused = peer.call("refund_small", json!({"amount": 101}));
        assert_eq!(refused["result"]["_meta"]["dev.strait/refusal"]["reason"], "no_rule", "{refused}");
        let words = "argument `amount` must be a number of at least 0.01 and at most 500";
        assert_eq!(peer.refused("refund_small", json!({"amount": 501})), words);
        let foreign = peer.call("refund", json!({"amount": 1, "region": "us"}));
        assert_eq!(foreign["result"]["_meta"]["dev.strait/refusal"]["reason"], "no_rule", "{foreign}");
        // What is refused counts nothing; the tool and its variant are one to a limit.
        assert_eq!(
            older.call("refund", json!({"amount": 1, "region": "eu"}))["result"]["isError"],
            Value::Null
        );
        let spent = older.call("refund_small", json!({"amount": 1}));
        assert!(spent.to_string().contains("few"), "{spent}");
        assert_eq!(upstream.arrived("tools/call").len(), 2);
        assert_lives(&gateway);
    }
}

const DROPS: &str = r#"
      up.refund: { output: { drop: [customer.email, "items.*.secret"] } }
"#;

/// A result with what is dropped in each place where it is looked for, and what is left of it.
fn results() -> [Value; 2] {
    let data = json!({"customer": {"email": "a@b.c", "id": 1}, "items": [{"secret": "s", "n": 1.5}, {"n": 2}, 7], "email": "stays"});
    let left = json!({"customer": {"id": 1}, "items": [{"n": 1.5}, {"n": 2}, 7], "email": "stays"});
    [data, left].map(|data| {
        json!({"content": [{"type": "text", "text": data.to_string()}, {"type": "text", "text": "a@b.c in words"},
            {"type": "resource", "resource": {"uri": "x://y", "text": json!([data]).to_string()}}],
            "structuredContent": data})
    })
}

fn answered(request: &Arrived, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result})
}

/// What a client is told, without what its own gateway says beside.
fn told(message: &Value) -> Value {
    let result = &message["result"];
    json!({"content": result["content"], "structuredContent": result["structuredContent"]})
}

#[test]
fn what_is_dropped_leaves_results_whichever_way_they_come() {
    for is_legacy in [false, true] {
        let upstream = server(is_legacy, |request| {
            let [whole, _] = results();
            match request.argument("as") {
                "json" => json_reply(&answered(request, &whole)),
                "stream" => {
                    let progress =
                        scripted::event(&json!({"jsonrpc": "2.0", "method": "notifications/message",
                        "params": {"level": "info", "data": "x"}}));
                    let last = scripted::event(&answered(request, &whole));
                    vec![Step::Send(
                        [scripted::event_stream(), progress, last, b"0\r\n\r\n".to_vec()].concat(),
                    )]
                }
                // Larger than the window in which small replies are checked.
                "large" | "huge" => {
                    let mut whole = whole;
                    let bytes = if request.argument("as") == "large" { 300_000 } else { 5_000_000 };
                    whole["content"][1]["text"] = json!("x".repeat(bytes));
                    json_reply(&answered(request, &whole))
                }
                _ => json_reply(&answered(request, &json!({"structuredContent": [[[[[[[[[1]]]]]]]]]}))),
            }
        });
        let gateway = start(&upstream, DROPS);
        let [_, left] = results();
        for mut peer in Peer::both(&gateway) {
            for way in ["json", "stream"] {
                assert_eq!(told(&peer.call("refund", json!({"as": way}))), left, "{way}");
            }
            let mut large = left.clone();
            large["content"][1]["text"] = json!("x".repeat(300_000));
            assert!(told(&peer.call("refund", json!({"as": "large"}))) == large);
            // What cannot be looked at is not passed on.
            for (way, reason) in [("huge", "upstream_reply_too_large"), ("deep", "upstream_not_mcp")] {
                let message = peer.call("refund", json!({"as": way}));
                assert_eq!(message["error"]["data"]["reason"], reason, "{way}");
            }
            // A tool without a shape says what it says.
            assert_eq!(told(&peer.call("echo", json!({"as": "json"}))), results()[0]);
        }
        assert_lives(&gateway);
    }
}

#[test]
fn a_call_that_is_made_again_is_made_as_its_shape_says() {
    let upstream = server(false, |request| match request.body["params"]["requestState"].as_str() {
        Some("again") => json_reply(&answered(request, &results()[0])),
        _ => {
            json_reply(&answered(request, &json!({"resultType": "input_required", "requestState": "again"})))
        }
    });
    let shape = SHAPES.replace(
        "          args:",
        "          output: { drop: [customer.email, items.secret] }\n          args:",
    );
    let gateway = start(&upstream, &shape);
    let [_, mut peer] = Peer::both(&gateway);
    assert_eq!(told(&peer.call("refund_small", json!({"amount": 1}))), results()[1]);
    let sent = upstream.arrived("tools/call");
    let arguments =
        json!({"note": "via support", "opts": {"mode": [1, {"a": "b"}]}, "region": "eu", "amount": 1});
    assert_eq!(sent.len(), 2);
    for call in sent {
        assert_eq!(
            (&call.body["params"]["name"], &call.body["params"]["arguments"]),
            (&json!("refund"), &arguments)
        );
        assert_eq!(call.header("mcp-param-region"), Some("eu"));
    }
    assert_lives(&gateway);
}

/// A server of 2025-11-25 whose calls are tasks if their clients say so.
fn task_server() -> Scripted {
    let rest = scripted::legacy(|request| json_reply(&scripted::echoed(request)));
    Scripted::start(move |request| {
        let described = json!({"taskId": "job", "status": "completed", "createdAt": "c", "lastUpdatedAt": "l", "ttl": 60000});
        let result = match method(request) {
            "initialize" => {
                let mut answer = scripted::initialized(request);
                answer["result"]["capabilities"] =
                    json!({"tools": {}, "tasks": {"requests": {"tools": {"call": {}}}}});
                return json_reply(&answer);
            }
            "tools/list" => {
                let mut tools = tools();
                tools[0]["execution"] = json!({"taskSupport": "required"});
                json!({"tools": tools})
            }
            "tools/call" => json!({"task": described}),
            "tasks/get" => described,
            "tasks/result" => results()[0].clone(),
            _ => return rest(request),
        };
        json_reply(&answered(request, &result))
    })
}

#[test]
fn results_of_tasks_lose_what_results_of_calls_do() {
    let upstream = task_server();
    let gateway = start(&upstream, DROPS);
    let [mut newer, mut older] = Peer::both(&gateway);
    let begun = older.ask("tools/call", json!({"name": "refund", "arguments": {}, "task": {}})).json();
    let id = begun["result"]["task"]["taskId"].as_str().expect("a task").to_owned();
    assert_eq!(told(&older.ask("tasks/result", json!({"taskId": id})).json()), results()[1]);
    // A client that knows no tasks has the result for its answer.
    assert_eq!(told(&newer.call("refund", json!({}))), results()[1]);
    // One that knows those of 2026-07-28 has it in the task's state.
    let declared = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let mut ask = |method: &str, params: Value| {
        let Peer::Modern(client) = &mut newer else { unreachable!() };
        client.roundtrip(tasks_across::modern(7, method, params, declared.clone())).json()
    };
    let begun = ask("tools/call", json!({"name": "refund", "arguments": {}}));
    let id = begun["result"]["taskId"].as_str().expect("a task").to_owned();
    let state = ask("tasks/get", json!({"taskId": id}));
    assert_eq!(state["result"]["status"], "completed", "{state}");
    assert_eq!(told(&state["result"]), results()[1]);
    // What a shape refuses is an error where there would be a task instead of a result.
    let shapes = "\n      up.refund: { args: { amount: { max: 500 } } }\n";
    let gateway = start(&upstream, shapes);
    let [_, mut older] = Peer::both(&gateway);
    let refused =
        older.ask("tools/call", json!({"name": "refund", "arguments": {"amount": 501}, "task": {}}));
    assert_eq!(refused.error(), (-32602, "argument `amount` must be a number of at most 500".to_owned()));
    assert_lives(&gateway);
}

#[test]
fn a_shape_tells_nothing_to_who_may_not_call_its_tool() {
    let upstream = server(false, |request| json_reply(&scripted::echoed(request)));
    let config = format!(
        r#"
upstreams: {{ up: {{ http: "{}" }} }}
servers:
  default:
    path: /mcp
    auth: [staff]
    tools: ["*"]
    shape: {{ up.refund: {{ name: small, args: {{ amount: {{ max: 5 }} }} }} }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
roles: {{ full: '"full" in principal.groups' }}
policy:
  default: deny
  rules:
    - {{ id: refunds, allow: [up.refund], to: [full] }}
    - {{ id: variant, allow: [up.small] }}
"#,
        upstream.url()
    );
    let gateway = Gateway::start(Setup::new(config));
    let mut client = Client::connect(gateway.address);
    let mut call = |key: &str, name: &str, amount: i64| {
        let params = json!({"name": name, "arguments": {"amount": amount}});
        client.roundtrip(modern(key, 7, "tools/call", params))
    };
    // Rules speak of the upstream's own name.
    for (name, amount) in [("small", 6), ("small", 5), ("refund", 5)] {
        assert_eq!(call("key-small", name, amount).error(), (-32602, format!("Unknown tool: {name}")));
    }
    assert_eq!(call(KEY, "refund", 5).error().0, -32602, "the tool itself is not shown");
    assert_eq!(call(KEY, "small", 6).json()["result"]["isError"], true);
    assert_eq!(call(KEY, "small", 5).json()["result"]["content"][0]["text"], "{\"amount\":5}");
    assert_eq!(upstream.arrived("tools/call").len(), 1);
    drop(client);
    let lines = gateway.stop();
    let line = lines.iter().find(|line| line["refused"] == "argument").expect("a line");
    assert_eq!(
        (&line["tool"], &line["variant"], &line["rule"]),
        (&json!("refund"), &json!("small"), &json!("refunds"))
    );
}
