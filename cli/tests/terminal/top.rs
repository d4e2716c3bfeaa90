//! `strait top` in a real terminal (tmux, 80 x 24) beside a gateway under load from `strait load`; and what it does where
//! there is no terminal.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::gateway::{Gateway, free_port, ready};
use crate::common::{Folder, command, strait};

/// A gateway with the first file, on ports of its own.
fn gateway(folder: &Folder, port: u16, admin: u16) -> Gateway {
    if !folder.path().join("strait.yaml").exists() {
        assert_eq!(strait(folder.path(), &["init"]).code, 0);
        let text = String::from_utf8(folder.read("strait.yaml")).unwrap().replace("8080", &port.to_string());
        folder.write("strait.yaml", format!("{text}admin: {{ bind: 127.0.0.1:{admin} }}\n"));
    }
    let gateway = Gateway::start(folder.path(), &["serve", "strait.yaml", "--workers", "2"]);
    ready(admin);
    gateway
}

struct Load(Child);

impl Load {
    fn start(folder: &Folder, port: u16) -> Load {
        let key = String::from_utf8(folder.read(".strait/keys/keys.you.key")).unwrap();
        let url = format!("http://127.0.0.1:{port}/mcp");
        let arguments =
            ["load", &url, "--key", key.trim(), "--rate", "50", "--duration", "120s", "--tool", "add"];
        let mut load = command(folder.path(), &arguments);
        load.args(["--args", r#"{"a": 1, "b": 2}"#]);
        Load(load.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A tmux of this test alone, in which a shell waits for what it is to run.
pub struct Tmux<'f>(&'f Path);

impl Tmux<'_> {
    /// `None` where there is no tmux.
    pub fn start(folder: &Path) -> Option<Tmux<'_>> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("tmux is not installed: not tried");
            return None;
        }
        let tmux = Tmux(folder);
        tmux.run(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "PS1='$ ' exec sh"]);
        Some(tmux)
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        let socket = self.0.join("tmux");
        let mut command = Command::new("tmux");
        command
            .arg("-S")
            .arg(socket)
            .args(arguments)
            .current_dir(self.0)
            .env_remove("TMUX")
            .env_remove("NO_COLOR");
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn keys(&self, keys: &str) {
        self.run(&["send-keys", keys]);
    }

    pub fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// The first screen on which this holds.
    #[track_caller]
    pub fn wait_for(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(Instant::now() < until, "no {what} within a minute:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(self.0.join("tmux")).arg("kill-server").output();
    }
}

/// The number in the column after the name.
fn per_s(screen: &str, name: &str) -> Option<f64> {
    let line = screen.lines().find(|line| line.trim_start().starts_with(&format!("{name} ")))?;
    line.trim_start().strip_prefix(name)?.split_whitespace().next()?.parse().ok()
}

#[test]
fn in_a_terminal_of_80_by_24_under_load() {
    let folder = Folder::new();
    let Some(tmux) = Tmux::start(folder.path()) else { return };
    let (port, admin) = (free_port(), free_port());
    let first = gateway(&folder, port, admin);
    let load = Load::start(&folder, port);
    let strait = env!("CARGO_BIN_EXE_strait");
    tmux.keys(&format!("{strait} top --admin http://127.0.0.1:{admin}/ --interval 200ms; echo left with $?"));
    tmux.keys("Enter");
    let screen =
        tmux.wait_for("traffic", |screen| per_s(screen, "tools_call").is_some_and(|rate| rate > 5.0));
    for part in [
        "strait top  127.0.0.1:",
        "generation ",
        "1 overview",
        "added by the gateway",
        "connections",
        "MiB",
        "? help",
    ] {
        assert!(screen.contains(part), "{part} in\n{screen}");
    }
    assert!(screen.lines().all(|line| line.chars().count() <= 80) && screen.is_ascii(), "{screen}");
    // The same calls by tool, by upstream, by principal, by core.
    for (key, name) in [("2", "hello.add"), ("3", "hello"), ("4", "you"), ("6", "0")] {
        tmux.keys(key);
        tmux.wait_for(name, |screen| per_s(screen, name).is_some_and(|rate| rate > 1.0));
    }
    tmux.keys("7");
    tmux.wait_for("generations", |screen| screen.contains("in use"));
    tmux.keys("?");
    tmux.wait_for("help", |screen| screen.contains("stand still"));
    tmux.keys("?");
    tmux.keys("1");
    tmux.run(&["resize-window", "-x", "120", "-y", "40"]);
    tmux.wait_for("a wider line", |screen| {
        screen.lines().next().is_some_and(|line| line.trim_end().len() > 100)
    });
    tmux.run(&["resize-window", "-x", "30", "-y", "8"]);
    tmux.wait_for("the room it wants", |screen| screen.contains("strait top wants 66 x 10"));
    tmux.run(&["resize-window", "-x", "80", "-y", "24"]);

    // It goes away, and comes back.
    drop(load);
    first.stop();
    tmux.wait_for("the loss", |screen| screen.contains("NO ANSWER for"));
    let second = gateway(&folder, port, admin);
    tmux.wait_for("the return", |screen| !screen.contains("NO ANSWER") && screen.contains("all "));
    tmux.keys("q");
    tmux.wait_for("the shell", |screen| screen.contains("left with 0"));

    // Told to stop by another, it leaves the terminal as it was.
    tmux.keys(&format!("{strait} top --admin 127.0.0.1:{admin} & echo $! > pid; fg; echo ended with $?; stty -a | grep -c ' echo '"));
    tmux.keys("Enter");
    tmux.wait_for("the screen", |screen| screen.contains("1 overview"));
    let pid = String::from_utf8(folder.read("pid")).unwrap();
    assert!(Command::new("kill").arg(pid.trim()).status().unwrap().success());
    let screen = tmux.wait_for("the shell", |screen| screen.contains("ended with 0"));
    let screen = if screen.contains("\n1\n") {
        screen
    } else {
        tmux.wait_for("echo", |screen| screen.contains("\n1\n"))
    };
    assert!(!screen.contains("1 overview"), "{screen}");
    second.stop();
}

#[test]
fn a_terminal_that_is_gone_ends_it() {
    let folder = Folder::new();
    let Some(tmux) = Tmux::start(folder.path()) else { return };
    let strait = env!("CARGO_BIN_EXE_strait");
    tmux.keys(&format!("{strait} top --admin 127.0.0.1:{} & echo $! > pid; fg", free_port()));
    tmux.keys("Enter");
    tmux.wait_for("the loss", |screen| screen.contains("NO ANSWER for"));
    let pid = String::from_utf8(folder.read("pid")).unwrap();
    drop(tmux);
    let process = Path::new("/proc").join(pid.trim());
    let until = Instant::now() + Duration::from_secs(60);
    while process.exists() {
        assert!(Instant::now() < until, "it still runs");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn where_there_is_no_terminal() {
    let folder = Folder::new();
    let refused = strait(folder.path(), &["top"]);
    assert_eq!(refused.code, 64);
    assert!(refused.stderr.contains("`strait top --once`"), "{}", refused.stderr);
    let nobody = free_port();
    let unreachable = strait(folder.path(), &["top", "--once", "--admin", &format!("127.0.0.1:{nobody}")]);
    assert_eq!(unreachable.code, 4, "{}", unreachable.stderr);
    assert_eq!(strait(folder.path(), &["top", "--once", "--view", "cups"]).code, 64);

    let (port, admin) = (free_port(), free_port());
    let gateway = gateway(&folder, port, admin);
    let admin = format!("127.0.0.1:{admin}");
    let load = Load::start(&folder, port);
    let until = Instant::now() + Duration::from_secs(60);
    let facts = loop {
        let once = strait(folder.path(), &["top", "--json", "--interval", "300ms", "--admin", &admin]);
        assert_eq!((once.code, once.stderr.as_str()), (0, ""));
        let facts: Value = serde_json::from_str(&once.stdout).unwrap();
        if facts["tools"][0]["per_s"].as_f64().is_some_and(|rate| rate > 5.0) {
            break facts;
        }
        assert!(Instant::now() < until, "{facts:#}");
    };
    assert_eq!(
        (&facts["tools"][0]["name"], &facts["principals"][0]["name"]),
        (&"hello.add".into(), &"you".into())
    );
    assert!(facts["tools"][0]["p50_ns"].as_u64().is_some_and(|ns| ns > 0), "{facts:#}");
    assert_eq!(
        (&facts["upstreams"][0]["name"], &facts["gateway"]["phase"]),
        (&"hello".into(), &"open".into())
    );
    let once = strait(
        folder.path(),
        &["top", "--once", "--view", "tools", "--interval", "100ms", "--admin", &admin],
    );
    assert!(once.stdout.starts_with("TOOL") && once.stdout.contains("\nhello.add "), "{}", once.stdout);
    // Without the token, what has names is not told, and the rest is.
    let nobody = strait(
        folder.path(),
        &["top", "--once", "--interval", "100ms", "--state", "none", "--admin", &admin],
    );
    assert!(
        nobody.code == 0 && nobody.stdout.contains("told to holders of the admin token"),
        "{}",
        nobody.stdout
    );
    drop(load);
    gateway.stop();
}
