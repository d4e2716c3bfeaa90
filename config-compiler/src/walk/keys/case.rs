//! The keys of cases, which `strait test` runs.

use super::{Block, PRINCIPAL, Shape, key, required};

pub static CASE_FILE: Block = Block {
    name: "a file of cases",
    expected: "a mapping with `tests`",
    about: "Cases beside a configuration, in a file named `*.test.yaml`.",
    keys: &[required("tests", Shape::List(&Shape::Block(&CASE)), "The cases.")],
    later: &[],
    foreign: false,
};

pub static CASE: Block = Block {
    name: "a case",
    expected: "a case like `{ as: ann, call: crm.refund, args: { amount: 5 }, expect: allow, by: refunds }`",
    about: "One call, and what is expected of it: exactly one of call, prompt and resource.",
    keys: &[
        key("name", Shape::Text, "What is told of it. Default: what it asks."),
        required(
            "as",
            Shape::Either(&[Shape::Text, Shape::Block(&CASE_PRINCIPAL)]),
            "Who calls: the id of a key, `anonymous`, or a principal described.",
        ),
        key("call", Shape::Text, "The tool that is called, as `upstream.tool`."),
        key("prompt", Shape::Text, "The prompt that is got, as `upstream.prompt`."),
        key("resource", Shape::Text, "The resource that is read, as `upstream.uri`."),
        key("server", Shape::Text, "Through which server. Default: the first that shows it."),
        key("args", Shape::Json, "The arguments, as the upstream would get them. Default: none."),
        key("at", Shape::Text, "When, as RFC 3339. Needed where a rule asks for the time."),
        key("headers", Shape::Names(&Shape::LooseText), "Headers of the request."),
        key("ip", Shape::Text, "The address that the request comes from. Default: 127.0.0.1."),
        required(
            "expect",
            Shape::Words(&["allow", "deny", "hold", "hidden"]),
            "What is decided. hidden: refused, and no list shows it.",
        ),
        key("by", Shape::Text, "The id of the rule that decides. Default: whichever."),
    ],
    later: &[],
    foreign: false,
};

pub static CASE_PRINCIPAL: Block = Block {
    name: "a principal",
    expected: "the id of a key, or a principal like `{ id: ann, groups: [staff] }`",
    about: "Who calls.",
    keys: PRINCIPAL,
    later: &[],
    foreign: false,
};
