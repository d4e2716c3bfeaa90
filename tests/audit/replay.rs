//! What a gateway wrote down, put to another policy.

use serde_json::{Value, json};
use strait_tests::client::modern;

use crate::folder::*;
use crate::process::{Folder, strait};

const BEFORE: &str = "    - { id: all, allow: [\"up.echo\"] }\n    - { id: never, deny: [\"up.secret\"] }\n";

/// Calls of `up.echo` with these numbers and one of `up.secret`, under a log of these terms.
fn recorded(terms: &str) -> (Folder, strait_tests::Scripted) {
    let (folder, upstream) = (Folder::new(), echo());
    let process = serve(&folder, &with_rules(&upstream.url(), terms, BEFORE));
    let mut client = process.client();
    for n in [5, 500, 5_000] {
        let params = json!({ "name": "echo", "arguments": { "n": n, "text": "words" } });
        client.roundtrip(modern("", 1, "tools/call", params));
    }
    client.roundtrip(modern("", 2, "tools/call", json!({ "name": "secret", "arguments": { "a": 1 } })));
    assert_eq!(process.stop(), Some(0));
    (folder, upstream)
}

fn replay(folder: &Folder, url: &str, rules: &str, more: &[&str]) -> (Option<i32>, Value) {
    folder.write("candidate.yaml", with_rules(url, "", rules));
    let verb = ["audit", "replay", "audit", "--against", "candidate.yaml", "--detailed-exitcode", "--json"];
    let ran = strait(&folder.0, &[&verb[..], more].concat());
    let facts = serde_json::from_slice(&ran.stdout);
    (
        ran.status.code(),
        facts.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&ran.stderr))),
    )
}

fn counts(facts: &Value) -> [u64; 6] {
    ["calls", "same", "opened", "closed", "otherwise", "unknown"]
        .map(|key| facts[key].as_u64().expect("a number"))
}

#[test]
fn both_ways_of_a_change_are_found_with_their_records() {
    let (folder, upstream) = recorded(", payload: full");
    let url = upstream.url();
    assert_eq!(counts(&replay(&folder, &url, BEFORE, &[]).1), [4, 4, 0, 0, 0, 0]);
    assert_eq!(replay(&folder, &url, BEFORE, &[]).0, Some(0));
    let after = "    - { id: small, allow: [\"up.echo\"], when: 'args.n < 1000' }\n    - { id: open, allow: [\"up.secret\"] }\n";
    let (code, facts) = replay(&folder, &url, after, &[]);
    assert_eq!((code, counts(&facts)), (Some(2), [4, 0, 1, 1, 2, 0]), "{facts:#}");
    let records = records(&folder);
    for change in facts["changes"].as_array().unwrap() {
        let said =
            [&change["way"], &change["before"]["rule"], &change["after"]["rule"]].map(|of| of.as_str());
        let witnesses: Vec<&Value> = change["witnesses"].as_array().unwrap().iter().collect();
        let first = &records[witnesses[0].as_u64().unwrap() as usize];
        let (tool, n) = match said {
            [Some("opened"), Some("never"), Some("open")] => ("up.secret", 1),
            [Some("closed"), Some("all"), None] => ("up.echo", 1),
            [Some("otherwise"), Some("all"), Some("small")] => ("up.echo", 2),
            other => panic!("{other:?}"),
        };
        assert_eq!((&first["tool"], &change["records"], witnesses.len()), (&json!(tool), &json!(n), n));
    }
    // A filter, and as few witnesses as are wanted.
    let (_, facts) = replay(&folder, &url, after, &["--tool", "up.echo", "--witnesses", "1"]);
    assert_eq!(counts(&facts), [3, 0, 0, 1, 2, 0]);
    assert!(
        facts["changes"].as_array().unwrap().iter().all(|of| of["witnesses"].as_array().unwrap().len() == 1)
    );
    let told = strait(&folder.0, &["audit", "replay", "audit", "--against", "candidate.yaml"]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(0));
    assert!(text.contains("OPENED") && text.contains("rule `open` allows it (candidate.yaml:"), "{text}");
    assert!(text.ends_with("4 calls: 0 the same, 1 opened, 1 closed, 2 otherwise, 0 unknown\n"), "{text}");
}

#[test]
fn what_a_log_does_not_hold_is_unknown() {
    let number = "    - { id: all, allow: [\"up.echo\"], when: 'args.n < 1000' }\n    - { id: never, deny: [\"up.secret\"] }\n";
    let text = "    - { id: all, allow: [\"up.echo\"], when: 'args.text == \"words\"' }\n    - { id: never, deny: [\"up.secret\"] }\n";
    for (mode, by_number, by_text) in [
        ("redacted", [4, 3, 0, 1, 0, 0], [4, 1, 0, 0, 0, 3]),
        ("hash", [4, 1, 0, 0, 0, 3], [4, 1, 0, 0, 0, 3]),
        ("none", [4, 1, 0, 0, 0, 3], [4, 1, 0, 0, 0, 3]),
    ] {
        let (folder, upstream) = recorded(&format!(", payload: {mode}"));
        for (rules, expected) in [(number, by_number), (text, by_text)] {
            let (code, facts) = replay(&folder, &upstream.url(), rules, &[]);
            assert_eq!(counts(&facts), expected, "{mode}: {facts:#}");
            assert_eq!(code, Some(if expected[3] > 0 { 2 } else { 0 }));
            for open in facts["undecided"].as_array().unwrap() {
                assert_eq!((&open["missing"], &open["rules"]), (&json!(["arguments"]), &json!(["all"])));
            }
        }
    }
}

#[test]
fn an_erased_payload_is_not_guessed() {
    let (folder, upstream) = recorded(", payload: full");
    let records = records(&folder);
    let index = records.iter().position(|record| record["tool"] == "up.echo").unwrap();
    let erased = strait(&folder.0, &["audit", "erase", "audit", &index.to_string()]);
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    let rules = "    - { id: all, allow: [\"up.echo\"], when: 'args.n < 1000' }\n    - { id: never, deny: [\"up.secret\"] }\n";
    let (_, facts) = replay(&folder, &upstream.url(), rules, &[]);
    assert_eq!(counts(&facts), [4, 2, 0, 1, 0, 1], "{facts:#}");
}
