//! Every exit leaves one record, and the record says what happened.

use serde_json::{Value, json};
use strait_tests::client::{delete, initialize, legacy, modern, post, session_stream};
use strait_tests::gateway::wait_for;

use crate::folder::*;
use crate::process::Folder;

#[test]
fn a_call_leaves_a_record_with_its_arguments_and_its_result_redacted() {
    let (folder, upstream) = (Folder::new(), echo());
    let process = serve(&folder, &audited(&upstream.url(), ""));
    let generation = process.generation();
    // On one connection, so that both are of one worker, and in its order.
    let mut client = process.client();
    let answer = client.roundtrip(call("canary-text")).json();
    assert!(answer["result"].is_object(), "{answer}");
    let refused = modern("", 2, "tools/call", json!({"name": "secret", "arguments": {"a": 1}}));
    client.roundtrip(refused);
    assert_eq!(process.stop(), Some(0));
    let records = records(&folder);
    let exchanges = of_kind(&records, "exchange");
    let tools: Vec<&Value> = exchanges.iter().map(|record| &record["tool"]).collect();
    assert_eq!(tools, [&json!("up.echo"), &json!("up.secret")], "{exchanges:#?}");
    let (one, other) = (&exchanges[0], &exchanges[1]);
    let said = ["method", "principal", "verdict", "rule", "server", "upstream", "listener", "status"]
        .map(|key| &one[key]);
    let expected = ["tools/call", "anonymous", "permit", "all", "default", "up", "main"].map(Value::from);
    assert_eq!(said[..7], expected.each_ref()[..]);
    assert_eq!((said[7], &one["generation"]), (&json!(200), &json!(generation)));
    assert!(one["catalog"].is_string() && one["ns"]["upstream"].as_u64() > Some(0), "{one:#}");
    assert_eq!((&other["verdict"], &other["rule"]), (&json!("deny"), &json!("never")));
    assert!(other["refused"].is_string(), "{other:#}");
    let index = records.iter().position(|record| record == one).unwrap();
    assert_eq!(payload(&folder, index, "arguments").unwrap(), r#"{"text":"<11>","n":12}"#);
    let result = payload(&folder, index, "result").unwrap();
    assert!(result.contains("\"content\"") && !result.contains("canary"), "{result}");
    assert_eq!(one["arguments"]["mode"], "redacted");
    assert_eq!(records.first().unwrap()["kind"], "start");
    assert_eq!(records.last().unwrap()["kind"], "stop");
}

#[test]
fn as_many_records_as_requests_however_they_end() {
    let (folder, mut upstream) = (Folder::new(), echo());
    let process = serve(&folder, &audited(&upstream.url(), ""));
    let key = "";
    let mut client = process.client();
    client.roundtrip(call("one"));
    client.roundtrip(modern(key, 2, "tools/list", json!({})));
    client.roundtrip(modern(key, 3, "tools/call", json!({"name": "nothing", "arguments": {}})));
    client.roundtrip(modern(key, 4, "no/such", json!({})));
    client.roundtrip(post(&[], b"{\"broken\":"));
    client.roundtrip(strait_tests::client::post_to("/nowhere", &[], b"{}"));
    // What cannot be read as a request at all.
    process.client().send("GARBAGE\r\n\r\n");
    wait_for("it to be counted", || metric(&process, "strait_requests_total") >= 7);
    // A session of an older client: handshake, notification, call, stream, end.
    let mut old = process.client();
    let session = initialize(&mut old, key, "2025-11-25");
    old.roundtrip(legacy(
        key,
        &session,
        5,
        "tools/call",
        json!({"name": "echo", "arguments": {"text": "x"}}),
    ));
    let stream = session_stream(process.address, key, &session);
    old.roundtrip(delete(key, &session));
    upstream.stop();
    client.roundtrip(call("nobody there"));
    drop(stream);
    wait_for("all streams to end", || metric(&process, "strait_standing_streams") == 0);
    let told = metric(&process, "strait_requests_total");
    assert_eq!(metric(&process, "strait_audit_records_dropped_total"), 0);
    assert_eq!(process.stop(), Some(0));
    let records = records(&folder);
    let opened = of_kind(&records, "stream_opened");
    let exchanges = of_kind(&records, "exchange");
    assert_eq!(exchanges.len() + opened.len(), told as usize, "{records:#?}");
    assert_eq!((opened.len(), of_kind(&records, "stream_ended").len()), (1, 1));
    let refused: Vec<&str> = exchanges.iter().filter_map(|record| record["refused"].as_str()).collect();
    for word in ["unknown_tool", "unknown_method", "no_such_path"] {
        assert!(refused.contains(&word), "{word}: {refused:?}");
    }
    // Counted by the core, without a hole.
    for core in 0..2 {
        let numbers: Vec<u64> = records
            .iter()
            .filter(|record| record["core"] == core)
            .map(|record| record["n"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "core {core}");
    }
}

#[test]
fn with_payload_none_nothing_of_a_call_is_anywhere() {
    const CANARIES: [&str; 3] = ["kanarie-argument-8151", "kanarie-key-8151", "kanarie-number-1234567890"];
    let (folder, upstream) = (Folder::new(), echo());
    let process = serve(&folder, &audited(&upstream.url(), ", payload: none"));
    let arguments = json!({ "text": CANARIES[0], CANARIES[1]: 1, "more": CANARIES[2] });
    let params = json!({ "name": "echo", "arguments": arguments });
    let answer = process.client().roundtrip(modern("", 1, "tools/call", params)).json();
    assert!(answer.to_string().contains(CANARIES[0]), "the answer brings it back: {answer}");
    let mut seen = vec![
        ("metrics".to_owned(), process.ask("/metrics").1),
        ("readyz".to_owned(), process.ask("/readyz").1),
    ];
    for path in ["/admin/traffic", "/admin/config", "/admin/sessions"] {
        seen.push((path.to_owned(), process.ask(path).1));
    }
    assert_eq!(process.stop(), Some(0));
    assert_eq!(of_kind(&records(&folder), "exchange").len(), 1);
    let all = files(&folder.0);
    assert!(all.len() > 10, "{}", all.len());
    seen.extend(
        all.into_iter()
            .map(|(path, bytes)| (path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned())),
    );
    for (what, text) in seen {
        for canary in CANARIES {
            assert!(!text.contains(canary), "{canary} in {what}");
        }
    }
}

#[test]
fn what_a_rule_says_of_its_calls_holds_instead() {
    let (folder, upstream) = (Folder::new(), echo());
    let rules = "    - { id: all, allow: [\"up.echo\"], audit: { payload: full } }\n    - { id: sums, allow: [\"up.secret\"] }\n";
    let process = serve(&folder, &with_rules(&upstream.url(), ", payload: hash", rules));
    process.client().roundtrip(call("kept whole"));
    process.client().roundtrip(modern(
        "",
        2,
        "tools/call",
        json!({"name": "secret", "arguments": {"a": 1, "b": 2}}),
    ));
    assert_eq!(process.stop(), Some(0));
    let records = records(&folder);
    let at = |tool: &str| records.iter().position(|record| record["tool"] == tool).expect("a record");
    assert_eq!(records[at("up.echo")]["arguments"]["mode"], "full");
    assert_eq!(payload(&folder, at("up.echo"), "arguments").unwrap(), r#"{"text":"kept whole","n":12}"#);
    assert_eq!(records[at("up.secret")]["arguments"]["mode"], "hash");
}

#[test]
fn whatever_a_client_writes_a_record_is_one_line_of_json() {
    let (folder, upstream) = (Folder::new(), echo());
    let process = serve(&folder, &audited(&upstream.url(), ", payload: full"));
    let evil = "x\"}\n{\"kind\":\"forged\",\"a\":\"\u{2028}\u{0}\u{1b}[2J";
    for (method, params) in [
        ("tools/call", json!({"name": evil, "arguments": {"text": evil}})),
        ("tools/call", json!({"name": "echo", "arguments": {"text": evil, evil: evil}})),
        ("prompts/get", json!({"name": evil})),
        ("resources/read", json!({"uri": evil})),
    ] {
        let mut client = process.client();
        client.send(modern("", 1, method, params));
        // Whatever it is answered.
        client.answer();
    }
    let body = json!({"jsonrpc": "2.0", "id": evil, "method": evil, "params": {}}).to_string();
    let mut client = process.client();
    client.send(post(&[("Mcp-Session-Id", "\"}{\""), ("User-Agent", "\"},{\"")], body.as_bytes()));
    client.answer();
    assert_eq!(process.stop(), Some(0));
    let text = files(&folder.at("audit/entries")).remove(0).1;
    assert!(!text.is_empty());
    let records = records(&folder);
    assert!(of_kind(&records, "exchange").len() >= 5);
    assert!(of_kind(&records, "forged").is_empty());
    for record in records {
        assert!(!record.to_string().contains('\n') && record["kind"].is_string(), "{record}");
    }
}

#[test]
fn what_is_too_long_to_keep_is_kept_as_its_digest() {
    let (folder, upstream) = (Folder::new(), echo());
    let process = serve(&folder, &audited(&upstream.url(), ", payload: full"));
    let params = json!({ "name": "echo", "arguments": { "text": "x".repeat(2 << 20) } });
    let answer = process.client().roundtrip(modern("", 1, "tools/call", params));
    assert_eq!(process.stop(), Some(0));
    let records = records(&folder);
    let index = records.iter().position(|record| record["tool"] == "up.echo").expect("a record");
    let (arguments, result) = (&records[index]["arguments"], &records[index]["result"]);
    assert_eq!((&arguments["mode"], arguments["bytes"].as_u64()), (&json!("hash"), Some((2 << 20) + 11)));
    assert_eq!((&result["mode"], result["bytes"].as_u64()), (&json!("hash"), Some(answer.body.len() as u64)));
    let kept = payloads(&folder)
        .into_iter()
        .find(|(of, which, _)| *of == index as u64 && which == "result")
        .unwrap();
    assert_eq!(kept.2, strait_audit::hash::plain(&answer.body), "of the message as the client has it");
}

#[test]
fn a_record_names_the_trace_that_its_call_came_with() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let (folder, upstream) = (Folder::new(), echo());
    let process = serve(&folder, &audited(&upstream.url(), ", durability: intent"));
    let mut client = process.client();
    for parent in [format!("00-{TRACE}-00f067aa0ba902b7-01"), format!("00-{TRACE}\"}}-0-01"), String::new()] {
        let text = String::from_utf8(call("x")).unwrap();
        let (first, rest) = text.split_once("\r\n").unwrap();
        client.roundtrip(format!("{first}\r\ntraceparent: {parent}\r\n{rest}"));
    }
    assert_eq!(process.stop(), Some(0));
    let records = records(&folder);
    for kind in ["intent", "exchange"] {
        let traces: Vec<Value> = of_kind(&records, kind).iter().map(|of| of["trace"].clone()).collect();
        assert_eq!(traces, [json!(TRACE), Value::Null, Value::Null], "{kind}");
    }
}
