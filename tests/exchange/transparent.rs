//! A server with one upstream renames nothing and changes nothing: what a client says arrives as it was written, what
//! the upstream says comes back as it was written, compared byte by byte. Only ids differ; between the eras, the members
//! that a bridge adds or takes away.

use std::path::PathBuf;

use serde_json::json;
use strait_tests::client::{initialize, modern, post};
use strait_tests::gateway::scratch_folder;
use strait_tests::scripted::{ACCEPTED, Arrived, NOT_INITIALIZED, event_stream, http, unknown_method};
use strait_tests::{Answer, Client, Gateway, Scripted, Setup, Step};

use crate::common::KEY;

/// Stands for the id that each side uses.
const ID: &str = "<id>";
/// The client's id: a string with an escape that a parser would not write again.
const CLIENT_ID: &str = r#""\u0061\/b \ud83d\ude00""#;

/// Names and URIs are as odd as headers allow without an encoding.
const TOOL: &str = r#"{ "inputSchema" : {"type":"object","$defs":{"x":1.0E+2,"X":-0.0},"additionalProperties" :false, "properties":{"name":{"type":"string","pattern":"^\\d\/\u00e9$"},"big":{"maximum":123456789012345678901234567890}} ,"":[ ]},	"name":"e.c_h-o" , "title":"\ud83d\ude00 é","x-more":{"name":"other","execution":{}}, "_meta" : {"id":7}}"#;
const PROMPT: &str = r#"{"arguments":[ {"required" : true,"name":"a\/b"} ],"name":"p","Name":"q", "icons":[{"src":"data:,"}]}"#;
const RESOURCE: &str =
    r#"{ "uri":"note://one", "name" : "uri","size":1e3,"annotations":{"priority":0.10 } }"#;
const TEMPLATE: &str = r#"{"uriTemplate" : "file:///{+path}","name":"t","mimeType":"text\/plain"}"#;

/// Members that a server may say in any result, as oddly as JSON allows.
const MEMBERS: &str = r#""x-unknown" : {"resultType":"other","ttlMs":-1,"id":3,"result":[ { } ],"error":null} , "X-Unknown":12345678901234567890123.50E-7,	"esc\u0061pe\/d":"\u0000\u001f \ud83d\ude00 \u00E9 é","_meta" : { "com.example/k":[1.0,1e400, -0 ],"progressToken":9 }"#;

/// What is asked, with the params as the client writes them, and the result or error as the server does. `<id>` is the
/// id's place.
struct Case {
    method: &'static str,
    /// For `Mcp-Name`.
    name: Option<&'static str>,
    params: &'static str,
    outcome: &'static str,
}

