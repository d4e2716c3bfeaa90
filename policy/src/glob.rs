//! Patterns: `*` stands for any run of characters, dots included; everything else for itself.
//!
//! The matcher is linear in practice and `O(pattern x name)` at worst: it remembers one star and never
//! recurses, so a hostile pattern or name cannot make it explode. It runs while a table is bound to a
//! catalog; a request on its way finds its answer by number (the one exception is a resource URI that
//! only a template covers, see `strait_table::Snapshot::decide_uri`).

/// Does `pattern` speak of `name`?
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(byte) if *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    retry = Some((after_star, from + 1));
                    p = after_star;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_pattern_speaks_of_these_names_and_not_of_those() {
        let check = |pattern: &str, yes: &[&str], no: &[&str]| {
            for name in yes {
                assert!(matches(pattern, name), "`{pattern}` should match `{name}`");
            }
            for name in no {
                assert!(!matches(pattern, name), "`{pattern}` should not match `{name}`");
            }
        };
        check("*", &["", "a", "a.b"], &[]);
        check("crm.*", &["crm.get", "crm.", "crm.a.b"], &["crm", "crmx.get", "xcrm.get"]);
        check("*.delete_*", &["git.delete_branch", "a.b.delete_"], &["delete_x", "git.undelete"]);
        check("git.git_log", &["git.git_log"], &["git.git_logs", "git.git_lo", ""]);
        check("a*b*c", &["abc", "aXbYc", "abbbc", "abcbc"], &["ab", "acb", "abcd"]);
        check("", &[""], &["a"]);
        check("**", &["", "abc"], &[]);
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let name = "a".repeat(5_000);
        let pattern = format!("{}b", "a*".repeat(200));
        assert!(!matches(&pattern, &name));
    }
}
