//! Cedar texts: escapes, mistakes, and bounds.

use super::{syntax::parse, token::letters};
use crate::limits::CEDAR_NESTING_MAX;

#[track_caller]
fn messages(text: &str) -> Vec<String> {
    parse(text).1.into_iter().map(|wrong| wrong.message).collect()
}

fn when(condition: &str) -> String {
    format!("permit (principal, action, resource) when {{ {condition} }};")
}

#[test]
fn a_chain_is_not_deep() {
    let long = vec!["context.args.a == 1"; 10_000].join(" && ");
    assert_eq!(messages(&when(&long)), [""; 0]);
    let long = vec!["true"; 10_000].join(" || ");
    assert_eq!(messages(&when(&long)), [""; 0]);
}

#[test]
fn what_nests_is_bounded_before_it_is_walked() {
    let check = |before: &str, inside: &str, after: &str| {
        for times in [CEDAR_NESTING_MAX / 4, 100_000] {
            let text = format!("{}{inside}{}", before.repeat(times), after.repeat(times));
            let wrong = messages(&when(&text));
            let deep = wrong.iter().any(|message| message.contains("nested more than"));
            assert_eq!(deep, times > CEDAR_NESTING_MAX, "{times} times {before}: {wrong:?}");
        }
    };
    check("(", "true", ")");
    check("[", "true", "]");
    check("{a: ", "true", "}");
    check("if true then ", "true", " else true");
    check("!(", "true", ")");
    check("ip(", "\"::1\"", ")");
    check("", "context", ".a");
    check("", "context", "[\"a\"]");
    check("", "context", ".contains(1)");
}

/// A mistake costs its own policy, and the others are still looked at.
#[test]
fn every_policy_is_looked_at() {
    let text = "permit (principal); permit (principal, action, resource); forbid (x); 'permit' \"";
    let (policies, wrong) = parse(text);
    assert_eq!((policies.len(), wrong.len()), (1, 5));
    let many = "permit (;".repeat(100_000);
    assert!(parse(&many).1.len() <= crate::limits::FINDINGS_MAX);
}

#[test]
fn escapes_say_one_letter_or_nothing() {
    let check = |raw: &str, is_pattern: bool, expected: Option<&str>| {
        let said = letters(raw, is_pattern).ok();
        let said: Option<String> =
            said.map(|letters| letters.into_iter().map(|(letter, _)| letter).collect());
        assert_eq!(said.as_deref(), expected, "{raw}");
    };
    check(r#"a\n\t\r\0\\\"\'"#, false, Some("a\n\t\r\0\\\"'"));
    check(r"\x41\x7f", false, Some("A\u{7f}"));
    check(r"\x80", false, None);
    check(r"\x4", false, None);
    check(r"\u{e9}\u{10ffff}", false, Some("\u{e9}\u{10ffff}"));
    check(r"\u{d800}", false, None);
    check(r"\u{110000}", false, None);
    check(r"\u{}", false, None);
    check(r"\u0041", false, None);
    check("\\x4\u{e9}", false, None);
    check(r"\*", false, None);
    check(r"\**", true, Some("**"));
    check("a\rb", false, None);
    check("a\nb", false, Some("a\nb"));
    check("\\", false, None);
}
