//! Keys of the audit log.

use super::{Block, Shape, key, required};

const PAYLOAD: Shape = Shape::Words(&["none", "hash", "redacted", "full"]);
const DURABILITY: Shape = Shape::Words(&["async", "durable", "intent"]);

pub static AUDIT: Block = Block {
    name: "`audit`",
    expected: "a mapping like `{ path: ./audit }`",
    about: "What is written down where nobody can change it unseen: one record per exchange, stream and administrative act.",
    keys: &[
        required(
            "path",
            Shape::Text,
            "The log's folder, made when it is missing. One gateway writes it at a time.",
        ),
        key(
            "payload",
            PAYLOAD,
            "What is kept of arguments and results. Default: redacted, which is keys and shape.",
        ),
        key(
            "durability",
            DURABILITY,
            "durable: the answer waits until the disk has its record; intent: so does the call. Default: async.",
        ),
        key(
            "when_full",
            Shape::Words(&["block", "drop", "refuse"]),
            "What becomes of exchanges for whose records there is no room. Default: block, they wait.",
        ),
        key("every", Shape::Duration, "Records that come within this are written in one go. Default: 2ms."),
        key("checkpoint", Shape::Duration, "How often the log's tree is signed. Default: 1s."),
        key("rotate", Shape::Size, "A file of the log ends at this size. Default: 256MiB."),
        key("keep", Shape::Duration, "Files older than this are removed. Default: none are."),
    ],
    later: &["anchor", "compress", "encrypt"],
    foreign: false,
};

pub static AUDIT_OF_RULE: Block = Block {
    name: "`audit` of a rule",
    expected: "a mapping like `{ payload: full, durability: intent }`",
    about: "What the log keeps of calls that this rule decides, and what waits for it.",
    keys: &[
        key("payload", PAYLOAD, "Instead of what `audit` says for all."),
        key("durability", DURABILITY, "Instead of what `audit` says for all."),
    ],
    later: &[],
    foreign: false,
};
