//! `${…}` inside a text. In fields that hold secrets the parts are kept and control resolves them
//! when it loads the table; everywhere else the compiler resolves them at once. `$${` writes a plain
//! `${`. The `mcpServers` form has its own spelling, `${VAR}`, which only that form accepts.

/// One part of a text, with where it stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Literal(String),
    Env { name: String, default: Option<String>, start: usize, end: usize },
    Secret { name: String, start: usize, end: usize },
    File { path: String, start: usize, end: usize },
}

/// What is wrong with a reference, and where in the text.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    pub message: String,
    pub help: &'static str,
    pub start: usize,
    pub end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `${env:NAME}`, `${secret:NAME}`, `${file:PATH}`.
    Native,
    /// `${NAME}` and `${NAME:-default}` as agents' own configs write them, beside the native ones.
    McpServers,
}

pub fn parse(text: &str, spelling: Spelling) -> Result<Vec<Part>, Malformed> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let start = at + found;
        if text[..start].ends_with('$') && start > at {
            literal.push_str(&text[at..start - 1]);
            literal.push_str("${");
            at = start + 2;
            continue;
        }
        literal.push_str(&text[at..start]);
        let Some(length) = text[start..].find('}') else {
            return Err(Malformed {
                message: "a reference begins with `${` and never ends".into(),
                help: "close it with `}`, or write `$${` for a plain `${`",
                start,
                end: text.len(),
            });
        };
        let end = start + length + 1;
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
        }
        parts.push(part(&text[start + 2..end - 1], spelling, start, end)?);
        at = end;
    }
    literal.push_str(&text[at..]);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

fn part(inner: &str, spelling: Spelling, start: usize, end: usize) -> Result<Part, Malformed> {
    let malformed = |message: String, help| Err(Malformed { message, help, start, end });
    if let Some(rest) = inner.strip_prefix("env:") {
        return env(rest, start, end);
    }
    if let Some(name) = inner.strip_prefix("secret:") {
        if !is_secret_name(name) {
            return malformed(
                format!("`{name}` is not a name of a secret"),
                "use letters, digits and `_-./`",
            );
        }
        return Ok(Part::Secret { name: name.to_owned(), start, end });
    }
    if let Some(path) = inner.strip_prefix("file:") {
        if path.is_empty() {
            return malformed("a `${file:…}` reference names no file".into(), "write `${file:PATH}`");
        }
        return Ok(Part::File { path: path.to_owned(), start, end });
    }
    if spelling == Spelling::McpServers {
        return env(inner, start, end);
    }
    malformed(
        format!("`${{{inner}}}` is not a reference"),
        "references are `${env:NAME}`, `${env:NAME:-default}`, `${secret:NAME}` and `${file:PATH}`; `$${` writes a plain `${`",
    )
}

fn env(text: &str, start: usize, end: usize) -> Result<Part, Malformed> {
    let (name, default) = match text.split_once(":-") {
        Some((name, default)) => (name, Some(default.to_owned())),
        None => (text, None),
    };
    if !is_variable(name) {
        return Err(Malformed {
            message: format!("`{name}` is not a name of an environment variable"),
            help: "use letters, digits and `_`, and not a digit first",
            start,
            end,
        });
    }
    Ok(Part::Env { name: name.to_owned(), default, start, end })
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_secret_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fall_into_literals_and_references() {
        let literal = |text: &str| Part::Literal(text.into());
        let env = |name: &str, default: Option<&str>, start, end| Part::Env {
            name: name.into(),
            default: default.map(Into::into),
            start,
            end,
        };
        let native = |text| parse(text, Spelling::Native).unwrap();
        assert_eq!(native(""), []);
        assert_eq!(native("plain $5 {x}"), [literal("plain $5 {x}")]);
        assert_eq!(native("a${env:B}c"), [literal("a"), env("B", None, 1, 9), literal("c")]);
        assert_eq!(native("${env:B:-}"), [env("B", Some(""), 0, 10)]);
        assert_eq!(native("$${env:B}"), [literal("${env:B}")]);
        assert_eq!(native("${file:k.txt}"), [Part::File { path: "k.txt".into(), start: 0, end: 13 }]);
        assert_eq!(
            parse("x${B:-a b}", Spelling::McpServers).unwrap(),
            [literal("x"), env("B", Some("a b"), 1, 10)]
        );
    }

    #[test]
    fn a_malformed_reference_says_where() {
        let wrong = |text| parse(text, Spelling::Native).map_err(|m| (m.start, m.end));
        assert_eq!(wrong("ab${env:X"), Err((2, 9)));
        assert_eq!(wrong("${HOME}"), Err((0, 7)));
        assert_eq!(wrong("${env:1X}"), Err((0, 9)));
        assert_eq!(wrong("${secret:}"), Err((0, 10)));
        assert_eq!(wrong("${file:}"), Err((0, 8)));
    }
}
