//! Which lines of a file change, for a person to read before and after. Only those lines are shown, and nothing in them
//! that looks like a secret: a client's file holds the keys of its other servers.

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
        out.push_str(&format!("{sign} {}\n", import::hidden(line)));
    }
    out
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
        assert_eq!(
            diff("{\"env\": {\"GH\": \"ghp_0123456789abcdefghij\"}}\n", ""),
            "@@ line 1\n- {\"env\": {\"GH\": \"***\"}}\n"
        );
    }
}
