//! A kanarie in every place that a secret may come from, and a look into every place where none may be.

use std::fs;
use std::path::Path;

use serde_json::json;
use strait_tests::gateway::wait_for;

use crate::gateway::*;
use crate::process::*;
use crate::stores::stub::{Mood, Stub};

/// By upstream: what it must be shown.
const SHOWN: [(&str, &str); 9] = [
    ("sealed", "Bearer kanarie-sealed-1"),
    ("folder", "Bearer kanarie-folder-2"),
    ("variable", "Bearer kanarie-variable-3"),
    ("file", "Bearer kanarie-file-4"),
    ("env", "Bearer kanarie-env-5"),
    ("systemd", "Bearer kanarie-systemd-6"),
    ("reference", "Bearer kanarie-reference-7"),
    ("stored", "Bearer kanarie-stored-10"),
    ("aws", "Bearer kanarie-aws-11"),
];

/// Children, and what of theirs is secret.
const CHILD: &str = "kanarie-child-8";

fn planted(folder: &Folder) -> Vec<(&'static str, String)> {
    fs::create_dir_all(folder.at("state/secrets")).unwrap();
    fs::create_dir_all(folder.at("systemd")).unwrap();
    set(folder, "sealed", "kanarie-sealed-1");
    set(folder, "child", CHILD);
    folder.write("state/secrets/folder", "kanarie-folder-2\n");
    folder.write("given", "kanarie-file-4\n");
    folder.write("systemd/crm", "kanarie-systemd-6");
    folder.write("referenced", "kanarie-reference-7");
    folder.write("role.secret", "kanarie-role-12");
    vec![
        ("STRAIT_SECRET_VARIABLE", "kanarie-variable-3".to_owned()),
        ("GIVEN", "kanarie-env-5".to_owned()),
        ("CREDENTIALS_DIRECTORY", folder.at("systemd").display().to_string()),
        ("ROLE", "kanarie-role-id-13".to_owned()),
        ("AWS_ACCESS_KEY_ID", "kanarie-aws-id-14".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "kanarie-aws-key-15".to_owned()),
        ("AWS_SESSION_TOKEN", "kanarie-aws-token-16".to_owned()),
    ]
}

fn config_with(url: &str, vault: &Stub, aws: &Stub) -> String {
    let upstream = |name: &str| match name {
        "reference" => "${file:referenced}".to_owned(),
        "env" => "${secret:declared-env}".to_owned(),
        "file" => "${secret:declared-file}".to_owned(),
        "systemd" => "${secret:declared-systemd}".to_owned(),
        name => format!("${{secret:{name}}}"),
    };
    let upstreams: String = SHOWN
        .iter()
        .map(|(name, _)| {
            format!(
                "  {name}: {{ http: \"{url}?{name}\", credential: {{ bearer: \"{}\" }} }}\n",
                upstream(name)
            )
        })
        .collect();
    let strait = binary().display().to_string();
    format!(
        "strait: 1\nlisteners: {{ main: {{ bind: \"127.0.0.1:0\" }} }}\nadmin: {{ bind: \"127.0.0.1:0\" }}\n\
         access_log: {{ path: access.log }}\nupstreams:\n{upstreams}\
         \x20 child: {{ stdio: {{ command: \"{strait}\", args: [sample, stdio], env: {{ KEY: \"${{secret:child}}\" }} }} }}\n\
         \x20 other: {{ stdio: {{ command: \"{strait}\", args: [sample, stdio] }} }}\n\
         secrets:\n{}  declared-env: {{ env: GIVEN }}\n  declared-file: {{ file: given }}\n  declared-systemd: {{ systemd: crm }}\n\
         servers:\n  default: {{ path: /mcp, tools: [\"*\"] }}\n\
         policy:\n  default: deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n",
        stored(vault, aws)
    )
}

fn stored(vault: &Stub, aws: &Stub) -> String {
    format!(
        "  stored: {{ vault: {{ address: \"http://{}\", path: kv/data/crm, field: token, refresh: 1s, \
         approle: {{ role: \"${{env:ROLE}}\", secret: \"${{file:role.secret}}\" }} }} }}\n\
         \x20 aws: {{ aws: {{ region: eu-central-1, name: crm, endpoint: \"http://{}\", refresh: 1s }} }}\n",
        vault.address, aws.address
    )
}

