//! The forms as they are, and that nothing which a caller can say leaves its field.

use super::*;

fn record() -> Value {
    json!({
        "ts": "2026-11-22T12:00:00.000Z", "kind": "exchange", "id": "0-1-3", "generation": "0123456789ab",
        "principal": "ann", "agent": "desk", "server": "default", "method": "tools/call", "upstream": "crm", "tool": "crm.find",
        "verdict": "deny", "rule": "no-crm", "refused": "policy", "peer": "192.0.2.7", "status": 200, "bytes_in": 80,
        "bytes_out": 120, "ns": { "total": 3_001_000, "upstream": 3_000_000 }, "start": 0, "core": 1, "n": 3,
    })
}

#[test]
fn api_activity_has_what_its_class_requires() {
    let event = ocsf::event(7, &record());
    for required in [
        "activity_id",
        "category_uid",
        "class_uid",
        "type_uid",
        "time",
        "severity_id",
        "metadata",
        "actor",
        "api",
        "src_endpoint",
    ] {
        assert!(event.get(required).is_some(), "{required}: {event}");
    }
    assert_eq!(event["type_uid"], 600_399);
    assert_eq!(event["metadata"]["version"], "1.9.0");
    assert_eq!((&event["action_id"], &event["status_id"]), (&2.into(), &2.into()));
    assert_eq!(event["src_endpoint"]["ip"], "192.0.2.7");
    assert_eq!(event["duration"], 3);
    assert_eq!(ocsf::event(7, &json!({ "kind": "start" }))["api"]["operation"], "start");
    assert_eq!(ocsf::event(7, &json!({ "method": "tools/list" }))["type_uid"], 600_302);
}

#[test]
fn elastic_has_its_own_names() {
    let event = ecs::event(7, &record());
    assert_eq!(event["event"]["type"], json!(["access", "denied"]));
    assert_eq!(event["event"]["outcome"], "failure");
    assert_eq!(event["rule"]["id"], "no-crm");
    assert_eq!(event["strait"]["core"], 1);
}

#[test]
fn cef_is_one_line_of_fields() {
    assert_eq!(
        cef::event(7, &record()),
        "CEF:0|Strait|strait|0|exchange|tools/call|5|rt=1795348800000 externalId=0-1-3 cn1=7 cn1Label=index suser=ann src=192.0.2.7 \
         dhost=crm request=crm.find act=deny outcome=failure reason=policy in=80 out=120 cn2=3001000 cn2Label=ns cs1Label=rule \
         cs1=no-crm cs2Label=generation cs2=0123456789ab cs3Label=agent cs3=desk"
    );
}

/// Each text of a record in turn is what somebody would write who wants another event, field or line, or a terminal to obey.
#[test]
fn nothing_leaves_its_field() {
    let hostile = format!(
        "x\n{{\"index\":1}}\r\nCEF:0|a|b|c=d act=permit\\\" \u{1b}[2J\u{9b}31m\u{85}\u{2028}\u{202e}\u{e0041}\u{7f}\u{0}{}",
        "long".repeat(100_000)
    );
    let names: Vec<String> = record().as_object().unwrap().keys().cloned().collect();
    let clean = cef::event(7, &record());
    for name in names.iter().filter(|name| record()[name.as_str()].is_string()) {
        let mut record = record();
        record[name.as_str()] = json!(hostile);
        for format in [Format::Ndjson, Format::Ocsf, Format::Ecs, Format::Cef] {
            let line = format.line(7, &record);
            let acts = |c: char| c.is_control() || "\u{2028}\u{202e}\u{e0041}".contains(c);
            assert!(!line.contains(acts), "{name} {format:?}");
            if format != Format::Cef {
                let read: Value = serde_json::from_str(&line).unwrap();
                // What was written is what is read.
                let said = match format {
                    Format::Ndjson => &read[name.as_str()],
                    Format::Ocsf => &read["unmapped"][name.as_str()],
                    _ => &read["strait"][name.as_str()],
                };
                assert_eq!(*said, json!(hostile), "{name} {format:?}");
                continue;
            }
            let bare = line.replace("\\\\", "").replace("\\|", "").replace("\\=", "");
            let head: Vec<&str> = bare.splitn(8, '|').collect();
            assert_eq!((head.len(), head[0], head[1]), (8, "CEF:0", "Strait"), "{name}");
            let equals = |line: &str| line.replace("\\\\", "").replace("\\=", "").matches('=').count();
            // In the head an equals sign is a character like others.
            let of_head = if ["kind", "method"].contains(&name.as_str()) { 2 } else { 0 };
            assert!(equals(&line) <= equals(&clean) + of_head, "{name}");
        }
    }
}

#[test]
fn a_trace_is_named_as_each_form_names_it() {
    let mut record = record();
    record["trace"] = json!("4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(ecs::event(7, &record)["trace"]["id"], record["trace"]);
    assert_eq!(ocsf::event(7, &record)["metadata"]["correlation_uid"], record["trace"]);
    assert!(cef::event(7, &record).ends_with("cs4Label=trace cs4=4bf92f3577b34da6a3ce929d0e0e4736"));
}
