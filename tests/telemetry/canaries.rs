//! Nothing of what is asked, answered or shown as a secret is in what a collector gets.

use serde_json::json;
use strait_tests::Scripted;
use strait_tests::client::modern;
use strait_tests::scripted::json_reply;

use crate::collector::*;
use crate::process::{Folder, Process};

#[test]
fn no_argument_result_header_or_secret_is_in_a_span_or_a_figure() {
    let upstream = Scripted::modern(|request| {
        json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"],
            "result": {"content": [{"type": "text", "text": "kanarie-result"}], "isError": true}}))
    });
    let (collector, folder) = (Collector::start(), Folder::new());
    let config = told(&collector, &upstream.url(), ", traces: { sample: 1 }");
    let guarded = config.replace("up: { http:", "up: { credential: { bearer: \"${file:bearer}\" }, http:");
    folder.write("bearer", "kanarie-bearer");
    folder.write("gateway.yaml", guarded.replace("${env:OTLP_KEY:-unset}", "${file:key}"));
    folder.write("key", "kanarie-key");
    let process = Process::serve(&folder, "gateway.yaml");
    let mut client = process.client();
    for tool in ["echo", "secret", "kanarie-tool"] {
        let arguments = json!({"word": "kanarie-argument", "kanarie-name": 1});
        let mut params = json!({"name": tool, "arguments": arguments});
        params["_meta"] = json!({"baggage": "kanarie-baggage=1", "kanarie-meta": 1,
            "io.modelcontextprotocol/clientInfo": {"name": "kanarie-client", "version": "1"}});
        client.roundtrip(modern("kanarie-token", 1, "tools/call", params));
    }
    client.roundtrip(
        "GET /kanarie-path?kanarie-query HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: kanarie-cookie\r\n\r\n",
    );
    collector.exchanges(4);
    assert_eq!(process.stop(), Some(0));
    assert!(!collector.metrics().is_empty());
    for body in collector.bodies() {
        let text = String::from_utf8_lossy(&body);
        assert!(!text.contains("kanarie"), "{}", text.escape_debug());
    }
}
