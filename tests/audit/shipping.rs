//! The audit log at collectors: everything arrives, whatever happens to them, to the way there and to the gateway.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use strait_tests::client::modern;
use strait_tests::gateway::wait_for;

use crate::collectors::*;
use crate::folder::*;
use crate::process::{Folder, Process, strait};

pub const SECRET: &str = "whsec_a2FuYXJpZW52b2dlbC1rYW5hcmllbnZvZ2Vs";
const TOKEN: &str = "kanarie-0d1f6a5c-token";

pub fn shipped(url: &str, terms: &str, ship: &str) -> String {
    audited(url, &format!(", checkpoint: 100ms{terms}, ship: [{ship}]"))
}

/// The log's own records, which are all that a collector must have: with the id that each goes out with.
pub fn expected(folder: &Folder) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    let mut reader = strait_audit::reader::Reader::open(&folder.at("audit"), 0).expect("open the log");
    while let Some(entry) = reader.read().expect("read the log") {
        let leaf = strait_audit::hash::leaf(entry.bytes);
        all.push((entry.index, leaf[..16].iter().map(|byte| format!("{byte:02x}")).collect()));
    }
    all
}

pub fn names(records: &[Value]) -> Vec<(u64, String)> {
    let name = |record: &Value| {
        (record["index"].as_u64().expect("an index"), record["id"].as_str().expect("an id").to_owned())
    };
    records.iter().map(name).collect()
}

fn distinct(records: &[Value]) -> BTreeSet<(u64, String)> {
    names(records).into_iter().collect()
}

/// Until a collector has all that is signed, and all is signed: the record `start` is not among those that are counted.
pub fn settled(process: &Process, more_than: u64) {
    wait_for("the collector to have everything", || {
        metric(process, "strait_audit_ship_lag_records") == 0
            && metric(process, "strait_audit_shipped_records_total") > more_than
            && metric(process, "strait_audit_checkpoint_records")
                > metric(process, "strait_audit_records_total")
    });
}

pub fn calls(process: &Process, count: usize) {
    let mut client = process.client();
    for n in 0..count {
        assert!(client.roundtrip(call(&format!("call {n}"))).json()["result"].is_object());
    }
}

/// By `openssl`, as a receiver in any language would do it.
fn hmac(secret: &str, text: &[u8]) -> String {
    use base64::Engine;
    let coded = secret.strip_prefix("whsec_").expect("a secret");
    let key = base64::engine::general_purpose::STANDARD.decode(coded).expect("base64");
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-mac", "HMAC", "-binary", "-macopt", &format!("hexkey:{key}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl");
    openssl.stdin.take().unwrap().write_all(text).expect("write");
    let out = openssl.wait_with_output().expect("openssl");
    format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(out.stdout))
}

