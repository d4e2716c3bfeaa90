//! What lists show of a tool that has a shape: what the shape says, and every other byte as its upstream sent it.

use strait_table::bind::BindFinding;
use strait_table::bound::Bound;
use strait_table::catalog::{Catalog, Definition, Known, Lists};
use strait_table::rules::Rules;
use strait_table::shape::{Argument, Narrowed, Said, Shape, Step};
use strait_table::snapshot::of_rules;
use strait_table::{Snapshot, bind};

use crate::support::*;

fn shape() -> Shape {
    Shape {
        upstream: 0,
        tool: "log".into(),
        name: None,
        title: None,
        description: None,
        arguments: Vec::new(),
        drops: Vec::new(),
    }
}

fn argument(path: &str, said: Said) -> Argument {
    Argument { path: path.split('.').map(str::to_owned).collect(), said }
}

fn drop(path: &str) -> Vec<Step> {
    path.split('.').map(|key| if key == "*" { Step::Each } else { Step::Key(key.into()) }).collect()
}

fn bound(shapes: Vec<Shape>, tools: Vec<Definition>) -> (Snapshot, Bound, Vec<BindFinding>) {
    let mut rules: Rules = rules();
    rules.servers[0].tools.retain(|_| true);
    rules.servers[0] = strait_table::rules::Server { shapes, ..server("default", "/mcp", &["git.*"]) };
    let snapshot = of_rules(&rules).unwrap();
    let lists = Lists { known: Known::Fresh, tools, ..Lists::default() };
    let catalog = Catalog { upstreams: vec![lists, Lists::default()] };
    let (bound, findings) = bind(snapshot.rules(), &catalog);
    let snapshot = snapshot.with_bound(&bound).expect("what bind makes is sound");
    (snapshot, bound, findings)
}

/// What is shown of one tool, or why nothing is.
fn shown(shape: Shape, json: &str) -> Result<String, String> {
    let (_, bound, findings) = bound(vec![shape], vec![Definition { name: "log".into(), json: json.into() }]);
    match bound.servers[0].tools.items.first() {
        Some(item) => Ok(bound.fragments[item.fragment as usize].clone()),
        None => Err(findings.iter().map(|finding| finding.reason.as_ref()).collect::<Vec<_>>().join("; ")),
    }
}

