//! The keys of a tool's shape.

use super::{Block, Shape, TEXTS, key, required};

pub static SHAPE: Block = Block {
    name: "a shape",
    expected: "a shape like `{ name: refund_small, args: { amount: { max: 500 } } }`",
    about: "How agents see and may call a tool, where that is not as its upstream lists it.",
    keys: &[
        key("name", Shape::Text, "What agents call it. Default: what they would without a shape."),
        key("title", Shape::Text, "Its title in lists."),
        key("description", Shape::Text, "What agents are told of it."),
        key(
            "args",
            Shape::Names(&Shape::Block(&ARGUMENT)),
            "What is said of arguments, by name; `a.b` is `b` inside of `a`.",
        ),
        key("output", Shape::Block(&OUTPUT), "What of its results agents see."),
    ],
    later: &["screen", "cache", "annotations", "_meta"],
    foreign: false,
};

pub static ARGUMENT: Block = Block {
    name: "an argument",
    expected: "an argument like `{ max: 500 }`, `{ fix: eu }` or `{ hide: true }`",
    about: "What callers may say, or what is said for them.",
    keys: &[
        key(
            "fix",
            Shape::Value,
            "It is always this. Agents do not see it; a call that brings it is refused.",
        ),
        key("hide", Shape::Flag, "Agents do not see it; a call that brings it is refused."),
        key("default", Shape::Value, "What it is when a call does not say."),
        key("required", Shape::Flag, "A call must bring it."),
        key("min", Shape::Number, "The least number that a call may bring; compared exactly."),
        key("max", Shape::Number, "The greatest number that a call may bring; compared exactly."),
        key(
            "enum",
            Shape::List(&Shape::Value),
            "The values that a call may bring: texts, numbers, true, false, null.",
        ),
    ],
    later: &["matches", "min_length", "max_length", "rename", "description"],
    foreign: false,
};

pub static OUTPUT: Block = Block {
    name: "`output`",
    expected: "a mapping like `{ drop: [customer.email, \"items.*.secret\"] }`",
    about: "What of a tool's results agents see.",
    keys: &[required(
        "drop",
        TEXTS,
        "Paths of fields that are taken out of structured content and of text that is JSON; `*` is every member or element.",
    )],
    later: &["keep", "redact", "free_text"],
    foreign: false,
};
