//! Two upstreams of one server that use the same URIs: whose a URI is can be told from it, wherever it is said.

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern};
use strait_tests::scripted::{Arrived, json_reply, method};
use strait_tests::{Client, Gateway, Scripted, Setup};

use crate::catalog::Offer;
use crate::common::KEY;

/// A server whose resources are the same as its neighbour's; what it says holds links to them.
fn upstream(name: &'static str, older: bool) -> Scripted {
    let offer = Offer {
        legacy: older,
        capabilities: json!({"tools": {}, "prompts": {}, "resources": {}, "completions": {}}),
        lists: json!({
            "tools/list": {"tools": [{"name": "links", "inputSchema": {"type": "object"},
                "_meta": {"ui": {"resourceUri": "ui://a/b"}}}]},
            "prompts/list": {"prompts": [{"name": "p"}]},
            "resources/list": {"resources": [{"uri": "note://one", "name": "n"}, {"uri": "ui://a/b", "name": "u"},
                {"uri": format!("note://{name}"), "name": "own"}]},
            "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "file:///{+path}", "name": "f"}]}}),
        ..Offer::default()
    };
    Scripted::start(move |request: &Arrived| {
        let links = json!([{"type": "text", "text": "note://one"}, {"type": "resource_link", "uri": "note://one", "name": "n"},
            {"type": "resource", "resource": {"uri": "file:///x%20y", "text": name}},
            {"type": "resource_link", "uri": format!("note://{name}"), "name": "n"}]);
        let result = match method(request) {
            "resources/read" => {
                let uri = &request.body["params"]["uri"];
                let large = uri.as_str().is_some_and(|uri| uri.ends_with("/large"));
                let text = if large { name.repeat(200_000) } else { name.to_owned() };
                json!({"contents": [{"uri": uri, "text": text}, {"text": text, "uri": uri}]})
            }
            "tools/call" => json!({"content": links, "structuredContent": {"uri": "note://one"}}),
            "prompts/get" => json!({"messages": [{"role": "user", "content": links[1]}]}),
            _ => return offer.answer(request),
        };
        let mut result = result;
        if !older {
            result["resultType"] = json!("complete");
        }
        json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result}))
    })
}

struct Asker<'g> {
    gateway: &'g Gateway,
    session: Option<(Client, String)>,
}

impl Asker<'_> {
    fn ask(&mut self, method: &str, params: Value) -> Value {
        match &mut self.session {
            None => Client::connect(self.gateway.address).roundtrip(modern(KEY, 1, method, params)).json(),
            Some((client, session)) => client.roundtrip(legacy(KEY, session, 1, method, params)).json(),
        }
    }

    fn read(&mut self, uri: &str) -> Value {
        self.ask("resources/read", json!({"uri": uri}))
    }
}

fn listed(answer: &Value, items: &str, key: &str) -> Vec<String> {
    let items = answer["result"][items].as_array().unwrap_or_else(|| panic!("{answer}"));
    items.iter().map(|item| item[key].as_str().expect("text").to_owned()).collect()
}