fn narrowed() -> Narrowed {
    Narrowed::default()
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_shape_says_another_name_title_and_description() {
    let shape = || Shape { name: text("log_small"), title: text("Ti\"tle"), ..shape() };
    let check = |json: &str, expected: &str| assert_eq!(shown(shape(), json).as_deref(), Ok(expected));
    check(r#"{"name":"log"}"#, r#"{"title":"Ti\"tle","name":"log_small"}"#);
    check(
        r#"{ "x" : 1e2, "t\u0069tle" : "old" , "name" : "log" }"#,
        r#"{ "x" : 1e2, "t\u0069tle" : "Ti\"tle" , "name" : "log_small" }"#,
    );
    let both = Shape { description: text("Safe."), ..shape() };
    assert_eq!(
        shown(both, r#"{"name":"log","description":"D","annotations":{"title":"A"}}"#).unwrap(),
        r#"{"title":"Ti\"tle","name":"log_small","description":"Safe.","annotations":{"title":"A"}}"#
    );
    assert_eq!(
        shown(shape(), r#"{"name":"log","title":"a","title":"b"}"#),
        Err("its definition says `title` twice".to_owned())
    );
}

#[test]
fn arguments_leave_the_schema_or_are_narrowed_in_it() {
    let json = |schema: &str| format!(r#"{{"name":"log", "inputSchema" : {schema} ,"z":[ ]}}"#);
    let check = |arguments: &[(&str, Said)], schema: &str, expected: Result<&str, &str>| {
        let arguments = arguments.iter().map(|(path, said)| argument(path, said.clone())).collect();
        let found = shown(Shape { arguments, ..shape() }, &json(schema));
        assert_eq!(found, expected.map(json).map_err(str::to_owned));
    };
    let fixed = |value: &str| Said::Fixed(value.into());
    let schema = r#"{"properties":{"a":{"type":"string"}, "b" : {"type":["integer","null"]},"c":true},"required":["a", "b"],"x":1}"#;
    check(
        &[("a", fixed("\"eu\""))],
        schema,
        Ok(r#"{"properties":{"b" : {"type":["integer","null"]},"c":true},"required":["b"],"x":1}"#),
    );
    check(
        &[("b", fixed("5")), ("c", Said::Hidden)],
        schema,
        Ok(r#"{"properties":{"a":{"type":"string"}},"required":["a"],"x":1}"#),
    );
    check(
        &[("a", fixed("\"\"")), ("b", fixed("null")), ("c", fixed("[1]"))],
        schema,
        Ok(r#"{"properties":{},"required":[],"x":1}"#),
    );
    let between = Said::Narrowed(Narrowed { min: text("1"), max: text("5.0"), ..narrowed() });
    check(&[("b", between.clone())], schema, Err("5.0 is not of the type of `b`"));
    let between = Said::Narrowed(Narrowed { min: text("1"), max: text("5"), ..narrowed() });
    check(
        &[("b", between.clone())],
        schema,
        Ok(
            r#"{"properties":{"a":{"type":"string"}, "b" : {"minimum":1,"maximum":5,"type":["integer","null"]},"c":true},"required":["a", "b"],"x":1}"#,
        ),
    );
    // What is narrower already stays.
    check(
        &[("n", between.clone())],
        r#"{"properties":{"n":{"minimum":2,"maximum":9}}}"#,
        Ok(r#"{"properties":{"n":{"minimum":2,"maximum":5}}}"#),
    );
    let among = |values: &[&str]| {
        Said::Narrowed(Narrowed { among: values.iter().map(|one| (*one).into()).collect(), ..narrowed() })
    };
    check(
        &[("c", among(&["\"USD\"", "1"])), ("a", among(&["\"x\""]))]
            .map(|one| one)
            .into_iter()
            .rev()
            .collect::<Vec<_>>(),
        schema,
        Ok(
            r#"{"properties":{"a":{"enum":["x"],"type":"string"}, "b" : {"type":["integer","null"]},"c":{"enum":["USD",1]}},"required":["a", "b"],"x":1}"#,
        ),
    );
    check(
        &[("e", among(&["\"a\""]))],
        r#"{"properties":{"e":{"enum":["\u0061","b"]}}}"#,
        Ok(r#"{"properties":{"e":{"enum":["a"]}}}"#),
    );
    check(
        &[("e", among(&["\"c\""]))],
        r#"{"properties":{"e":{"enum":["a","b"]}}}"#,
        Err("its tool does not take \"c\" for `e`"),
    );
    check(&[("e", fixed("2"))], r#"{"properties":{"e":{"const":2.0}}}"#, Ok(r#"{"properties":{}}"#));
    check(
        &[("e", fixed("3"))],
        r#"{"properties":{"e":{"const":2.0}}}"#,
        Err("its tool does not take 3 for `e`"),
    );
    let default = Said::Narrowed(Narrowed { default: text("\"via\""), ..narrowed() });
    check(
        &[("a", default)],
        schema,
        Ok(
            r#"{"properties":{"a":{"default":"via","type":"string"}, "b" : {"type":["integer","null"]},"c":true},"required":["b"],"x":1}"#,
        ),
    );
    let required = Said::Narrowed(Narrowed { required: true, ..narrowed() });
    check(
        &[("o", required.clone())],
        r#"{"properties":{"o":{}}}"#,
        Ok(r#"{"required":["o"],"properties":{"o":{}}}"#),
    );
    check(&[("a", required)], schema, Ok(schema));
    // Inside of others.
    let nested = r#"{"properties":{"o":{"type":"object","properties":{"r":{},"s":{}},"required":["s","r"]}},"required":["o"]}"#;
    check(
        &[("o.r", fixed("1")), ("o.s", among(&["true"]))],
        nested,
        Ok(
            r#"{"properties":{"o":{"type":"object","properties":{"s":{"enum":[true]}},"required":["s"]}},"required":["o"]}"#,
        ),
    );
    check(&[("o.x", fixed("1"))], nested, Err("its tool has no argument `o.x`"));
    check(&[("o.r.x", fixed("1"))], nested, Err("its tool has no argument `o.r.x`"));
    check(&[("x.y", fixed("1"))], nested, Err("its tool has no argument `x`"));
    check(&[("x", fixed("1"))], "true", Err("a part of its definition is no JSON object"));
    check(&[("x", fixed("1"))], "{}", Err("its tool has no argument `x`"));
    check(&[("a", fixed("5"))], schema, Err("5 is not of the type of `a`"));
    check(
        &[("a", Said::Hidden)],
        schema,
        Err("its tool requires `a`: an argument that is hidden must be fixed"),
    );
    check(
        &[("a", Said::Hidden)],
        r#"{"properties":{"a":{},"\u0061":{}}}"#,
        Err("its definition says `a` twice"),
    );
    check(&[("a", fixed("1"))], r#"{"properties":{"a":false}}"#, Err("1 is not of the type of `a`"));
}

#[test]
fn what_is_dropped_leaves_the_output_schema() {
    let json = |schema: &str| format!(r#"{{"name":"log","outputSchema":{schema},"z":[ ]}}"#);
    let check = |drops: &[&str], schema: &str, expected: &str, told: &[&str]| {
        let shape = Shape { drops: drops.iter().map(|path| drop(path)).collect(), ..shape() };
        let (_, bound, findings) =
            bound(vec![shape], vec![Definition { name: "log".into(), json: json(schema) }]);
        let item = &bound.servers[0].tools.items[0];
        let expected =
            if expected.is_empty() { r#"{"name":"log","z":[ ]}"#.to_owned() } else { json(expected) };
        assert_eq!(bound.fragments[item.fragment as usize], expected);
        let reasons: Vec<&str> = findings.iter().map(|finding| finding.reason.as_ref()).collect();
        assert_eq!(reasons, told);
    };
    let schema = r#"{"type":"object","properties":{"customer":{"type":"object","properties":{"email":{},"id":{}},"required":["email","id"]},"items":{"type":"array","items":{"type":"object","properties":{"secret":{},"n":{}}}}},"required":["customer"]}"#;
    check(
        &["customer.email", "items.*.secret"],
        schema,
        r#"{"type":"object","properties":{"customer":{"type":"object","properties":{"id":{}},"required":["id"]},"items":{"type":"array","items":{"type":"object","properties":{"n":{}}}}},"required":["customer"]}"#,
        &[],
    );
    // Lists are looked through without a step of their own.
    check(
        &["customer", "items.secret", "items.*.secret"],
        schema,
        r#"{"type":"object","properties":{"items":{"type":"array","items":{"type":"object","properties":{"n":{}}}}},"required":[]}"#,
        &["shown; its output schema has no `items.*.secret`, which is dropped where it comes"],
    );
    check(
        &["*.id", "x.y"],
        r#"{"type":"object","properties":{"a":{"properties":{"id":{}}}}}"#,
        r#"{"type":"object","properties":{"a":{"properties":{}}}}"#,
        &["shown; its output schema has no `x.y`, which is dropped where it comes"],
    );
    // What properties do not say alone is not promised at all.
    for word in [r#""$ref":"x""#, r#""allOf":[]"#, r#""additionalProperties":{}"#, r#""minProperties":2"#] {
        check(&["customer.email"], &format!(r#"{{"type":"object",{word}}}"#), "", &[]);
    }
}

#[test]
fn one_tool_may_have_several_shapes_and_their_names_are_nobody_elses() {
    let named = |name: &str| Shape { name: text(name), ..shape() };
    let names = |bound: &Bound| -> Vec<String> {
        bound.servers[0].tools.items.iter().map(|item| item.exposed.clone()).collect()
    };
    let (snapshot, two, findings) =
        bound(vec![named("small"), named("large")], vec![tool("log"), tool("push")]);
    assert_eq!((names(&two), findings), (vec!["small".into(), "large".into(), "push".into()], vec![]));
    let items = &snapshot.bound().servers[0].tools.items;
    assert_eq!(
        items.iter().map(|item| item.shape.as_ref().map(|at| at.to_native())).collect::<Vec<_>>(),
        [Some(0), Some(1), None]
    );
    // An upstream that lists a tool of that name does not become the safe one, wherever it stands in the list.
    for tools in [vec![tool("small"), tool("log")], vec![tool("log"), tool("small")]] {
        let (_, bound, findings) = bound(vec![named("small")], tools);
        assert_eq!(names(&bound), ["small"]);
        assert_eq!(bound.servers[0].tools.items[0].bare, "log");
        assert_eq!(
            (findings[0].name.as_str(), &*findings[0].reason),
            ("small", "a shape of this server has its name")
        );
    }
    let (_, bound, findings) = bound(vec![named("small")], vec![tool("push")]);
    assert_eq!(names(&bound), ["push"]);
    let reason = "a shape is of this tool, which its upstream does not list";
    assert_eq!((findings[0].name.as_str(), &*findings[0].reason), ("log", reason));
}
