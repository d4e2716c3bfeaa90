//! Calls and results through shapes, against a model that does the same on trees.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use strait_protocol::jsonrpc::{Decoder, Splices};
use strait_table::rules::{Listener, Naming, Rules, Sample, Server, Transport, Upstream};
use strait_table::shape::{Argument, Narrowed, Said, Shape, Step};
use strait_table::{Snapshot, names::Names, snapshot::of_rules};

use super::result::without_drops;
use super::{Refusal, Shaper};

fn opened(arguments: Vec<Argument>, drops: Vec<Vec<Step>>) -> Snapshot {
    let shape =
        Shape { upstream: 0, tool: "t".into(), name: None, title: None, description: None, arguments, drops };
    let rules = Rules {
        listeners: vec![Listener {
            name: "main".into(),
            bind: "127.0.0.1:0".into(),
            public: None,
            hosts: Vec::new(),
            origins: Vec::new(),
            tls: None,
        }],
        upstreams: vec![Upstream {
            name: "up".into(),
            transport: Transport::Sample(Sample::Stdio),
            era: strait_table::rules::Era::Auto,
            credential: None,
            identity_header: None,
            timeout: Default::default(),
            list_ttl_ms: 0,
            tls: Default::default(),
        }],
        servers: vec![Server {
            name: "s".into(),
            path: "/mcp".into(),
            auth: Vec::new(),
            tools: Vec::new(),
            prompts: Vec::new(),
            resources: Vec::new(),
            naming: Naming::Auto,
            instructions: String::new(),
            shapes: vec![shape],
        }],
        paths: Names::build(["/mcp"].into_iter()),
        ..Rules::default()
    };
    of_rules(&rules).expect("a sound table")
}

/// The message as its upstream gets it.
fn sent(snapshot: &Snapshot, body: &str) -> Result<String, Refusal> {
    let (mut decoder, mut splices, mut added) = (Decoder::new(), Splices::new(), Vec::new());
    let message = *decoder.decode(body.as_bytes()).map_err(Refusal::Decode)?;
    let mut shaper = Shaper {
        decoder: &mut decoder,
        body: body.as_bytes(),
        splices: &mut splices,
        added: &mut added,
        as_result: true,
    };
    let edited = shaper.edited(&message, &snapshot.rules().servers[0].shapes[0].arguments)?;
    Ok(edited.map_or(body.to_owned(), |edited| String::from_utf8(edited.to_vec()).unwrap()))
}

/// The same on a tree; `None`: refused.
fn modelled(object: &mut Map<String, Value>, path: &[String], said: &Said) -> Option<()> {
    let (key, rest) = path.split_first()?;
    if !rest.is_empty() {
        return match object.get_mut(key) {
            Some(Value::Object(inner)) => modelled(inner, rest, said),
            Some(_) => None,
            None => {
                let mut inner = Map::new();
                modelled(&mut inner, rest, said)?;
                if !inner.is_empty() {
                    object.insert(key.clone(), Value::Object(inner));
                }
                Some(())
            }
        };
    }
    let read = |json: &String| serde_json::from_str::<Value>(json).unwrap();
    match (said, object.get(key)) {
        (Said::Fixed(_) | Said::Hidden, Some(_)) => None,
        (Said::Hidden, None) => Some(()),
        (Said::Fixed(value), None) => {
            object.insert(key.clone(), read(value));
            Some(())
        }
        (Said::Narrowed(narrowed), Some(value)) => {
            let number = |json: &Option<String>| json.as_ref().map(|json| json.parse::<f64>().unwrap());
            let (min, max) = (number(&narrowed.min), number(&narrowed.max));
            let bounded = min.is_some() || max.is_some();
            let fits =
                |number: f64| min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max);
            let is_within = !bounded || value.as_f64().is_some_and(fits);
            let same = |one: &String| match (read(one).as_f64(), value.as_f64()) {
                (Some(one), Some(other)) => one == other,
                _ => read(one) == *value,
            };
            let is_among = narrowed.among.is_empty() || narrowed.among.iter().any(same);
            (is_within && is_among).then_some(())
        }
        (Said::Narrowed(narrowed), None) if narrowed.required => None,
        (Said::Narrowed(narrowed), None) => {
            if let Some(default) = &narrowed.default {
                object.insert(key.clone(), read(default));
            }
            Some(())
        }
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3i64..4).prop_map(Value::from),
        Just(json!(2.5)),
        Just(json!("x")),
        Just(json!("a\"b")),
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            object_of(inner).prop_map(Value::Object),
        ]
    })
}

fn object_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec(("[abc]", value), 0..4).prop_map(|members| members.into_iter().collect())
}

