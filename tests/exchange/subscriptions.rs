//! Resources that clients subscribe to, in either era, at HTTP servers of either era: a client hears of what it
//! subscribed to under its own URI, no longer than it wants to, and never of what it may not read.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::{Value, json};
use strait_tests::client::{delete, initialize, legacy, session_stream};
use strait_tests::gateway::{assert_no_worker_panicked, wait_for};
use strait_tests::scripted::{
    ACCEPTED, Arrived, Deed, NOT_INITIALIZED, event, event_stream, http, json_reply, method,
};
use strait_tests::{Client, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, text};
use crate::listen::{assert_ends, listening};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What a server's streams are sent; `None` ends one.
type Line = mpsc::Sender<Option<Value>>;

/// What a server of resources knows. A session is named by its id, a listen by that of its request.
#[derive(Default)]
struct Shelves {
    sessions: AtomicUsize,
    subscribed: Mutex<BTreeSet<(String, String)>>,
    lines: Mutex<Vec<(String, Line)>>,
    lost: Mutex<BTreeSet<String>>,
}

impl Shelves {
    /// Who is subscribed to what.
    fn subscribed(&self) -> Vec<String> {
        self.subscribed.lock().unwrap().iter().map(|(_, uri)| uri.clone()).collect()
    }

    /// Tells whoever subscribed that a resource changed.
    fn change(&self, uri: &str) {
        let subscribed = self.subscribed.lock().unwrap().clone();
        for (whose, line) in self.lines.lock().unwrap().iter() {
            if subscribed.contains(&(whose.clone(), uri.to_owned())) {
                let mut params = json!({"uri": uri, "x-more": 1.50});
                if let Some(id) = whose.strip_prefix("listen-") {
                    params["_meta"] =
                        json!({SUBSCRIPTION: id.parse::<u64>().expect("a number"), "x-kept": true});
                }
                let message =
                    json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params});
                let _ = line.send(Some(message));
            }
        }
    }

    /// Forgets every session and hangs up.
    fn forget(&self) {
        let mut lost = self.lost.lock().unwrap();
        for (whose, line) in self.lines.lock().unwrap().drain(..) {
            let _ = line.send(None);
            lost.insert(whose);
        }
        self.subscribed.lock().unwrap().clear();
    }

    /// A stream that says what is said to `whose`, after what is said at once.
    fn stream(self: &Arc<Self>, whose: String, first: Vec<Value>) -> Vec<Step> {
        let (line, said) = mpsc::channel();
        self.lines.lock().unwrap().push((whose.clone(), line));
        let (said, shelves) = (Mutex::new(said), self.clone());
        let deed = Deed::step(move |stream| {
            let said = said.lock().unwrap();
            loop {
                // Nobody tells a thread that its stream was left.
                let message = said.recv_timeout(std::time::Duration::from_millis(20));
                match message {
                    Ok(Some(message)) if stream.write_all(&event(&message)).is_ok() => {}
                    Err(mpsc::RecvTimeoutError::Timeout) if is_open(stream) => {}
                    _ => break,
                }
            }
            if whose.starts_with("listen-") {
                shelves.subscribed.lock().unwrap().retain(|(of, _)| *of != whose);
            }
            let _ = stream.shutdown(std::net::Shutdown::Both);
            false
        });
        let mut steps = vec![Step::Send(event_stream())];
        steps.extend(first.iter().map(|message| Step::Send(event(message))));
        steps.push(deed);
        steps
    }
}

fn is_open(stream: &std::net::TcpStream) -> bool {
    stream.set_nonblocking(true).expect("nonblocking");
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("blocking");
    !matches!(peeked, Ok(0)) && !peeked.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
}

fn resources() -> Value {
    let resource = |uri: &str| json!({"uri": uri, "name": uri});
    json!([resource("x:a"), resource("x:b"), resource("x:refused"), resource("x:hidden")])
}

