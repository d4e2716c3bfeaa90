//! The client and the upstream of the budget tests, as plain blocking programs.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::json;
use strait_tests::client::modern;
use strait_tests::scripted::http;

use crate::CONNECTIONS;

/// Requests per connection before anything is counted: buffers have grown, pools are filled.
const WARM_UP: usize = 200;

/// Does nothing in an ordinary test run; a test starts this binary with a role to play it.
#[test]
fn plays_its_role() {
    match std::env::var("STRAIT_ROLE").as_deref() {
        Ok("upstream") => upstream(),
        Ok("client") => client(),
        _ => {}
    }
}

fn upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    say(&listener.local_addr().expect("an address").port().to_string());
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || answer_all(stream));
    }
}

fn answer_all(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("nodelay");
    let mut unread = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let head_end = loop {
            if let Some(at) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => unread.extend_from_slice(&chunk[..count]),
            }
        };
        let length = number_behind(&unread, b"Content-Length: ");
        while unread.len() < head_end + length {
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => unread.extend_from_slice(&chunk[..count]),
            }
        }
        let body = &unread[head_end..head_end + length];
        let id = number_behind(body, b"\"id\":");
        let list = body.windows(10).any(|window| window == b"tools/list");
        let result = if list {
            r#"{"resultType":"complete","tools":[{"name":"echo","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"public"}"#
        } else {
            r#"{"resultType":"complete","content":[{"type":"text","text":"The quick brown fox jumps over the lazy dog."}]}"#
        };
        let known = list || body.windows(10).any(|window| window == b"tools/call");
        let reply = if known {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
        } else {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"no"}}}}"#)
        };
        unread.drain(..head_end + length);
        if stream
            .write_all(&http(if known { 200 } else { 404 }, "application/json", reply.as_bytes()))
            .is_err()
        {
            return;
        }
    }
}

fn number_behind(bytes: &[u8], key: &[u8]) -> usize {
    let at = bytes.windows(key.len()).position(|window| window == key).expect("the key") + key.len();
    let digits: Vec<u8> = bytes[at..].iter().copied().take_while(u8::is_ascii_digit).collect();
    String::from_utf8(digits).expect("digits").parse().expect("a number")
}

fn client() {
    let number = |name: &str| std::env::var(name).expect(name).parse::<usize>().expect("a number");
    let (port, requests) = (number("STRAIT_PORT"), number("STRAIT_REQUESTS"));
    let request =
        modern("key-full", 1, "tools/call", json!({"name": "echo", "arguments": {"text": "hello"}}));
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| {
            let stream = TcpStream::connect(("127.0.0.1", port as u16)).expect("connect");
            stream.set_nodelay(true).expect("nodelay");
            stream
        })
        .collect();
    rounds(&mut streams, &request, WARM_UP);
    say("warm");
    let mut go = String::new();
    std::io::stdin().read_line(&mut go).expect("go");
    rounds(&mut streams, &request, requests);
    say("done");
    std::thread::park();
}

/// Every connection has one request under way at all times.
fn rounds(streams: &mut [TcpStream], request: &[u8], requests: usize) {
    std::thread::scope(|scope| {
        for stream in streams {
            scope.spawn(move || {
                let mut answer = vec![0; 16 * 1024];
                for _ in 0..requests {
                    stream.write_all(request).expect("send");
                    let mut filled = 0;
                    loop {
                        let count = stream.read(&mut answer[filled..]).expect("an answer");
                        assert!(
                            count > 0,
                            "the gateway closed: {}",
                            String::from_utf8_lossy(&answer[..filled])
                        );
                        filled += count;
                        let text = &answer[..filled];
                        let Some(head) = text.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
                        if filled >= head + 4 + number_behind(text, b"Content-Length: ") {
                            assert!(text.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(text));
                            assert!(
                                text.windows(9).any(|w| w == b"quick bro"),
                                "{}",
                                String::from_utf8_lossy(text)
                            );
                            break;
                        }
                    }
                }
            });
        }
    });
}

fn say(word: &str) {
    println!(">{word}");
    std::io::stdout().flush().expect("flush");
}
