//! Conditions that mean something, checked against principals by the code a worker runs; and
//! conditions that do not, checked for the words and the place of the complaint.

use strait_policy::{
    Principal,
    roles::{Op, holds},
};
use strait_table::rules::ConditionOp;

use super::parse;

fn op(op: &ConditionOp) -> Op<'_> {
    match op {
        ConditionOp::Const(value) => Op::Const(*value),
        ConditionOp::IdIs(id) => Op::IdIs(id),
        ConditionOp::IdStartsWith(text) => Op::IdStartsWith(text),
        ConditionOp::IdEndsWith(text) => Op::IdEndsWith(text),
        ConditionOp::InGroup(group) => Op::InGroup(group),
        ConditionOp::Not => Op::Not,
        ConditionOp::And => Op::And,
        ConditionOp::Or => Op::Or,
    }
}

#[test]
fn conditions_mean_what_cel_says() {
    let ann = Principal {
        id: "ann@corp".into(),
        groups: vec!["support".into(), "eu".into()],
        ..Principal::default()
    };
    let check = |text: &str, expected: bool| {
        let ops = parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
        assert_eq!(holds(ops.iter().map(op), &ann), expected, "{text}");
    };
    check(r#""support" in principal.groups"#, true);
    check(r#"'support' in principal.groups"#, true);
    check(r#"!("support" in principal.groups)"#, false);
    check(r#"!!("support" in principal.groups)"#, true);
    check(r#"principal.id == "ann@corp""#, true);
    check(r#""ann@corp" == principal.id"#, true);
    check(r#"principal.id != "ann@corp""#, false);
    check(r#"principal.id in ["ben", "ann@corp"]"#, true);
    check(r#"principal.id in []"#, false);
    check(r#"principal.id.startsWith("ann") && principal.id.endsWith("@corp")"#, true);
    check(r#"principal.groups.exists(g, g == "eu")"#, true);
    check(r#"principal.groups.exists(g, g == "us" || "eu" == g)"#, true);
    check(r#"principal.groups.exists(x, x in ["a", "b"])"#, false);
    check(r#"false || true && false"#, false);
    check(r#"true || false && false"#, true);
    check(r#"(true || false) && false"#, false);
    check(r#""\u0065u" in principal.groups"#, true);
    check(&format!("{}true{}", "(".repeat(32), ")".repeat(32)), true);
    check(&vec!["true"; 500].join(" && "), true);
}

#[test]
fn what_is_outside_is_named_with_its_place() {
    let check = |text: &str, underlined: &str, words: &str| {
        let wrong = parse(text).expect_err(text);
        assert_eq!(&text[wrong.start..wrong.end], underlined, "{text}: {wrong:?}");
        assert!(wrong.message.contains(words), "{text}: {wrong:?}");
    };
    check(r#"principal.agent == "ops""#, "principal.agent", "in this version");
    check(r#"principal.group == "x""#, "principal.group", "no `group`");
    check(r#"principal.id + "x" == "y""#, "+", "cannot stand here");
    check(r#"principal.id == "a" ? true : false"#, "?", "cannot stand here");
    check("principal.groups.all(g, g == \"x\")", "all", "cannot be used on");
    check("principal.id.contains(\"x\")", "contains", "cannot be used on");
    check("args.amount > 5", "args", "not what they do");
    check("principal.groups[0] == \"x\"", "[", "cannot stand here");
    check("\"support\"", "\"support\"", "found a text");
    check("principal.id", "principal.id", "found `principal.id`");
    check("!principal.id == \"x\"", "principal.id", "found `principal.id`");
    check("true && ", "", "ends too early");
    check("true)", ")", "cannot stand here");
    check("\"open", "\"", "not closed");
    check("true & false", "&", "not part");
    check("principal.groups.exists(g, g == \"a\" && g == \"b\")", "&&", "cannot ask");
    check("principal.id == \"\\q\"", "\\", "escape");
    check("a in principal.groups", "a", "unknown name");
    check(&format!("{}true", "(".repeat(33)), "(", "nested more than");
    check("", "", "ends too early");
    check("5", "5", "number");
}

#[test]
fn a_very_long_condition_is_refused_by_its_length() {
    assert!(parse(&"!".repeat(1 << 20)).is_err());
    assert!(parse(&"(".repeat(4096)).is_err());
}