fn lists(request: &Arrived) -> Option<Value> {
    let id = &request.body["id"];
    let result = match method(request) {
        "resources/list" => json!({"resources": resources()}),
        "resources/templates/list" => json!({"resourceTemplates": []}),
        _ => return None,
    };
    let mut result = result;
    result["resultType"] = json!("complete");
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

fn unknown(request: &Arrived, status: u16) -> Vec<Step> {
    let error =
        json!({"jsonrpc": "2.0", "id": request.body["id"], "error": {"code": -32601, "message": "?"}});
    vec![Step::Send(http(status, "application/json", error.to_string().as_bytes()))]
}

/// A server of 2025-11-25 with sessions.
fn older(shelves: &Arc<Shelves>) -> Scripted {
    let shelves = shelves.clone();
    Scripted::start(move |request| {
        let session = request.header("Mcp-Session-Id").unwrap_or("").to_owned();
        if shelves.lost.lock().unwrap().contains(&session) {
            return vec![Step::Send(http(404, "text/plain", b"gone"))];
        }
        let result = |result: Value| {
            json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result}))
        };
        let uri = request.body["params"]["uri"].as_str().unwrap_or("").to_owned();
        match method(request) {
            "server/discover" => vec![Step::Send(http(400, "application/json", NOT_INITIALIZED))],
            "initialize" => {
                let id = shelves.sessions.fetch_add(1, Ordering::SeqCst);
                let body = json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {
                    "protocolVersion": "2025-11-25", "serverInfo": {"name": "s", "version": "1"},
                    "capabilities": {"resources": {"subscribe": true}}}})
                .to_string();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s{id}\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                vec![Step::Send([head, body].concat().into_bytes())]
            }
            "GET" => shelves.stream(session, Vec::new()),
            "DELETE" => {
                shelves.subscribed.lock().unwrap().retain(|(of, _)| *of != session);
                vec![Step::Send(http(200, "text/plain", b""))]
            }
            "resources/subscribe" if uri == "x:refused" => {
                let error = json!({"code": -32002, "message": "not that one", "data": {"uri": uri}});
                json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "error": error}))
            }
            "resources/subscribe" => {
                let is_heard = shelves.lines.lock().unwrap().iter().any(|(whose, _)| *whose == session);
                assert!(is_heard, "its stream must be open before");
                shelves.subscribed.lock().unwrap().insert((session, uri));
                result(json!({}))
            }
            "resources/unsubscribe" => {
                shelves.subscribed.lock().unwrap().remove(&(session, uri));
                result(json!({}))
            }
            _ if request.body["id"].is_null() => vec![Step::Send(ACCEPTED.to_vec())],
            _ => lists(request).map_or_else(|| unknown(request, 200), |answer| json_reply(&answer)),
        }
    })
}

/// A server of 2026-07-28.
fn newer(shelves: &Arc<Shelves>) -> Scripted {
    let shelves = shelves.clone();
    Scripted::start(move |request| match method(request) {
        "server/discover" => json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": {"resources": {"subscribe": true}}, "ttlMs": 0, "cacheScope": "public"}})),
        "subscriptions/listen" => {
            let whose = format!("listen-{}", request.body["id"]);
            let asked = request.body["params"]["notifications"]["resourceSubscriptions"].as_array().cloned();
            let mut taken = asked.unwrap_or_default();
            taken.retain(|uri| uri != "x:refused");
            let texts = taken.iter().map(|uri| uri.as_str().expect("a URI").to_owned());
            shelves.subscribed.lock().unwrap().extend(texts.map(|uri| (whose.clone(), uri)));
            let acknowledged = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                "params": {"_meta": {SUBSCRIPTION: request.body["id"]}, "notifications": {"resourceSubscriptions": taken}}});
            shelves.stream(whose, vec![acknowledged])
        }
        _ => lists(request).map_or_else(|| unknown(request, 404), |answer| json_reply(&answer)),
    })
}

