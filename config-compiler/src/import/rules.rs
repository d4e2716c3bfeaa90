//! agentgateway's rules in CEL as rules of ours. What names a tool or a target becomes a pattern; what is left becomes a
//! condition, which our own compiler must accept. A rule that cannot be said exactly is not said: of an allow that is
//! narrower, and anything else is refused, so that whoever asks leaves out what it was to hold back.

use crate::condition::{self, Of, Shared};

/// The kind that a rule speaks of, as it is written before a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    pub kind: Option<&'static str>,
    /// Targets it is held to, by their names.
    pub targets: Option<Vec<String>>,
    pub names: Option<Vec<String>>,
    pub when: Option<String>,
    /// It asks who calls.
    pub asks_who: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// `jwt.sub`, `mcp.tool.name`, `has`.
    Path(String),
    Text(String),
    /// Anything else, as it is written.
    Other(String),
}

const KINDS: [(&str, &str); 3] =
    [("mcp.tool.", "tool"), ("mcp.prompt.", "prompt"), ("mcp.resource.", "resource")];

/// `is_exact`: it must speak of exactly what it spoke of; else it may speak of less.
pub fn spoken(text: &str, is_exact: bool) -> Result<Spoken, String> {
    let tokens = tokens(text)?;
    let parts = conjuncts(&tokens);
    let mut spoken = Spoken::default();
    let mut left: Vec<Vec<Token>> = Vec::new();
    for part in parts {
        match recognised(&part) {
            Some((kind, is_target, values)) => {
                if spoken.kind.is_some_and(|known| known != kind) {
                    return Err("it speaks of two kinds of things at once".to_owned());
                }
                spoken.kind = Some(kind);
                let list = if is_target { &mut spoken.targets } else { &mut spoken.names };
                match list {
                    Some(known) => known.retain(|value| values.contains(value)),
                    None => *list = Some(values),
                }
            }
            None => left.push(part),
        }
    }
    let mut conditions = Vec::new();
    for part in left {
        let speaks_of_things =
            part.iter().any(|token| matches!(token, Token::Path(path) if path.starts_with("mcp.")));
        if speaks_of_things && is_exact {
            return Err("what it says of the thing that is called cannot be told exactly".to_owned());
        }
        conditions.push(condition_of(&part, &mut spoken)?);
    }
    if !conditions.is_empty() {
        let when = match conditions.as_slice() {
            [one] => one.clone(),
            several => several.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" && "),
        };
        let nobody = |_: &str| Err(None);
        condition::read(&when, Of::Rule, &nobody, &mut Shared::default())
            .map_err(|wrong| format!("our conditions cannot say it: {}", wrong.message))?;
        spoken.when = Some(when);
    }
    Ok(spoken)
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    if text.len() > crate::limits::CONDITION_BYTES_MAX {
        return Err("it is longer than a condition may be".to_owned());
    }
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_alphabetic() || first == '_' {
            let length =
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c))).unwrap_or(rest.len());
            if length == 1 && rest[1..].starts_with(['"', '\'']) {
                return Err("raw and byte texts are not read".to_owned());
            }
            tokens.push(Token::Path(rest[..length].to_owned()));
            length
        } else if first.is_ascii_digit() {
            let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len());
            tokens.push(Token::Other(rest[..length].to_owned()));
            length
        } else if first == '"' || first == '\'' {
            let inner = &rest[1..];
            let end = inner.find(first).ok_or("a text in it is never closed")?;
            // What escapes mean is CEL's affair; without them a text is what it looks like.
            if inner[..end].contains('\\') || inner[end + 1..].starts_with(first) {
                return Err("a text in it has escapes".to_owned());
            }
            tokens.push(Token::Text(inner[..end].to_owned()));
            end + 2
        } else {
            let two = rest.get(..2).filter(|two| ["&&", "||", "==", "!=", "<=", ">="].contains(two));
            let one = two.unwrap_or(&rest[..first.len_utf8()]);
            tokens.push(Token::Other(one.to_owned()));
            one.len()
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// The parts between `&&` outside of brackets; the whole where another operator joins them there.
fn conjuncts(tokens: &[Token]) -> Vec<Vec<Token>> {
    let mut parts = vec![Vec::new()];
    let mut depth = 0i32;
    for token in tokens {
        if let Token::Other(sign) = token {
            match sign.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                "||" | "?" if depth == 0 => return vec![tokens.to_vec()],
                "&&" if depth == 0 => {
                    parts.push(Vec::new());
                    continue;
                }
                _ => {}
            }
        }
        if let Some(part) = parts.last_mut() {
            part.push(token.clone());
        }
    }
    parts.into_iter().map(bare).collect()
}