fn said() -> impl Strategy<Value = Said> {
    let text = || scalar().prop_map(|value| value.to_string());
    let bound = || prop::option::of((-2i64..3).prop_map(|bound| bound.to_string()));
    prop_oneof![
        text().prop_map(Said::Fixed),
        Just(Said::Fixed(r#"{"deep":[1]}"#.into())),
        Just(Said::Hidden),
        (bound(), bound(), any::<bool>()).prop_map(|(min, max, required)| {
            Said::Narrowed(Narrowed { min, max, required, ..Narrowed::default() })
        }),
        (prop::collection::vec(text(), 0..3), prop::option::of(text())).prop_map(|(among, default)| {
            Said::Narrowed(Narrowed { among, default, ..Narrowed::default() })
        }),
    ]
}

/// Arguments as the compiler orders them: none is inside of another.
fn arguments() -> impl Strategy<Value = Vec<Argument>> {
    let path = prop::collection::vec("[abc]", 1..4);
    prop::collection::vec((path, said()), 0..5).prop_map(|all| {
        let mut all: Vec<Argument> = all.into_iter().map(|(path, said)| Argument { path, said }).collect();
        all.sort_by(|one, other| one.path.cmp(&other.path));
        let mut kept: Vec<Argument> = Vec::new();
        for argument in all {
            if !kept.last().is_some_and(|last| argument.path.starts_with(&last.path)) {
                kept.push(argument);
            }
        }
        kept
    })
}

fn drops() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![3 => "[abc]".prop_map(Step::Key), 1 => Just(Step::Each)];
    let path = (prop::collection::vec(step, 0..3), "[abc]").prop_map(|(mut path, last)| {
        path.push(Step::Key(last));
        path
    });
    prop::collection::vec(path, 1..4)
}

fn dropped(value: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (value, step) {
        (Value::Object(object), Step::Key(key)) if rest.is_empty() => {
            object.remove(key);
        }
        (Value::Object(object), Step::Key(key)) => {
            if let Some(inner) = object.get_mut(key) {
                dropped(inner, rest);
            }
        }
        (Value::Object(object), Step::Each) => object.values_mut().for_each(|inner| dropped(inner, rest)),
        (Value::Array(list), Step::Each) => list.iter_mut().for_each(|inner| dropped(inner, rest)),
        (Value::Array(list), Step::Key(_)) => list.iter_mut().for_each(|inner| dropped(inner, path)),
        _ => {}
    }
}

/// As somebody may write it: with white space, and keys with escapes.
fn written(value: &Value, spaced: bool, escaped: bool) -> String {
    let text =
        if spaced { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.unwrap();
    if escaped { text.replace("\"a\":", "\"\\u0061\":") } else { text }
}

fn is_part(part: &str, whole: &str) -> bool {
    let mut bytes = whole.bytes();
    part.bytes().all(|byte| bytes.any(|other| other == byte))
}

proptest! {
    #[test]
    fn a_call_is_what_the_model_makes_of_it(
        arguments in arguments(),
        said in prop::option::of(object_of(value())),
        spaced in any::<bool>(),
        escaped in any::<bool>(),
    ) {
        let mut message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t", "x": [1e2]}});
        let mut model = said.clone().unwrap_or_default();
        if let Some(said) = &said {
            message["params"]["arguments"] = Value::Object(said.clone());
        }
        let expected: Option<()> =
            arguments.iter().try_for_each(|argument| modelled(&mut model, &argument.path, &argument.said));
        let body = written(&message, spaced, escaped);
        let found = sent(&opened(arguments, Vec::new()), &body);
        match (found, expected) {
            (Ok(edited), Some(())) => {
                prop_assert!(is_part(&body, &edited), "{body} in {edited}");
                let edited: Value = serde_json::from_str(&edited).unwrap();
                let empty = json!({});
                let said = edited["params"].get("arguments").unwrap_or(&empty);
                prop_assert_eq!(said, &Value::Object(model));
                message["params"].as_object_mut().unwrap().remove("arguments");
                let mut rest = edited.clone();
                rest["params"].as_object_mut().unwrap().remove("arguments");
                prop_assert_eq!(rest, message);
            }
            (Err(Refusal::Argument { .. }), None) => {}
            (found, expected) => prop_assert!(false, "{body}: {found:?} against {expected:?}"),
        }
    }

    #[test]
    fn a_result_is_what_the_model_leaves_of_it(
        drops in drops(),
        value in value(),
        spaced in any::<bool>(),
        escaped in any::<bool>(),
    ) {
        let mut left = value.clone();
        drops.iter().for_each(|path| dropped(&mut left, path));
        let snapshot = opened(Vec::new(), drops);
        let shape = &snapshot.rules().servers[0].shapes[0];
        // Outside of results nothing is touched, and in them only what is known.
        let result = |value: &Value| json!({"structuredContent": value, "other": value_of_three()});
        let body = written(&json!({"id": 1, "result": result(&value)}), spaced, escaped);
        let found = without_drops(shape, body.as_bytes()).unwrap().map_or(body.clone(), text);
        prop_assert!(is_part(&found, &body), "{found} of {body}");
        prop_assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), json!({"id": 1, "result": result(&left)}));
        // The same as text, and in the result of a task.
        let said = written(&value, spaced, escaped);
        let block = |text: &str| json!({"result": {"result": {"content": [{"type": "text", "text": text}, 7]}}});
        let body = block(&said).to_string();
        let found = without_drops(shape, body.as_bytes()).unwrap().map_or(body, text);
        let found: Value = serde_json::from_str(&found).unwrap();
        let told = found["result"]["result"]["content"][0]["text"].as_str().unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(told).unwrap(), left);
        prop_assert_eq!(block(told), found);
    }
}