/// `small` may read nothing but `x:b`, nobody `x:hidden`.
fn config(url: &str) -> String {
    format!(
        r#"
upstreams: {{ up: {{ http: "{url}" }} }}
servers: {{ default: {{ path: /mcp, auth: [staff], resources: ["*"] }} }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
roles: {{ full: '"full" in principal.groups', small: '"small" in principal.groups' }}
policy:
  default: deny
  rules:
    - {{ id: none, deny: ["up.x:hidden"], to: [full, small] }}
    - {{ id: all, allow: ["*"], to: [full] }}
    - {{ id: some, allow: ["up.x:b"], to: [small] }}
"#
    )
}

/// Runs a test against a server of either era, with the session's owner here and elsewhere.
fn everywhere(test: impl Fn(&Gateway, &Scripted, &Arc<Shelves>, bool)) {
    for (era, server) in [("older", older as fn(&Arc<Shelves>) -> Scripted), ("newer", newer)] {
        for force_wrong_worker in [false, true] {
            println!("a server of an {era} revision, force_wrong_worker {force_wrong_worker}");
            let shelves = Arc::<Shelves>::default();
            let upstream = server(&shelves);
            let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config(&upstream.url())) });
            assert_eq!(gateway.learning_fault(0), None);
            test(&gateway, &upstream, &shelves, era == "newer");
            assert_no_worker_panicked();
        }
    }
}

fn ask(client: &mut Client, session: &str, method: &str, uri: &str) -> Value {
    let answer = client.roundtrip(legacy(KEY, session, 5, method, json!({"uri": uri})));
    assert_eq!(answer.status, 200, "{}", text(&answer));
    let answer = answer.json();
    assert_eq!(answer["id"], 5);
    answer
}

/// The next message of a session's stream, which must be an update.
fn updated(stream: &mut Client) -> Value {
    let message = stream.event().expect("an event").message;
    assert_eq!(message["method"], "notifications/resources/updated", "{message}");
    message["params"].clone()
}

#[test]
fn a_session_hears_of_what_it_subscribed_to_until_it_does_not_want_to() {
    everywhere(|gateway, upstream, shelves, is_newer| {
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-06-18");
        let mut stream = session_stream(gateway.address, KEY, &session);
        for _ in 0..2 {
            assert_eq!(ask(&mut client, &session, "resources/subscribe", "x:a")["result"], json!({}));
        }
        assert_eq!(ask(&mut client, &session, "resources/subscribe", "x:b")["result"], json!({}));
        wait_for("one subscription each", || shelves.subscribed() == ["x:a", "x:b"]);
        let refused = ask(&mut client, &session, "resources/subscribe", "x:refused");
        assert!(matches!(refused["error"]["code"].as_i64(), Some(-32002 | -32602)), "{refused}");
        for unknown in ["x:hidden", "x:nowhere"] {
            let answer = ask(&mut client, &session, "resources/subscribe", unknown);
            assert_eq!(answer["error"]["code"], -32002, "{answer}");
            assert_eq!(answer["error"]["data"]["uri"], unknown);
        }
        // While one listen takes another's place a change may be told on both.
        wait_for("one conversation", || shelves.subscribed() == ["x:a", "x:b"]);
        shelves.change("x:a");
        let meta = is_newer.then(|| json!({"x-kept": true}));
        let expected = |uri: &str| match &meta {
            Some(meta) => json!({"uri": uri, "x-more": 1.50, "_meta": meta}),
            None => json!({"uri": uri, "x-more": 1.50}),
        };
        assert_eq!(updated(&mut stream), expected("x:a"));
        assert_eq!(ask(&mut client, &session, "resources/unsubscribe", "x:a")["result"], json!({}));
        wait_for("it to be let go", || shelves.subscribed() == ["x:b"]);
        shelves.change("x:a");
        shelves.change("x:b");
        assert_eq!(updated(&mut stream), expected("x:b"));
        assert_eq!(client.roundtrip(delete(KEY, &session)).status, 204);
        wait_for("nothing to be subscribed to", || shelves.subscribed().is_empty());
        assert_eq!(stream.event(), None);
        assert!(
            !upstream
                .arrived("resources/subscribe")
                .iter()
                .any(|asked| asked.body["params"]["uri"] == "x:hidden")
        );
    });
}