/// Without brackets around the whole.
fn bare(part: Vec<Token>) -> Vec<Token> {
    let is = |token: Option<&Token>, sign: &str| matches!(token, Some(Token::Other(other)) if other == sign);
    let has_inner =
        part.iter().skip(1).rev().skip(1).any(|token| is(Some(token), "(") || is(Some(token), ")"));
    match is(part.first(), "(") && is(part.last(), ")") && !has_inner && part.len() > 2 {
        true => part[1..part.len() - 1].to_vec(),
        false => part,
    }
}

/// `mcp.tool.name == "x"`, `mcp.tool.target in ["a", "b"]`: the kind, whether of the target, and the values.
fn recognised(part: &[Token]) -> Option<(&'static str, bool, Vec<String>)> {
    let thing = |path: &str| {
        let (prefix, kind) = KINDS.iter().find(|(prefix, _)| path.starts_with(prefix))?;
        match &path[prefix.len()..] {
            "name" => Some((*kind, false)),
            "uri" if *kind == "resource" => Some((*kind, false)),
            "target" => Some((*kind, true)),
            _ => None,
        }
    };
    match part {
        [Token::Path(path), Token::Other(sign), Token::Text(text)]
        | [Token::Text(text), Token::Other(sign), Token::Path(path)]
            if sign == "==" =>
        {
            thing(path).map(|(kind, is_target)| (kind, is_target, vec![text.clone()]))
        }
        [Token::Path(path), Token::Path(word), Token::Other(open), list @ .., Token::Other(close)]
            if word == "in" && open == "[" && close == "]" =>
        {
            let mut values = Vec::new();
            for (at, token) in list.iter().enumerate() {
                match (at % 2, token) {
                    (0, Token::Text(text)) => values.push(text.clone()),
                    (1, Token::Other(comma)) if comma == "," => {}
                    _ => return None,
                }
            }
            thing(path).map(|(kind, is_target)| (kind, is_target, values))
        }
        _ => None,
    }
}

