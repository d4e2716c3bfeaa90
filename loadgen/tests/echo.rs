//! The echo server as a peer: what it says in both eras, how it reads requests that come in pieces or in
//! crowds, and that it does with time what it was told. A client of plain sockets, so that the
//! generator's own reader proves nothing about itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strait_loadgen::echo::{Latency, Options, Running};

fn start(change: impl FnOnce(&mut Options)) -> Running {
    let mut options = Options::new("127.0.0.1:0".parse().unwrap());
    change(&mut options);
    Running::start(options).unwrap()
}

fn message(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })
}

fn call(id: u64) -> Value {
    message(id, "tools/call", json!({ "name": "echo", "arguments": { "text": format!("call {id}") } }))
}

fn post(message: &Value, headers: &str) -> Vec<u8> {
    let body = message.to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn modern(message: &Value) -> Vec<u8> {
    let method = message["method"].as_str().unwrap();
    post(message, &format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n"))
}

struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Client { stream, unread: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) -> &mut Client {
        self.stream.write_all(bytes).unwrap();
        self
    }

    fn receive(&mut self) -> Answer {
        let mut piece = [0; 65536];
        loop {
            if let Some((answer, length)) = parse(&self.unread) {
                self.unread.drain(..length);
                return answer;
            }
            let read = self.stream.read(&mut piece).unwrap();
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&self.unread));
            self.unread.extend_from_slice(&piece[..read]);
        }
    }

    fn ask(&mut self, bytes: &[u8]) -> Value {
        let answer = self.send(bytes).receive();
        serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{}\n{}", answer.head, answer.body))
    }
}

fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let text = String::from_utf8_lossy(bytes);
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let status = head[9..12].parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let (body, used) = match length {
        Some(length) => {
            let length = length.parse().unwrap();
            (rest.get(..length)?.to_owned(), length)
        }
        None => {
            let end = rest.find("0\r\n\r\n")? + 5;
            let mut chunks = &rest[..end - 5];
            let mut body = String::new();
            while let Some((size, after)) = chunks.split_once("\r\n") {
                let size = usize::from_str_radix(size, 16).unwrap();
                body.push_str(&after[..size]);
                chunks = &after[size + 2..];
            }
            (body, end)
        }
    };
    Some((Answer { status, head: head.to_owned(), body }, head.len() + 4 + used))
}

#[test]
fn it_speaks_the_modern_era() {
    let server = start(|_| ());
    let mut client = Client::connect(server.address());
    let found = client.ask(&modern(&message(1, "server/discover", json!({}))));
    assert_eq!(found["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(found["result"]["resultType"], "complete");
    let listed = client.ask(&modern(&message("a", "tools/list", json!({}))));
    assert_eq!((&listed["id"], &listed["result"]["cacheScope"]), (&json!("a"), &json!("public")));
    let tools = listed["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["echo", "echo_2", "echo_3", "echo_4"]);
    assert!(tools.iter().all(|tool| tool["annotations"]["readOnlyHint"] == true));
    let said = json!({ "name": "echo_3", "arguments": { "text": "Grüße \"\\ \u{1f30a}" } });
    let answered = client.ask(&modern(&message(7, "tools/call", said)));
    assert_eq!(answered["result"]["content"], json!([{ "type": "text", "text": "Grüße \"\\ \u{1f30a}" }]));
    assert_eq!(answered["result"]["isError"], false);
    for (method, status, code) in [
        ("ping", 404, -32601),
        ("initialize", 404, -32601),
        ("no/such", 404, -32601),
        ("resources/read", 200, -32602),
    ] {
        let answer = client.send(&modern(&message(2, method, json!({ "uri": "a:b" })))).receive();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &body["error"]["code"]), (status, &json!(code)), "{method}");
    }
    let mismatch = post(&call(1), "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\n");
    assert_eq!(client.ask(&mismatch)["error"]["code"], -32020);
    let later = post(&call(1), "MCP-Protocol-Version: 2027-01-01\r\nMcp-Method: tools/call\r\n");
    assert_eq!(client.ask(&later)["error"]["data"]["supported"], json!(["2026-07-28"]));
    let unknown = client.ask(&modern(&message(1, "tools/call", json!({ "name": "echo_5" }))));
    assert_eq!(unknown["error"], json!({ "code": -32602, "message": "Unknown tool: echo_5" }));
}

#[test]
fn it_speaks_the_older_era_with_sessions() {
    let server = start(|_| ());
    let mut client = Client::connect(server.address());
    let hello = message(0, "initialize", json!({ "protocolVersion": "2025-06-18", "capabilities": {} }));
    let answer = client.send(&post(&hello, "")).receive();
    let session =
        answer.head.lines().find_map(|line| line.strip_prefix("Mcp-Session-Id: ")).unwrap().to_owned();
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&body["id"], &body["result"]["protocolVersion"]), (&json!(0), &json!("2025-06-18")));
    let with = format!("Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: 2025-06-18\r\n");
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(client.send(&post(&ready, &with)).receive().status, 202);
    assert_eq!(client.ask(&post(&message(1, "ping", json!({})), &with))["result"], json!({}));
    assert_eq!(client.ask(&post(&call(3), &with))["result"]["content"][0]["text"], "call 3");
    for (list, key) in [
        ("resources/list", "resources"),
        ("prompts/list", "prompts"),
        ("resources/templates/list", "resourceTemplates"),
    ] {
        assert_eq!(client.ask(&post(&message(1, list, json!({})), &with))["result"], json!({ key: [] }));
    }
    let stranger = client.send(&post(&call(3), "Mcp-Session-Id: of-another\r\n")).receive();
    assert_eq!(stranger.status, 404);
    let bare =
        |method: &str, with: &str| format!("{method} /mcp HTTP/1.1\r\nHost: x\r\n{with}\r\n").into_bytes();
    assert_eq!(client.send(&bare("GET", &with)).receive().status, 405);
    assert_eq!(client.send(&bare("DELETE", &with)).receive().status, 200);
}