#[test]
fn a_listen_hears_of_what_it_may_read_and_what_its_server_took() {
    everywhere(|gateway, _upstream, shelves, is_newer| {
        let asked =
            json!({"resourceSubscriptions": ["x:b", "x:refused", "x:hidden", "x:nowhere", "x:a", "x:b"]});
        let (mut one, accepted) = listening(gateway, KEY, asked.clone());
        assert_eq!(accepted, json!({"resourceSubscriptions": ["x:a", "x:b"]}));
        let (mut small, accepted) = listening(gateway, "key-small", asked.clone());
        assert_eq!(accepted, json!({"resourceSubscriptions": ["x:b"]}));
        let (two, accepted) = listening(gateway, KEY, asked);
        assert_eq!(accepted, json!({"resourceSubscriptions": ["x:a", "x:b"]}));
        // Of sessions every principal has one of its own on each worker.
        let is_held = || {
            let mut subscribed = shelves.subscribed();
            subscribed.sort();
            if !is_newer {
                subscribed.dedup();
            }
            subscribed == ["x:a", "x:b"]
        };
        wait_for("each to be subscribed to once", is_held);
        shelves.change("x:b");
        for listen in [&mut one, &mut small] {
            let mut params = updated(listen);
            assert_eq!(params["_meta"][SUBSCRIPTION], 7);
            params.as_object_mut().expect("an object").remove("_meta");
            assert_eq!(params, json!({"uri": "x:b", "x-more": 1.50}));
        }
        // What one of two lets go of is still the other's.
        drop(two);
        wait_for("one listen to be gone", || {
            gateway.handle().figures().iter().map(|worker| worker.listens.get()).sum::<u64>() == 2
        });
        assert!(is_held());
        shelves.change("x:a");
        // While one listen of ours replaces another, both may tell of the change before.
        while updated(&mut one)["uri"] != "x:a" {}
        // Who may not read it any more does not hear of it, and the server is not asked for it.
        gateway.rekey(vec![(KEY, "ann", &["small"]), ("key-small", "sam", &["small"])]);
        wait_for("it to be let go", || !shelves.subscribed().contains(&"x:a".to_owned()));
        shelves.change("x:b");
        while updated(&mut one)["uri"] != "x:b" {}
        gateway.drain();
        assert_ends(&mut one);
        drop(small);
    });
}

#[test]
fn what_is_subscribed_to_is_again_when_the_server_forgot_it() {
    for (server, is_newer) in [(older as fn(&Arc<Shelves>) -> Scripted, false), (newer, true)] {
        let shelves = Arc::<Shelves>::default();
        let upstream = server(&shelves);
        let gateway = Gateway::start(Setup::new(config(&upstream.url())));
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-11-25");
        let mut stream = session_stream(gateway.address, KEY, &session);
        let (mut listen, _) = listening(&gateway, KEY, json!({"resourceSubscriptions": ["x:a"]}));
        assert_eq!(ask(&mut client, &session, "resources/subscribe", "x:a")["result"], json!({}));
        shelves.forget();
        // Something may have been missed: both are told.
        assert_eq!(updated(&mut stream)["uri"], "x:a");
        assert_eq!(updated(&mut listen)["uri"], "x:a");
        let conversations = if is_newer { 1 } else { 2 };
        wait_for("it to be subscribed to again", || shelves.subscribed().len() == conversations);
        shelves.change("x:a");
        assert_eq!(updated(&mut stream)["x-more"], 1.50);
        assert_eq!(updated(&mut listen)["x-more"], 1.50);
        drop((listen, stream));
        assert_eq!(client.roundtrip(delete(KEY, &session)).status, 204);
        wait_for("nothing to be subscribed to", || shelves.subscribed().is_empty());
    }
}

/// The next listen of ours is opened while the one before it is being answered: what comes in between is for the next.
#[test]
fn subscriptions_that_come_and_go_quickly_are_all_taken() {
    for (server, force_wrong_worker) in
        [(older as fn(&Arc<Shelves>) -> Scripted, false), (newer, false), (newer, true)]
    {
        let shelves = Arc::<Shelves>::default();
        let upstream = server(&shelves);
        let setup = Setup::new(config(&upstream.url()));
        let gateway = Gateway::start(Setup { force_wrong_worker, ..setup });
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-11-25");
        for round in 0..60 {
            for uri in ["x:a", "x:b"] {
                // Every moment of the change from one listen to the next is met.
                std::thread::sleep(std::time::Duration::from_micros(150 * round));
                for method in ["resources/subscribe", "resources/unsubscribe"] {
                    let answer = ask(&mut client, &session, method, uri);
                    assert_eq!(answer["result"], json!({}), "{round}: {method} {uri}: {answer}");
                }
            }
        }
        wait_for("nothing to be subscribed to", || shelves.subscribed().is_empty());
    }
}
