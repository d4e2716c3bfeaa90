//! Keys on a running gateway: made and revoked without a compile, refused when their file is bad.

use serde_json::json;
use strait_tests::Scripted;
use strait_tests::client::{initialize, legacy};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, json_reply};

use crate::process::*;

fn serving(folder: &Folder) -> (Process, Scripted) {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let text = config(&format!(
        "upstreams:\n  up: {{ http: \"{}\" }}\nservers:\n  default: {{ path: /mcp, auth: [staff], tools: [\"up.*\"] \
         }}\nidentity:\n  staff: {{ api_keys: keys.yaml }}\npolicy:\n  default: deny\n  rules:\n    - {{ id: all, allow: \
         [\"*\"] }}\n",
        upstream.url()
    ));
    let (table, _) = folder.compile(&text);
    folder.write("table", table);
    (Process::serve(folder, "table"), upstream)
}

fn new_key(folder: &Folder, id: &str) -> String {
    let out = strait(&folder.0, &["keys", "new", "keys.yaml", "--id", id, "--json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let made: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    made["key"].as_str().unwrap_or_else(|| panic!("no key in {made}")).to_owned()
}

fn revoke(folder: &Folder, id: &str) {
    let out = strait(&folder.0, &["keys", "revoke", "keys.yaml", id]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn status(process: &Process, key: &str) -> u16 {
    process.client().roundtrip(modern(key, 1, "tools/list", json!({}))).status
}

#[test]
fn a_key_works_when_it_is_made_and_not_when_it_is_revoked() {
    let folder = Folder::new();
    let ann = new_key(&folder, "ann");
    let (process, _upstream) = serving(&folder);
    assert_eq!(status(&process, &ann), 200);
    // While the gateway runs.
    let bob = new_key(&folder, "bob");
    wait_for("the new key to work", || status(&process, &bob) == 200);
    let mut client = process.client();
    let session = initialize(&mut client, &bob, "2025-11-25");
    let lists = |key: &str| legacy(key, &session, 2, "tools/list", json!({}));
    assert_eq!(client.roundtrip(lists(&bob)).status, 200);
    revoke(&folder, "bob");
    wait_for("the revoked key to be refused", || status(&process, &bob) == 401);
    // Its session is refused at the next request, on the connection it had.
    assert_eq!(client.roundtrip(lists(&bob)).status, 401);
    assert_eq!(client.roundtrip(lists(&ann)).status, 404);
    assert_eq!(status(&process, &ann), 200);
    assert_eq!(process.reload()["rejected"], 0);
}

#[test]
fn a_hangup_reads_the_keys_at_once() {
    let folder = Folder::new();
    let ann = new_key(&folder, "ann");
    let (process, _upstream) = serving(&folder);
    assert_eq!(status(&process, &ann), 200);
    revoke(&folder, "ann");
    process.hang_up();
    wait_for("the revoked key to be refused", || status(&process, &ann) == 401);
}

#[test]
fn a_bad_key_file_changes_nothing_until_it_is_mended() {
    let folder = Folder::new();
    let ann = new_key(&folder, "ann");
    let good = folder.read("keys.yaml");
    let (process, _upstream) = serving(&folder);
    for (what, spoil) in [("broken", Some("pepper: [")), ("gone", None)] {
        match spoil {
            Some(text) => folder.replace("keys.yaml", text),
            None => std::fs::remove_file(folder.at("keys.yaml")).unwrap(),
        }
        process.wait_for_state("rejected");
        assert!(
            process.reload()["why"].as_str().unwrap().contains("keys.yaml"),
            "{what}: {}",
            process.reload()
        );
        assert_eq!(status(&process, &ann), 200, "{what}");
        folder.replace("keys.yaml", &good);
        process.wait_for_state("ok");
        assert_eq!(status(&process, &ann), 200, "{what}");
    }
}

/// A hangup while a key file is bad refuses the source as well, for its keys. Mending the file mends both.
#[test]
fn a_mended_key_file_also_ends_a_refusal_that_a_hangup_brought() {
    let folder = Folder::new();
    let ann = new_key(&folder, "ann");
    let good = folder.read("keys.yaml");
    let (process, _upstream) = serving(&folder);
    folder.replace("keys.yaml", "pepper: [");
    process.wait_for_state("rejected");
    process.hang_up();
    wait_for("the hangup's own refusal", || process.reload()["rejected"] == 2);
    folder.replace("keys.yaml", &good);
    process.wait_for_state("ok");
    assert_eq!(status(&process, &ann), 200);
}
