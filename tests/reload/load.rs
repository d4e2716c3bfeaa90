//! Swaps under load: nobody's call fails and nobody's stream breaks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use strait_tests::client::{initialize, legacy};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{Gate, echoed, event, event_stream, json_reply};
use strait_tests::{Scripted, Step};

use crate::process::*;

const SWAPS: usize = 200;
const CLIENTS: usize = 4;
const STREAMS: usize = 12;

#[test]
fn no_call_fails_and_no_stream_breaks_over_hundreds_of_swaps() {
    let folder = Folder::new();
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Scripted::modern(move |request| {
        if request.body["params"]["name"] != "slow" {
            return json_reply(&echoed(request));
        }
        let note = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
            "progressToken": request.body["params"]["_meta"]["progressToken"], "progress": 1}});
        let result = json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": []}});
        vec![
            Step::Send(event_stream()),
            Step::Send(event(&note)),
            Step::Await(held.clone()),
            Step::Send(event(&note)),
            Step::Send(event(&result)),
            Step::Send(b"0\r\n\r\n".to_vec()),
        ]
    });
    let other = Scripted::modern(|request| json_reply(&echoed(request)));
    let with_other = |first: bool| {
        let (up, other) = (upstream.url(), other.url());
        let lines = match first {
            // In another order, and once without: what is called moves about in the table.
            true => format!("  other: {{ http: \"{other}\" }}\n  up: {{ http: \"{up}\" }}\n"),
            false => format!("  up: {{ http: \"{up}\" }}\n"),
        };
        config(&format!(
            "upstreams:\n{lines}servers:\n  default: {{ path: /mcp, naming: prefix, tools: [\"*\"] }}\npolicy:\n  default: \
             deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n    - {{ id: never, deny: [\"*.secret\"] }}\n"
        ))
    };
    let (plain, _) = folder.compile(&with_other(false));
    let (moved, _) = folder.compile(&with_other(true));
    folder.write("table", &plain);
    let process = Process::serve(&folder, "table");
    let mut streams: Vec<_> = (0..STREAMS).map(|_| process.client()).collect();
    for (id, client) in streams.iter_mut().enumerate() {
        client.send(modern(
            "",
            id as i64,
            "tools/call",
            json!({"name": "up__slow", "arguments": {}, "_meta": {"progressToken": format!("t{id}")}}),
        ));
        client.until_unread(b"notifications/progress");
    }
    let (done, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (process, done, calls) = (&process, &done, &calls);
            scope.spawn(move || {
                let mut client = process.client();
                let session = (number % 2 == 1).then(|| initialize(&mut client, "", "2025-11-25"));
                while !done.load(Ordering::SeqCst) {
                    let params = json!({"name": "up__echo", "arguments": {"n": number}});
                    let request = match &session {
                        Some(session) => legacy("", session, 3, "tools/call", params),
                        None => modern("", 3, "tools/call", params),
                    };
                    let answer = client.roundtrip(request);
                    let body = String::from_utf8_lossy(&answer.body).into_owned();
                    assert!(answer.status == 200 && body.contains("\"result\""), "{}: {body}", answer.status);
                    let answer = call(&mut client, "", "up__secret", json!({}));
                    assert_eq!(answer["error"]["code"], -32602, "a denied tool was let through: {answer}");
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for swap in 1..=SWAPS {
            let before = calls.load(Ordering::SeqCst);
            folder.replace("table", [&plain, &moved][swap % 2]);
            process.hang_up();
            wait_for("the swap", || process.reload()["adopted"] == swap);
            if swap == SWAPS / 2 {
                folder.replace("table", &plain[..300]);
                process.hang_up();
                process.wait_for_state("rejected");
                // Nobody has to wait for what was refused.
                wait_for("calls to go on", || calls.load(Ordering::SeqCst) > before);
            }
            if swap % 10 == 0 {
                wait_for("calls to go on", || calls.load(Ordering::SeqCst) > before);
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(calls.load(Ordering::SeqCst) as usize > CLIENTS);
    gate.open();
    for (id, client) in streams.iter_mut().enumerate() {
        client.until_unread(b"notifications/progress");
        let rest = client.until_unread(b"\"result\"");
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(rest.contains(&format!("\"id\":{id}")), "stream {id}: {rest}");
        client.until_unread(b"0\r\n\r\n");
    }
    wait_for("the old tables to be freed", || process.ready()["snapshots"] == 1);
    assert_eq!(process.stop(), Some(0));
}
