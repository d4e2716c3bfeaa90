//! One rule of three questions about arguments, decided by Strait, by `cedar-policy` and by the `cel` interpreter, in one run.
//!
//! What is made ready for the others beforehand: the parsed policy and program, the entities, and in the arms that say so the request
//! and its context too, which no gateway has before a call is there. Strait always reads the arguments from the call's bytes, and
//! finds the tool and the caller's view first.

use std::hint::black_box;
use std::str::FromStr;

use cedar_policy::{Authorizer, Context as CedarContext, Decision, Entities, EntityUid, PolicySet, Request};
use cel::{Context, Program, Value};
use strait_bench::decisions::{ARGUMENTS, Decisions};
use strait_bench::large::{self, Small};
use strait_bench::rounds::{Arm, measure};

const ROUNDS: usize = 501;
/// The condition of `large::condition(0)`.
const CEDAR: &str = r#"permit(principal in Role::"role0", action == Action::"call", resource == Tool::"up0.get_customer_0") when {
    context.args.amount <= 1000 && ["EUR", "USD"].contains(context.args.currency) && context.args.limit < 50
};"#;

fn main() {
    let mut strait = Decisions::new(large::small(Small::OneEach), 0..1);
    let name = large::exposed_name(0, false);
    assert!(strait.decide(&name, ARGUMENTS).is_some_and(|verdict| verdict.is_permit()));

    let uid = |text: &str| EntityUid::from_str(text).expect("an entity");
    let (ann, call, tool) =
        (uid(r#"User::"ann""#), uid(r#"Action::"call""#), uid(r#"Tool::"up0.get_customer_0""#));
    let entities =
        r#"[{"uid":{"type":"User","id":"ann"},"attrs":{},"parents":[{"type":"Role","id":"role0"}]}]"#;
    let entities = Entities::from_json_str(entities, None).expect("entities");
    let (policies, authorizer) = (PolicySet::from_str(CEDAR).expect("a policy"), Authorizer::new());
    let request = || {
        let context = format!(r#"{{"args":{ARGUMENTS}}}"#);
        let context = CedarContext::from_json_str(black_box(&context), None).expect("a context");
        Request::new(ann.clone(), call.clone(), tool.clone(), context, None).expect("a request")
    };
    let ready = request();
    let decide = |request: &Request| {
        assert_eq!(authorizer.is_authorized(request, &policies, &entities).decision(), Decision::Allow);
    };

    let program = Program::compile(&large::condition(0)).expect("it is CEL");
    // Its functions are the same for every call: made once.
    let functions = Context::default();
    let context = || {
        let arguments: serde_json::Value = serde_json::from_str(black_box(ARGUMENTS)).expect("JSON");
        let mut context = functions.new_inner_scope();
        context.add_variable("args", cel::to_value(arguments).expect("a value")).expect("a variable");
        context
    };
    let prepared = context();
    let execute = |context: &Context<'_, '_>| assert_eq!(program.execute(context), Ok(Value::Bool(true)));

    let mut arms = [
        Arm {
            name: "strait: view, tool, rule, arguments from bytes",
            run: Box::new(|count| {
                for _ in 0..count {
                    black_box(strait.decide(black_box(&name), black_box(ARGUMENTS)));
                }
            }),
        },
        Arm {
            name: "cedar-policy: all is ready",
            run: Box::new(|count| (0..count).for_each(|_| decide(black_box(&ready)))),
        },
        Arm {
            name: "cedar-policy: with its request",
            run: Box::new(|count| (0..count).for_each(|_| decide(&request()))),
        },
        Arm {
            name: "cel: all is ready",
            run: Box::new(|count| (0..count).for_each(|_| execute(black_box(&prepared)))),
        },
        Arm {
            name: "cel: with its context",
            run: Box::new(|count| (0..count).for_each(|_| execute(&context()))),
        },
    ];
    let names = arms.each_ref().map(|arm| arm.name);
    let measured = measure(&mut arms, ROUNDS);
    println!("{:<50} {:>28} {:>24}", "a decision of three questions", "ns", "times ours");
    for (at, name) in names.iter().enumerate() {
        println!(
            "{name:<50} {:>28} {:>24}",
            measured.cost(at).to_string(),
            measured.ratio(at, 0).to_string()
        );
    }
}