/// What would be dropped anywhere else.
fn value_of_three() -> Value {
    json!({"a": {"b": 1}, "b": 2, "c": [{"a": 3}]})
}

fn text(bytes: crate::io::buffer::Buf) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn an_object_that_can_be_read_in_two_ways_is_refused() {
    let argument = |path: &str, said| Argument { path: path.split('.').map(str::to_owned).collect(), said };
    let max = || Said::Narrowed(Narrowed { max: Some("500".into()), ..Narrowed::default() });
    let snapshot = opened(vec![argument("amount", max()), argument("to.amount", max())], Vec::new());
    let call = |arguments: &str| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#
        );
        match sent(&snapshot, &body) {
            Ok(_) => "passed",
            Err(Refusal::Argument { .. }) => "argument",
            Err(Refusal::Decode(_)) => "decode",
            Err(_) => "other",
        }
    };
    for (arguments, expected) in [
        (r#"{"amount":500}"#, "passed"),
        (r#"{"amount":5e2}"#, "passed"),
        (r#"{"amount":500.00000000000000001}"#, "argument"),
        (r#"{"amount":501}"#, "argument"),
        (r#"{"amount":1e400}"#, "decode"),
        (r#"{"amount":1e99999999}"#, "decode"),
        (r#"{"amount":-0}"#, "passed"),
        (r#"{"amount":"500"}"#, "argument"),
        (r#"{"amount":[500]}"#, "argument"),
        (r#"{"amount":null}"#, "argument"),
        (r#"{"amount":true}"#, "argument"),
        (r#"{"amount":1,"amount":501}"#, "decode"),
        (r#"{"amount":1,"\u0061mount":501}"#, "decode"),
        (r#"{"amount":1,"Amount":501}"#, "decode"),
        (r#"{"AMOUNT":501}"#, "decode"),
        (r#"{"amount\u0000":501}"#, "decode"),
        (r#"{"to":{"amount":501}}"#, "argument"),
        (r#"{"to":{"amount":1,"amounT":501}}"#, "decode"),
        (r#"{"to":{"amount":1},"To":{"amount":501}}"#, "decode"),
        (r#"{"to":[{"amount":501}]}"#, "argument"),
        (r#"{"to":"x"}"#, "argument"),
        (r#"{"to":null}"#, "argument"),
        (r#"{"to":{}}"#, "passed"),
        ("null", "passed"),
    ] {
        assert_eq!(call(arguments), expected, "{arguments}");
    }
}

#[test]
fn what_is_no_json_is_left_alone_in_text_and_refused_elsewhere() {
    let snapshot = opened(Vec::new(), vec![vec![Step::Key("a".into())]]);
    let shape = &snapshot.rules().servers[0].shapes[0];
    let block = |text: &str| json!({"result": {"content": [{"type": "text", "text": text}]}}).to_string();
    for said in
        ["a: 1", "{\"a\":1} and more", "{\"a\":1", "[\"a\"]", "{a:1}", "", "\"a\"", "{\"b\":{\"a\":1}}"]
    {
        assert!(without_drops(shape, block(said).as_bytes()).unwrap().is_none(), "{said}");
    }
    for (said, left) in
        [(" {\"a\":1} ", "{}"), ("[{\"a\":1,\"b\":2}]", "[{\"b\":2}]"), ("{\"a\":1,\"\\u0061\":2}", "{}")]
    {
        let found = text(without_drops(shape, block(said).as_bytes()).unwrap().expect("an edit"));
        assert_eq!(found, block(left), "{said}");
    }
    // A second answer to the same question is looked at like the first.
    let twice = r#"{"result":{"structuredContent":{"a":1},"structuredContent":{"a":2}}}"#;
    let found = text(without_drops(shape, twice.as_bytes()).unwrap().expect("an edit"));
    assert_eq!(found, r#"{"result":{"structuredContent":{},"structuredContent":{}}}"#);
    assert!(without_drops(shape, br#"{"result":{"structuredContent":{"a" 1}}}"#).is_err());
    let nested = |depth: usize| format!("{}{{\"a\":1}}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(without_drops(shape, block(&nested(8)).as_bytes()).unwrap().is_some());
    assert!(without_drops(shape, block(&nested(9)).as_bytes()).is_err());
}
