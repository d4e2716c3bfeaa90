//! Secrets in clear text: texts that look like a well-known kind of key, and credentials without a
//! reference. They are reported, and masked wherever a finding shows the line they stand on; so are
//! look-alikes in files that could not even be parsed.

use strait_table::rules::{Text, TextPart};

use crate::{
    diagnostic::{Finding, codes},
    source::{Node, Span, Value},
    walk::Walk,
};

/// Beginnings that vendors chose so that scanners can find their keys.
const PREFIXES: [&str; 16] = [
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
    "npm_",
];
/// A prefix and a few letters is a name; a key is longer.
const LENGTH_MIN: usize = 16;

/// Stretches of text that look like secrets.
pub fn secrets_in(text: &str) -> Vec<(usize, usize)> {
    let part_of_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.=+/".contains(byte);
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !part_of_key(&bytes[at]) {
            at += 1;
            continue;
        }
        let len = bytes[at..].iter().take_while(|byte| part_of_key(byte)).count();
        let word = &text[at..at + len];
        let after_bearer = text[..at].ends_with("Bearer ") || text[..at].ends_with("Basic ");
        if len >= LENGTH_MIN && (after_bearer || PREFIXES.iter().any(|prefix| word.starts_with(prefix))) {
            found.push((at, at + len));
        }
        at += len;
    }
    found
}

/// Literals anywhere in a credential are never shown, whatever else is wrong with it.
pub fn mask_literals(walk: &mut Walk<'_>, node: &Node) {
    match &node.value {
        Value::Scalar(scalar) if !scalar.text.contains("${") => walk.secrets.push(node.span),
        Value::Scalar(_) => {}
        Value::List(items) => items.iter().for_each(|item| mask_literals(walk, item)),
        Value::Map(entries) => {
            const PLAIN: [&str; 11] = [
                "name",
                "client_cert",
                "env",
                "token_url",
                "client",
                "scope",
                "resource",
                "audience",
                "auth",
                "actor",
                "issuer",
            ];
            let secret = entries.iter().filter(|entry| !PLAIN.contains(&entry.key.as_str()));
            secret.for_each(|entry| mask_literals(walk, &entry.value));
        }
    }
}

/// A variable whose literal value looks like a secret.
pub fn in_env(walk: &mut Walk<'_>, name: &str, text: &Text, node: &Node) {
    let looks = |part: &TextPart| matches!(part, TextPart::Literal(text) if !secrets_in(text).is_empty());
    if text.parts.iter().any(looks) {
        report(walk, node.span, &format!("the value of `{name}`"));
    }
}

pub fn report(walk: &mut Walk<'_>, span: Span, what: &str) {
    walk.secrets.push(span);
    let finding = Finding::new(&codes::CLEAR_TEXT, span, format!("{what} is a secret in clear text"))
        .help("name it instead: `${env:NAME}`, `${secret:NAME}` or `${file:PATH}`");
    walk.report(finding);
}

#[cfg(test)]
mod tests {
    use super::secrets_in;

    #[test]
    fn keys_are_found_and_names_are_not() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<&str> = secrets_in(text).into_iter().map(|(from, to)| &text[from..to]).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("a: sk-abcdefghijklmnopqrstu", &["sk-abcdefghijklmnopqrstu"]);
        check("Bearer abcdefghijklmnop1234", &["abcdefghijklmnop1234"]);
        check("[\"ghp_0123456789abcdefghij\"]", &["ghp_0123456789abcdefghij"]);
        check("sk-learn task-sk-abc ghp_x ${secret:crm} Bearer x", &[]);
    }
}
