//! Conditions that mean something, decided by the code a worker runs; and conditions that do not, checked for the words and
//! the place of the complaint.

use std::net::IpAddr;

use strait_policy::{Principal, Traits, Truth};
use strait_protocol::{Span, jsonrpc::DecodeFault};
use strait_table::{
    Snapshot,
    condition::{
        Asked, Moment, Request, Workspace,
        evaluate::{Header, Thing, evaluate},
    },
    rules::Rules,
};

use crate::load_text;

struct From(IpAddr);

impl Request for From {
    fn header(&self, name: &str) -> Header<'_> {
        match name {
            "x-env" => Header::One(b"prod"),
            "x-two" => Header::Several,
            _ => Header::Missing,
        }
    }

    fn ip(&self) -> IpAddr {
        self.0
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn config(rule: &str) -> String {
    format!(
        "strait: 1\nupstreams: {{ crm: {{ sample: http }} }}\nservers: {{ default: {{ path: /mcp, tools: [\"*\"] }} }}\nroles:\n  \
         support: '\"support\" in principal.groups'\n  senior: 'principal.claims.level >= 3'\npolicy:\n  default: deny\n  rules:\n    \
         - {rule}\n    - {{ id: any, allow: [crm.x], to: [support, senior] }}\n"
    )
}

fn rules(when: &str) -> Rules {
    let text = config(&format!("{{ id: a, allow: [crm.refund], when: {} }}", quoted(when)));
    let outcome = load_text("a.yaml", &text, &|_| None);
    let shown = crate::render(&outcome, false);
    outcome.rules.unwrap_or_else(|| panic!("{when}: {shown}"))
}

fn ann() -> Principal {
    Principal {
        id: "ann@corp".into(),
        user: "ann".into(),
        agent: String::new(),
        tenant: "acme".into(),
        groups: vec!["support".into(), "eu-west".into()],
        claims: r#"{"level": 3, "dept": {"name": "crm"}, "tags": ["a", "b"]}"#.into(),
    }
}

fn decide_at(when: &str, arguments: &str, now: i64) -> Result<Truth, DecodeFault> {
    let snapshot = strait_table::snapshot::of_rules(&rules(when)).unwrap();
    let principal = ann();
    let (traits, windows) = (snapshot.traits_of(&principal), snapshot.windows_at(now).bits);
    let thing = Thing { server: "default", upstream: "crm", name: "refund" };
    let request = From("10.1.2.3".parse().unwrap());
    let body = format!("{{\"x\":{arguments}}}");
    let arguments = (!arguments.is_empty()).then(|| Span::between(5, body.len() - 1));
    let asked = Asked {
        method: "tools/call",
        body: body.as_bytes(),
        arguments,
        request: &request,
        with_scopes: false,
    };
    let moment = Moment {
        traits: Some(&traits),
        windows: Some(&windows),
        principal: Some(&principal),
        thing: Some(thing),
        asked: Some(&asked),
    };
    truth(&snapshot, &moment)
}

fn truth(snapshot: &Snapshot, moment: &Moment<'_>) -> Result<Truth, DecodeFault> {
    let rules = snapshot.rules();
    let condition = rules.policy.rules[0].condition.as_ref().unwrap();
    evaluate(condition, &rules.automata, moment, &mut Workspace::default())
}

/// What is listed before anything is asked.
fn listed(when: &str) -> Truth {
    let snapshot = strait_table::snapshot::of_rules(&rules(when)).unwrap();
    let traits = snapshot.traits_of(&ann());
    let windows = Traits::default();
    let thing = Some(Thing { server: "default", upstream: "crm", name: "refund" });
    let moment =
        Moment { traits: Some(&traits), windows: Some(&windows), principal: None, thing, asked: None };
    truth(&snapshot, &moment).unwrap()
}

#[track_caller]
fn check(when: &str, cases: &[(&str, Truth)]) {
    for (arguments, expected) in cases {
        assert_eq!(decide_at(when, arguments, 0).unwrap(), *expected, "{when} of {arguments}");
    }
}

use Truth::{Error, False, True, Unknown};

#[test]
fn numbers_are_compared_as_they_are_written() {
    check(
        "args.amount <= 500",
        &[
            (r#"{"amount":500}"#, True),
            (r#"{"amount":5e2}"#, True),
            (r#"{"amount":500.00000000000000001}"#, False),
            (r#"{"amount":-0}"#, True),
            (r#"{"amount":1e400}"#, False),
            (r#"{"amount":1e9999999}"#, Error),
            (r#"{"amount":"500"}"#, Error),
            (r#"{"amount":null}"#, Error),
            (r#"{"amount":[1]}"#, Error),
            (r#"{}"#, Error),
            ("", Error),
        ],
    );
    check(
        "args.n == 9007199254740993",
        &[(r#"{"n":9007199254740993}"#, True), (r#"{"n":9007199254740992}"#, False)],
    );
    check(
        "args.n > -1.5 && args.n < 0.1",
        &[(r#"{"n":-1.4}"#, True), (r#"{"n":0.1}"#, False), (r#"{"n":-1.50}"#, False)],
    );
    check(
        "args.n in [1, 2.5]",
        &[(r#"{"n":1.0}"#, True), (r#"{"n":2.50}"#, True), (r#"{"n":3}"#, False), (r#"{"n":"1"}"#, Error)],
    );
}

#[test]
fn texts_are_compared_by_what_they_say() {
    check(
        r#"args.currency in ["USD", "EUR"]"#,
        &[
            (r#"{"currency":"USD"}"#, True),
            (r#"{"currency":"\u0055SD"}"#, True),
            (r#"{"currency":"usd"}"#, False),
            (r#"{"currency":5}"#, Error),
        ],
    );
    check(
        r#"args.p.startsWith("/srv/") && !args.p.contains("..")"#,
        &[
            (r#"{"p":"/srv/a"}"#, True),
            (r#"{"p":"\/srv\/a"}"#, True),
            (r#"{"p":"/srv/../etc"}"#, False),
            (r#"{"p":"/srv/\u002e./etc"}"#, False),
            (r#"{"p":"/etc"}"#, False),
        ],
    );
    check(
        r#"args.f.endsWith(".txt")"#,
        &[(r#"{"f":"a.txt"}"#, True), (r#"{"f":"a.tx\u0074"}"#, True), (r#"{"f":"a.txt "}"#, False)],
    );
    check(
        r#"args.id.matches("^[A-Z]{3}-\\d+$")"#,
        &[
            (r#"{"id":"ABC-12"}"#, True),
            (r#"{"id":"\u0041BC-12"}"#, True),
            (r#"{"id":"ABC-"}"#, False),
            (r#"{"id":"xABC-12"}"#, False),
            (r#"{"id":""}"#, False),
        ],
    );
    check(r#"args.id.matches("b+")"#, &[(r#"{"id":"abba"}"#, True), (r#"{"id":"aa"}"#, False)]);
    check(
        r#"args.day < "2026-12-01""#,
        &[(r#"{"day":"2026-11-30"}"#, True), (r#"{"day":"2026-12-01"}"#, False)],
    );
}

#[test]
fn what_is_missing_is_an_error_unless_it_is_asked_for() {
    check("has(args.note)", &[(r#"{"note":null}"#, True), ("{}", False), ("", False)]);
    check(
        "has(args.to.iban)",
        &[(r#"{"to":{"iban":1}}"#, True), (r#"{"to":{}}"#, False), ("{}", Error), (r#"{"to":5}"#, Error)],
    );
    check(
        "!has(args.n) || args.n < 5",
        &[("{}", True), (r#"{"n":4}"#, True), (r#"{"n":5}"#, False), (r#"{"n":"4"}"#, Error)],
    );
    check(r#""note" in args"#, &[(r#"{"note":1}"#, True), ("{}", False)]);
    // What decides, decides beside an error.
    check("args.n < 5 || args.m < 5", &[(r#"{"m":1}"#, True), (r#"{"m":9}"#, Error)]);
    check("args.n < 5 && args.m < 5", &[(r#"{"m":9}"#, False), (r#"{"m":1}"#, Error)]);
    check("args.n == null", &[(r#"{"n":null}"#, True), (r#"{"n":1}"#, False), ("{}", Error)]);
    // A null is no way round a deny.
    check(r#"args.n == "a""#, &[(r#"{"n":null}"#, Error), (r#"{"n":1}"#, Error), (r#"{"n":"b"}"#, False)]);
    check("args.n == args.m", &[(r#"{"n":null,"m":null}"#, True), (r#"{"n":null,"m":1}"#, Error)]);
    // No arguments are arguments without anything.
    check("has(args.o.n)", &[("", Error), ("{}", Error), (r#"{"o":{}}"#, False)]);
    check(
        "args.force",
        &[(r#"{"force":true}"#, True), (r#"{"force":false}"#, False), (r#"{"force":1}"#, Error)],
    );
    check("args.force == false", &[(r#"{"force":false}"#, True), (r#"{"force":"false"}"#, Error)]);
}

#[test]
fn types_sizes_and_lists() {
    check(
        "type(args.n) in [int, double]",
        &[(r#"{"n":1}"#, True), (r#"{"n":1.5}"#, True), (r#"{"n":"1"}"#, False), ("{}", Error)],
    );
    check("type(args.n) == int", &[(r#"{"n":1}"#, True), (r#"{"n":1.0}"#, False)]);
    check("type(args.n) != string", &[(r#"{"n":1}"#, True), (r#"{"n":"x"}"#, False)]);
    check(
        "size(args.note) <= 3",
        &[
            (r#"{"note":"äöü"}"#, True),
            (r#"{"note":"abcd"}"#, False),
            (r#"{"note":[1,2,3]}"#, True),
            (r#"{"note":{"a":1}}"#, True),
            (r#"{"note":7}"#, Error),
        ],
    );
    check(
        r#""x" in args.tags"#,
        &[(r#"{"tags":["a","x"]}"#, True), (r#"{"tags":["a",1]}"#, False), (r#"{"tags":"x"}"#, Error)],
    );
    check(
        "args.items.all(i, i.price < 5)",
        &[
            (r#"{"items":[{"price":1},{"price":4.9}]}"#, True),
            (r#"{"items":[{"price":1},{"price":5}]}"#, False),
            (r#"{"items":[{"price":1},{}]}"#, Error),
            (r#"{"items":[{"price":5},{}]}"#, False),
            (r#"{"items":[]}"#, True),
            (r#"{"items":{}}"#, Error),
        ],
    );
    check(
        "args.ids.exists(i, i == 3)",
        &[
            (r#"{"ids":[1,3]}"#, True),
            (r#"{"ids":["a",3]}"#, True),
            (r#"{"ids":["a"]}"#, Error),
            (r#"{"ids":[]}"#, False),
        ],
    );
    check(
        "args.ids.exists_one(i, i == 3)",
        &[(r#"{"ids":[1,3]}"#, True), (r#"{"ids":[3,3]}"#, False), (r#"{"ids":[3,"a"]}"#, Error)],
    );
    check(
        r#"["/srv/", "/tmp/"].exists(p, args.path.startsWith(p))"#,
        &[(r#"{"path":"/tmp/x"}"#, True), (r#"{"path":"/etc"}"#, False)],
    );
    let long = format!("{{\"ids\":[{}]}}", vec!["1"; 1_025].join(","));
    check("args.ids.all(i, i == 1)", &[(&long, Error)]);
}

#[test]
fn principals_calls_and_requests() {
    let anything = |when: &str, expected| check(when, &[("{}", expected)]);
    anything(r#"principal.id == "ann@corp" && principal.agent == """#, True);
    anything(r#"principal.tenant != "acme""#, False);
    anything(r#""support" in principal.roles"#, True);
    anything(r#"principal.roles.exists(r, r == "senior" || r in ["support"])"#, True);
    anything(r#"principal.groups.exists(g, g.startsWith("eu-"))"#, True);
    anything(r#""support" in principal.groups && !("us" in principal.groups)"#, True);
    anything("principal.claims.level >= 3", True);
    anything(r#"principal.claims.dept.name == "crm""#, True);
    anything("principal.claims.no == 1", Error);
    anything(r#""b" in principal.claims.tags"#, True);
    anything(r#"call.tool == "refund" && call.upstream == "crm" && call.server == "default""#, True);
    anything(r#"call.method == "prompts/get""#, False);
    anything(r#"request.headers["X-Env"] == "prod" && request.headers.x_no == "x""#, Error);
    anything(r#"has(request.headers.no)"#, False);
    anything(r#""X-Env" in request.headers"#, True);
    anything(r#""x-two" in request.headers && request.headers["x-two"] == "a""#, Error);
    anything(r#"cidr("10.0.0.0/8").containsIP(request.ip)"#, True);
    anything(r#"cidr("10.0.0.0/16").containsIP(request.ip)"#, False);
    anything(r#"cidr("2001:db8::/32").containsIP(request.ip)"#, False);
    anything(r#"request.ip in ["10.1.2.3", "::1"]"#, True);
    check(
        "args.user == principal.user",
        &[(r#"{"user":"ann"}"#, True), (r#"{"user":"bob"}"#, False), (r#"{"user":1}"#, Error)],
    );
    check("args.team in principal.groups", &[(r#"{"team":"support"}"#, True), (r#"{"team":"us"}"#, False)]);
    check(
        "args.from == args.to",
        &[
            (r#"{"from":"a","to":"\u0061"}"#, True),
            (r#"{"from":"a","to":"b"}"#, False),
            (r#"{"from":"1","to":1}"#, Error),
        ],
    );
}

#[test]
fn time_is_known_to_the_second() {
    let at = |when: &str, now| decide_at(when, "{}", now).unwrap();
    let when = r#"now < timestamp("1970-01-01T00:01:00Z")"#;
    assert_eq!((at(when, 59), at(when, 60)), (True, False));
    let when = r#"timestamp("1970-01-01T00:01:00Z") <= now"#;
    assert_eq!((at(when, 59), at(when, 60)), (False, True));
}

#[test]
fn lists_are_made_before_anything_is_asked() {
    assert_eq!(listed("args.amount <= 500"), Unknown);
    assert_eq!(listed(r#"principal.id == "bob" && args.amount <= 500"#), False);
    assert_eq!(listed(r#"principal.id == "ann@corp" || args.amount <= 500"#), True);
    assert_eq!(listed(r#"call.tool == "other" && args.amount <= 500"#), False);
    assert_eq!(listed("principal.claims.no == 1 && args.amount <= 500"), Unknown);
    assert_eq!(listed("args.items.all(i, i == 1)"), Unknown);
    assert_eq!(listed(r#"cidr("10.0.0.0/8").containsIP(request.ip)"#), Unknown);
    assert_eq!(listed("has(args.x)"), Unknown);
}

#[test]
fn arguments_that_can_be_read_in_two_ways_refuse_the_call() {
    for arguments in
        [r#"{"amount":1,"amount":900}"#, r#"{"amount":1,"Amount":900}"#, r#"{"amount":1,"\u0061mount":900}"#]
    {
        assert!(decide_at("args.amount <= 500", arguments, 0).is_err(), "{arguments}");
    }
    assert!(decide_at("args.items.all(i, i.n < 5)", r#"{"items":[{"n":1,"n":9}]}"#, 0).is_err());
}

/// Texts that are refused: what is underlined, and the words.
#[test]
fn what_is_outside_is_named_with_its_place() {
    let mut failed = Vec::new();
    let mut check = |when: &str, underlined: &str, words: &str| {
        let text = config(&format!("{{ id: a, allow: [crm.refund], when: {} }}", quoted(when)));
        let outcome = load_text("a.yaml", &text, &|_| None);
        let found: Vec<(&str, &str)> = outcome
            .findings
            .iter()
            .map(|finding| (outcome.sources.slice(finding.span.unwrap()), finding.message.as_str()))
            .collect();
        let expected = format!("rule `a`: {words}");
        if found != [(underlined, expected.as_str())] {
            failed.push(format!("{when}: {found:?}"));
        }
    };
    check("args.amount <= ", "", "the condition ends too early");
    check("args.amount = 5", "=", "`=` compares nothing");
    check("args.a == 1 and args.b == 2", "and", "`and` joins nothing");
    check("argz.amount == 5", "argz", "unknown name `argz`");
    check("principal.grups == 5", "grups", "a principal has no `grups`");
    check("args.a + 1 == 2", "args.a + 1", "`+` cannot be used in a condition");
    check("args.a ? args.b : args.c", "args.a ? args.b : args.c", "`? :` cannot be used in a condition");
    check("principal.id == 5", "principal.id == 5", "a text is never a number");
    check("principal.id", "principal.id", "expected true or false, found something else");
    check(
        "args.a.lowerAscii() == \"x\"",
        "args.a.lowerAscii()",
        "`lowerAscii` cannot be used in a condition",
    );
    check("args.items[0] == 1", "args.items[0]", "elements of a list have no place of their own");
    check("args == 5", "args == 5", "`args` is an object");
    check("args.a.all(x, x.all(y, y == 1))", "x.all(y, y == 1)", "a quantifier stands in another");
    check("args.a.map(x, x) == 1", "args.a.map(x, x)", "lists are not made in a condition");
    check("\"boss\" in principal.roles", "\"boss\" in principal.roles", "unknown role `boss`");
    check("args.a.matches(\"(\")", "\"(\"", "this regular expression cannot be used: unclosed group");
    check(
        "args.a.matches(\"(a{0,500}){0,500}\")",
        "\"(a{0,500}){0,500}\"",
        "this regular expression cannot be used: its automaton would be too large",
    );
    check(
        "cidr(\"10.0.0.1/8\").containsIP(request.ip)",
        "\"10.0.0.1/8\"",
        "`10.0.0.1/8` is not a network: bits after the prefix are set",
    );
    check(
        "now == timestamp(\"2026-01-01T00:00:00Z\")",
        "now == timestamp(\"2026-01-01T00:00:00Z\")",
        "`now` is never exactly a moment",
    );
    check("1 == 2", "1 == 2", "both sides are constants");
    check("args.é == 1", "é", "`é` cannot stand here");
    check(
        "args[\"é\"] == 99999999999999999999",
        "99999999999999999999",
        "this number does not fit in 64 bits",
    );
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_deny_over_several_tools_says_what_it_means_of_a_missing_argument() {
    let found = |rule: &str| {
        let outcome = load_text("a.yaml", &config(rule), &|_| None);
        let codes: Vec<(u16, String)> = outcome
            .findings
            .iter()
            .filter(|finding| finding.severity() == crate::Severity::Error)
            .map(|finding| (finding.code.number, outcome.sources.slice(finding.span.unwrap()).to_owned()))
            .collect();
        codes
    };
    let guarded = |when: &str| found(&format!("{{ id: a, deny: [\"crm.*\"], when: '{when}' }}"));
    assert_eq!(guarded("args.amount > 5"), [(408, "args.amount > 5".to_owned())]);
    assert_eq!(guarded("has(args.amount) && args.amount > 5"), []);
    assert_eq!(guarded("!has(args.amount) || args.amount > 5"), []);
    assert_eq!(
        guarded("args.force == true || has(args.amount) && args.amount > 5"),
        [(408, "args.force == true".to_owned())]
    );
    assert_eq!(guarded("args.xs.all(x, x.n > 5)"), [(408, "args.xs.all(x, x.n > 5)".to_owned())]);
    assert_eq!(guarded("has(args.xs) && args.xs.all(x, x.n > 5)"), []);
    assert_eq!(found("{ id: a, deny: [crm.refund], when: 'args.amount > 5' }"), []);
    assert_eq!(found("{ id: a, allow: [\"crm.*\"], when: 'args.amount > 5' }"), []);
}