/// Environments of the gateway's children, by pid.
fn environments(parent: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if status.lines().any(|line| line == format!("PPid:\t{parent}")) {
            let bytes = fs::read(entry.path().join("environ")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    found
}

fn files_below(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}

#[test]
fn each_upstream_gets_its_own_secret_and_nothing_else_has_any() {
    let folder = Folder::new();
    let env = planted(&folder);
    let upstream = guarded(&Accepted::default());
    let (vault_stub, aws_stub) = (Stub::start("kanarie-stored-10"), Stub::start("kanarie-aws-11"));
    let (table, _) = folder.compile(&config_with(&upstream.url(), &vault_stub, &aws_stub));
    folder.write("table", &table);
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let process = serve(&folder, "table", &env);
    let mut client = process.client();
    for (name, _) in SHOWN {
        let answer = call(&mut client, "", &format!("{name}__echo"), json!({"x": 1}));
        assert!(answer["result"].is_object(), "{name}: {answer}");
    }
    // What is refused, unknown or wrong has words of its own.
    call(&mut client, "", "sealed__nothing", json!({}));
    call(&mut client, "", "child__nothing", json!({}));
    for (name, line) in SHOWN {
        let its = format!("/mcp?{name} ");
        let arrived: Vec<_> = ["server/discover", "tools/list", "tools/call"]
            .iter()
            .flat_map(|method| upstream.arrived(method))
            .filter(|request| request.head.contains(&its))
            .collect();
        assert!(!arrived.is_empty(), "{name} was not asked");
        for request in arrived {
            assert_eq!(request.header("authorization"), Some(line), "{name}");
            assert_eq!(request.head.matches("kanarie").count(), 1, "{}", request.head);
        }
    }

    let mut children = Vec::new();
    wait_for("both children", || {
        children = environments(process.pid());
        children.len() == 2
    });
    let with_key: Vec<&String> = children.iter().filter(|env| env.contains("kanarie")).collect();
    assert_eq!(with_key.len(), 1, "{children:?}");
    assert!(with_key[0].contains(&format!("KEY={CHILD}")) && with_key[0].matches("kanarie").count() == 1);

    // A rotation and a loss have words too.
    set(&folder, "sealed", "kanarie-sealed-9");
    wait_for("the rotated secret", || {
        call(&mut client, "", "sealed__echo", json!({}));
        upstream.arrived("tools/call").last().is_some_and(|last| last.head.contains("kanarie-sealed-9"))
    });
    for (mood, words) in [(Mood::Garbage, "no secret"), (Mood::Sealed, "expected 200")] {
        vault_stub.is(mood);
        aws_stub.is(mood);
        process.wait_for_log(words);
    }
    fs::remove_file(folder.at("given")).unwrap();
    process.wait_for_log("goes on with the secret it had");
    process.hang_up();
    process.wait_for_log("SIGHUP");

    let mut sinks = vec![
        ("the log".to_owned(), process.log()),
        ("inspect".to_owned(), {
            let out = strait(&folder.0, &["inspect", "table", "--json"]);
            String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
        }),
        ("the vault's list".to_owned(), {
            let out = vault(&folder, &["list"], "");
            String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
        }),
    ];
    let paths = ["/readyz", "/healthz", "/metrics", "/admin/config", "/admin/rollout", "/admin/traffic"];
    for path in paths.iter().chain(&["/admin/history", "/admin/quarantine", "/admin/trial", "/openapi.json"])
    {
        sinks.push(((*path).to_owned(), asked_as_operator(&folder, &process, path)));
    }
    process.stop();
    files_below(&folder.0, &mut sinks);
    let where_it_belongs = ["state/secrets/folder", "/referenced", "/systemd/crm", "/given", "/role.secret"];
    for (sink, text) in sinks {
        if !where_it_belongs.iter().any(|place| sink.ends_with(place)) {
            let at = text
                .find("kanarie")
                .map(|at| text[at.saturating_sub(80)..].chars().take(200).collect::<String>());
            assert!(at.is_none(), "{sink} has a secret: {at:?}");
        }
    }
}

fn asked_as_operator(folder: &Folder, process: &Process, path: &str) -> String {
    use std::io::{Read, Write};
    let token = String::from_utf8(folder.read("state/admin.token")).unwrap();
    let mut stream = std::net::TcpStream::connect(process.admin).expect("connect");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token.trim()
    )
    .expect("ask");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_gateway_leaves_no_core_file() {
    let folder = Folder::new();
    let upstream = guarded(&Accepted::default());
    folder.write("config.yaml", open_to_all(&upstream.url()));
    let process = serve(&folder, "config.yaml", &[]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let soft: u64 = core.split_whitespace().nth(4).and_then(|soft| soft.parse().ok()).unwrap();
    assert!(soft <= 1, "{core}");
}
