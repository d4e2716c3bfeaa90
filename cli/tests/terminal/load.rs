//! `strait load` in a real terminal (tmux, 80 x 24): a picture while it runs, the report afterwards, and a terminal as it was however it ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use super::top::Tmux;
use crate::common::{Folder, command};

struct Echo {
    child: Child,
    url: String,
}

impl Echo {
    fn start(folder: &Folder) -> Echo {
        let mut child = command(folder.path(), &["echo", "--bind", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Echo { child, url: url.trim().to_owned() }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn typed(tmux: &Tmux<'_>, line: &str) {
    tmux.run(&["send-keys", "-l", line]);
    tmux.keys("Enter");
}

/// Whether a text has another colour than the terminal's own.
fn is_colored(screen: &str) -> bool {
    (1..8).any(|color| screen.contains(&format!("[3{color}m")) || screen.contains(&format!(";3{color}m")))
        || screen.contains("38;5;")
}

#[test]
fn a_run_is_seen_while_it_goes_on_and_leaves_the_terminal_as_it_was() {
    let folder = Folder::new();
    let Some(tmux) = Tmux::start(folder.path()) else { return };
    let echo = Echo::start(&folder);
    let strait = env!("CARGO_BIN_EXE_strait");
    let load = format!("{strait} load {}", echo.url);
    typed(&tmux, "echo before; stty -g > before");
    typed(&tmux, &format!("{load} --rate 100 --duration 10m; echo left with $?; stty -g > after"));
    let screen =
        tmux.wait_for("picture", |screen| screen.contains("measuring") && screen.contains("/s answered"));
    for words in ["strait load", "100.0/s asked", "latency", "failed", "answers each second", "Ctrl-C stops"]
    {
        assert!(screen.contains(words), "{words}:\n{screen}");
    }
    assert!(!screen.contains("before"), "it has a screen of its own:\n{screen}");
    assert!(is_colored(&tmux.run(&["capture-pane", "-p", "-e"])));
    // Little room is no trouble, and more room is taken.
    tmux.run(&["resize-window", "-x", "30", "-y", "4"]);
    tmux.wait_for("few words", |screen| screen.contains("sent, "));
    tmux.run(&["resize-window", "-x", "100", "-y", "30"]);
    tmux.wait_for("picture again", |screen| screen.contains("answers each second"));
    tmux.keys("C-c");
    let screen = tmux.wait_for("shell", |screen| screen.contains("left with"));
    assert!(screen.contains("left with 130") && screen.contains("interrupted:"), "{screen}");
    assert!(screen.contains("before") && !screen.contains("Ctrl-C stops"), "{screen}");
    // A signal from elsewhere ends it the same way.
    typed(&tmux, "clear; stty -g > after");
    typed(&tmux, &format!("{load} --rate 100 --duration 10m & sleep 0; fg; echo ended with $?"));
    tmux.wait_for("picture", |screen| screen.contains("measuring"));
    let tty = tmux.run(&["display-message", "-p", "#{pane_tty}"]);
    let ps = std::process::Command::new("ps").args(["-o", "pid=,comm=", "-t", tty.trim()]).output().unwrap();
    let ps = String::from_utf8(ps.stdout).unwrap();
    let pid = ps.lines().find(|line| line.trim_end().ends_with("strait")).unwrap();
    let pid = pid.split_whitespace().next().unwrap();
    assert!(std::process::Command::new("kill").args(["-TERM", pid]).status().unwrap().success());
    tmux.wait_for("shell", |screen| screen.contains("ended with 130"));
    typed(&tmux, "stty -g > after2; echo $(cat before after after2 | sort -u | wc -l) kinds of terminal");
    tmux.wait_for("one kind of terminal", |screen| screen.contains("1 kinds of terminal"));
}

#[test]
fn whoever_wants_no_picture_or_no_colours_gets_none() {
    let folder = Folder::new();
    let Some(tmux) = Tmux::start(folder.path()) else { return };
    let echo = Echo::start(&folder);
    let load = format!("{} load {} --rate 50 --duration", env!("CARGO_BIN_EXE_strait"), echo.url);
    typed(&tmux, &format!("{load} 10m --no-live"));
    let screen = tmux.wait_for("line", |screen| screen.contains("measuring: 2 s"));
    assert!(!screen.contains("answers each second") && screen.contains("--no-live"), "{screen}");
    tmux.keys("C-c");
    tmux.wait_for("report", |screen| screen.contains("interrupted:"));
    typed(&tmux, &format!("clear; NO_COLOR=1 {load} 10m"));
    tmux.wait_for("picture", |screen| screen.contains("answers each second"));
    let screen = tmux.run(&["capture-pane", "-p", "-e"]);
    assert!(!is_colored(&screen), "{screen}");
    tmux.keys("q");
    tmux.wait_for("report", |screen| screen.contains("interrupted:"));
    // Piped: the report, and nothing else.
    typed(&tmux, &format!("clear; {load} 1s 2> /dev/null | cat > piped; echo written"));
    tmux.wait_for("end", |screen| screen.lines().any(|line| line.trim() == "written"));
    let piped = String::from_utf8(folder.read("piped")).unwrap();
    assert!(piped.starts_with("http://") && !piped.contains('\u{1b}') && !piped.contains('\r'), "{piped:?}");
}
