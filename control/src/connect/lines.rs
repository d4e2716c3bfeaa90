//! Which lines of a file change, for a person to read before and after. Only those lines are shown, and nothing in them
//! that looks like a secret: a client's file holds the keys of its other servers.

use std::ops::Range;

use strait_config_compiler::import;

/// Pairs of lines that are compared; beyond, everything between the first and the last change is shown as changed.
const PAIRS_MAX: usize = 4_000_000;

/// `- old` and `+ new`, each run after the number of the line it stands at.
pub fn diff(before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (&old[same..], &new[same..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old_mid, new_mid) = (&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]);
    let mut out = String::new();
    let mut was_same = true;
    for (sign, at, line) in steps(old_mid, new_mid) {
        if sign == ' ' {
            was_same = true;
            continue;
        }
        if was_same {
            out.push_str(&format!("@@ line {}\n", same + at + 1));
            was_same = false;
        }
        out.push_str(&format!("{sign} {}\n", import::hidden(&crowded(line))));
    }
    out
}

/// Members whose values are for everybody's eyes.
const OPEN: [&str; 5] = ["command", "url", "serverUrl", "type", "name"];

/// A line that holds several members may hold other servers', changed or not: only the values of a few are shown.
fn crowded(line: &str) -> String {
    let texts = texts(line);
    let is_key = |end: usize| line[end..].trim_start().starts_with(':');
    if texts.iter().filter(|text| is_key(text.end)).count() < 2 {
        return line.to_owned();
    }
    let (mut out, mut done, mut key) = (String::new(), 0, "");
    for text in texts {
        let within = &line[text.start + 1..text.end - 1];
        if is_key(text.end) {
            key = within;
        } else if !OPEN.contains(&key) && !within.is_empty() {
            out.push_str(&line[done..text.start]);
            out.push_str("\"***\"");
            done = text.end;
        }
    }
    out.push_str(&line[done..]);
    out
}

/// Where the quoted texts of a line are, their quotes included.
fn texts(line: &str) -> Vec<Range<usize>> {
    let (mut found, mut open, mut is_escaped) = (Vec::new(), None, false);
    for (at, byte) in line.bytes().enumerate() {
        match (open, byte) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), b'\\') => is_escaped = true,
            (Some(start), b'"') => {
                found.push(start..at + 1);
                open = None;
            }
            (None, b'"') => open = Some(at),
            _ => {}
        }
    }
    found
}

/// The longest common run kept; `at` counts lines of the new text.
fn steps<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(char, usize, &'t str)> {
    let mut steps = Vec::new();
    if old.len().saturating_mul(new.len()) > PAIRS_MAX {
        steps.extend(old.iter().map(|line| ('-', 0, *line)));
        steps.extend(new.iter().enumerate().map(|(at, line)| ('+', at, *line)));
        return steps;
    }
    let width = new.len() + 1;
    let mut common = vec![0u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = match old[i] == new[j] {
                true => common[(i + 1) * width + j + 1] + 1,
                false => common[(i + 1) * width + j].max(common[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            steps.push((' ', j, new[j]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len()
            && (j == new.len() || common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            steps.push(('-', j, old[i]));
            i += 1;
        } else {
            steps.push(('+', j, new[j]));
            j += 1;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::diff;

    #[test]
    fn only_what_changes_is_shown() {
        assert_eq!(diff("a\nb\nc\n", "a\nb\nc\n"), "");
        assert_eq!(diff("a\nc\n", "a\nb\nc\n"), "@@ line 2\n+ b\n");
        assert_eq!(diff("a\nb\nc\nd\n", "x\nb\nc\ny\n"), "@@ line 1\n- a\n+ x\n@@ line 4\n- d\n+ y\n");
        assert_eq!(diff("", "a\n"), "@@ line 1\n+ a\n");
        // Everything on one line: what is not ours is there too.
        assert_eq!(
            diff("", r#"{"a":{"command":"x","env":{"MY":"hunter2\"hunter"},"args":["--token","abc"]}}"#),
            "@@ line 1\n+ {\"a\":{\"command\":\"x\",\"env\":{\"MY\":\"***\"},\"args\":[\"***\",\"***\"]}}\n"
        );
        assert_eq!(
            diff("{\"env\": {\"GH\": \"ghp_0123456789abcdefghij\"}}\n", ""),
            "@@ line 1\n- {\"env\": {\"GH\": \"***\"}}\n"
        );
    }
}
