//! "Did you mean": the nearest of the names that would have been right, at most two edits away.

/// Edits that still count as a slip of the fingers.
const DISTANCE_MAX: usize = 2;

/// The nearest of `names` to `written`; among equally near ones the first in order.
pub fn nearest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // A name that needs as many edits as it has letters was not meant.
    let allowed = DISTANCE_MAX.min(written.chars().count().saturating_sub(1));
    names
        .into_iter()
        .map(|name| (distance(written, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// "`a`, `b` and `c`", with the tail cut when there are many.
pub fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 16;
    let quoted: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => "none".to_owned(),
        _ if names.len() > SHOWN => format!("{} and {} more", quoted.join(", "), names.len() - SHOWN),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Insertions, deletions, replacements and swaps of neighbours between two words; above
/// [`DISTANCE_MAX`] only "too far".
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > DISTANCE_MAX {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = above[j] + usize::from(!x.eq_ignore_ascii_case(y));
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_meant() {
        let names = ["github", "gitlab", "crm"];
        let check = |written, expected| assert_eq!(nearest(written, names), expected, "{written}");
        check("githb", Some("github"));
        check("gihtub", Some("github"));
        check("GitHub", Some("github"));
        check("crn", Some("crm"));
        check("jira", None);
        check("x", None);
    }
}
