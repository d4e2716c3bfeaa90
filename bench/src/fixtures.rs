//! Messages as clients and servers write them.

/// The head of a `tools/call` of revision 2026-07-28, as the common client libraries send it.
pub fn head(body_bytes: usize) -> Vec<u8> {
    format!(
        "POST /support/mcp HTTP/1.1\r\n\
         Host: gw.example:8080\r\n\
         Connection: keep-alive\r\n\
         Authorization: Bearer sk-strait-4f9c1b7e2a8d4c6f9b3e5d7a1c8f2b6e\r\n\
         Content-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n\
         Mcp-Protocol-Version: 2026-07-28\r\n\
         Mcp-Method: tools/call\r\n\
         Mcp-Name: crm__get_customer_0042\r\n\
         Accept-Language: *\r\n\
         Sec-Fetch-Mode: cors\r\n\
         User-Agent: node\r\n\
         Accept-Encoding: gzip, deflate\r\n\
         Content-Length: {body_bytes}\r\n\r\n"
    )
    .into_bytes()
}

/// A `tools/call` of about this many bytes. The arguments are the hard mix: objects, numbers, escapes.
pub fn call(bytes: usize) -> Vec<u8> {
    call_of("crm__get_customer_0042", bytes)
}

pub fn call_of(tool: &str, bytes: usize) -> Vec<u8> {
    let mut body = format!(
        r#"{{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"id":8841"#
    );
    let tail = r#"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    fill(&mut body, bytes.saturating_sub(tail.len()));
    body.push_str(tail);
    body.into_bytes()
}

/// The answer to it, of about this many bytes, as an upstream sends it.
pub fn reply(bytes: usize) -> Vec<u8> {
    let mut body = String::from(
        r#"{"jsonrpc":"2.0","id":17,"result":{"content":[{"type":"text","text":"found"}],"structuredContent":{"n":1"#,
    );
    let tail = r#"},"isError":false,"resultType":"complete"}}"#;
    fill(&mut body, bytes.saturating_sub(tail.len()));
    body.push_str(tail);
    body.into_bytes()
}

/// Members until the text has this many bytes.
fn fill(body: &mut String, bytes: usize) {
    for n in 0.. {
        let member = format!(
            r#","row_{n}":{{"city":"S\u00e3o Paulo","note":"said \"yes\"\n","amount":{n}.25,"open":true,"tags":["a","b",null]}}"#
        );
        if body.len() + member.len() > bytes {
            return;
        }
        body.push_str(&member);
    }
}
