//! `strait vault` from the terminal.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::gateway::*;
use crate::process::*;

fn facts(out: &Output) -> Value {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("JSON")
}

fn refused(out: &Output, code: i32, expected: &str) {
    let text = String::from_utf8_lossy(&[out.stdout.clone(), out.stderr.clone()].concat()).into_owned();
    assert_eq!(out.status.code(), Some(code), "{text}");
    assert!(text.contains(expected) && !text.contains("kanarie"), "{text}");
}

#[test]
fn secrets_are_set_listed_rotated_and_removed() {
    let folder = Folder::new();
    assert_eq!(facts(&vault(&folder, &["set", "crm"], "kanarie\n"))["version"], 1);
    assert_eq!(facts(&vault(&folder, &["set", "crm"], "kanarie\r\n"))["version"], 2);
    let listed = facts(&vault(&folder, &["list"], ""));
    assert_eq!(
        (listed["secrets"][0]["name"].as_str(), listed["secrets"][0]["version"].as_u64()),
        (Some("crm"), Some(2))
    );
    let key = folder.read("state/vault.key");
    assert_eq!(facts(&vault(&folder, &["rotate"], ""))["rotated"], 1);
    assert!(folder.read("state/vault.key") != key);
    assert_eq!(facts(&vault(&folder, &["remove", "crm"], ""))["removed"], "crm");
    refused(&vault(&folder, &["remove", "crm"], ""), 1, "there is no secret `crm`");
}

#[test]
fn what_is_wrong_with_a_vault_is_told_by_its_name() {
    let folder = Folder::new();
    refused(&vault(&folder, &["rotate"], ""), 64, "there is no vault");
    refused(&vault(&folder, &["set", "../x"], "kanarie"), 64, "cannot name a secret");
    refused(&vault(&folder, &["set", "x"], ""), 64, "1 to 65536 bytes");
    refused(
        &vault(&folder, &["set", "x"], &format!("kanarie{}", "x".repeat(70_000))),
        64,
        "1 to 65536 bytes",
    );
    set(&folder, "crm", "kanarie");
    let whole = folder.read("state/vault");
    folder.write("state/vault", &whole[..whole.len() / 2]);
    refused(&vault(&folder, &["list"], ""), 1, "damaged: it is cut short");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    folder.write("state/vault", &flipped);
    refused(&vault(&folder, &["list"], ""), 1, "damaged");
    folder.write("state/vault", &whole);
    set(&folder, "crm", "kanarie-2");
    folder.write("state/vault", &whole);
    refused(&vault(&folder, &["list"], ""), 1, "an older copy");
    fs::rename(folder.at("state/vault.key"), folder.at("elsewhere.key")).unwrap();
    refused(&vault(&folder, &["list"], ""), 3, "cannot use the vault's key");
    fs::remove_file(folder.at("state/vault.count")).unwrap();
    facts(&vault(&folder, &["list", "--kek", "elsewhere.key"], ""));
}
