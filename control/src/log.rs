//! What the process says about itself, on stderr: plain lines for a person at a terminal, one JSON
//! object a line for anything else. Access lines are not here; the engine writes those.
//!
//! Text from outside (a child's stderr, an upstream's error) is shown with its control characters
//! escaped: a server must not move an operator's cursor. Nothing that holds a secret is passed here.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use strait_engine::Level;

use crate::limits::CHILD_LINE_BYTES_MAX;

pub fn info(text: impl AsRef<str>) {
    write(Level::Info, None, text.as_ref());
}

pub fn warn(text: impl AsRef<str>) {
    write(Level::Warn, None, text.as_ref());
}

pub fn error(text: impl AsRef<str>) {
    write(Level::Error, None, text.as_ref());
}

/// A line with its level chosen by another part.
pub fn at(level: Level, text: &str) {
    write(level, None, text);
}

/// Something about one upstream.
pub fn of_upstream(level: Level, upstream: &str, text: &str) {
    write(level, Some(upstream), text);
}

/// A line that the child of `upstream` wrote to its stderr.
pub fn of_child(upstream: &str, line: &str) {
    let mut end = line.len().min(CHILD_LINE_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let cut = if end < line.len() { " …" } else { "" };
    write(Level::Info, Some(upstream), &format!("{}{cut}", &line[..end]));
}

fn write(level: Level, upstream: Option<&str>, text: &str) {
    static TERMINAL: OnceLock<bool> = OnceLock::new();
    let terminal = *TERMINAL.get_or_init(|| std::io::stderr().is_terminal());
    let line = if terminal { plain(level, upstream, text) } else { json(level, upstream, text) };
    // A closed stderr is no reason to stop serving.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

fn plain(level: Level, upstream: Option<&str>, text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 32);
    line.push_str(match level {
        Level::Info => "",
        Level::Warn => "warning: ",
        Level::Error => "error: ",
    });
    if let Some(upstream) = upstream {
        line.push_str(&format!("[{upstream}] "));
    }
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\n  "),
            c if c.is_control() && c != '\t' => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line.push('\n');
    line
}

fn json(level: Level, upstream: Option<&str>, text: &str) -> String {
    let level = match level {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    let mut line = serde_json::json!({ "time": crate::time::now(), "level": level });
    if let Some(upstream) = upstream {
        line["upstream"] = upstream.into();
    }
    line["message"] = text.into();
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_lines_without_control_characters() {
        assert_eq!(plain(Level::Info, None, "open"), "open\n");
        assert_eq!(plain(Level::Warn, Some("git"), "a\u{1b}[2Jb\nc"), "warning: [git] a\\u{1b}[2Jb\n  c\n");
    }

    #[test]
    fn a_machine_reads_one_object_a_line() {
        let line = json(Level::Error, Some("git"), "two\nlines \"quoted\"");
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["level"], "error");
        assert_eq!(value["upstream"], "git");
        assert_eq!(value["message"], "two\nlines \"quoted\"");
    }
}
