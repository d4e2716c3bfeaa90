//! Pages in browsers: those of an allowed origin may ask and read what is answered, and nobody else's.

use serde_json::json;
use strait_tests::Answer;

use crate::gateway::{PUBLIC, Site, claims};
use crate::issuer::{Issuer, Pair};

const FOREIGN: &str = "https://evil.example";

fn may_read(answer: &Answer) -> bool {
    let shown = answer.header("access-control-expose-headers").unwrap_or_default();
    let is_shown = ["Mcp-Session-Id", "WWW-Authenticate"].iter().all(|name| shown.contains(name));
    let says = answer.header("access-control-allow-origin");
    assert_eq!((says.is_some(), answer.header("vary").is_some()), (is_shown, is_shown), "{answer:?}");
    assert!(says.is_none_or(|origin| origin == PUBLIC), "{answer:?}");
    is_shown
}

#[test]
fn a_page_of_an_allowed_origin_may_ask_and_read_every_answer() {
    let pair = Pair::es256("es");
    let issuer = Issuer::start(&[&pair]);
    let site = Site::new(&format!("jwt: {{ issuer: \"{}\" }}", issuer.url()));
    let bearer = format!("Authorization: Bearer {}\r\n", pair.sign(&claims(&issuer.url(), "ada")));
    let ask = |method: &str, path: &str, origin: Option<&str>, more: &str, body: &str| {
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let mut client = site.client();
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: gw.example\r\n{origin}{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.answer_to(method).expect("an answer")
    };
    let wants = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,mcp-param-x\r\n";
    for path in ["/mcp", "/mcp/sse", "/keyed"] {
        let preflight = ask("OPTIONS", path, Some(PUBLIC), wants, "");
        assert_eq!((preflight.status, may_read(&preflight), preflight.body.len()), (204, true, 0), "{path}");
        assert_eq!(preflight.header("access-control-allow-methods"), Some("POST, GET, DELETE"));
        assert_eq!(preflight.header("access-control-allow-headers"), Some("*, Authorization"));
        let foreign = ask("OPTIONS", path, Some(FOREIGN), wants, "");
        assert_eq!((foreign.status, may_read(&foreign)), (403, false), "{path}");
        let of_nobody = ask("OPTIONS", path, None, wants, "");
        assert_eq!((of_nobody.status, may_read(&of_nobody)), (405, false), "{path}");
    }
    let nowhere = ask("OPTIONS", "/nowhere", Some(PUBLIC), wants, "");
    assert_eq!((nowhere.status, may_read(&nowhere)), (404, true));

    let json = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";
    let hello =
        json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-06-18",
        "capabilities": {}, "clientInfo": {"name": "page", "version": "1"}}})
        .to_string();
    for (origin, reads) in [(Some(PUBLIC), true), (None, false)] {
        let said = |method: &str, path: &str, more: &str, body: &str, status: u16| {
            let answer = ask(method, path, origin, more, body);
            assert_eq!((answer.status, may_read(&answer)), (status, reads), "{method} {path} {body}");
            answer
        };
        let unknown = said("POST", "/mcp", json, &hello, 401);
        assert!(unknown.header("www-authenticate").is_some());
        said("POST", "/nowhere", json, &hello, 404);
        said("POST", "/mcp", &format!("{bearer}{json}"), "{", 400);
        let begun = said("POST", "/mcp", &format!("{bearer}{json}"), &hello, 200);
        let session = format!("Mcp-Session-Id: {}\r\n", begun.header("mcp-session-id").expect("a session"));
        let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        said("POST", "/mcp", &format!("{bearer}{json}{session}"), &told, 202);
        let mut stream = site.client();
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        stream.send(format!(
            "GET /mcp HTTP/1.1\r\nHost: gw.example\r\n{origin}{bearer}{session}Accept: text/event-stream\r\n\r\n"
        ));
        let head = stream.stream_head();
        assert_eq!((head.status, may_read(&head)), (200, reads));
        said("DELETE", "/mcp", &format!("{bearer}{session}"), "", 204);
    }
    let foreign = ask("POST", "/mcp", Some(FOREIGN), &format!("{bearer}{json}"), &hello);
    assert_eq!((foreign.status, may_read(&foreign)), (403, false));
    let injected = ask("POST", "/mcp", Some("https://gw.example, https://evil.example"), json, &hello);
    assert_eq!((injected.status, may_read(&injected)), (403, false));
}