/// In our words.
fn condition_of(part: &[Token], spoken: &mut Spoken) -> Result<String, String> {
    let mut out = String::new();
    let bound: Vec<&str> = part
        .windows(3)
        .filter_map(|three| match three {
            [Token::Path(call), Token::Other(open), Token::Path(name)]
                if open == "("
                    && [".exists", ".all", ".exists_one"].iter().any(|end| call.ends_with(end)) =>
            {
                Some(name.as_str())
            }
            _ => None,
        })
        .collect();
    for (at, token) in part.iter().enumerate() {
        if !out.is_empty() && !out.ends_with(['(', '[', '.', '!', ' ']) {
            out.push(' ');
        }
        match token {
            Token::Text(text) => out.push_str(&format!("{:?}", text)),
            Token::Other(sign) => {
                if matches!(sign.as_str(), ")" | "]" | "," | "(" | "[") && out.ends_with(' ') {
                    out.pop();
                }
                out.push_str(sign);
            }
            Token::Path(path) => {
                let is_call = matches!(part.get(at + 1), Some(Token::Other(open)) if open == "(");
                let root = path.split('.').next().unwrap_or(path);
                let ours = if path == "jwt.sub" {
                    spoken.asks_who = true;
                    "principal.id".to_owned()
                } else if let Some(claim) = path.strip_prefix("jwt.") {
                    spoken.asks_who = true;
                    format!("principal.claims.{claim}")
                } else if let Some((prefix, kind)) = KINDS.iter().find(|(prefix, _)| path.starts_with(prefix))
                {
                    if spoken.kind.is_some_and(|known| known != *kind) {
                        return Err("it speaks of two kinds of things at once".to_owned());
                    }
                    spoken.kind = Some(kind);
                    match path[prefix.len()..].split_once('.').unwrap_or((&path[prefix.len()..], "")) {
                        ("name" | "uri", "") => "call.tool".to_owned(),
                        ("name" | "uri", method) => format!("call.tool.{method}"),
                        _ => return Err("it asks for the target in a way that is no pattern".to_owned()),
                    }
                } else if ["request.headers", "in", "true", "false"].contains(&path.as_str())
                    || bound.contains(&root)
                    || (is_call && !path.contains('.'))
                {
                    path.clone()
                } else {
                    return Err("it asks for something that Strait does not know".to_owned());
                };
                out.push_str(&ours);
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_become_patterns_and_conditions() {
        let check = |text: &str, kind: Option<&'static str>, names: Option<&[&str]>, when: Option<&str>| {
            let spoken = spoken(text, false).unwrap_or_else(|why| panic!("{text}: {why}"));
            let of = |names: Option<&[&str]>| {
                names.map(|names| names.iter().map(|name| (*name).to_owned()).collect())
            };
            assert_eq!(
                (spoken.kind, spoken.names, spoken.when.as_deref()),
                (kind, of(names), when),
                "{text}"
            );
        };
        check(r#"mcp.tool.name == "echo""#, Some("tool"), Some(&["echo"]), None);
        check(r#""a" == mcp.prompt.name"#, Some("prompt"), Some(&["a"]), None);
        check(r#"mcp.tool.name in ["a", 'b']"#, Some("tool"), Some(&["a", "b"]), None);
        check(
            r#"jwt.sub == "ann" && mcp.tool.name == "x""#,
            Some("tool"),
            Some(&["x"]),
            Some(r#"principal.id == "ann""#),
        );
        check("jwt.level >= 10", None, None, Some("principal.claims.level >= 10"));
        check(
            r#"jwt.groups.exists(g, g == "a") && has(jwt.x)"#,
            None,
            None,
            Some(r#"(principal.claims.groups.exists(g, g == "a")) && (has(principal.claims.x))"#),
        );
        check(r#"jwt.nested.key == "v""#, None, None, Some(r#"principal.claims.nested.key == "v""#));
        check(
            r#"mcp.tool.name.startsWith("get_")"#,
            Some("tool"),
            None,
            Some(r#"call.tool.startsWith("get_")"#),
        );
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        for text in [
            "",
            "apiKey.role == \"x\"",
            "mcp.task.name == \"x\"",
            "source.address == \"x\"",
            "jwt",
            "principal.id == \"x\"",
            "mcp.tool.name == \"a\" && mcp.prompt.name == \"b\"",
            "jwt.x == r\"a\"",
            "jwt.x == \"a\\\"\"",
            "(",
            "args.x == 1",
            "jwt.x.matches(\"((((\")",
            "mcp.tool.target != \"x\"",
            "call.tool == \"x\"",
            "now > timestamp(\"2026-01-01T00:00:00Z\") && x.y",
        ] {
            assert!(spoken(text, false).is_err(), "{text}: {:?}", spoken(text, false));
        }
        // An alternative may be true of things that it does not name.
        assert!(spoken("mcp.tool.name == \"a\" || jwt.sub == \"x\"", true).is_err());
    }
}
