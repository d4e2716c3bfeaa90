//! Resources of a child that clients subscribe to: once for all of them, wherever they are, and again in its successor.

use std::path::PathBuf;

use serde_json::{Value, json};
use strait_tests::client::{delete, initialize, legacy, modern, session_stream};
use strait_tests::gateway::{assert_no_worker_panicked, scratch_folder, wait_for};
use strait_tests::{Client, Gateway, Setup};

use crate::child::KEY;

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// A server of resources in the era of its first argument. The tool `change` says that one changed to whoever subscribed,
/// `held` tells what is subscribed to, and `exit` ends it.
const SCRIPT: &str = r#"
import json, sys, os
era = sys.argv[1]
held = {}
def say(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params", {})
    if method == "notifications/cancelled":
        held.pop(params["requestId"], None)
    if "id" not in message:
        continue
    def answer(result):
        more = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"} if era == "modern" else {}
        say({"id": message["id"], "result": {**result, **more}})
    can = {"tools": {}, "resources": {"subscribe": True}}
    if method == "server/discover" and era == "modern":
        answer({"supportedVersions": ["2026-07-28"], "capabilities": can})
    elif method == "initialize" and era == "legacy":
        answer({"protocolVersion": "2025-11-25", "capabilities": can, "serverInfo": {"name": "t", "version": "1"}})
    elif method == "tools/list":
        answer({"tools": [{"name": n, "inputSchema": {"type": "object"}} for n in ["change", "held", "exit"]]})
    elif method == "resources/list":
        answer({"resources": [{"uri": "x:a", "name": "a"}, {"uri": "x:b", "name": "b"}]})
    elif method == "resources/templates/list":
        answer({"resourceTemplates": []})
    elif method == "resources/subscribe" and era == "legacy":
        held.setdefault("", []).append(params["uri"])
        answer({})
    elif method == "resources/unsubscribe" and era == "legacy":
        held[""].remove(params["uri"])
        answer({})
    elif method == "subscriptions/listen" and era == "modern":
        wanted = params["notifications"].get("resourceSubscriptions", [])
        held[message["id"]] = wanted
        say({"method": "notifications/subscriptions/acknowledged", "params": {
            "_meta": {"io.modelcontextprotocol/subscriptionId": message["id"]},
            "notifications": {"resourceSubscriptions": wanted}}})
    elif method == "tools/call" and params["name"] == "change":
        for whose, uris in held.items():
            if params["arguments"]["uri"] in uris:
                tag = {"_meta": {"io.modelcontextprotocol/subscriptionId": whose}} if whose != "" else {}
                say({"method": "notifications/resources/updated", "params": {"uri": params["arguments"]["uri"], **tag}})
        answer({"content": []})
    elif method == "tools/call" and params["name"] == "held":
        answer({"content": [], "structuredContent": {"held": sorted(sum(held.values(), []))}})
    elif method == "tools/call":
        os._exit(3)
    else:
        say({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
"#;

struct House {
    gateway: Gateway,
    folder: PathBuf,
}

impl House {
    fn start(era: &str, per: &str, force_wrong_worker: bool) -> House {
        let folder = scratch_folder();
        std::fs::write(folder.join("server.py"), SCRIPT).expect("write the script");
        let script = folder.join("server.py");
        let config = format!(
            r#"
upstreams:
  kid: {{ stdio: {{ command: python3, args: ["{}", {era}], per: {per} }} }}
servers: {{ default: {{ path: /mcp, auth: [staff], tools: ["*"], resources: ["*"], naming: bare }} }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
roles: {{ full: '"full" in principal.groups' }}
policy:
  default: deny
  rules:
    - {{ id: all, allow: ["*"], to: [full] }}
"#,
            script.display()
        );
        let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
        assert_eq!(gateway.learning_fault(0), None);
        House { gateway, folder }
    }

    /// A call in a session.
    fn call(&self, client: &mut Client, session: &str, tool: &str) -> Value {
        let params = json!({"name": tool, "arguments": {"uri": "x:a"}});
        let answer = client.roundtrip(legacy(KEY, session, 5, "tools/call", params));
        answer.messages().pop().expect("an answer")
    }

    /// What the session's child is subscribed to.
    fn held(&self, client: &mut Client, session: &str) -> Value {
        self.call(client, session, "held")["result"]["structuredContent"]["held"].clone()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A client of a session and the session's stream.
struct Reader {
    client: Client,
    session: String,
    stream: Client,
}

impl Reader {
    fn begin(house: &House) -> Reader {
        let address = house.gateway.address;
        let mut client = Client::connect(address);
        let session = initialize(&mut client, KEY, "2025-11-25");
        let stream = session_stream(address, KEY, &session);
        Reader { client, session, stream }
    }

    fn ask(&mut self, method: &str) {
        let asked = legacy(KEY, &self.session, 3, method, json!({"uri": "x:a"}));
        assert_eq!(self.client.roundtrip(asked).json(), json!({"jsonrpc": "2.0", "id": 3, "result": {}}));
    }

    fn assert_told(&mut self) {
        let expected =
            json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "x:a"}});
        assert_eq!(self.stream.event().expect("an event").message, expected);
    }
}

fn listen(house: &House) -> Client {
    let mut listen = Client::connect(house.gateway.address);
    let asked = json!({"notifications": {"resourceSubscriptions": ["x:a", "x:nowhere"]}});
    listen.send(modern(KEY, 7, "subscriptions/listen", asked));
    assert_eq!(listen.stream_head().status, 200);
    let first = listen.event().expect("an acknowledgement").message;
    assert_eq!(first["params"]["notifications"], json!({"resourceSubscriptions": ["x:a"]}));
    listen
}

fn assert_told(listen: &mut Client) {
    let params = json!({"uri": "x:a", "_meta": {SUBSCRIPTION: 7}});
    let expected = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params});
    assert_eq!(listen.event().expect("an event").message, expected);
}

#[test]
fn a_shared_child_is_asked_once_for_all_and_tells_them_all() {
    for era in ["legacy", "modern"] {
        for force_wrong_worker in [false, true] {
            println!("{era}, force_wrong_worker {force_wrong_worker}");
            let house = House::start(era, "shared", force_wrong_worker);
            let mut readers: Vec<Reader> = (0..3).map(|_| Reader::begin(&house)).collect();
            readers.iter_mut().for_each(|reader| reader.ask("resources/subscribe"));
            let mut listens = [listen(&house), listen(&house)];
            let mut other = Client::connect(house.gateway.address);
            let session = initialize(&mut other, KEY, "2025-11-25");
            wait_for("one subscription", || house.held(&mut other, &session) == json!(["x:a"]));
            house.call(&mut other, &session, "change");
            readers.iter_mut().for_each(Reader::assert_told);
            listens.iter_mut().for_each(assert_told);
            // However they go: it ends with the last of them.
            readers[0].ask("resources/unsubscribe");
            let gone = readers.pop().expect("a reader");
            assert_eq!(other.roundtrip(delete(KEY, &gone.session)).status, 204);
            drop(listens);
            house.call(&mut other, &session, "change");
            readers[1].assert_told();
            wait_for("one subscription still", || house.held(&mut other, &session) == json!(["x:a"]));
            readers[1].ask("resources/unsubscribe");
            wait_for("nothing to be held", || house.held(&mut other, &session) == json!([]));
            assert_no_worker_panicked();
        }
    }
}

#[test]
fn a_child_of_ones_own_tells_its_session() {
    for era in ["legacy", "modern"] {
        for per in ["session", "principal"] {
            println!("{era}, per {per}");
            let house = House::start(era, per, false);
            let mut reader = Reader::begin(&house);
            reader.ask("resources/subscribe");
            let Reader { client, session, .. } = &mut reader;
            wait_for("one subscription", || house.held(client, session) == json!(["x:a"]));
            house.call(client, session, "change");
            reader.assert_told();
            reader.ask("resources/unsubscribe");
            let Reader { client, session, .. } = &mut reader;
            wait_for("nothing to be held", || house.held(client, session) == json!([]));
        }
    }
}

#[test]
fn a_childs_successor_is_subscribed_to_as_well() {
    for era in ["legacy", "modern"] {
        for force_wrong_worker in [false, true] {
            println!("{era}, force_wrong_worker {force_wrong_worker}");
            let house = House::start(era, "shared", force_wrong_worker);
            let mut reader = Reader::begin(&house);
            reader.ask("resources/subscribe");
            let mut listen = listen(&house);
            let mut other = Client::connect(house.gateway.address);
            let session = initialize(&mut other, KEY, "2025-11-25");
            house.call(&mut other, &session, "exit");
            // It may have changed meanwhile.
            reader.assert_told();
            assert_told(&mut listen);
            wait_for("it to be held again", || house.held(&mut other, &session) == json!(["x:a"]));
            house.call(&mut other, &session, "change");
            reader.assert_told();
            assert_told(&mut listen);
            assert_no_worker_panicked();
        }
    }
}
