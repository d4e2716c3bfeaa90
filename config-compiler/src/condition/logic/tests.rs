//! What the analysis says beside what the evaluator does: whatever it calls impossible, no call of chance ever does; and
//! contradictions that are planted are found.

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use strait_policy::{Principal, Truth};
use strait_protocol::Span;
use strait_table::condition::evaluate::{Header, Thing, evaluate};
use strait_table::condition::{Asked, Moment, Request, Workspace};
use strait_table::rules::{Effect, Pattern, PatternKind, Place, Policy, Role, Rule, Rules, To};

use super::Logic;
use crate::condition::{Of, Shared, Tree, during, read, tree::Possible};

const ROLES: [(&str, &str); 3] = [
    ("support", r#""support" in principal.groups"#),
    ("eu", r#"principal.groups.exists(g, g.startsWith("eu-"))"#),
    ("senior", "principal.claims.level >= 3"),
];

/// Conditions that were read together, with what they share.
struct Desk {
    shared: Shared,
    roles: Vec<Option<Tree>>,
    trees: Vec<Tree>,
}

fn desk(texts: &[&str]) -> Desk {
    let mut shared = Shared::default();
    let mut roles = Vec::new();
    for (_, text) in ROLES {
        let tree = read(text, Of::Role, &|_| Err(None), &mut shared).unwrap();
        let bits = shared.principal(&tree).unwrap();
        shared.roles.push(bits);
        roles.push(Some(tree));
    }
    let named =
        |name: &str| ROLES.iter().position(|(known, _)| *known == name).map(|at| at as u16).ok_or(None);
    let trees = texts.iter().map(|text| {
        read(text, Of::Rule, &named, &mut shared).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"))
    });
    let trees = trees.collect();
    Desk { shared, roles, trees }
}

impl Desk {
    fn logic(&self) -> Logic<'_> {
        Logic::new(&self.roles, &self.shared.windows, &self.shared.automata)
    }

    fn never(&self, goals: &[Possible]) -> bool {
        let wanted: Vec<(&Tree, Possible)> = self.trees.iter().zip(goals.iter().copied()).collect();
        self.logic().never(&wanted)
    }
}

fn never_true(text: &str) -> bool {
    desk(&[text]).never(&[Possible::TRUE])
}

/// Whether every call of which `one` is true is one of which `other` is.
fn implies(one: &str, other: &str) -> bool {
    desk(&[one, other]).never(&[Possible::TRUE, Possible::NOT_TRUE])
}

#[test]
fn contradictions_are_found() {
    let check = |text: &str| assert!(never_true(text), "{text}");
    check("args.x > 5 && args.x < 3");
    check("args.x > 5 && args.x <= 5.0");
    check("args.x >= 500.00000000000000001 && args.x <= 500");
    check("args.x == 1 && args.x == 2");
    check("args.x in [1, 2] && args.x in [3, 4]");
    check("args.x in [1, 2] && args.x > 2");
    check(r#"args.a == "x" && args.a == "y""#);
    check(r#"args.a == "x" && args.a == 5"#);
    check(r#"args.a in ["x", "y"] && args.a != "x" && args.a != "y""#);
    check(r#"args.a in ["x", "y"] && !(args.a in ["x", "y", "z"])"#);
    check(r#"args.a.startsWith("/srv/") && args.a.startsWith("/etc/")"#);
    check(r#"args.a.startsWith("ab") && !args.a.startsWith("a")"#);
    check(r#"args.a.startsWith("abc") && !args.a.contains("b")"#);
    check(r#"args.a.endsWith("x") && args.a.endsWith("y")"#);
    check(r#"args.a == "abc" && args.a.endsWith("b")"#);
    check(r#"args.a < "b" && args.a.startsWith("c")"#);
    check(r#"args.a >= "b" && args.a < "a""#);
    check(r#"args.a < """#);
    check(r#"args.a.matches("^[A-Z]+$") && args.a.matches("^[0-9]")"#);
    check(r#"args.a.matches("^x") && args.a == "yx""#);
    check(r#"args.a.matches("^[0-9]{3}$") && size(args.a) > 3"#);
    check(r#"args.a == "xy" && size(args.a) == 3"#);
    check("size(args.a) < 0");
    check("size(args.a) > 2 && size(args.a) < 3");
    check("type(args.a) == int && args.a > 5 && args.a < 6");
    check("type(args.a) == int && args.a == 5.5");
    check("type(args.a) == string && args.a > 5");
    check("has(args.a) && !has(args.a)");
    check("!has(args.a) && args.a == 5");
    check("args.a == 5 && args.a.b == 5");
    check("!has(args.a) && has(args.a.b)");
    // An error: there is no object that could have it.
    check("!has(args.a) && !has(args.a.b)");
    check("type(args) == list");
    check("args.a && !args.a");
    check("args.a == null && args.a > 1");
    check("args.a < args.b && args.b < args.a");
    check("args.a == args.b && args.a != args.b");
    check("args.l.exists(i, i > 5 && i < 3)");
    check("args.l.all(i, i < 3) && args.l.exists(i, i > 5)");
    check(r#"args.l.all(i, i != "x") && "x" in args.l"#);
    check(r#"args.l.exists(i, i.a == 1) && args.l.all(i, type(i) == string)"#);
    check("args.l.all(i, i > 0) && args.l == 5");
    check("args.o.exists(i, i > 0) && args.o.x == 5");
    check(r#""support" in principal.groups && !("support" in principal.roles)"#);
    check(r#""eu-west" in principal.groups && !("eu" in principal.roles)"#);
    check(r#""senior" in principal.roles && principal.claims.level == 2"#);
    check(r#"principal.id == "ann" && principal.id == "bob""#);
    check(r#"call.tool == "a" && call.tool.startsWith("b")"#);
    check(r#"request.headers["x-env"] == "a" && !("x-env" in request.headers)"#);
    check(r#"cidr("10.0.0.0/8").containsIP(request.ip) && cidr("192.168.0.0/16").containsIP(request.ip)"#);
    check(r#"request.ip == "10.1.1.1" && !cidr("10.0.0.0/8").containsIP(request.ip)"#);
    check(r#"now > timestamp("2027-01-01T00:00:00Z") && now < timestamp("2026-01-01T00:00:00Z")"#);
    check("(args.x > 5 || args.y > 5) && args.x < 3 && args.y < 3");
    check("!(args.x <= 5 || args.x > 3)");
    check("false");
}

#[test]
fn what_can_be_true_is_not_called_a_contradiction() {
    let check = |text: &str| assert!(!never_true(text), "{text}");
    check("args.x > 3 && args.x < 5");
    check("args.x > 3 && args.x < 4");
    check("type(args.x) == int && args.x > 2.5 && args.x < 3.5");
    check("args.x >= 5 && args.x <= 5");
    check("args.x != 1 && args.x != 2");
    check(r#"args.a.startsWith("a") && args.a.endsWith("b") && args.a.contains("c") && size(args.a) == 3"#);
    check(r#"args.a > "a" && args.a < "aa""#);
    check(r#"args.a.matches("^[a-c]+$") && args.a.matches("b") && !args.a.startsWith("b")"#);
    check("!has(args.a.b) && has(args.a)");
    check("args.l.all(i, i > 5) && args.l.all(i, i < 3)");
    check("args.l.exists(i, i > 5) && args.l.exists(i, i < 3)");
    check(r#"args.l.exists(i, type(i) == string) && args.l.exists(i, i == 5)"#);
    check("args.a <= args.b && args.b <= args.a");
    check(r#""support" in principal.roles && !("eu" in principal.roles)"#);
    check(r#"request.ip == "10.1.1.1" && !cidr("10.0.0.0/16").containsIP(request.ip)"#);
    check(r#"now > timestamp("2026-01-01T00:00:00Z") && now < timestamp("2027-01-01T00:00:00Z")"#);
}

#[test]
fn windows_that_never_hold_together_are_found() {
    let both = |one: &str, other: &str| {
        let windows = [during::window(one).unwrap(), during::window(other).unwrap()];
        let ask = |number| Tree::ask(crate::condition::tree::Asks::Window(number), 0..0);
        Logic::new(&[], &windows, &[]).never_true(&Tree::and([ask(0), ask(1)]))
    };
    assert!(both("Mon-Fri UTC", "Sat,Sun UTC"));
    assert!(both("06:00-12:00 Europe/Berlin", "12:00-18:00 Europe/Berlin"));
    assert!(!both("06:00-12:01 Europe/Berlin", "12:00-18:00 Europe/Berlin"));
    assert!(!both("Mon 06:00-12:00 Europe/Berlin", "Mon 12:00-18:00 UTC"));
}

#[test]
fn a_narrower_condition_implies_a_wider_one() {
    let check =
        |one: &str, other: &str, expected| assert_eq!(implies(one, other), expected, "{one} => {other}");
    check("args.x < 5", "args.x < 10", true);
    check("args.x < 10", "args.x < 5", false);
    check("args.x < 5", "args.x < 5", true);
    check("args.x < 5 && args.y > 1", "args.x < 5", true);
    check("args.x < 5", "args.x < 5 || args.y > 1", true);
    // An error is not true.
    check("args.x < 5", "args.x < 10 || args.x >= 10", true);
    check("has(args.x)", "args.x < 10 || args.x >= 10", false);
    check(r#"args.a in ["x"]"#, r#"args.a in ["x", "y"]"#, true);
    check(r#"args.a.startsWith("/srv/a")"#, r#"args.a.startsWith("/srv/")"#, true);
    check(r#"args.a.matches("^ab")"#, r#"args.a.startsWith("a")"#, true);
    check(r#"args.a == "x""#, "has(args.a)", true);
    check("has(args.a)", r#"args.a == "x""#, false);
    check(r#""support" in principal.groups"#, r#""support" in principal.roles"#, true);
    check(r#"request.ip == "10.1.1.1""#, r#"cidr("10.0.0.0/8").containsIP(request.ip)"#, true);
    check("args.l.all(i, i > 5)", "args.l.all(i, i > 3)", true);
    check("args.l.exists(i, i > 3)", "args.l.exists(i, i > 5)", false);
}

/// Two conditions that are hard to tell apart cost what they may and no more.
#[test]
fn a_long_search_ends_in_not_sure() {
    let many: Vec<String> =
        (0..40).map(|at| format!("(args.a{at} > 5 || args.b{at} < 3 || args.c{at} == {at})")).collect();
    let text = format!("({}) && args.x > 5", many[..30].join(" && "));
    let other = format!("args.x > 4 && ({})", many[10..].join(" && "));
    let desk = desk(&[&text, &other]);
    let mut logic = desk.logic();
    let wanted = [(&desk.trees[0], Possible::TRUE), (&desk.trees[1], Possible::NOT_TRUE)];
    assert!(!logic.never(&wanted));
    assert!(!logic.is_spent());
}

struct From(IpAddr, Option<&'static str>);

impl Request for From {
    fn header(&self, name: &str) -> Header<'_> {
        match (name, self.1) {
            ("x-env", Some("two")) => Header::Several,
            ("x-env", Some(value)) => Header::One(value.as_bytes()),
            _ => Header::Missing,
        }
    }

    fn ip(&self) -> IpAddr {
        self.0
    }
}

#[derive(Clone, Debug)]
struct Call {
    arguments: Option<Json>,
    groups: Vec<String>,
    claims: String,
    now: i64,
    ip: [u8; 4],
    header: Option<&'static str>,
}

/// What each of the conditions comes to.
fn truths(desk: Desk, calls: &[Call]) -> Vec<Vec<Truth>> {
    let Desk { mut shared, trees, .. } = desk;
    let rules = trees.iter().enumerate().map(|(at, tree)| Rule {
        id: format!("r{at}"),
        effect: Effect::Allow,
        patterns: vec![Pattern { kind: PatternKind::Any, glob: "*".into() }],
        to: To::Everyone,
        condition: Some(shared.rule(tree).unwrap()),
        scopes: Vec::new(),
        audit: Default::default(),
        place: Place::default(),
    });
    let policy = Policy { default: Effect::Deny, rules: rules.collect() };
    let role = |((name, _), (yes, error)): (&(&str, &str), &(u16, u16))| Role {
        name: (*name).into(),
        yes: *yes,
        error: *error,
    };
    let roles = ROLES.iter().zip(&shared.roles).map(role).collect();
    let Shared { traits, windows, automata, .. } = shared;
    let base = "strait: 1\nupstreams: { u: { sample: http } }\nservers: { s: { path: /mcp, tools: [\"*\"] } }\npolicy: { default: allow }\n";
    let base = crate::load_text("base.yaml", base, &|_| None).rules.unwrap();
    let rules = Rules { traits, windows, automata, policy, roles, ..base };
    let snapshot = strait_table::snapshot::of_rules(&rules).unwrap();
    let of_call = |call: &Call| {
        let body = call.arguments.as_ref().map(Json::to_string).unwrap_or_default();
        let request = From(call.ip.into(), call.header);
        let arguments = call.arguments.is_some().then(|| Span::between(0, body.len()));
        let asked = Asked {
            method: "tools/call",
            body: body.as_bytes(),
            arguments,
            request: &request,
            with_scopes: false,
        };
        let principal = Principal {
            groups: call.groups.clone(),
            claims: call.claims.clone(),
            id: "ann".into(),
            ..Principal::anonymous()
        };
        let (traits, windows) = (snapshot.traits_of(&principal), snapshot.windows_at(call.now).bits);
        let moment = Moment {
            traits: Some(&traits),
            windows: Some(&windows),
            principal: Some(&principal),
            thing: Some(Thing { server: "s", upstream: "u", name: "t" }),
            asked: Some(&asked),
        };
        let rules = snapshot.rules();
        let conditions = rules.policy.rules.iter().filter_map(|rule| rule.condition.as_ref());
        conditions
            .map(|condition| {
                evaluate(condition, &rules.automata, &moment, &mut Workspace::default()).unwrap()
            })
            .collect()
    };
    calls.iter().map(of_call).collect()
}

/// Questions over few values and few constants, so that they meet.
fn a_question() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just("args.n"),
        Just("args.n"),
        Just("args.o.n"),
        Just("size(args.s)"),
        Just("size(args.l)")
    ];
    let plain = prop_oneof![Just("args.n"), Just("args.o.n"), Just("args.s")];
    let order = prop_oneof![Just("=="), Just("!="), Just("<"), Just("<="), Just(">"), Just(">=")];
    let small = prop_oneof![Just("-1"), Just("0"), Just("1"), Just("1.5"), Just("2")];
    let part = prop_oneof![Just("startsWith"), Just("endsWith"), Just("contains")];
    let kind =
        prop_oneof![Just("int"), Just("double"), Just("string"), Just("list"), Just("map"), Just("bool")];
    let word = "[ab]{0,2}";
    prop_oneof![
        4 => (number.clone(), order.clone(), small.clone()).prop_map(|(of, by, n)| format!("{of} {by} {n}")),
        1 => order.clone().prop_map(|by| format!("args.n {by} args.o.n")),
        1 => order.clone().prop_map(|by| format!("args.o.n {by} args.n")),
        3 => (order.clone(), word).prop_map(|(by, word)| format!("args.s {by} \"{word}\"")),
        2 => (word, word).prop_map(|(a, b)| format!("args.s in [\"{a}\", \"{b}\"]")),
        2 => (small.clone(), small.clone()).prop_map(|(a, b)| format!("args.n in [{a}, {b}]")),
        3 => (part, word).prop_map(|(part, word)| format!("args.s.{part}(\"{word}\")")),
        1 => prop_oneof![Just("^a"), Just("b$"), Just("^[ab]*$"), Just("ab|ba")].prop_map(|e| format!("args.s.matches(\"{e}\")")),
        2 => prop_oneof![Just("n"), Just("s"), Just("o"), Just("o.n"), Just("l")].prop_map(|key| format!("has(args.{key})")),
        1 => (plain, kind).prop_map(|(of, kind)| format!("type({of}) == {kind}")),
        1 => prop_oneof![Just("args.b"), Just("args.b != true"), Just("args.n == null"), Just("args.n != null")].prop_map(str::to_owned),
        2 => (prop_oneof![Just("all"), Just("exists"), Just("exists_one")], order, small.clone())
            .prop_map(|(each, by, n)| format!("args.l.{each}(i, i {by} {n})")),
        1 => small.prop_map(|n| format!("{n} in args.l")),
        1 => prop_oneof![Just("support"), Just("eu"), Just("senior")].prop_map(|role| format!("\"{role}\" in principal.roles")),
        1 => prop_oneof![Just("support"), Just("eu-west")].prop_map(|group| format!("\"{group}\" in principal.groups")),
        1 => prop_oneof![Just("principal.claims.level == 2"), Just("has(principal.claims.level)")].prop_map(str::to_owned),
        1 => prop_oneof![Just("request.headers[\"x-env\"] == \"a\""), Just("\"x-env\" in request.headers")].prop_map(str::to_owned),
        1 => prop_oneof![Just("10.0.0.0/8"), Just("10.1.0.0/16"), Just("0.0.0.0/0")]
            .prop_map(|net| format!("cidr(\"{net}\").containsIP(request.ip)")),
        1 => (prop_oneof![Just("<"), Just(">=")], prop_oneof![Just(10), Just(20)])
            .prop_map(|(by, second)| format!("now {by} timestamp(\"1970-01-01T00:00:{second}Z\")")),
    ]
}

fn a_condition() -> impl Strategy<Value = String> {
    a_question().prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            3 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            1 => inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

fn a_call() -> impl Strategy<Value = Call> {
    let number = || {
        prop_oneof![
            Just(json!(-1)),
            Just(json!(0)),
            Just(json!(1)),
            Just(json!(1.0)),
            Just(json!(1.5)),
            Just(json!(2)),
            Just(json!(3))
        ]
    };
    let other = || {
        prop_oneof![
            Just(json!(null)),
            Just(json!("a")),
            Just(json!("")),
            Just(json!(1)),
            Just(json!(true)),
            Just(json!([1])),
            Just(json!({"n": 1}))
        ]
    };
    let of = |usual: BoxedStrategy<Json>| prop_oneof![6 => usual.prop_map(Some), 1 => other().prop_map(Some), 1 => Just(None)];
    let text = "[abc]{0,3}".prop_map(Json::from).boxed();
    let list = proptest::collection::vec(number(), 0..3).prop_map(Json::from).boxed();
    let object = of(number().boxed()).prop_map(|n| n.map_or(json!({}), |n| json!({"n": n}))).boxed();
    let flag = any::<bool>().prop_map(Json::from).boxed();
    let arguments =
        (of(number().boxed()), of(text), of(flag), of(list), of(object)).prop_map(|(n, s, b, l, o)| {
            let all = [("n", n), ("s", s), ("b", b), ("l", l), ("o", o)];
            let all = all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
            Json::Object(all.collect())
        });
    let groups = proptest::collection::vec(
        prop_oneof![Just("support".to_owned()), Just("eu-west".to_owned()), Just("x".to_owned())],
        0..3,
    );
    let claims = prop_oneof![
        Just(""),
        Just("{}"),
        Just(r#"{"level":2}"#),
        Just(r#"{"level":3}"#),
        Just(r#"{"level":"3"}"#)
    ];
    let ip = prop_oneof![Just([10, 1, 0, 1]), Just([10, 2, 0, 1]), Just([127, 0, 0, 1])];
    let header = prop_oneof![Just(None), Just(Some("a")), Just(Some("b")), Just(Some("two"))];
    (proptest::option::weighted(0.95, arguments), groups, claims, 5i64..25, ip, header).prop_map(
        |(arguments, groups, claims, now, ip, header)| Call {
            arguments,
            groups,
            claims: claims.to_owned(),
            now,
            ip,
            header,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Never dead what is not; never implied what is not.
    #[test]
    fn what_is_called_impossible_never_happens(
        one in a_condition(),
        other in a_condition(),
        calls in proptest::collection::vec(a_call(), 120),
    ) {
        let desk = desk(&[&one, &other]);
        let dead = [desk.logic().never_true(&desk.trees[0]), desk.logic().never_true(&desk.trees[1])];
        let implied = desk.never(&[Possible::TRUE, Possible::NOT_TRUE]);
        let apart = desk.never(&[Possible::TRUE, Possible::NOT_FALSE]);
        let always = desk.logic().never(&[(&desk.trees[0], Possible::NOT_TRUE)]);
        let settled = desk.logic().never(&[(&desk.trees[0], Possible::NOT_FALSE)]);
        for (call, truths) in calls.iter().zip(truths(desk, &calls)) {
            let is = |at: usize| truths[at] == Truth::True;
            prop_assert!(!(dead[0] && is(0)), "{one} of {call:?}");
            prop_assert!(!(dead[1] && is(1)), "{other} of {call:?}");
            prop_assert!(!(implied && is(0) && !is(1)), "{one} => {other} of {call:?}");
            prop_assert!(!(apart && is(0) && truths[1] != Truth::False), "{one} excludes {other} of {call:?}");
            prop_assert!(!always || is(0), "always {one} of {call:?}");
            prop_assert!(!(settled && truths[0] != Truth::False), "false: {one} of {call:?}");
        }
    }

    /// Between what was made to follow, so that the property above does not hold for want of claims.
    #[test]
    fn what_follows_is_found(one in a_condition(), other in a_condition()) {
        let (both, either) = (format!("({one}) && ({other})"), format!("({one}) || ({other})"));
        let sure = |text: &str, wider: &str| {
            let desk = desk(&[text, wider]);
            prop_assert!(desk.never(&[Possible::TRUE, Possible::NOT_TRUE]), "{text} => {wider}");
            Ok(())
        };
        sure(&both, &one)?;
        sure(&one, &either)?;
        sure(&one, &one)?;
        prop_assert!(never_true(&format!("({one}) && !({one})")), "{one}");
    }
}
