//! Payloads that only their recipients can read. The other side of it is `age`, and the cipher of another maker (node's).

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strait_tests::client::modern;

use crate::folder::*;
use crate::process::{Folder, strait};

/// Opens AES-256-GCM: key, nonce and what is sealed, in hex.
const OPEN: &str = r#"
const [key, nonce, sealed] = process.argv.slice(1).map((hex) => Buffer.from(hex, "hex"));
const cipher = require("crypto").createDecipheriv("aes-256-gcm", key, nonce);
cipher.setAuthTag(sealed.subarray(-16));
process.stdout.write(Buffer.concat([cipher.update(sealed.subarray(0, -16)), cipher.final()]));
"#;

fn ran(folder: &Folder, program: &str, arguments: &[&str]) -> Vec<u8> {
    let out = Command::new(program).args(arguments).current_dir(&folder.0).output();
    let out = out.unwrap_or_else(|error| panic!("{program} (tests/run installs it): {error}"));
    assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// An identity as `age-keygen` makes it; gives its public key.
fn keygen(folder: &Folder, file: &str) -> String {
    ran(folder, "age-keygen", &["-o", file]);
    String::from_utf8(ran(folder, "age-keygen", &["-y", file])).unwrap().trim().to_owned()
}

fn encrypted(recipients: &[&str]) -> String {
    format!(", payload: full, encrypt: {{ recipients: [{}] }}", recipients.join(", "))
}

/// One call whose text is a canary, of a log for two.
fn recorded() -> (Folder, strait_tests::Scripted) {
    let (folder, upstream) = (Folder::new(), echo());
    let (one, other) = (keygen(&folder, "one.key"), keygen(&folder, "other.key"));
    let process = serve(&folder, &audited(&upstream.url(), &encrypted(&[&one, &other])));
    process.client().roundtrip(call("canary-text"));
    assert_eq!(process.stop(), Some(0));
    (folder, upstream)
}

fn shown(folder: &Folder, more: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let verb = ["audit", "show", "audit", "--payload", "--tool", "up.echo", "--json"];
    let out = strait(&folder.0, &[&verb[..], more].concat());
    let lines = String::from_utf8(out.stdout).unwrap();
    let records = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (out.status.code(), records, String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn a_canary_is_in_no_file_and_each_recipient_reads_it() {
    let (folder, _upstream) = recorded();
    keygen(&folder, "stranger.key");
    for (file, bytes) in files(&folder.0) {
        assert!(!bytes.windows(6).any(|part| part == b"canary"), "{}", file.display());
    }
    let records = records(&folder);
    let record = records.iter().find(|record| record["tool"] == "up.echo").unwrap();
    assert_eq!(
        (&record["arguments"]["mode"], &record["result"]["mode"]),
        (&json!("sealed"), &json!("sealed"))
    );
    assert!(record["arguments"]["bytes"].as_u64() < record["arguments"]["kept"].as_u64());
    let (code, closed, _) = shown(&folder, &[]);
    assert_eq!((code, &closed[0]["kept"]["arguments"]["text"]), (Some(0), &json!("")));
    for identity in ["one.key", "other.key"] {
        let (code, open, told) = shown(&folder, &["--identity", identity]);
        assert_eq!(code, Some(0), "{told}");
        let text = open[0]["kept"]["arguments"]["text"].as_str().unwrap();
        assert_eq!(text, r#"{"text":"canary-text","n":12}"#);
        assert!(open[0]["kept"]["result"]["text"].as_str().unwrap().contains("canary-text"));
    }
    let (code, open, told) = shown(&folder, &["--identity", "stranger.key"]);
    assert_eq!((code, open.len()), (Some(1), 0), "{told}");
    assert!(told.contains("the identity is of `age1") && told.contains("encrypted for `age1"), "{told}");
    folder.write("public.key", "age1qqqq\n");
    let (code, _, told) = shown(&folder, &["--identity", "public.key"]);
    assert_eq!(code, Some(64), "{told}");
}

#[test]
fn age_and_another_cipher_open_it_without_us() {
    let (folder, _upstream) = recorded();
    let records = records(&folder);
    let at = records.iter().position(|record| record["tool"] == "up.echo").unwrap();
    let by = records[at]["arguments"]["key"].as_u64().unwrap() as usize;
    assert_eq!((&records[by]["kind"], &records[by]["core"]), (&json!("key"), &json!(65_535)));
    let wrapped = STANDARD.decode(records[by]["age"].as_str().unwrap()).unwrap();
    std::fs::write(folder.at("wrapped.age"), wrapped).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let kept = payloads(&folder);
    for identity in ["one.key", "other.key"] {
        let key = ran(&folder, "age", &["--decrypt", "-i", identity, "wrapped.age"]);
        assert_eq!(key.len(), 32);
        for (which, word) in [(1, "arguments"), (2, "result")] {
            let (_, _, sealed) =
                kept.iter().find(|(index, of, _)| *index == at as u64 && of == word).unwrap();
            let nonce = [&(at as u64).to_le_bytes()[..], &[which, 0, 0, 0]].concat();
            let text = ran(&folder, "node", &["-e", OPEN, &hex(&key), &hex(&nonce), &hex(sealed)]);
            assert!(String::from_utf8(text).unwrap().contains("canary-text"), "{word}");
        }
    }
}

#[test]
fn erasing_and_proving_need_no_identity_and_nobody_reads_what_was_erased() {
    let (folder, _upstream) = recorded();
    let at = records(&folder).iter().position(|record| record["tool"] == "up.echo").unwrap().to_string();
    let proof = strait(&folder.0, &["audit", "prove", "audit", &at]);
    assert!(proof.status.success());
    let erased = strait(&folder.0, &["audit", "erase", "audit", &at, "--field", "arguments"]);
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    let (code, open, told) = shown(&folder, &["--identity", "one.key"]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(open[0]["kept"]["arguments"], json!({ "mode": "erased", "text": "" }));
    assert_eq!(open[0]["kept"]["result"]["mode"], "sealed");
    std::fs::write(folder.at("proof.json"), proof.stdout).unwrap();
    assert!(strait(&folder.0, &["audit", "check-proof", "proof.json"]).status.success());
    records(&folder);
}

#[test]
fn recipients_need_a_restart() {
    let (folder, upstream) = (Folder::new(), echo());
    let one = keygen(&folder, "one.key");
    let process = serve(&folder, &audited(&upstream.url(), ""));
    folder.replace("strait.yaml", audited(&upstream.url(), &encrypted(&[&one])));
    process.hang_up();
    process.wait_for_state("rejected");
    let why = process.reload()["why"].as_str().unwrap().to_owned();
    assert!(why.contains(&format!("`audit.encrypt` is for {one} instead of for nobody")), "{why}");
    assert_eq!(process.stop(), Some(0));
}

#[test]
fn a_replay_reads_what_was_sealed_with_an_identity() {
    let (folder, upstream) = (Folder::new(), echo());
    let one = keygen(&folder, "one.key");
    let process = serve(&folder, &audited(&upstream.url(), &encrypted(&[&one])));
    let mut client = process.client();
    for n in [5, 5_000] {
        client.roundtrip(modern("", 1, "tools/call", json!({ "name": "echo", "arguments": { "n": n } })));
    }
    assert_eq!(process.stop(), Some(0));
    let rules = "    - { id: all, allow: [\"*\"], when: 'args.n < 1000' }\n";
    folder.write("candidate.yaml", with_rules(&upstream.url(), "", rules));
    let replay = |more: &[&str]| {
        let verb = ["audit", "replay", "audit", "--against", "candidate.yaml", "--json"];
        let out = strait(&folder.0, &[&verb[..], more].concat());
        let facts: Value = serde_json::from_slice(&out.stdout).unwrap();
        ["calls", "same", "closed", "unknown"].map(|key| facts[key].as_u64().unwrap())
    };
    assert_eq!(replay(&[]), [2, 0, 0, 2]);
    assert_eq!(replay(&["--identity", "one.key"]), [2, 1, 1, 0]);
}