#[test]
fn a_webhook_gets_every_record_once_signed_and_in_order() {
    let (folder, upstream, hook) = (Folder::new(), echo(), Http::start());
    let ship = format!("{{ id: hook, webhook: \"{}/in\", secret: \"${{secret:hook}}\" }}", hook.url());
    std::fs::create_dir_all(folder.at("state/secrets")).expect("make a folder");
    folder.write("state/secrets/hook", SECRET);
    let process = serve(&folder, &shipped(&upstream.url(), "", &ship));
    calls(&process, 30);
    process.client().roundtrip(modern("", 2, "tools/call", json!({ "name": "secret", "arguments": {} })));
    settled(&process, 30);
    let (_, body) = process.ask("/readyz");
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    let standing = &ready["audit"]["shipping"]["collectors"][0];
    assert_eq!(
        (&standing["id"], &standing["state"], &standing["lag"]),
        (&json!("hook"), &json!("ok"), &json!(0))
    );
    assert_eq!(metric(&process, "strait_audit_ship_up"), 1);
    let status = strait(&folder.0, &["status", "--state", "state"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("hook                  ok"), "{status}");
    assert_eq!(process.stop(), Some(0));
    let (sent, lines) = (hook.taken(), names(&hook.lines()));
    assert_eq!(lines, expected(&folder)[..lines.len()]);
    assert!(of_kind(&hook.lines(), "exchange").iter().any(|record| record["verdict"] == "deny"));
    for (head, body) in sent {
        let of = |name: &str| header(&head, name).unwrap_or_else(|| panic!("no {name} in {head}")).to_owned();
        let mut text = format!("{}.{}.", of("webhook-id"), of("webhook-timestamp")).into_bytes();
        text.extend_from_slice(&body);
        assert_eq!(of("webhook-signature"), hmac(SECRET, &text));
        assert_eq!(of("content-type"), "application/x-ndjson");
    }
    // What the gateway wrote after its last batch goes out after the next start.
    let process = again(&folder);
    settled(&process, 1);
    process.stop();
    assert_eq!(distinct(&hook.lines()).len(), hook.lines().len(), "nothing was sent twice");
    assert!(hook.lines().iter().any(|record| record["kind"] == "stop"), "the last words of the first start");
}

/// Another machine's state folder, or a log that was thrown away: a cursor beyond its end must not keep its records.
#[test]
fn a_log_that_took_the_place_of_another_is_sent_from_its_beginning() {
    let (folder, upstream, hook) = (Folder::new(), echo(), Http::start());
    let ship = format!("{{ id: hook, webhook: \"{}\", secret: \"{SECRET}\" }}", hook.url());
    let process = serve(&folder, &shipped(&upstream.url(), "", &ship));
    calls(&process, 30);
    settled(&process, 30);
    process.stop();
    let before = hook.lines().len();
    std::fs::rename(folder.at("audit"), folder.at("thrown-away")).expect("move the log");
    let process = again(&folder);
    calls(&process, 10);
    settled(&process, 10);
    assert!(process.log().contains("was sent records that this log does not have"), "{}", process.log());
    process.stop();
    let since = names(&hook.lines()[before..]);
    assert_eq!(since, expected(&folder)[..since.len()]);
}

#[test]
fn a_webhook_that_does_everything_wrong_gets_everything_in_the_end() {
    let (folder, upstream, hook) = (Folder::new(), echo(), Http::start());
    let ship = format!("{{ id: hook, webhook: \"{}\", secret: \"{SECRET}\" }}", hook.url());
    hook.will([
        Script::Status(500),
        Script::Status(429),
        Script::Resets,
        Script::Status(404),
        Script::Status(413),
    ]);
    let process = serve(&folder, &shipped(&upstream.url(), "", &ship));
    calls(&process, 40);
    settled(&process, 40);
    assert!(metric(&process, "strait_audit_ship_failures_total") >= 4);
    let log = process.log();
    assert_eq!(log.matches("takes no records now").count(), 1, "told once: {log}");
    process.wait_for_log("takes records again");
    assert_eq!(process.stop(), Some(0));
    let sent = names(&hook.lines());
    assert_eq!(sent, expected(&folder)[..sent.len()]);
}

#[test]
fn a_webhook_that_does_not_answer_is_sent_it_again_and_holds_up_nobody() {
    let (folder, upstream, hook) = (Folder::new(), echo(), Http::start());
    let ship = format!("{{ id: hook, webhook: \"{}\", secret: \"{SECRET}\" }}", hook.url());
    hook.will([Script::Hangs]);
    let process = serve(&folder, &shipped(&upstream.url(), "", &ship));
    process.wait_for_log("open: generation");
    wait_for("it to be asked", || hook.arrived() > 0);
    calls(&process, 200);
    assert_eq!(hook.lines().len(), 0, "calls were answered meanwhile");
    settled(&process, 200);
    assert_eq!(process.stop(), Some(0));
    assert_eq!(names(&hook.lines()), expected(&folder)[..hook.lines().len()]);
}

#[test]
fn splunk_has_only_what_it_has_acknowledged() {
    let (folder, upstream, hec) = (Folder::new(), echo(), Http::start());
    let ship = format!("{{ id: splunk, hec: \"{}\", token: \"{TOKEN}\", acknowledge: 1s }}", hec.url());
    hec.will([Script::Status(503), Script::Forgets, Script::Garbage, Script::Resets]);
    let process = serve(&folder, &shipped(&upstream.url(), "", &ship));
    calls(&process, 25);
    settled(&process, 25);
    for secret in [process.log(), process.ask("/readyz").1, process.ask("/metrics").1] {
        assert!(!secret.contains(TOKEN), "a token is shown");
    }
    assert_eq!(process.stop(), Some(0));
    let mut found = Vec::new();
    for (head, body) in hec.taken() {
        assert_eq!(header(&head, "authorization"), Some(format!("Splunk {TOKEN}").as_str()));
        for event in serde_json::Deserializer::from_slice(&body).into_iter::<Value>() {
            let event = event.expect("an event");
            assert_eq!(event["fields"]["id"], event["event"]["id"]);
            assert_eq!(event["sourcetype"], "strait:audit");
            found.push(event["event"].clone());
        }
    }
    let found = names(&found);
    assert_eq!(found, expected(&folder)[..found.len()]);
    assert!(found.len() > 25);
}

#[test]
fn nothing_is_lost_when_the_gateway_is_killed_and_what_comes_twice_has_the_same_id() {
    let (folder, upstream, hook) = (Folder::new(), echo(), Http::start());
    let ship = format!("{{ id: hook, webhook: \"{}\", secret: \"{SECRET}\" }}", hook.url());
    let config = shipped(&upstream.url(), "", &ship);
    let mut process = serve(&folder, &config);
    for round in 0..4 {
        calls(&process, 60);
        let before = hook.taken().len();
        wait_for("something to be sent", || hook.taken().len() > before || round == 0);
        process.kill();
        // A batch that was taken and not written down is sent again.
        let cursor = folder.at("state/ship/hook.cursor");
        if round == 2 && cursor.exists() {
            folder.write("state/ship/hook.cursor", "{\"next\":3}\n");
        }
        process = again(&folder);
    }
    calls(&process, 1);
    settled(&process, 1);
    assert_eq!(process.stop(), Some(0));
    let (sent, all) = (hook.lines(), expected(&folder));
    let distinct = distinct(&sent);
    assert!(sent.len() > distinct.len(), "something came twice");
    let missing: Vec<_> = all[..distinct.len()].iter().filter(|one| !distinct.contains(one)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_collector_is_told_what_retention_took_before_it_was_sent() {
    let (folder, upstream) = (Folder::new(), echo());
    let port = free_port();
    let ship = format!("{{ id: hook, webhook: \"http://127.0.0.1:{port}\", secret: \"{SECRET}\" }}");
    let process = serve(&folder, &shipped(&upstream.url(), ", payload: full, rotate: 1MiB", &ship));
    let segments = || strait_audit::segment::firsts(&folder.at("audit"), "entries").unwrap_or_default();
    let mut client = process.client();
    let large =
        || modern("", 1, "tools/call", json!({"name": "echo", "arguments": {"text": "x".repeat(25_000)}}));
    wait_for("a third segment", || {
        client.roundtrip(large());
        segments().len() > 2
    });
    wait_for("it to be missed", || metric(&process, "strait_audit_ship_failures_total") > 0);
    // As `audit.keep` does it.
    let oldest: Vec<u64> = segments().into_iter().take(2).collect();
    let kept_from = segments()[2];
    for first in &oldest {
        std::fs::remove_file(folder.at("audit").join(strait_audit::segment::entries_path(*first)))
            .expect("remove");
    }
    // What was read before waits in memory; who comes anew reads what is there.
    process.stop();
    let hook = Http::at(([127, 0, 0, 1], port).into());
    let process = again(&folder);
    process.wait_for_log("before `audit.keep` removed them");
    wait_for("the records that are left", || hook.lines().len() > 1);
    let first = &hook.lines()[0];
    assert_eq!(
        (&first["kind"], &first["from"], &first["to"]),
        (&json!("unshipped"), &json!(0), &json!(kept_from - 1))
    );
    assert_eq!(hook.lines()[1]["index"], json!(kept_from));
    assert_eq!(metric(&process, "strait_audit_ship_missed_records_total"), kept_from);
}

#[test]
fn collectors_come_and_go_with_the_table() {
    let (folder, upstream, one, other) = (Folder::new(), echo(), Http::start(), Http::start());
    let of = |id: &str, hook: &Http, rest: &str| {
        format!("{{ id: {id}, webhook: \"{}\", secret: \"{SECRET}\"{rest} }}", hook.url())
    };
    let process = serve(&folder, &shipped(&upstream.url(), "", &of("one", &one, "")));
    calls(&process, 5);
    settled(&process, 5);
    let both = format!("{}, {}", of("one", &one, ""), of("other", &other, ", from: now, format: cef"));
    let generation = process.generation();
    folder.replace("strait.yaml", shipped(&upstream.url(), "", &both));
    process.hang_up();
    wait_for("the other generation", || process.generation() != generation);
    calls(&process, 3);
    wait_for("the other to be told", || !other.taken().is_empty());
    let text = |hook: &Http| -> String {
        hook.taken().into_iter().map(|(_, body)| String::from_utf8(body).unwrap()).collect()
    };
    wait_for("three calls", || text(&other).matches("request=up.echo").count() == 3);
    assert!(text(&other).starts_with("CEF:0|Strait|"), "{}", text(&other));
    settled(&process, 8);
    let generation = process.generation();
    folder.replace(
        "strait.yaml",
        shipped(&upstream.url(), "", &of("other", &other, ", from: now, format: cef")),
    );
    process.hang_up();
    wait_for("the third generation", || process.generation() != generation);
    let before = one.lines().len();
    calls(&process, 4);
    wait_for("seven calls", || text(&other).matches("request=up.echo").count() == 7);
    assert_eq!(one.lines().len(), before, "whoever was taken out is told nothing");
    assert_eq!(process.stop(), Some(0));
    assert_eq!(distinct(&one.lines()).len(), one.lines().len());
}

#[test]
fn a_real_rsyslog_that_is_away_for_a_while_loses_nothing() {
    if !Rsyslog::is_here() {
        eprintln!("there is no rsyslogd: nothing is tested");
        return;
    }
    let (folder, upstream, port) = (Folder::new(), echo(), free_port());
    let ship = format!("{{ id: relay, syslog: \"tcp://127.0.0.1:{port}\" }}");
    let process = serve(&folder, &shipped(&upstream.url(), "", &ship));
    calls(&process, 20);
    wait_for("it to be missed", || metric(&process, "strait_audit_ship_failures_total") > 0);
    let first = Rsyslog::start(&folder, "first", port, None);
    settled(&process, 20);
    wait_for("it to have written them", || first.records().len() > 20);
    let mut all = first.records();
    first.stop();
    calls(&process, 20);
    let second = Rsyslog::start(&folder, "second", port, None);
    settled(&process, 41);
    wait_for("it to have written the others", || second.records().len() >= 20);
    let (message, record) = (second.messages().pop().unwrap(), second.records().pop().unwrap());
    assert_eq!(message["app-name"], "strait");
    assert_eq!(message["msgid"], record["kind"]);
    assert_eq!(message["syslogfacility"], "13");
    assert!(
        message["structured-data"]
            .as_str()
            .unwrap()
            .contains(&format!("id=\"{}\"", record["id"].as_str().unwrap())),
        "{message}"
    );
    assert_eq!(process.stop(), Some(0));
    wait_for("the last of them", || second.records().len() + all.len() >= 42);
    all.extend(second.records());
    let found: Vec<_> = distinct(&all).into_iter().collect();
    assert_eq!(found, expected(&folder)[..found.len()]);
}

#[test]
fn what_a_caller_says_stays_in_its_field_at_a_real_rsyslog() {
    if !Rsyslog::is_here() {
        eprintln!("there is no rsyslogd: nothing is tested");
        return;
    }
    let (folder, upstream, port) = (Folder::new(), echo(), free_port());
    let rsyslog = Rsyslog::start(&folder, "reader", port, None);
    let ship = format!("{{ id: relay, syslog: \"tcp://127.0.0.1:{port}\" }}");
    let process = serve(&folder, &shipped(&upstream.url(), ", payload: full", &ship));
    let hostile = "x\"]\n<13>1 - evil - - - - forged\r\u{1b}[2J\\ |a=b| {\"index\":1}\u{2028}";
    for (method, params) in [
        ("tools/call", json!({ "name": hostile, "arguments": { hostile: hostile } })),
        ("tools/call", json!({ "name": "echo", "arguments": { "text": hostile } })),
        ("resources/read", json!({ "uri": hostile })),
        ("prompts/get", json!({ "name": hostile })),
    ] {
        let mut client = process.client();
        client.send(modern("", 1, method, params));
        // Whatever it is answered.
        client.answer();
    }
    settled(&process, 4);
    wait_for("five messages", || rsyslog.messages().len() >= 5);
    assert_eq!(process.stop(), Some(0));
    let (messages, records) = (rsyslog.messages(), rsyslog.records());
    assert!(messages.iter().all(|message| message["app-name"] == "strait"), "{messages:#?}");
    assert_eq!(distinct(&records).len(), records.len());
    let known: BTreeSet<_> = expected(&folder).into_iter().collect();
    assert!(distinct(&records).is_subset(&known), "a message that no record is");
    for (message, record) in messages.iter().zip(&records) {
        let data = message["structured-data"].as_str().unwrap();
        let id = record["id"].as_str().unwrap();
        assert!(data.starts_with(&format!("[strait@32473 id=\"{id}\"")) && data.ends_with(']'), "{data}");
    }
}

#[test]
fn a_real_rsyslog_over_tls_is_told_and_one_without_a_good_certificate_is_not() {
    if !Rsyslog::is_here() {
        eprintln!("there is no rsyslogd: nothing is tested");
        return;
    }
    let (folder, upstream, port) = (Folder::new(), echo(), free_port());
    let authority = crate::authority::Authority::new(&folder, "authority");
    authority.server(&folder, "siem", &["localhost"]);
    let rsyslog = Rsyslog::start(&folder, "tls", port, Some(("siem.pem", "siem.key")));
    let ship = format!("{{ id: siem, syslog: \"tls://localhost:{port}\" }}");
    folder.write("strait.yaml", shipped(&upstream.url(), "", &ship));
    let stranger = again(&folder);
    stranger.wait_for_log("failed in the TLS handshake");
    stranger.stop();
    assert!(rsyslog.messages().is_empty(), "whoever is not known is told nothing");
    let log = folder.at("log-tls");
    let file = std::fs::File::create(&log).expect("make the log");
    let child = Command::new(crate::process::binary())
        .args(["serve", "strait.yaml", "--state", "state", "--workers", "2"])
        .env("SSL_CERT_FILE", folder.at("authority.pem"))
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("clone"))
        .stderr(file)
        .spawn()
        .expect("start strait");
    let process = Process::opened(child, log);
    calls(&process, 10);
    settled(&process, 10);
    wait_for("the messages", || rsyslog.records().len() > 12);
    assert_eq!(process.stop(), Some(0));
    let sent = names(&rsyslog.records());
    assert_eq!(sent, expected(&folder)[..sent.len()]);
}
