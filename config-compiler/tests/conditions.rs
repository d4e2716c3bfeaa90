//! Conditions beside the `cel` interpreter, on conditions and calls of chance. Where every argument has the type it is compared
//! with, both say the same. Where one has not, ours may be an error where CEL says false (docs/POLICY.md), and nothing else.

use std::net::IpAddr;

use cel::{Context, Program, Value as Cel};
use proptest::prelude::*;
use serde_json::{Value, json};
use strait_config_compiler::{Finding, diagnostic::codes, load_text};
use strait_policy::{Principal, Truth};
use strait_protocol::Span;
use strait_table::condition::evaluate::{Header, evaluate};
use strait_table::condition::{Asked, Moment, Request, Workspace};

struct Nowhere;

impl Request for Nowhere {
    fn header(&self, _: &str) -> Header<'_> {
        Header::Missing
    }

    fn ip(&self) -> IpAddr {
        IpAddr::from([127, 0, 0, 1])
    }
}

/// `None`: the compiler refuses it, since it or a part of it is never true.
fn ours(condition: &str, arguments: &Value) -> Option<Truth> {
    let quoted = condition.replace('\'', "''");
    let text = format!(
        "strait: 1\nupstreams: {{ u: {{ sample: http }} }}\nservers: {{ s: {{ path: /mcp, tools: [\"*\"] }} }}\npolicy:\n  \
         default: deny\n  rules: [{{ id: r, allow: [u.t], when: '{quoted}' }}]\n"
    );
    let outcome = load_text("c.yaml", &text, &|_| None);
    let never_true = |finding: &Finding| *finding.code == codes::EMPTY_CONDITION;
    if !outcome.findings.is_empty() && outcome.findings.iter().all(never_true) {
        return None;
    }
    let rules = outcome.rules.as_ref().unwrap_or_else(|| panic!("{condition}: {:?}", outcome.findings));
    let snapshot = strait_table::snapshot::of_rules(rules).unwrap();
    let body = arguments.to_string();
    let asked = Asked {
        method: "tools/call",
        body: body.as_bytes(),
        arguments: Some(Span::between(0, body.len())),
        request: &Nowhere,
        with_scopes: false,
    };
    let principal = Principal::anonymous();
    let traits = snapshot.traits_of(&principal);
    let moment = Moment {
        traits: Some(&traits),
        windows: None,
        principal: Some(&principal),
        thing: None,
        asked: Some(&asked),
    };
    let rules = snapshot.rules();
    let condition = rules.policy.rules[0].condition.as_ref().unwrap();
    Some(evaluate(condition, &rules.automata, &moment, &mut Workspace::default()).unwrap())
}

/// What CEL says; `None` is an error.
fn theirs(condition: &str, arguments: &Value) -> Option<bool> {
    let program = Program::compile(condition).unwrap();
    let mut context = Context::default();
    context.add_variable("args", cel::to_value(arguments).unwrap()).unwrap();
    match program.execute(&context) {
        Ok(Cel::Bool(value)) => Some(value),
        _ => None,
    }
}

/// A question over arguments that the calls below have: `n` and `m` numbers, `s` and `t` texts, `b` true or false, `l` a list of
/// numbers, `o` an object with a number `n`.
fn a_question() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just("args.n"),
        Just("args.m"),
        Just("args.o.n"),
        Just("size(args.s)"),
        Just("size(args.l)")
    ];
    let text = prop_oneof![Just("args.s"), Just("args.t")];
    let order = prop_oneof![Just("=="), Just("!="), Just("<"), Just("<="), Just(">"), Just(">=")];
    let word = "[ab]{0,2}";
    prop_oneof![
        (number.clone(), order.clone(), -2i64..4).prop_map(|(of, by, n)| format!("{of} {by} {n}")),
        (order.clone()).prop_map(|by| format!("args.n {by} args.m")),
        (text.clone(), order.clone(), word).prop_map(|(of, by, word)| format!("{of} {by} \"{word}\"")),
        (text.clone(), word, word).prop_map(|(of, a, b)| format!("{of} in [\"{a}\", \"{b}\"]")),
        (prop_oneof![Just("args.n"), Just("args.m"), Just("args.o.n")], -2i64..4, -2i64..4)
            .prop_map(|(of, a, b)| format!("{of} in [{a}, {b}]")),
        (text.clone(), word).prop_map(|(of, word)| format!("{of}.startsWith(\"{word}\")")),
        (text.clone(), word).prop_map(|(of, word)| format!("{of}.endsWith(\"{word}\")")),
        (text, word).prop_map(|(of, word)| format!("{of}.contains(\"{word}\")")),
        Just("args.s.contains(args.t)".to_owned()),
        prop_oneof![Just("n"), Just("s"), Just("x")].prop_map(|key| format!("has(args.{key})")),
        prop_oneof![Just("n"), Just("x")].prop_map(|key| format!("has(args.o.{key})")),
        Just("args.b".to_owned()),
        prop_oneof![Just("=="), Just("!=")].prop_map(|by| format!("args.b {by} true")),
        (prop_oneof![Just("all"), Just("exists"), Just("exists_one")], order, -2i64..4)
            .prop_map(|(each, by, n)| format!("args.l.{each}(i, i {by} {n})")),
        (-2i64..4).prop_map(|n| format!("{n} in args.l")),
    ]
}

fn a_condition() -> impl Strategy<Value = String> {
    a_question().prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

fn a_call() -> impl Strategy<Value = Value> {
    let number = -2i64..4;
    let list = proptest::collection::vec(-2i64..4, 0..4);
    (number.clone(), number.clone(), "[abé]{0,3}", "[ab]{0,2}", any::<bool>(), list, number).prop_map(
        |(n, m, s, t, b, l, on)| json!({"n": n, "m": m, "s": s, "t": t, "b": b, "l": l, "o": {"n": on}}),
    )
}

/// The same with some arguments gone, or of another type.
fn a_spoiled_call() -> impl Strategy<Value = Value> {
    let spoil = prop_oneof![
        Just(None),
        Just(Some(json!(null))),
        Just(Some(json!("a"))),
        Just(Some(json!(1))),
        Just(Some(json!(true))),
        Just(Some(json!([1]))),
        Just(Some(json!({"n": 1}))),
    ];
    let key = prop_oneof![Just("n"), Just("m"), Just("s"), Just("t"), Just("b"), Just("l"), Just("o")];
    (a_call(), proptest::collection::vec((key, spoil), 1..3)).prop_map(|(mut call, spoils)| {
        for (key, spoil) in spoils {
            let arguments = call.as_object_mut().unwrap();
            match spoil {
                Some(value) => arguments.insert(key.to_owned(), value),
                None => arguments.remove(key),
            };
        }
        call
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn well_typed_calls_are_decided_as_cel_decides_them(condition in a_condition(), call in a_call()) {
        let expected = theirs(&condition, &call).map(Truth::of);
        if let Some(decided) = ours(&condition, &call) {
            prop_assert_eq!(Some(decided), expected, "{} of {}", condition, call);
        }
    }

    /// A decision of ours is CEL's own; what we leave undecided is refused whatever the rule says.
    #[test]
    fn spoiled_calls_are_decided_as_cel_decides_them_or_not_at_all(condition in a_condition(), call in a_spoiled_call()) {
        match ours(&condition, &call) {
            None | Some(Truth::Error) => {}
            Some(decided) => prop_assert_eq!(theirs(&condition, &call).map(Truth::of), Some(decided), "{} of {}", condition, call),
        }
    }
}
