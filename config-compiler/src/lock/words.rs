//! The difference of two texts in words: `Pays {+any+} order [-back-] {+out+}.`

use super::hidden::shown;

/// Steps that finding the longest common part may take; texts that need more are shown whole.
const STEPS_MAX: usize = 4_000_000;
/// Words of an unchanged stretch that are shown at either end of it.
const CONTEXT_WORDS: usize = 6;

/// One line; what is hidden in the texts is shown as escapes.
pub fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (split(old), split(new));
    let head = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    let tail = old[head..]
        .iter()
        .rev()
        .zip(new[head..].iter().rev())
        .take_while(|(one, other)| one == other)
        .count();
    let (before, after) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut out = Vec::new();
    kept(&mut out, &old[..head], true, before.is_empty() && after.is_empty());
    middle(&mut out, before, after);
    kept(&mut out, &old[old.len() - tail..], false, true);
    out.join(" ")
}

fn split(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// A stretch that stayed, with its middle left out when it is long.
fn kept(out: &mut Vec<String>, words: &[&str], is_first: bool, is_last: bool) {
    let (begin, end) = match (is_first, is_last) {
        (true, _) => (0, CONTEXT_WORDS),
        (_, true) => (CONTEXT_WORDS, 0),
        _ => (CONTEXT_WORDS, CONTEXT_WORDS),
    };
    if words.len() <= begin + end + 1 {
        out.extend(words.iter().map(|word| shown(word)));
        return;
    }
    out.extend(words[..begin].iter().map(|word| shown(word)));
    out.push("…".to_owned());
    out.extend(words[words.len() - end..].iter().map(|word| shown(word)));
}

fn marked(out: &mut Vec<String>, removed: &[&str], added: &[&str]) {
    if !removed.is_empty() {
        out.push(format!("[-{}-]", shown(&removed.join(" "))));
    }
    if !added.is_empty() {
        out.push(format!("{{+{}+}}", shown(&added.join(" "))));
    }
}

/// Two stretches without a common beginning or end.
fn middle(out: &mut Vec<String>, old: &[&str], new: &[&str]) {
    let width = new.len() + 1;
    if old.len().saturating_mul(width) > STEPS_MAX {
        return marked(out, old, new);
    }
    // lengths[i][j]: of the longest common part of old[i..] and new[j..].
    let mut lengths = vec![0u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            lengths[i * width + j] = match old[i] == new[j] {
                true => lengths[(i + 1) * width + j + 1] + 1,
                false => lengths[(i + 1) * width + j].max(lengths[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let (removed, added) = (i, j);
        while i < old.len() && j < new.len() && old[i] != new[j] {
            match lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
                true => i += 1,
                false => j += 1,
            }
        }
        if i == old.len() || j == new.len() {
            (i, j) = (old.len(), new.len());
        }
        marked(out, &old[removed..i], &new[added..j]);
        let same = i;
        while i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        }
        kept(out, &old[same..i], false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::diff;

    #[test]
    fn words_that_come_and_go_are_marked() {
        let check = |old: &str, new: &str, expected: &str| assert_eq!(diff(old, new), expected);
        check("Pays an order back.", "Pays any order out.", "Pays [-an-] {+any+} order [-back.-] {+out.+}");
        check("a b c", "a c", "a [-b-] c");
        check("a c", "a b\nc d", "a {+b+} c {+d+}");
        check("", "a", "{+a+}");
        check("a", "", "[-a-]");
        check("a  b", "a b", "a b");
        let long = "one two three four five six seven eight nine ten".to_owned();
        check(
            &format!("{long} x {long}"),
            &format!("{long} y {long}"),
            "… five six seven eight nine ten [-x-] {+y+} one two three four five six …",
        );
        let huge = "w ".repeat(5_000);
        check(
            &format!("a {huge}"),
            &format!("{huge} b"),
            &format!("[-a {}-] {{+{} b+}}", huge.trim(), huge.trim()),
        );
    }
}
