//! A gateway under a service manager: sockets that it passes, what it is told. The manager is a stand-in (`manager.py`);
//! the tools of systemd stand beside it where they are installed.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use strait_tests::Scripted;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, json_reply};

use crate::process::*;
use crate::{Successor, is_running, upgrade};

/// A free port, for whoever cannot say which one it was given.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// A configuration that listens at these addresses.
fn at(traffic: SocketAddr, admin: SocketAddr, url: &str) -> String {
    let text = open_to_all(url);
    let text = text.replacen("bind: \"127.0.0.1:0\"", &format!("bind: \"{traffic}\""), 1);
    text.replacen("bind: \"127.0.0.1:0\"", &format!("bind: \"{admin}\""), 1)
}

fn spawn(folder: &Folder, program: &str, arguments: &[&str]) -> (Child, std::path::PathBuf) {
    let log = folder.at("log");
    let file = std::fs::File::create(&log).expect("make the log");
    let child = Command::new(program)
        .args(arguments)
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("clone"))
        .stderr(file)
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    (child, log)
}

/// What the manager heard, as lines: whose number, and what.
fn heard(folder: &Folder) -> Vec<(u32, String)> {
    let text = std::fs::read_to_string(folder.at("heard")).unwrap_or_default();
    let lines = text.lines().map(|line| line.trim_start_matches("! ").split_once(' ').expect("a number"));
    lines.map(|(pid, said)| (pid.parse().expect("a number"), said.to_owned())).collect()
}

fn wait_to_hear(folder: &Folder, what: &str, who: impl Fn(u32) -> bool, begins: &str) -> u32 {
    let mut found = None;
    wait_for(what, || {
        let all = heard(folder);
        found = all.iter().find(|(pid, said)| who(*pid) && said.starts_with(begins)).map(|(pid, _)| *pid);
        found.is_some()
    });
    found.expect("heard")
}

#[test]
fn sockets_are_taken_and_everything_is_told() {
    let (folder, upstream) = (Folder::new(), Scripted::modern(|request| json_reply(&echoed(request))));
    let (traffic, admin) = (free(), free());
    folder.write("strait.yaml", at(traffic, admin, &upstream.url()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/upgrade/manager.py");
    let program = binary().display().to_string();
    let [main_socket, admin_socket] = [format!("{traffic}=main"), format!("{admin}=admin")];
    let (child, log) = spawn(
        &folder,
        "python3",
        &[
            script,
            "heard",
            &main_socket,
            &admin_socket,
            "--",
            &program,
            "serve",
            "strait.yaml",
            "--state",
            "state",
            "--workers",
            "3",
        ],
    );
    // In the queue before anybody accepts.
    wait_for("the sockets", || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("admin 127")));
    let mut early = strait_tests::Client::of(TcpStream::connect(traffic).expect("connect"));
    let process = Process::opened(child, log);
    assert_eq!((process.address, process.admin), (traffic, admin));
    assert!(call(&mut early, "", "echo", json!({"n": 1}))["result"].is_object());
    let first = Successor(wait_to_hear(&folder, "READY", |_| true, "READY=1 STATUS=open: generation"));
    wait_to_hear(&folder, "the watchdog", |_| true, "WATCHDOG=1");
    // A reload is told from its begin to its end.
    folder.write("strait.yaml", at(traffic, admin, &upstream.url()).replace("id: all", "id: everything"));
    signal(first.0, "HUP");
    wait_to_hear(&folder, "a reload", |_| true, "RELOADING=1 MONOTONIC_USEC=");
    wait_for("its end", || {
        let all = heard(&folder);
        let from = all.iter().position(|(_, said)| said.starts_with("RELOADING")).expect("heard");
        all[from..].iter().any(|(_, said)| said.starts_with("READY=1"))
    });
    // Another process, and another after that: the manager follows, and hears each.
    let second = upgrade(&process, first.0);
    wait_to_hear(&folder, "who follows", |pid| pid == first.0, &format!("MAINPID={}", second.0));
    wait_to_hear(&folder, "the second", |pid| pid == second.0, "READY=1");
    wait_to_hear(&folder, "its watchdog", |pid| pid == second.0, "WATCHDOG=1");
    wait_for("the first to end", || !is_running(first.0));
    let third = upgrade(&process, second.0);
    wait_to_hear(&folder, "the third", |pid| pid == third.0, "READY=1");
    wait_for("the second to end", || !is_running(second.0));
    assert!(call(&mut process.client(), "", "echo", json!({"n": 1}))["result"].is_object());
    assert_eq!(process.ready()["phase"], "open");
    signal(third.0, "TERM");
    wait_to_hear(&folder, "the end", |pid| pid == third.0, "STOPPING=1");
    wait_for("the third to end", || !is_running(third.0));
    let text = std::fs::read_to_string(folder.at("heard")).expect("read");
    assert!(!text.contains("! "), "somebody spoke who was not the main process: {text}");
    // Whoever is not looked after any more says nothing of its end.
    assert!(
        !heard(&folder).iter().any(|(pid, said)| *pid != third.0 && said.starts_with("STOPPING")),
        "{text}"
    );
}

#[test]
fn a_socket_at_another_address_is_refused_by_name() {
    let (folder, upstream) = (Folder::new(), Scripted::modern(|request| json_reply(&echoed(request))));
    let (traffic, admin, other) = (free(), free(), free());
    folder.write("strait.yaml", at(traffic, admin, &upstream.url()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/upgrade/manager.py");
    let program = binary().display().to_string();
    let socket = format!("{other}=main");
    let (mut child, log) = spawn(
        &folder,
        "python3",
        &[script, "heard", &socket, "--", &program, "serve", "strait.yaml", "--state", "state"],
    );
    let mut text = String::new();
    wait_for("a refusal", || {
        text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("ListenStream")
    });
    for part in [format!("the socket `main` at {other}"), format!("listener `main` at {traffic}")] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let _ = child.wait();
}

/// The real thing, as far as it runs without being the first process of a machine.
#[test]
fn sockets_of_systemd_socket_activate() {
    let tool = "systemd-socket-activate";
    if Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_err() {
        return println!("skipped: {tool} is not installed");
    }
    let (folder, upstream) = (Folder::new(), Scripted::modern(|request| json_reply(&echoed(request))));
    let (traffic, admin) = (free(), free());
    folder.write("strait.yaml", at(traffic, admin, &upstream.url()));
    let program = binary().display().to_string();
    let [traffic_text, admin_text] = [traffic.to_string(), admin.to_string()];
    let arguments = [
        "-l",
        &traffic_text,
        "-l",
        &admin_text,
        "--fdname=main:admin",
        &program,
        "serve",
        "strait.yaml",
        "--state",
        "state",
    ];
    let (child, log) = spawn(&folder, tool, &arguments);
    // It starts what it stands for when somebody connects.
    wait_for("the sockets", || TcpStream::connect(traffic).is_ok());
    let process = Process::opened(child, log);
    assert!(call(&mut process.client(), "", "echo", json!({"n": 1}))["result"].is_object());
    // It became the gateway: no process stands between.
    let second = upgrade(&process, process.pid());
    // Each connects alone: one for which the process before was woken would wait for the next.
    for n in 0..100 {
        assert!(call(&mut process.client(), "", "echo", json!({"n": n}))["result"].is_object());
    }
    wait_for("the first to end", || !is_running(process.pid()));
    drop(second);
}