const CASES: &[Case] = &[
    Case {
        method: "tools/call",
        name: Some("e.c_h-o"),
        params: r#""name" : "e.c_h-\u006f","arguments":{ "n":18446744073709551615,"f":1.50E+2 ,"id":7,"ID":"7","s":"\u00e9\/é","nested":{"name":"x","_meta":{}} } ,"x-more":[ ]"#,
        outcome: r#""result" : {"content" : [ {"type":"text","text":"caf\u00e9 \/ é","annotations":{"priority":0.10}} ,{"type":"resource_link","uri":"note://one","name":"n"}, {"type":"resource","resource":{"uri":"note:\/\/one","text":""}}],"structuredContent":{"n":-0.0, "":[ ]},	"isError" : false , <members>}"#,
    },
    Case {
        method: "tools/call",
        name: Some("e.c_h-o"),
        params: r#""name":"e.c_h-o""#,
        outcome: r#""error" : { "data":{"x":[1.0, {"code":1}]} ,"message":"no\u002c \"never\"","code" : -32099, "more":null}"#,
    },
    Case {
        method: "prompts/get",
        name: Some("p"),
        params: r#""arguments":{"a\/b":"\u00e9"}, "name":"p""#,
        outcome: r#""result":{<members>,"messages" : [ {"role":"user","content":{"type":"text","text":"\u0061"}} ]}"#,
    },
    Case {
        method: "resources/read",
        name: Some("note://one"),
        params: r#""uri":"note:\/\/one" "#,
        outcome: r#""result":{"contents":[{"uri":"note:\/\/one","text":"\u0061"}, {"uri":"note://other","blob":""}] , <members> }"#,
    },
    Case {
        method: "resources/read",
        name: Some("file:///a%20b"),
        params: r#""uri":"file:///a%20b""#,
        outcome: r#""error":{"code":-32603,"message":"\u0061 b","data":{ "uri" : "file:///a%20b" }}"#,
    },
    Case {
        method: "completion/complete",
        name: None,
        params: r#""ref":{"type" : "ref\/resource","uri":"file:///{+path}"},"argument":{"name":"path","value":"\u0061"} ,"context":{"arguments":{"n":"1.50"}}"#,
        outcome: r#""result":{"completion":{"values" : ["\u0061", "é"],"total":1e2 ,"hasMore":false}, <members>}"#,
    },
    Case {
        method: "completion/complete",
        name: None,
        params: r#""argument":{"value":"","name":"a\/b"} ,"ref":{"name":"\u0070","type":"ref/prompt"}"#,
        outcome: r#""result":{<members>, "completion":{"values":[]}}"#,
    },
    // A method that nobody here knows.
    Case {
        method: "acme/do_it",
        name: None,
        params: r#""name":"x" , "acme":{"uri":"\u0061"}"#,
        outcome: r#""result":{"acme" : [1.0, {"id":1}], <members>}"#,
    },
];

#[derive(Clone, Copy, PartialEq, Debug)]
enum Era {
    Modern,
    Legacy,
}

/// How an upstream answers.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Carrier {
    Json,
    /// As an event, its lines as lines of data.
    Events,
    /// A child's line.
    Line,
}