#[test]
fn what_two_upstreams_call_alike_is_told_apart_everywhere() {
    let (a, b) = (upstream("a", false), upstream("b_B", true));
    for workers in [false, true] {
        let gateway = Gateway::start(Setup {
            force_wrong_worker: workers,
            ..Setup::new(format!(
                r#"
upstreams:
  a: {{ http: "{}" }}
  b_B: {{ http: "{}" }}
servers: {{ default: {{ path: /mcp, auth: [staff], tools: ["*"], prompts: ["*"], resources: ["*"] }} }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
policy:
  default: allow
  rules:
    - {{ id: no, deny: ["b_B.file:///secret*"] }}
"#,
                a.url(),
                b.url()
            ))
        });
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-11-25");
        let newer = Asker { gateway: &gateway, session: None };
        let older = Asker { gateway: &gateway, session: Some((client, session)) };
        for mut asker in [newer, older] {
            let one = "mcp+b.+b://note%3A%2F%2Fone";
            let file = "mcp+b.+b://file%3A%2F%2F%2F";
            let resources = asker.ask("resources/list", json!({}));
            assert_eq!(
                listed(&resources, "resources", "uri"),
                ["note://one", "ui://a/b", "note://a", one, "ui://b_B/a/b", "note://b_B"]
            );
            let templates = asker.ask("resources/templates/list", json!({}));
            let template = format!("{file}{{+path}}");
            assert_eq!(
                listed(&templates, "resourceTemplates", "uriTemplate"),
                ["file:///{+path}", template.as_str()]
            );
            let tools = asker.ask("tools/list", json!({}));
            assert_eq!(tools["result"]["tools"][0]["_meta"]["ui"]["resourceUri"], "ui://a/b");
            assert_eq!(tools["result"]["tools"][1]["_meta"]["ui"]["resourceUri"], "ui://b_B/a/b");
            // Each is read where it is, and says its name as it was asked for.
            for (shown, of, own) in [
                ("note://one", &a, "note://one"),
                (one, &b, "note://one"),
                ("ui://b_B/a/b", &b, "ui://a/b"),
                ("file:///x%20y", &a, "file:///x%20y"),
                (&*format!("{file}x%20y/z"), &b, "file:///x%20y/z"),
                (&*format!("{file}large"), &b, "file:///large"),
                ("note://b_B", &b, "note://b_B"),
            ] {
                let answer = asker.read(shown);
                let contents = &answer["result"]["contents"];
                assert_eq!([&contents[0]["uri"], &contents[1]["uri"]], [shown, shown], "{}", answer["error"]);
                let arrived = of.arrived("resources/read").pop().expect("a call");
                assert_eq!(arrived.body["params"]["uri"], own, "{shown}");
                assert!(arrived.header("mcp-name").is_none_or(|name| name == own));
            }
            // What the other calls it is no name here, and a rule speaks of what its upstream calls it.
            let before = (a.requests(), b.requests());
            for hidden in
                ["mcp+a://note%3A%2F%2Fone", "mcp+b.+b://note%3A%2F%2Ftwo", &format!("{file}secret/x")]
            {
                assert!(asker.read(hidden)["error"]["code"].is_i64(), "{hidden}");
            }
            assert_eq!((a.requests(), b.requests()), before);
            // Links lead to where they came from.
            for (tool, uris) in [
                ("a__links", ["note://one", "file:///x%20y", "note://a"]),
                ("b_B__links", [one, &*format!("{file}x%20y"), "note://b_B"]),
            ] {
                let answer = asker.ask("tools/call", json!({"name": tool, "arguments": {}}));
                let result = &answer["result"];
                assert_eq!(result["content"][0]["text"], "note://one");
                let links = [
                    &result["content"][1]["uri"],
                    &result["content"][2]["resource"]["uri"],
                    &result["content"][3]["uri"],
                ];
                assert_eq!(links, uris.map(|uri| json!(uri)).each_ref(), "{answer}");
                assert_eq!(result["structuredContent"]["uri"], "note://one");
                let prompt = asker.ask("prompts/get", json!({"name": tool.replace("links", "p")}));
                assert_eq!(prompt["result"]["messages"][0]["content"]["uri"], uris[0]);
            }
            let complete = |uri: &str| json!({"ref": {"type": "ref/resource", "uri": uri}, "argument": {"name": "path", "value": ""}});
            for (shown, of, own) in [
                ("file:///{+path}", &a, "file:///{+path}"),
                (template.as_str(), &b, "file:///{+path}"),
                (one, &b, "note://one"),
            ] {
                asker.ask("completion/complete", complete(shown));
                let arrived = of.arrived("completion/complete").pop().expect("a call");
                assert_eq!(arrived.body["params"]["ref"]["uri"], own, "{shown}");
            }
        }
    }
}
