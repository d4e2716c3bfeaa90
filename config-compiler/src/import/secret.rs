//! What of a foreign file is a secret. Files of clients hold keys in clear text, in the environment of a server, in
//! headers, in arguments and in URLs: what looks like one, by its name or by its letters, becomes a reference or is
//! asked about, and is never repeated. To take a harmless text for a secret costs its author a line; the contrary
//! costs a key.

use crate::check::clear_text;

/// Parts of names under which keys are kept.
const WORDS: [&str; 18] = [
    "token",
    "secret",
    "passwd",
    "password",
    "passphrase",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "accesskey",
    "private_key",
    "credential",
    "authorization",
    "bearer",
    "pat",
    "auth",
    "cookie",
    "dsn",
];
/// A text without spaces from so many letters on, with digits among them, is rather a key than a word.
const LENGTH_MIN: usize = 20;

/// A variable, header or option whose value is a secret, by its name.
pub fn is_named_like_one(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let mut parts = lower.split(|c: char| !c.is_ascii_alphanumeric());
    WORDS.iter().any(|word| match *word {
        // Short words only whole: `path` is no `pat`.
        "pat" | "auth" | "dsn" => parts.clone().any(|part| part == *word),
        word => lower.contains(word),
    }) || parts.any(|part| matches!(part, "key" | "pwd" | "pass" | "pw"))
}

/// A literal text that is, or holds, a secret by its letters.
pub fn looks_like_one(text: &str) -> bool {
    !clear_text::secrets_in(text).is_empty() || has_password(text) || is_random(text) || has_secret_pair(text)
}

/// `scheme://user:password@host`.
fn has_password(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let rest = &text[at + 3..];
        let authority = &rest[..rest.find(['/', '?', '#', ' ']).unwrap_or(rest.len())];
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}

/// `?api_key=…`, `--token=…` and `--env=TOKEN=…`; `X-Api-Key: …`, and the same within JSON.
fn has_secret_pair(text: &str) -> bool {
    let is_pair = |(name, value): (&str, &str)| {
        let value = value.trim_matches(['"', '\'', ' ', '\\']);
        !value.is_empty() && !value.starts_with("${") && !value.starts_with('<') && is_named_like_one(name)
    };
    let of_query = text.split(['?', '&', ';', ' ', ',']).any(|part| {
        let ends = part.match_indices('=').map(|(at, _)| at);
        ends.into_iter().any(|at| is_pair((&part[..at], &part[at + 1..])))
    });
    of_query || text.split(['{', '}', ',', ';', '\n']).any(|part| part.split_once(':').is_some_and(is_pair))
}

fn is_random(text: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || "_-+/=.".contains(c);
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let upper = text.chars().any(|c| c.is_ascii_uppercase());
    let lower = text.chars().any(|c| c.is_ascii_lowercase());
    let hexadecimal = text.chars().all(|c| c.is_ascii_hexdigit());
    let mixed = digits >= 3 && ((upper && lower) || hexadecimal || digits * 3 >= text.len());
    text.len() >= LENGTH_MIN && text.chars().all(part) && !text.starts_with(['/', '.', '-']) && mixed
}

/// The name of a secret of ours: letters, digits and `-`.
pub fn name_of(server: &str, what: &str) -> String {
    let mut name = String::new();
    for c in format!("{server}-{what}").chars().take(96) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ if !name.ends_with('-') && !name.is_empty() => name.push('-'),
            _ => {}
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() { "imported".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for yes in [
            "GITHUB_TOKEN",
            "apiKey",
            "X-Api-Key",
            "DB_PASSWORD",
            "Authorization",
            "GH_PAT",
            "key",
            "--token",
        ] {
            assert!(is_named_like_one(yes), "{yes}");
        }
        for no in ["PATH", "HOME", "LOG_LEVEL", "KEYBOARD", "compat", "NODE_ENV", "X-Team"] {
            assert!(!is_named_like_one(no), "{no}");
        }
    }

    #[test]
    fn secrets_by_their_letters() {
        for yes in [
            "ghp_0123456789abcdefghij",
            "postgresql://ann:hunter2@db/x",
            "0123456789abcdef0123456789abcdef",
            "aGVsbG8gd29ybGQgMTIzNDU2Nzg5",
            "http://h/mcp?api_key=xyz",
            "Bearer abcdefghijklmnop1234",
            "--env=PASSWORD=hunter2",
            "X-API-Key: hunter2",
            "Authorization: Bearer short",
            r#"{"Authorization": "Bearer short", "Notion-Version": "2022-06-28"}"#,
            r#"{"db": {"password": "hunter2"}}"#,
        ] {
            assert!(looks_like_one(yes), "{yes}");
        }
        for no in [
            "",
            "-y",
            "@modelcontextprotocol/server-everything",
            "http://h:80/mcp",
            "/srv/projects/with-a-long-name",
            "postgresql://db/x",
            "--root=/srv",
            "production",
            "https://ann@host/x",
            "?token=${TOKEN}",
            "--read-only=true",
        ] {
            assert!(!looks_like_one(no), "{no}");
        }
    }

    #[test]
    fn names_are_names_of_our_secrets() {
        assert_eq!(name_of("github", "GITHUB_TOKEN"), "github-github-token");
        assert_eq!(name_of("../..", "/etc/passwd"), "etc-passwd");
        assert_eq!(name_of("", "\u{e9}"), "imported");
    }
}