/// What the upstream says to a request, `<id>` in place.
fn said(era: Era, method: &str, asked: &[u8]) -> Option<String> {
    let capabilities = r#"{"tools":{},"prompts":{},"resources":{},"completions":{}}"#;
    let result = |members: &str| match era {
        Era::Modern => {
            format!(r#"{{"jsonrpc":"2.0","id":{ID},"result":{{"resultType":"complete",{members}}}}}"#)
        }
        Era::Legacy => format!(r#"{{"jsonrpc":"2.0","id":{ID},"result":{{{members}}}}}"#),
    };
    Some(match method {
        "server/discover" if era == Era::Modern => {
            result(&format!(r#""supportedVersions":["2026-07-28"],"capabilities":{capabilities}"#))
        }
        "initialize" if era == Era::Legacy => result(&format!(
            r#""protocolVersion":"2025-11-25","capabilities":{capabilities},"serverInfo":{{"name":"s","version":"1"}}"#
        )),
        "tools/list" => result(&format!(r#""tools":[ {TOOL} ]"#)),
        "prompts/list" => result(&format!(r#""prompts":[{PROMPT}]"#)),
        "resources/list" => result(&format!(r#""resources":[{RESOURCE} ]"#)),
        "resources/templates/list" => result(&format!(r#""resourceTemplates":[ {TEMPLATE}]"#)),
        _ => {
            // The client's own bytes say which case it is.
            let is_it =
                |case: &&Case| asked.windows(case.params.len()).any(|part| part == case.params.as_bytes());
            answer(era, CASES.iter().filter(|case| case.method == method).find(is_it)?)
        }
    })
}

/// The message that answers a case, as its server writes it.
fn answer(era: Era, case: &Case) -> String {
    let outcome = case.outcome.replace("<members>", MEMBERS);
    let outcome = match era {
        Era::Modern => outcome.replacen(
            r#""result":{"#,
            r#""result":{ "resultType" : "complete" ,"ttlMs":5,"cacheScope":"public", "#,
            1,
        ),
        Era::Legacy => outcome,
    };
    let outcome = match era {
        Era::Modern => outcome.replacen(r#""result" : {"#, r#""result" : {"resultType":"complete","#, 1),
        Era::Legacy => outcome,
    };
    format!(" {{{outcome} ,\t\"x\":{{\"id\":1}},\"id\" : {ID} ,\n\"jsonrpc\":\"2.0\"}} ")
}

fn upstream(era: Era, carrier: Carrier) -> Scripted {
    Scripted::start(move |request: &Arrived| {
        if matches!(request.verb(), "GET" | "DELETE") {
            return vec![Step::Send(http(405, "text/plain", b"POST only"))];
        }
        let method = request.body["method"].as_str().expect("a method");
        let Some(said) = said(era, method, &request.raw) else {
            return match (method, era) {
                ("notifications/initialized", _) => vec![Step::Send(ACCEPTED.to_vec())],
                ("server/discover", Era::Legacy) => {
                    vec![Step::Send(http(400, "application/json", NOT_INITIALIZED))]
                }
                _ => unknown_method(request, if era == Era::Modern { 404 } else { 200 }),
            };
        };
        let said = said.replace(ID, &request.body["id"].to_string());
        match carrier {
            Carrier::Json => vec![Step::Send(http(200, "application/json", said.as_bytes()))],
            _ => {
                let event: String = said.split('\n').map(|line| format!("data: {line}\n")).collect();
                let chunk = format!("{:x}\r\n{event}\n\r\n0\r\n\r\n", event.len() + 1);
                vec![Step::Send([event_stream(), chunk.into_bytes()].concat())]
            }
        }
    })
}

/// A child that answers as [`said`] does, one line for one, and writes down what it was told.
fn child(era: Era, folder: &std::path::Path) -> String {
    let lists = [
        "server/discover",
        "initialize",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
    ];
    let mut table = serde_json::Map::new();
    for method in lists {
        if let Some(said) = said(era, method, b"") {
            table.insert(method.to_owned(), said.into());
        }
    }
    for case in CASES {
        table.insert(case.params.to_owned(), answer(era, case).replace('\n', " ").into());
    }
    std::fs::write(folder.join("table.json"), serde_json::Value::Object(table).to_string()).expect("write");
    let script = r#"
import json, sys
table = json.load(open(sys.argv[1] + "/table.json"))
told = open(sys.argv[1] + "/told", "wb", buffering=0)
for line in sys.stdin.buffer:
    message = json.loads(line)
    if "id" not in message:
        continue
    text = line.decode()
    said = table.get(message["method"]) or next((v for k, v in table.items() if k in text), None)
    if said is None:
        said = '{"jsonrpc":"2.0","id":<id>,"error":{"code":-32601,"message":"Method not found"}}'
    elif message["method"] not in table:
        told.write(line)
    sys.stdout.buffer.write(said.replace("<id>", json.dumps(message["id"])).encode() + b"\n")
    sys.stdout.buffer.flush()
"#;
    std::fs::write(folder.join("child.py"), script).expect("write the script");
    format!("{{ stdio: {{ command: python3, args: [\"{0}/child.py\", \"{0}\"] }} }}", folder.display())
}

/// What a client writes: odd white space, members in an odd order, escapes where none are needed.
fn request(case: &Case, era: Era, id: &str) -> String {
    let meta = match era {
        Era::Modern => {
            r#", "_meta" : { "io.modelcontextprotocol/protocolVersion":"2026-07-28","com.example/\u006b":{"a":1.0} ,"io.modelcontextprotocol/clientCapabilities":{ } }"#
        }
        Era::Legacy => r#", "_meta" : { "com.example/\u006b":{"a":1.0} }"#,
    };
    let method = case.method.replace('/', "\\/");
    format!(
        " {{\n \"params\" : {{{}{meta} }} ,\t\"id\" : {id},\"x-more\":{{}} , \"method\":\"{method}\",\"jsonrpc\" : \"2.0\"}}\n",
        case.params
    )
}

/// Two identical texts, shown from where they differ.
#[track_caller]
fn same(found: &str, expected: &str, what: &str) {
    let at = found.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count();
    let from = found.floor_char_boundary(at.min(found.len()).saturating_sub(40));
    assert!(
        found == expected,
        "{what}: differs at {at}:\nfound    {}\nexpected {}",
        &found[from..],
        &expected[expected.floor_char_boundary(from)..]
    );
}

struct Speaker {
    client: Client,
    era: Era,
    session: Option<String>,
}

impl Speaker {
    fn new(gateway: &Gateway, era: Era) -> Speaker {
        let mut client = Client::connect(gateway.address);
        let session = (era == Era::Legacy).then(|| initialize(&mut client, KEY, "2025-11-25"));
        Speaker { client, era, session }
    }

    fn ask(&mut self, method: &str, name: Option<&str>, body: &str) -> Answer {
        let bearer = format!("Bearer {KEY}");
        let mut headers = vec![("Authorization", bearer.as_str())];
        match &self.session {
            Some(session) => headers.push(("Mcp-Session-Id", session)),
            None => {
                headers.extend([("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)]);
                headers.extend(name.map(|name| ("Mcp-Name", name)));
            }
        }
        self.client.roundtrip(post(&headers, body.as_bytes()))
    }

    /// The answer's message as it was written.
    fn message(&mut self, case: &Case, id: &str) -> String {
        let answer = self.ask(case.method, case.name, &request(case, self.era, id));
        let body = String::from_utf8(answer.body).expect("UTF-8");
        assert_eq!(answer.status, 200, "{}: {body}", case.method);
        if answer.headers.iter().any(|(_, value)| value == "text/event-stream") {
            let lines: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            return lines.join("\n");
        }
        body
    }
}

/// A gateway in front of one upstream, what tells what the upstream was told, and what must be kept until the end.
struct Stage {
    gateway: Gateway,
    upstream: Option<Scripted>,
    folder: PathBuf,
}

impl Stage {
    fn new(era: Era, carrier: Carrier) -> Stage {
        let folder = scratch_folder();
        if carrier == Carrier::Line {
            let reach = child(era, &folder);
            return Stage::at(&reach, None, folder);
        }
        Stage::of(upstream(era, carrier), folder)
    }

    fn of(upstream: Scripted, folder: PathBuf) -> Stage {
        Stage::at(&format!("{{ http: \"{}\" }}", upstream.url()), Some(upstream), folder)
    }

    fn at(reach: &str, upstream: Option<Scripted>, folder: PathBuf) -> Stage {
        let gateway = Gateway::start(Setup::new(format!(
            r#"
upstreams: {{ up: {reach} }}
servers: {{ default: {{ path: /mcp, auth: [staff], tools: ["*"], prompts: ["*"], resources: ["*"] }} }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
policy: {{ default: allow }}
"#
        )));
        assert_eq!(gateway.learning_fault(0), None);
        Stage { gateway, upstream, folder }
    }

    /// The last call, as it arrived, and the id that it had.
    fn told(&self, case: &Case) -> (String, String) {
        let raw = match &self.upstream {
            Some(upstream) => upstream.arrived(case.method).pop().expect("the call arrived").raw,
            None => {
                let told = std::fs::read(self.folder.join("told")).expect("what it was told");
                told.split_inclusive(|byte| *byte == b'\n').next_back().expect("a line").to_vec()
            }
        };
        let id = serde_json::from_slice::<serde_json::Value>(&raw).expect("JSON")["id"].to_string();
        (String::from_utf8(raw).expect("UTF-8"), id)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const CARRIERS: [Carrier; 3] = [Carrier::Json, Carrier::Events, Carrier::Line];

#[test]
fn between_peers_of_one_era_only_ids_change() {
    for era in [Era::Modern, Era::Legacy] {
        for carrier in CARRIERS {
            let stage = Stage::new(era, carrier);
            let mut speaker = Speaker::new(&stage.gateway, era);
            for case in CASES {
                let what = format!("{} {era:?} {carrier:?}", case.method);
                let found = speaker.message(case, CLIENT_ID);
                let expected = answer(era, case).replace(ID, CLIENT_ID);
                let line =
                    |text: String| if carrier == Carrier::Line { text.replace('\n', " ") } else { text };
                same(found.trim(), line(expected).trim(), &format!("the answer to {what}"));
                let (told, id) = stage.told(case);
                same(told.trim(), line(request(case, era, &id)).trim(), &format!("the request of {what}"));
            }
        }
    }
}

/// What stands between the beginning and the end that `found` shares with `text`: added members, each with its comma.
#[track_caller]
fn added<'f>(found: &'f str, text: &str, at: usize, what: &str) -> &'f str {
    let (begin, end) = text.split_at(at);
    same(&found[..begin.len().min(found.len())], begin, what);
    let rest = &found[begin.len()..];
    let middle = rest.len().checked_sub(end.len()).unwrap_or_else(|| panic!("{what}: cut short: {found}"));
    same(&rest[middle..], end, what);
    &rest[..middle]
}

#[track_caller]
fn keys(members: &str) -> Vec<String> {
    let object = format!("{{{}}}", members.trim_end_matches(','));
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&object).expect("whole members");
    object.keys().cloned().collect()
}

#[test]
fn towards_an_older_server_nothing_of_a_request_changes_and_its_answer_gains_what_is_demanded() {
    for carrier in CARRIERS {
        let stage = Stage::new(Era::Legacy, carrier);
        let mut speaker = Speaker::new(&stage.gateway, Era::Modern);
        for case in CASES {
            let what = format!("{} {carrier:?}", case.method);
            let line = |text: String| if carrier == Carrier::Line { text.replace('\n', " ") } else { text };
            // Who answers is said where all that is about the result is said.
            let (mut found, said) =
                (speaker.message(case, CLIENT_ID), "\"io.modelcontextprotocol/serverInfo\":");
            if let Some(from) = found.find(said) {
                let to = from + found[from..].find("},").expect("its end") + 2;
                found.replace_range(from..to, "");
            }
            let expected = line(answer(Era::Legacy, case).replace(ID, CLIENT_ID));
            let expected = expected.trim();
            let open =
                expected.find("\"result\"").map(|at| at + expected[at..].find('{').expect("an object") + 1);
            match open {
                Some(open) => {
                    let mut keys = keys(added(found.trim(), expected, open, &what));
                    keys.sort();
                    let demanded = match case.method {
                        "resources/read" => &["cacheScope", "resultType", "ttlMs"][..],
                        _ => &["resultType"],
                    };
                    assert_eq!(keys, demanded, "{what}");
                }
                None => same(found.trim(), expected, &what),
            }
            let (told, id) = stage.told(case);
            let expected = line(request(case, Era::Modern, &id));
            same(told.trim(), expected.trim(), &format!("the request of {what}"));
        }
    }
}

#[test]
fn towards_a_newer_server_a_request_gains_its_meta_members_and_its_answer_loses_what_is_new() {
    for carrier in CARRIERS {
        let stage = Stage::new(Era::Modern, carrier);
        let mut speaker = Speaker::new(&stage.gateway, Era::Legacy);
        for case in CASES {
            let what = format!("{} {carrier:?}", case.method);
            let line = |text: String| if carrier == Carrier::Line { text.replace('\n', " ") } else { text };
            let found = speaker.message(case, CLIENT_ID);
            let expected = answer(Era::Modern, case).replace(ID, CLIENT_ID);
            let expected =
                expected.replace(r#""resultType" : "complete" ,"ttlMs":5,"cacheScope":"public", "#, "");
            let expected = line(expected.replace(r#""resultType":"complete","#, ""));
            same(found.trim(), expected.trim(), &what);
            let (told, id) = stage.told(case);
            let expected = line(request(case, Era::Legacy, &id));
            let expected = expected.trim();
            let meta = expected.rfind("\"_meta\" : {").expect("its own") + "\"_meta\" : {".len();
            let keys = keys(added(told.trim(), expected, meta, &what));
            assert!(keys.iter().all(|key| key.starts_with("io.modelcontextprotocol/")), "{what}: {keys:?}");
        }
    }
}

#[test]
fn what_is_too_large_for_a_buffer_is_not_changed_either() {
    let (begin, end) =
        (r#" {"id" : <id>,"jsonrpc":"2.0","result":{"resultType":"complete","content":[ "#, " ]} } ");
    let piece = r#"{"type":"text","text":"caf\u00e9 \/ \ud83d\ude00","id":1.50E+2} , "#;
    let large = format!("{begin}{}{{}}{end}", piece.repeat((300 << 10) / piece.len()));
    let last = large.replace("\"id\" : <id>,", "").replace(" ]} } ", " ]} ,\"id\":<id>} ");
    for text in [large, last] {
        let whole = text.clone();
        let upstream = Scripted::start(move |request: &Arrived| {
            let method = request.body["method"].as_str().expect("a method");
            let said = if method == "tools/call" {
                whole.clone()
            } else {
                said(Era::Modern, method, b"").expect("known")
            };
            let said = said.replace(ID, &request.body["id"].to_string());
            vec![Step::Send(http(200, "application/json", said.as_bytes()))]
        });
        let stage = Stage::of(upstream, scratch_folder());
        let found = Speaker::new(&stage.gateway, Era::Modern).message(&CASES[0], CLIENT_ID);
        same(found.trim(), text.replace(ID, CLIENT_ID).trim(), "a large answer");
    }
}

#[test]
fn definitions_are_listed_as_they_were_written() {
    for upstream in [Era::Modern, Era::Legacy] {
        for carrier in CARRIERS {
            let stage = Stage::new(upstream, carrier);
            for client in [Era::Modern, Era::Legacy] {
                let mut speaker = Speaker::new(&stage.gateway, client);
                for (method, definition) in [
                    ("tools/list", TOOL),
                    ("prompts/list", PROMPT),
                    ("resources/list", RESOURCE),
                    ("resources/templates/list", TEMPLATE),
                ] {
                    let case = Case { method, name: None, params: r#""x":1"#, outcome: "" };
                    let found = speaker.message(&case, CLIENT_ID);
                    assert!(
                        found.contains(&format!("[{definition}]")),
                        "{method} of {upstream:?} {carrier:?} for {client:?}: {found}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_method_that_nobody_knows_goes_to_an_only_upstream_from_whom_everything_is_allowed() {
    let upstream = upstream(Era::Modern, Carrier::Json);
    let gateway = |tools: &str, more: &str, rule: &str| {
        Gateway::start(Setup::new(format!(
            r#"
upstreams:
  up: {{ http: "{}" }}
{more}
servers: {{ default: {{ path: /mcp, auth: [staff], tools: {tools} }} }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
roles: {{ full: '"full" in principal.groups', small: '"small" in principal.groups' }}
policy:
  default: deny
  rules:
    - {{ id: all, allow: ["*"], to: [full] }}
    - {{ id: few, allow: ["up.e*"], to: [small] }}
{rule}
"#,
            upstream.url()
        )))
    };
    let ask = |gateway: &Gateway, key: &str, method: &str| {
        let answer = Client::connect(gateway.address).roundtrip(modern(key, 7, method, json!({"acme": 1})));
        let message = answer.json();
        assert_eq!(message["id"], 7);
        (
            answer.status,
            message["error"]["code"].as_i64(),
            message["error"]["message"].as_str().map(str::to_owned),
        )
    };
    let unknown = |method: &str| (404, Some(-32601), Some(format!("Method not found: {method}")));
    let only = gateway("[\"*\"]", "", "");
    // The upstream does not know this one either, and says so itself.
    let said = (404, Some(-32601), Some("Method not found".to_owned()));
    assert_eq!(ask(&only, KEY, "acme/else"), said);
    let arrived = upstream.arrived("acme/else");
    assert_eq!((arrived.len(), arrived[0].header("Mcp-Method")), (1, Some("acme/else")));
    for (key, method) in
        [("key-small", "acme/do_it"), (KEY, "acme"), (KEY, &format!("acme/{}", "x".repeat(200)))]
    {
        let (status, code, _) = ask(&only, key, method);
        assert_eq!((status, code), (404, Some(-32601)), "{method}");
    }
    // A server that shows a part, one that joins upstreams, and somebody to whom something is denied.
    let second = "  other: { http: \"http://127.0.0.1:1/mcp\" }";
    let denied = "    - { id: no, deny: [\"up.secret\"], to: [full] }";
    for gateway in
        [gateway("[\"up.e*\"]", "", ""), gateway("[\"*\"]", second, ""), gateway("[\"*\"]", "", denied)]
    {
        assert_eq!(ask(&gateway, KEY, "acme/do_it"), unknown("acme/do_it"));
    }
    assert!(upstream.arrived("acme/do_it").is_empty());
}

#[test]
fn what_is_said_during_a_call_is_not_changed_but_for_the_token() {
    const TOKEN: &str = r#""t\u006f\/""#;
    const NOTES: [&str; 3] = [
        r#" { "params" : {"message":"\u0061 \/", "progressToken" : <token> ,"progress":1.0, "x":{"progressToken":1}} ,"x":[ ],"method":"notifications\/progress","jsonrpc":"2.0" } "#,
        r#"{"method":"notifications/message","params":{ "level" : "er\u0072or","data":{"id":1e400,"é":"\u00e9"},"_meta":{ } },"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":2,"total":1e1 ,"progressToken":<token>}}"#,
    ];
    for era in [Era::Modern, Era::Legacy] {
        let upstream = Scripted::start(move |request: &Arrived| {
            if matches!(request.verb(), "GET" | "DELETE") {
                return vec![Step::Send(http(405, "text/plain", b"POST only"))];
            }
            let method = request.body["method"].as_str().expect("a method");
            let Some(said) = said(era, method, &request.raw) else {
                return match method {
                    "notifications/initialized" => vec![Step::Send(ACCEPTED.to_vec())],
                    _ => vec![Step::Send(http(400, "application/json", NOT_INITIALIZED))],
                };
            };
            let said = said.replace(ID, &request.body["id"].to_string()).replace('\n', " ");
            if method != "tools/call" {
                return vec![Step::Send(http(200, "application/json", said.as_bytes()))];
            }
            // As it was written, because that is how it is said again.
            let told = String::from_utf8(request.raw.clone()).expect("UTF-8");
            let token = told
                .split("\"progressToken\":")
                .nth(1)
                .expect("a token")
                .split([',', '}'])
                .next()
                .expect("its end");
            let notes = NOTES.map(|note| note.replace("<token>", token.trim()));
            let events: String =
                notes.iter().chain([&said]).map(|message| format!("data: {message}\n\n")).collect();
            vec![Step::Send(
                [event_stream(), format!("{:x}\r\n{events}\r\n0\r\n\r\n", events.len()).into_bytes()]
                    .concat(),
            )]
        });
        let stage = Stage::of(upstream, scratch_folder());
        let mut speaker = Speaker::new(&stage.gateway, era);
        let case = &CASES[0];
        let more = match era {
            Era::Modern => {
                format!(r#""_meta" : {{"progressToken":{TOKEN},"io.modelcontextprotocol/logLevel":"debug","#)
            }
            Era::Legacy => format!(r#""_meta" : {{"progressToken":{TOKEN},"#),
        };
        let asked = request(case, era, CLIENT_ID);
        let at = asked.rfind("\"_meta\" : {").expect("its own");
        let asked = format!("{}{more}{}", &asked[..at], &asked[at + "\"_meta\" : {".len()..]);
        let answer = speaker.ask(case.method, case.name, &asked);
        let body = String::from_utf8(answer.body).expect("UTF-8");
        let found: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let last = self::answer(era, case).replace(ID, CLIENT_ID).replace('\n', " ");
        let expected: Vec<String> =
            NOTES.iter().map(|note| note.replace("<token>", TOKEN)).chain([last]).collect();
        assert_eq!(found.len(), expected.len(), "{body}");
        for (found, expected) in found.iter().zip(&expected) {
            same(found.trim(), expected.trim(), &format!("{era:?}"));
        }
    }
}