#[test]
fn a_request_may_come_in_pieces_in_chunks_or_in_crowds() {
    let server = start(|_| ());
    let mut client = Client::connect(server.address());
    let whole = modern(&call(1));
    for cut in [1, 20, whole.len() / 2, whole.len() - 1] {
        client.send(&whole[..cut]);
        client.send(&whole[cut..]);
        assert_eq!(client.receive().status, 200, "cut at {cut}");
    }
    let body = call(2).to_string();
    let (one, two) = body.split_at(17);
    let head = "POST /mcp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = format!("{head}{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
    assert_eq!(client.ask(chunked.as_bytes())["id"], 2);
    let crowd: Vec<u8> = (0..2_000).flat_map(|id| modern(&call(id))).collect();
    let mut writer = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || writer.write_all(&crowd).unwrap());
    for id in 0..2_000 {
        let answer: Value = serde_json::from_str(&client.receive().body).unwrap();
        assert_eq!(answer["id"], id);
    }
    sending.join().unwrap();
    let stray = client.send(b"GET / HTTP/1.1\nHost: x\n\n").receive();
    assert_eq!(stray.status, 400);
}

#[test]
fn a_hundred_thousand_tools_come_in_pages() {
    let server = start(|o| o.tools = 100_000);
    let mut client = Client::connect(server.address());
    let (mut seen, mut cursor, mut last) = (0, Value::Null, String::new());
    loop {
        let params = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
        let page = client.ask(&modern(&message(1, "tools/list", params)));
        let tools = page["result"]["tools"].as_array().unwrap();
        seen += tools.len();
        last = tools.last().unwrap()["name"].as_str().unwrap_or(&last).to_owned();
        cursor = page["result"]["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!((seen, last.as_str()), (100_000, "echo_100000"));
    let wrong = client.ask(&modern(&message(1, "tools/list", json!({ "cursor": "7" }))));
    assert_eq!(wrong["error"]["code"], -32602);
}

#[test]
fn events_come_one_by_one_and_the_answer_last() {
    let server = start(|o| (o.events, o.interval_ns) = (3, 20_000_000));
    let mut client = Client::connect(server.address());
    let began = Instant::now();
    let mut asked = call(5);
    asked["params"]["_meta"] = json!({ "progressToken": "mine" });
    let answer = client.send(&modern(&asked)).receive();
    assert!(began.elapsed() >= Duration::from_millis(60), "{:?}", began.elapsed());
    assert!(answer.head.contains("text/event-stream"), "{}", answer.head);
    let events = answer.body.split("\n\n").filter(|event| !event.is_empty());
    let events: Vec<Value> = events
        .map(|event| serde_json::from_str(event.strip_prefix("event: message\ndata: ").unwrap()).unwrap())
        .collect();
    assert_eq!(events.len(), 4);
    for (index, event) in events[..3].iter().enumerate() {
        let params = json!({ "progressToken": "mine", "progress": index + 1, "total": 3 });
        assert_eq!((&event["method"], &event["params"]), (&json!("notifications/progress"), &params));
    }
    assert_eq!(events[3]["result"]["content"][0]["text"], "call 5");
}

/// Two workers of 20 ms take six calls in three rounds, whoever asked first.
#[test]
fn workers_bound_what_is_in_service() {
    let server = start(|o| (o.latency, o.workers) = (Latency::Fixed { ns: 20_000_000 }, Some(2)));
    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(server.address())).collect();
    let began = Instant::now();
    for (id, client) in clients.iter_mut().enumerate() {
        client.send(&modern(&call(id as u64)));
    }
    // One that gives up in line takes no worker.
    drop(clients.pop());
    for client in &mut clients {
        assert_eq!(client.receive().status, 200);
    }
    assert!(began.elapsed() >= Duration::from_millis(60), "{:?}", began.elapsed());
    // A list is no call: it does not wait in line.
    assert_eq!(clients[0].send(&modern(&message(1, "tools/list", json!({})))).receive().status, 200);
}

#[test]
fn a_result_has_the_size_that_was_asked_for() {
    let server = start(|o| o.size = Some(300_000));
    let mut client = Client::connect(server.address());
    for id in 0..3 {
        let answer = client.ask(&modern(&call(id)));
        assert_eq!(answer["result"]["content"][0]["text"].as_str().unwrap().len(), 300_000);
    }
}

#[test]
fn twelve_thousand_connections_are_served_by_one_thread() {
    let server = start(|_| ());
    // This process needs both ends of each; what it may not have is left out, and said.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = 12_000.min((limit.saturating_sub(200) / 2) as usize);
    println!("{count} connections, {limit} descriptors");
    let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(server.address())).collect();
    for (id, client) in clients.iter_mut().enumerate() {
        client.send(&modern(&call(id as u64)));
    }
    for (id, client) in clients.iter_mut().enumerate() {
        let answer: Value = serde_json::from_str(&client.receive().body).unwrap();
        assert_eq!(answer["id"], id as u64);
    }
}
