//! `strait init`: what it writes is served as it is, and nothing is ever written over.

use std::process::Command;

use serde_json::{Value, json};

use crate::common::gateway::{Gateway, free_port, ready};
use crate::common::{Folder, strait};

#[test]
fn the_first_file_is_accepted_and_served() {
    let folder = Folder::new();
    let made = strait(folder.path(), &["init"]);
    assert_eq!((made.code, made.stderr.as_str()), (0, ""));
    assert!(made.stdout.contains("strait up strait.yaml"), "{}", made.stdout);
    assert_eq!(folder.names(), ["strait.schema.json", "strait.yaml"]);
    let checked = strait(folder.path(), &["check", "strait.yaml", "--deny-warnings"]);
    assert_eq!((checked.code, checked.stdout.as_str()), (0, "strait.yaml: no findings\n"));
    let schema: Value = serde_json::from_slice(&folder.read("strait.schema.json")).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");

    // On ports of its own, as nobody knows what runs on this machine.
    let (port, admin) = (free_port(), free_port());
    let text = String::from_utf8(folder.read("strait.yaml")).unwrap().replace("8080", &port.to_string());
    folder.write("moved.yaml", format!("{text}admin: {{ bind: 127.0.0.1:{admin} }}\n"));
    let gateway = Gateway::start(folder.path(), &["up", "moved.yaml", "--workers", "1"]);
    let told = ready(admin);
    assert_eq!(
        (&told["upstreams"][0]["name"], &told["upstreams"][0]["state"]),
        (&json!("hello"), &json!("ready"))
    );
    let (code, banner, _) = gateway.stop();
    assert_eq!(code, Some(0));
    // The banner's own call works: `tests/serving.rs` holds that. Here: it has a key to call with.
    assert!(banner.contains("you") && banner.contains("curl"), "{banner}");
}

#[test]
fn it_begins_with_what_another_tool_has() {
    let folder = Folder::new();
    folder.write("mcp.json", r#"{"mcpServers": {"files": {"command": "true", "args": ["-x"]}}}"#);
    let made = strait(folder.path(), &["init", "--import", "mcp.json"]);
    assert_eq!((made.code, made.stderr.as_str()), (0, ""));
    assert!(
        made.stdout.contains("mcpServers.files.command") && made.stdout.contains("strait up strait.yaml"),
        "{}",
        made.stdout
    );
    let text = String::from_utf8(folder.read("strait.yaml")).unwrap();
    assert!(text.starts_with("# yaml-language-server: $schema=./strait.schema.json\n"), "{text}");
    assert_eq!(strait(folder.path(), &["check", "strait.yaml"]).code, 0, "{text}");
    assert_eq!(strait(folder.path(), &["fmt", "--check", "strait.yaml"]).code, 0, "{text}");
    folder.write("bad.json", "{");
    assert_eq!(strait(folder.path(), &["init", "new", "--import", "bad.json"]).code, 1);
    assert_eq!(strait(folder.path(), &["init", "new", "--import", "none.json"]).code, 64);
    assert_eq!(folder.names(), ["bad.json", "mcp.json", "strait.schema.json", "strait.yaml"]);
}

#[test]
fn nothing_is_written_over() {
    let folder = Folder::new();
    folder.write("strait.yaml", "mine");
    let refused = strait(folder.path(), &["init"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (6, ""));
    assert!(refused.stderr.contains("`strait.yaml` is there already"), "{}", refused.stderr);
    assert_eq!(folder.read("strait.yaml"), b"mine");
    assert_eq!(folder.names(), ["strait.yaml"]);
    // A link to nowhere is something, too.
    std::os::unix::fs::symlink("nowhere", folder.path().join("link.yaml")).unwrap();
    assert_eq!(strait(folder.path(), &["init", "link.yaml"]).code, 6);
    // Another file beside a schema that is there keeps that.
    folder.write("strait.schema.json", "{}");
    let made = strait(folder.path(), &["init", "second.yml", "--json"]);
    let facts: Value = serde_json::from_str(&made.stdout).unwrap();
    assert_eq!(
        (made.code, &facts["config"], &facts["schema_written"]),
        (0, &json!("second.yml"), &json!(false))
    );
    assert_eq!(folder.read("strait.schema.json"), b"{}");
    assert!(String::from_utf8(folder.read("second.yml")).unwrap().contains("strait up second.yml"));
}

#[test]
fn a_folder_is_made_and_other_names_are_refused() {
    let folder = Folder::new();
    assert_eq!(strait(folder.path(), &["init", "new/deep"]).code, 0);
    assert!(folder.path().join("new/deep/strait.yaml").is_file());
    let refused = strait(folder.path(), &["init", "config.toml"]);
    assert_eq!(refused.code, 64);
    assert!(
        refused.stderr.contains("neither a folder nor a name that ends in `.yaml`"),
        "{}",
        refused.stderr
    );
    assert_eq!(folder.names(), ["new"]);
    if !Command::new("id").arg("-u").output().unwrap().stdout.starts_with(b"0\n") {
        assert_eq!(strait(folder.path(), &["init", "/nobody/may"]).code, 3);
    }
}
