//! `strait import` and `strait connect` as a shell sees them: exit codes, what is on which stream, what is on the disk.

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use common::{Folder, Ran, command, strait};
use serde_json::Value;

const CLAUDE: &str = r#"{ "mcpServers": {
  "everything": { "command": "npx", "args": ["-y", "@modelcontextprotocol/server-everything"] },
  "api": { "url": "http://127.0.0.1:9/mcp", "headers": { "Authorization": "Bearer SECRET-0123456789" } }
} }
"#;

#[test]
fn an_import_is_written_once_and_passes_the_check() {
    let folder = Folder::new();
    folder.write("claude.json", CLAUDE);
    let run = |arguments: &[&str]| strait(folder.path(), arguments);
    let ran = run(&["import", "claude.json", "-o", "strait.yaml"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains("mapped claude.json:2:3 mcpServers.everything: upstreams.everything"),
        "{}",
        ran.stdout
    );
    assert_eq!(run(&["check", "strait.yaml", "--deny-warnings"]).code, 0);
    let first = folder.read("strait.yaml");
    assert!(!String::from_utf8(first.clone()).unwrap().contains("SECRET"));
    assert!(run(&["import", "claude.json", "-o", "strait.yaml"]).stdout.contains("as it was"));
    assert_eq!(folder.read("strait.yaml"), first);

    // To a pipe: the configuration alone on stdout.
    let ran = run(&["import", "claude.json"]);
    assert_eq!((ran.code, ran.stdout.as_bytes()), (0, first.as_slice()));
    assert!(ran.stderr.contains("mapped") && !ran.stderr.contains("SECRET"));
    let ran = run(&["import", "claude.json", "--json"]);
    let facts: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(facts["config"].as_str().unwrap().as_bytes(), first);
    assert_eq!((&facts["form"], &facts["asked"]), (&"mcpServers".into(), &0.into()));
    assert!(!ran.stdout.contains("SECRET"));

    folder.write("strait.yaml", "something else");
    let ran = run(&["import", "claude.json", "-o", "strait.yaml"]);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert_eq!(folder.read("strait.yaml"), b"something else");
    assert_eq!(run(&["import", "claude.json", "-o", "strait.yaml", "--force"]).code, 0);
    assert_eq!(folder.read("strait.yaml"), first);
}

#[test]
fn what_cannot_be_imported_is_refused() {
    let folder = Folder::new();
    folder.write("asked.json", r#"{"mcpServers": {"a": {"command": "x"}, "b": {"url": "ws://h/mcp"}}}"#);
    folder.write("none.json", r#"{"mcpServers": {"b": {"url": "ws://h/mcp"}}}"#);
    folder.write("broken.json", r#"{"mcpServers": {"a": {"env": {"K": "SECRET-x" "#);
    folder.write("other.json", r#"{"name": "SECRET-x"}"#);
    let run = |arguments: &[&str]| strait(folder.path(), arguments);
    let check = |arguments: &[&str], code: i32, says: &str| {
        let ran = run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("SECRET"), "{arguments:?}: {}", ran.stderr);
    };
    check(&["import", "asked.json", "-o", "out.yaml", "--strict"], 1, "need a decision");
    check(&["import", "none.json", "-o", "out.yaml"], 1, "can be carried");
    check(&["import", "broken.json", "-o", "out.yaml"], 1, "broken.json:1:");
    check(&["import", "other.json", "-o", "out.yaml"], 1, "--from");
    check(&["import", "not-there.json"], 64, "not-there.json");
    check(&["import"], 64, "no file is named");
    assert!(!folder.names().contains(&"out.yaml".to_owned()));
    assert_eq!(run(&["import", "asked.json", "-o", "out.yaml"]).code, 0);
    let config = String::from_utf8(folder.read("out.yaml")).unwrap();
    assert!(config.contains("#   b (asked.json:1:40): "), "{config}");
}

const BEFORE: &str = "// mine\n{\n  \"theme\": \"dark\",\n  \"mcpServers\": {\n    \"gh\": { \"command\": \"x\", \"env\": { \"T\": \"ghp_SECRET0123456789abc\" } }\n  }\n}\n";

fn home(folder: &Folder) -> impl Fn(&[&str]) -> Ran + '_ {
    |arguments: &[&str]| {
        let mut command = command(folder.path(), arguments);
        command.env("HOME", folder.path()).env_remove("XDG_CONFIG_HOME");
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

#[test]
fn a_client_is_connected_and_back() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join(".cursor")).unwrap();
    folder.write(".cursor/mcp.json", BEFORE);
    let file = folder.path().join(".cursor/mcp.json");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let run = home(&folder);

    let dry = run(&["connect", "cursor", "--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert!(dry.stdout.contains("+ ") && dry.stdout.contains("nothing was written"), "{}", dry.stdout);
    assert!(!dry.stdout.contains("SECRET"), "{}", dry.stdout);
    assert_eq!(folder.read(".cursor/mcp.json"), BEFORE.as_bytes());
    assert_eq!(names(&folder, ".cursor"), ["mcp.json"]);

    let ran = run(&["connect", "cursor", "http://127.0.0.1:9/mcp"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("STRAIT_KEY") && !ran.stdout.contains("SECRET"), "{}", ran.stdout);
    let after = String::from_utf8(folder.read(".cursor/mcp.json")).unwrap();
    assert!(
        after.starts_with("// mine\n{\n  \"theme\": \"dark\",\n") && after.contains("ghp_SECRET"),
        "{after}"
    );
    assert!(after.contains("\"Bearer ${env:STRAIT_KEY}\""), "{after}");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
    assert!(run(&["connect", "cursor", "http://127.0.0.1:9/mcp"]).stdout.contains("nothing to change"));

    // Connected elsewhere: undoing still leads back to the beginning.
    assert_eq!(run(&["connect", "cursor", "http://127.0.0.1:10/mcp", "--no-key"]).code, 0);
    let ran = run(&["connect", "cursor", "--undo"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(folder.read(".cursor/mcp.json"), BEFORE.as_bytes());
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
    assert_eq!(names(&folder, ".cursor"), ["mcp.json"]);
    assert_eq!(run(&["connect", "cursor", "--undo"]).code, 64);
}

fn names(folder: &Folder, inner: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path().join(inner)).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_that_was_changed_since_is_left_alone() {
    let folder = Folder::new();
    folder.write("client.json", BEFORE);
    let run = home(&folder);
    assert_eq!(run(&["connect", "cursor", "--file", "client.json"]).code, 0);
    let changed = [folder.read("client.json"), b"\n".to_vec()].concat();
    folder.write("client.json", &changed);
    let ran = run(&["connect", "cursor", "--file", "client.json", "--undo"]);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert!(ran.stderr.contains("client.json.before-strait"), "{}", ran.stderr);
    assert_eq!(folder.read("client.json"), changed);
    // Connected again, what was before is what its owner made of it; the older copy stays.
    assert_eq!(run(&["connect", "cursor", "--file", "client.json", "--name", "other"]).code, 0);
    assert_eq!(run(&["connect", "cursor", "--file", "client.json", "--undo"]).code, 0);
    assert_eq!(folder.read("client.json"), changed);
    assert_eq!(folder.read("client.json.before-strait"), BEFORE.as_bytes());
}

#[test]
fn a_file_that_was_not_there_is_gone_again() {
    let folder = Folder::new();
    let run = home(&folder);
    let ran = run(&["connect", "claude-code"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let written: Value = serde_json::from_slice(&folder.read(".mcp.json")).unwrap();
    assert_eq!(written["mcpServers"]["strait"]["headers"]["Authorization"], "Bearer ${STRAIT_KEY}");
    assert_eq!(std::fs::metadata(folder.path().join(".mcp.json")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(run(&["connect", "claude-code", "--undo"]).code, 0);
    assert_eq!(folder.names(), Vec::<String>::new());
    // No folder, no client.
    let ran = run(&["connect", "windsurf"]);
    assert!(ran.code == 64 && ran.stderr.contains("installed"), "{}", ran.stderr);
}

#[test]
fn links_are_followed_and_broken_files_left_alone() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("real")).unwrap();
    folder.write("real/mcp.json", BEFORE);
    symlink("real/mcp.json", folder.path().join("link.json")).unwrap();
    let run = home(&folder);
    assert_eq!(run(&["connect", "cursor", "--file", "link.json"]).code, 0);
    assert!(std::fs::symlink_metadata(folder.path().join("link.json")).unwrap().is_symlink());
    assert!(String::from_utf8(folder.read("real/mcp.json")).unwrap().contains("strait"));
    assert_eq!(run(&["connect", "cursor", "--file", "link.json", "--undo"]).code, 0);
    assert_eq!(folder.read("real/mcp.json"), BEFORE.as_bytes());

    for text in ["{", "[]", "{\"mcpServers\": 1}", "{\"mcpServers\": {}, \"mcpServers\": {}}"] {
        folder.write("bad.json", text);
        let ran = run(&["connect", "cursor", "--file", "bad.json"]);
        assert_eq!(ran.code, 1, "{text}: {}", ran.stderr);
        assert_eq!(folder.read("bad.json"), text.as_bytes());
    }
    folder.write("bad.json", b"\xff");
    assert_eq!(run(&["connect", "cursor", "--file", "bad.json"]).code, 1);
    symlink("nowhere", folder.path().join("dangling")).unwrap();
    assert_eq!(run(&["connect", "cursor", "--file", "dangling"]).code, 64);
}

const CONFIG: &str = r#"
strait: 1
listeners: { main: { bind: 127.0.0.1:9 } }
upstreams: { hello: { sample: stdio } }
servers:
  default: { path: /mcp, auth: [you], tools: ["*"] }
  open: { path: /open, tools: ["*"] }
identity: { you: { api_keys: { generate: [{ id: you }] } } }
policy: { default: allow }
"#;

#[test]
fn a_configuration_says_the_way() {
    let folder = Folder::new();
    folder.write("strait.yaml", CONFIG);
    folder.write("c.json", "{}");
    let run = home(&folder);
    let entry = |client: &str, arguments: &[&str], at: &str| -> Value {
        folder.write("c.json", "{}");
        let all = [&["connect", client, "strait.yaml", "--file", "c.json"], arguments].concat();
        let ran = run(&all);
        assert_eq!(ran.code, 0, "{all:?}: {}", ran.stderr);
        let written: Value = serde_json::from_slice(&folder.read("c.json")).unwrap();
        written[at]["strait"].clone()
    };
    let desktop = entry("claude-desktop", &[], "mcpServers");
    assert_eq!(desktop["args"][1], "http://127.0.0.1:9/mcp");
    let key = desktop["args"][3].as_str().unwrap();
    assert!(Path::new(key).is_absolute() && key.ends_with(".strait/keys/you.you.key"), "{key}");
    assert!(Path::new(desktop["command"].as_str().unwrap()).is_absolute());
    let open = entry("claude-code", &["--server", "open"], "mcpServers");
    assert_eq!(open, serde_json::json!({ "type": "http", "url": "http://127.0.0.1:9/open" }));
    let editor = entry("vscode", &[], "servers");
    assert_eq!(editor["headers"]["Authorization"], "Bearer ${input:strait-key}");
    let whole: Value = serde_json::from_slice(&folder.read("c.json")).unwrap();
    assert_eq!(whole["inputs"][0]["password"], true);
    assert_eq!(entry("windsurf", &[], "mcpServers")["serverUrl"], "http://127.0.0.1:9/mcp");

    let refused = |arguments: &[&str], says: &str| {
        let ran = run(arguments);
        assert!(ran.code == 64 && ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    };
    refused(&["connect", "cursor", "strait.yaml", "--file", "c.json", "--server", "none"], "none");
    refused(&["connect", "claude-desktop", "--file", "c.json"], "--key-file");
    refused(&["connect", "cursor", "http://u:p@h/mcp", "--file", "c.json"], "without a user");
    refused(&["connect", "cursor", "--server", "x", "--file", "c.json"], "--server is for a CONFIG");
    refused(&["connect", "nobody"], "nobody");
}
