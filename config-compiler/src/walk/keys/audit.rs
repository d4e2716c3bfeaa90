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
        key(
            "encrypt",
            Shape::Block(&ENCRYPT),
            "Whom payloads that are kept whole (`full`) are encrypted for. Default: nobody, they are in the clear.",
        ),
        key("ship", Shape::List(&Shape::Block(&SHIP)), "Collectors that get every record. Default: none."),
        key(
            "anchors",
            Shape::List(&Shape::Either(&[Shape::Words(&["stdout"]), Shape::Block(&ANCHOR)])),
            "Who gets signed checkpoints, to hold the log against. Default: nobody.",
        ),
    ],
    later: &["compress"],
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

pub static ENCRYPT: Block = Block {
    name: "`encrypt`",
    expected: "a mapping like `{ recipients: [age1…] }`",
    about: "Encryption of payloads that are kept whole: who has a recipient's identity reads them, and nobody else.",
    keys: &[required(
        "recipients",
        Shape::List(&Shape::Text),
        "Public keys as `age-keygen` prints them, each of which opens them: at most 16.",
    )],
    later: &[],
    foreign: false,
};

pub static SHIP: Block = Block {
    name: "a collector",
    expected: "a collector like `{ id: siem, syslog: \"tls://logs.example:6514\" }`",
    about: "A collector that gets every record of the audit log, at least once; exactly one of `syslog`, `hec`, `otlp` and `webhook`.",
    keys: &[
        required(
            "id",
            Shape::Text,
            "Its name in metrics, and in the state folder, where it says how far it has come.",
        ),
        key(
            "syslog",
            Shape::Text,
            "`tls://host:6514`, or on this machine `tcp://host:601`: RFC 5424 with a count of octets before each message.",
        ),
        key("hec", Shape::Text, "The URL of a Splunk HTTP Event Collector; its paths are below it."),
        key("otlp", Shape::Text, "The URL of a collector that takes OTLP over HTTP; `/v1/logs` is below it."),
        key("webhook", Shape::Text, "A URL that gets a POST per batch, signed as Standard Webhooks are."),
        key("token", Shape::Secret, "Of `hec`: its token."),
        key(
            "acknowledge",
            Shape::Duration,
            "Of `hec`: what the indexer has not acknowledged by then is sent again, from 1s to 1h. Default: 5m.",
        ),
        key(
            "headers",
            Shape::Names(&Shape::Secret),
            "Of `otlp`: headers sent with everything, for example its key.",
        ),
        key("secret", Shape::Secret, "Of `webhook`: what batches are signed with, `whsec_…` or any text."),
        key(
            "format",
            Shape::Words(&["ndjson", "ocsf", "ecs", "cef"]),
            "The form of records, as of `strait audit export`. Default: ndjson.",
        ),
        key(
            "from",
            Shape::Words(&["oldest", "now"]),
            "Where it begins that was never sent anything. Default: oldest, with all that is there.",
        ),
    ],
    later: &["ca", "cert", "key", "filter", "compression"],
    foreign: false,
};

pub static ANCHOR: Block = Block {
    name: "an anchor",
    expected: "`stdout`, or an anchor like `{ file: ./checkpoints }`",
    about: "Who keeps signed checkpoints outside of the log's folder; exactly one of `to`, `file` and `webhook`.",
    keys: &[
        key("to", Shape::Words(&["stdout"]), "The standard output of the gateway: one JSON object a line."),
        key("file", Shape::Text, "A file that they are appended to."),
        key("webhook", Shape::Text, "A URL that gets a POST of each, signed as Standard Webhooks are."),
        key("secret", Shape::Secret, "Of `webhook`: what they are signed with."),
        key("every", Shape::Duration, "The newest goes out, no oftener than this: 1s to 1d. Default: 10s."),
    ],
    later: &["tlog", "witness"],
    foreign: false,
};
