//! The language's keys: one table per block, with what each key accepts and a line for whoever writes
//! it. The walker refuses what is not here, the JSON Schema is made from here, and a debug assertion
//! sees that lowering reads exactly these.
//!
//! `later` holds keys of the language that this version does not enforce: writing one is an error
//! that says so, because a gateway that silently ignores a limit is worse than one that refuses it.

mod audit;
mod case;
mod secret;
mod shape;
mod telemetry;
mod token;

pub use audit::{ANCHOR, AUDIT, AUDIT_OF_RULE, ENCRYPT, SHIP};
pub use case::{CASE, CASE_FILE, CASE_PRINCIPAL};
pub use secret::{APPROLE, AWS, CREDENTIAL, EXCHANGE, GRANT, HEADER, SECRET, VAULT};
pub use shape::{ARGUMENT, OUTPUT, SHAPE};
pub use telemetry::{OTLP, TELEMETRY, TRACES};
pub use token::{ALGORITHMS, CLAIMS, INTROSPECTION, JWT};

/// A mapping with fixed keys.
#[derive(Debug)]
pub struct Block {
    /// As it is called in findings: "unknown key `x` in {name}".
    pub name: &'static str,
    /// "expected {expected}, found a list".
    pub expected: &'static str,
    pub about: &'static str,
    pub keys: &'static [Key],
    pub later: &'static [&'static str],
    /// Whose file it is: keys that others put there are a warning, not an error.
    pub foreign: bool,
}

#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    pub about: &'static str,
}

/// What a key accepts.
#[derive(Debug)]
pub enum Shape {
    Version,
    Text,
    /// Numbers and booleans are taken as written.
    LooseText,
    /// Text whose references are resolved at load.
    Secret,
    Integer {
        min: u64,
        max: u64,
    },
    /// Any number.
    Number,
    Flag,
    Share,
    Duration,
    Size,
    Words(&'static [&'static str]),
    List(&'static Shape),
    OneOrMany(&'static Shape),
    /// A mapping of any names and values.
    Json,
    /// Anything that JSON can say.
    Value,
    /// Any names, each with the same shape.
    Names(&'static Shape),
    Block(&'static Block),
    Either(&'static [Shape]),
}

const fn key(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, required: false, about }
}

const fn required(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, required: true, about }
}

const TEXTS: Shape = Shape::List(&Shape::Text);

pub static ROOT: Block = Block {
    name: "the configuration",
    expected: "a mapping that begins with `strait: 1`",
    about: "A Strait configuration, version 1.",
    keys: &[
        required("strait", Shape::Version, "Version of the configuration language: 1."),
        key(
            "include",
            Shape::OneOrMany(&Shape::Text),
            "Other files, relative to this one; `*` stands for any characters of a name.",
        ),
        key(
            "listeners",
            Shape::Names(&Shape::Block(&LISTENER)),
            "Addresses that agents connect to. Default: `main` at 127.0.0.1:8080.",
        ),
        key("admin", Shape::Block(&ADMIN), "Where the admin endpoints listen."),
        key("upstreams", Shape::Names(&Shape::Block(&UPSTREAM)), "Real MCP servers, by name."),
        key("servers", Shape::Names(&Shape::Block(&SERVER)), "What agents see, by name."),
        key("identity", Shape::Names(&Shape::Block(&IDENTITY)), "Ways to learn who calls, by name."),
        key(
            "secrets",
            Shape::Names(&Shape::Block(&SECRET)),
            "Where `${secret:NAME}` comes from, where it is not the gateway's own folder.",
        ),
        key("roles", Shape::Names(&Shape::Text), "Names for conditions over the principal, in CEL."),
        key("policy", Shape::Block(&POLICY), "Who may do what."),
        key(
            "limits",
            Shape::List(&Shape::Block(&LIMIT)),
            "How much of it: rates, counts, money, calls at once.",
        ),
        key(
            "prices",
            Shape::Names(&Shape::Either(&[Shape::Text, Shape::Block(&PRICE)])),
            "What one call costs, by pattern: `0.002 usd`.",
        ),
        key(
            "access_log",
            Shape::Either(&[Shape::Words(&["stdout", "off"]), Shape::Block(&ACCESS_LOG)]),
            "One JSON line per exchange.",
        ),
        key(
            "audit",
            Shape::Block(&AUDIT),
            "What is written down where nobody can change it unseen. Default: nothing.",
        ),
        key(
            "telemetry",
            Shape::Block(&TELEMETRY),
            "Figures and traces for a collector, and times for clients.",
        ),
        key("body_max", Shape::Size, "Largest request body. Default: 4MiB."),
        key("caps", Shape::Block(&CAPS), "What one core takes on at once; more is answered with 503."),
        key(
            "catalog",
            Shape::Words(&["dynamic", "locked"]),
            "Whether what upstreams offer is learned, or pinned by `strait.lock`. Default: locked where that file is.",
        ),
        key(
            "tests",
            Shape::List(&Shape::Block(&CASE)),
            "What `strait test` expects of the policy, case by case.",
        ),
    ],
    later: &["screen", "approvals", "cache", "cluster", "activation"],
    foreign: false,
};

pub static LISTENER: Block = Block {
    name: "a listener",
    expected: "a listener like `{ bind: 127.0.0.1:8080 }`",
    about: "An address that agents connect to.",
    keys: &[
        required("bind", Shape::Text, "`ip:port`."),
        key("public", Shape::Text, "The URL agents know it by, when it is not `http://{bind}`."),
        key(
            "hosts",
            TEXTS,
            "Accepted `Host` names, without port. Default: loopback names, or the bind and public hosts. `*` accepts any.",
        ),
        key(
            "origins",
            TEXTS,
            "Accepted `Origin` values. Default: pages of this machine on loopback, else the public origin. `*` accepts any.",
        ),
        key(
            "tls",
            Shape::Either(&[Shape::Block(&LISTENER_TLS), Shape::List(&Shape::Block(&KEY_PAIR))]),
            "It speaks TLS, with this certificate or these.",
        ),
    ],
    later: &["trusted_proxies", "proxy_protocol"],
    foreign: false,
};

pub static LISTENER_TLS: Block = Block {
    name: "`tls` of a listener",
    expected: "a mapping like `{ cert: gw.pem, key: gw.key }`, or a list of such",
    about: "TLS: a certificate or several, and whose clients' certificates are accepted.",
    keys: &[
        key("cert", Shape::Text, "PEM file of the certificate and its chain."),
        key("key", Shape::Text, "PEM file of its private key; nobody but its owner may read it."),
        key(
            "certificates",
            Shape::List(&Shape::Block(&KEY_PAIR)),
            "Instead of cert and key: several, chosen by the name that a client asks for; the first is for the others.",
        ),
        key("client_ca", Shape::Text, "PEM file of those whose certificates clients may show."),
        key(
            "client_auth",
            Shape::Words(&["required", "optional"]),
            "Whether a client must show one. Default: required, where there is a client_ca.",
        ),
    ],
    later: &["min_version", "ciphers", "crl"],
    foreign: false,
};

pub static KEY_PAIR: Block = Block {
    name: "a certificate",
    expected: "a mapping like `{ cert: gw.pem, key: gw.key }`",
    about: "A certificate and its key.",
    keys: &[
        required("cert", Shape::Text, "PEM file of the certificate and its chain."),
        required("key", Shape::Text, "PEM file of its private key; nobody but its owner may read it."),
    ],
    later: &[],
    foreign: false,
};

pub static UPSTREAM_TLS: Block = Block {
    name: "`tls` of an upstream",
    expected: "a mapping like `{ ca: internal.pem }`",
    about: "TLS for the `https` URLs of an upstream.",
    keys: &[
        key(
            "ca",
            Shape::Text,
            "PEM file of those whose certificates it may show. Default: whom this machine trusts.",
        ),
        key("cert", Shape::Text, "PEM file of the certificate that Strait shows it, and its chain."),
        key("key", Shape::Text, "PEM file of its private key; nobody but its owner may read it."),
    ],
    later: &["server_name", "pin"],
    foreign: false,
};

pub static ADMIN: Block = Block {
    name: "`admin`",
    expected: "a mapping like `{ bind: 127.0.0.1:8081 }`",
    about: "Health, metrics and administration.",
    keys: &[key("bind", Shape::Text, "`ip:port`. Default: 127.0.0.1:8081.")],
    later: &["tls", "token", "socket", "oidc"],
    foreign: false,
};

pub static UPSTREAM: Block = Block {
    name: "an upstream",
    expected: "an upstream like `{ http: http://127.0.0.1:9000/mcp }`",
    about: "A real MCP server: exactly one of http, stdio and sample.",
    keys: &[
        key(
            "http",
            Shape::OneOrMany(&Shape::Text),
            "URL of a Streamable HTTP server, or URLs of its replicas.",
        ),
        key("stdio", Shape::Block(&STDIO), "A command that speaks MCP on its standard input and output."),
        key("sample", Shape::Words(&["stdio", "http"]), "A built-in server for the first minute."),
        key(
            "era",
            Shape::Words(&["auto", "modern", "legacy", "sse"]),
            "Which dialect it speaks; sse: HTTP+SSE of 2024-11-05. Default: auto, asked once.",
        ),
        key(
            "credential",
            Shape::Block(&CREDENTIAL),
            "How Strait identifies itself to it; never the caller's token.",
        ),
        key(
            "identity_header",
            Shape::Block(&IDENTITY_HEADER),
            "A signed statement of who calls, in a header of each call; never the caller's token.",
        ),
        key("timeout", Shape::Block(&TIMEOUT), "Deadlines."),
        key(
            "list_ttl",
            Shape::Duration,
            "How long clients may keep its lists, when it speaks a revision that has no word for it. Default: 0s.",
        ),
        key("tls", Shape::Block(&UPSTREAM_TLS), "For its `https` URLs: whom to trust, and what to show."),
    ],
    later: &["cache", "retry", "health", "limits", "schema", "openapi"],
    foreign: false,
};

pub static STDIO: Block = Block {
    name: "`stdio`",
    expected: "a command like `{ command: uvx, args: [mcp-server-git] }`",
    about: "A child process.",
    keys: &[
        required("command", Shape::Text, "A program on PATH, or a path."),
        key("args", Shape::List(&Shape::LooseText), "Its arguments."),
        key(
            "env",
            Shape::Names(&Shape::Secret),
            "Its environment, beside PATH HOME LANG TMPDIR USER. References are resolved at load.",
        ),
        key("cwd", Shape::Text, "Working folder. Default: the configuration's."),
        key("per", Shape::Words(&["shared", "session", "principal"]), "Who shares a child. Default: shared."),
        key(
            "max",
            Shape::Integer { min: 1, max: 1024 },
            "Children at once. Default: 1 when shared, else 16.",
        ),
        key("idle", Shape::Duration, "A child unused for so long is ended. Default: 10m."),
    ],
    later: &["user", "sandbox", "memory", "restart"],
    foreign: false,
};

pub static TIMEOUT: Block = Block {
    name: "`timeout`",
    expected: "deadlines like `{ connect: 1s, call: 60s }`",
    about: "Deadlines of calls to an upstream.",
    keys: &[
        key("connect", Shape::Duration, "Default: 1s."),
        key(
            "first_byte",
            Shape::Duration,
            "From the request sent to the first byte of the reply. Default: 30s.",
        ),
        key("call", Shape::Duration, "The whole call. Default: 60s."),
    ],
    later: &["idle", "total"],
    foreign: false,
};

pub static SERVER: Block = Block {
    name: "a server",
    expected: "a server like `{ path: /mcp, tools: [\"*\"] }`",
    about: "The tools, prompts and resources that agents see at one path.",
    keys: &[
        required("path", Shape::Text, "Where it is reached, for example /mcp."),
        key(
            "auth",
            Shape::Either(&[Shape::Words(&["none"]), TEXTS]),
            "Names of identities, tried in order; `none` opens it to anyone.",
        ),
        key("tools", TEXTS, "Patterns over `upstream.tool`; `*` stands for any characters."),
        key("prompts", TEXTS, "Patterns over `upstream.prompt`. Default: none."),
        key("resources", TEXTS, "Patterns over `upstream.uri`. Default: none."),
        key(
            "naming",
            Shape::Words(&["auto", "prefix", "bare"]),
            "How tools are called: auto is bare with one upstream, else upstream__tool.",
        ),
        key(
            "instructions",
            Shape::Text,
            "What clients are told about this server. Default: the upstreams' own words.",
        ),
        key(
            "shape",
            Shape::Names(&Shape::OneOrMany(&Shape::Block(&SHAPE))),
            "Tools that are shown otherwise than their upstream lists them, by `upstream.tool`; a list shows one in several ways.",
        ),
    ],
    later: &["limits", "screen", "cache", "tests", "description", "tls"],
    foreign: false,
};

pub static IDENTITY: Block = Block {
    name: "an identity",
    expected: "an identity like `{ api_keys: ./keys.yaml }`",
    about: "A way to learn who calls: exactly one of api_keys, jwt, introspection and mtls.",
    keys: &[
        key(
            "api_keys",
            Shape::Either(&[Shape::Text, Shape::Block(&API_KEYS)]),
            "A file of key digests, written by `strait keys`; or keys made at first start.",
        ),
        key("jwt", Shape::Block(&JWT), "Signed tokens of an issuer."),
        key("introspection", Shape::Block(&INTROSPECTION), "Tokens of which their issuer is asked."),
        key("mtls", Shape::Block(&MTLS), "Clients' certificates, at listeners that have a `client_ca`."),
    ],
    later: &["oidc", "oauth"],
    foreign: false,
};

pub static IDENTITY_HEADER: Block = Block {
    name: "`identity_header`",
    expected: "a header like `{ name: X-Strait-Identity, key: \"${secret:identity}\" }`",
    about: "How an upstream is told who calls: a JWT that stands for a minute.",
    keys: &[
        required("name", Shape::Text, "The header's name."),
        required(
            "key",
            Shape::Secret,
            "What it is signed with (HS256): 32 bytes at least, which the upstream has too.",
        ),
        key(
            "issuer",
            Shape::Text,
            "Its `iss`. Default: the `public` URL of the first listener that has one, else `strait`.",
        ),
        key("audience", Shape::Text, "Its `aud`. Default: the upstream's name."),
    ],
    later: &["algorithm", "jwks"],
    foreign: false,
};

pub static MTLS: Block = Block {
    name: "`mtls`",
    expected: "a mapping like `{ san: \"spiffe://corp/agent/*\" }`",
    about: "Whose certificates are accepted; the name that fits is the principal's id.",
    keys: &[
        required(
            "san",
            Shape::OneOrMany(&Shape::Text),
            "Patterns over URIs, DNS names and mail addresses in certificates; of several the first that fits decides.",
        ),
        key("groups", TEXTS, "Groups of everybody whom it knows."),
        key("user", Shape::Text, "On whose behalf they act."),
        key("agent", Shape::Text, "Which program they are."),
        key("tenant", Shape::Text, "To which customer or team they belong."),
    ],
    later: &[],
    foreign: false,
};

pub static API_KEYS: Block = Block {
    name: "`api_keys`",
    expected: "the path of a key file, or `{ generate: [...] }`",
    about: "Keys for development.",
    keys: &[required(
        "generate",
        Shape::List(&Shape::Block(&GENERATED_KEY)),
        "Keys made at first start and kept in the state folder.",
    )],
    later: &[],
    foreign: false,
};

/// Who somebody is, wherever a file says it.
const PRINCIPAL: &[Key] = &[
    required("id", Shape::Text, "The principal's id."),
    key("groups", TEXTS, "Groups the principal is in."),
    key("user", Shape::Text, "On whose behalf the principal acts."),
    key("agent", Shape::Text, "Which program the principal is."),
    key("tenant", Shape::Text, "To which customer or team the principal belongs."),
    key("claims", Shape::Json, "What else is known of the principal, for conditions."),
];

pub static GENERATED_KEY: Block = Block {
    name: "a generated key",
    expected: "a key like `{ id: you, groups: [everyone] }`",
    about: "Whom a generated key stands for.",
    keys: PRINCIPAL,
    later: &[],
    foreign: false,
};

pub static POLICY: Block = Block {
    name: "`policy`",
    expected: "a mapping with `default`, and `rules` or `cedar`",
    about: "Deny wins over hold, hold over allow; order never matters.",
    keys: &[
        required(
            "default",
            Shape::Words(&["deny", "allow"]),
            "What happens where no rule speaks. Must be written.",
        ),
        key("rules", Shape::List(&Shape::Block(&RULE)), "The rules."),
        key(
            "cedar",
            Shape::OneOrMany(&Shape::Text),
            "Files of Cedar policies, relative to this one; `*` stands for any characters of a name.",
        ),
    ],
    later: &["shadow"],
    foreign: false,
};

pub static LIMIT: Block = Block {
    name: "a limit",
    expected: "a limit like `{ per: [principal], rate: 20/s }`",
    about: "At least one of rate, calls, cost and concurrency. Each is a limit of its own.",
    keys: &[
        key(
            "id",
            Shape::Text,
            "Named in refusals, figures and the access log. Default: `limit-` and its place.",
        ),
        required(
            "per",
            Shape::List(&Shape::Words(&[
                "principal",
                "agent",
                "user",
                "tenant",
                "tool",
                "upstream",
                "server",
            ])),
            "Callers and things that differ in these have allowances of their own; empty: all share one.",
        ),
        key("on", TEXTS, "Patterns of tools, prompts and resources. Default: everything."),
        key("to", TEXTS, "Roles it is for. Default: everyone."),
        key("rate", Shape::Text, "Calls per time: `20/s`; units are s, min, h and day."),
        key(
            "burst",
            Shape::Integer { min: 1, max: crate::limits::LIMIT_CALLS_MAX },
            "Calls at once, of `rate`. Default: the number of `rate`.",
        ),
        key("calls", Shape::Text, "Calls in each minute, hour or day of UTC: `10000/day`."),
        key("cost", Shape::Text, "Money in each minute, hour or day of UTC: `25 usd/day`; see `prices`."),
        key(
            "concurrency",
            Shape::Integer { min: 1, max: crate::limits::LIMIT_CALLS_MAX },
            "Calls under way at once.",
        ),
    ],
    later: &[],
    foreign: false,
};

pub static PRICE: Block = Block {
    name: "a price",
    expected: "an amount like `0.002 usd`, or `{ call: 0.001 usd, per_kib: 0.0001 usd, up_to: 1 usd }`",
    about: "What a call costs. What is known only afterwards is set aside before, up to `up_to`.",
    keys: &[
        key("call", Shape::Text, "Of each call: `0.002 usd`. Default: nothing."),
        key("per_kib", Shape::Text, "Of each KiB that its answer begins: `0.0001 usd`."),
        key(
            "meta",
            Shape::Text,
            "The member of a result's `_meta` in which its server says what the call cost, as a number of US dollars.",
        ),
        key("up_to", Shape::Text, "The most that a call may cost, with `per_kib` or `meta`."),
    ],
    later: &["per_token", "currency"],
    foreign: false,
};

pub static RULE: Block = Block {
    name: "a rule",
    expected: "a rule like `{ id: reads, allow: [\"crm.get_*\"] }`",
    about: "Exactly one of allow, deny and hold.",
    keys: &[
        required("id", Shape::Text, "Named in refusals and in the access log."),
        key(
            "allow",
            TEXTS,
            "Patterns over `upstream.name`, optionally after `tool:`, `prompt:` or `resource:`.",
        ),
        key("deny", TEXTS, "As in `allow`; wins over every other rule."),
        key("hold", TEXTS, "As in `allow`; waits for a person. In this version it denies."),
        key("to", TEXTS, "Names of roles. Default: everyone."),
        key(
            "scopes",
            Shape::List(&Shape::Text),
            "Of an allow: scopes that a caller's token must have; one that has too few is told which.",
        ),
        key("when", Shape::Text, "A condition in CEL: the rule speaks only where it is true."),
        key("unless", Shape::Text, "The same: the rule speaks only where it is not true."),
        key(
            "during",
            Shape::OneOrMany(&Shape::Text),
            "Windows of time like `Mon-Fri 06:00-18:00 Europe/Berlin`: the rule speaks only in one of them.",
        ),
        key(
            "audit",
            Shape::Block(&AUDIT_OF_RULE),
            "What the audit log keeps of calls that this rule decides, and what waits for it.",
        ),
    ],
    later: &["approvers", "expires", "cost", "shadow"],
    foreign: false,
};

pub static CAPS: Block = Block {
    name: "`caps`",
    expected: "a mapping like `{ connections: 16384, calls: 4096, bytes: 512MiB }`",
    about: "What one core takes on at once; more is answered with 503.",
    keys: &[
        key("connections", Shape::Integer { min: 1, max: 1 << 20 }, "Connections of agents. Default: 16384."),
        key("calls", Shape::Integer { min: 1, max: 1 << 20 }, "Calls under way. Default: 4096."),
        key("bytes", Shape::Size, "Bytes of requests and replies on their way. Default: 512MiB."),
    ],
    later: &[],
    foreign: false,
};

pub static ACCESS_LOG: Block = Block {
    name: "`access_log`",
    expected: "`stdout`, `off`, or a mapping like `{ path: access.log }`",
    about: "One JSON line per exchange.",
    keys: &[
        key(
            "path",
            Shape::Text,
            "A file that lines are appended to, or `stdout`, or `off`. Default: stdout.",
        ),
        key("sample", Shape::Share, "Share of exchanges that leave a line; refusals always do. Default: 1."),
    ],
    later: &["format", "otlp"],
    foreign: false,
};

/// The form that agents' users already have.
pub static MCP_ROOT: Block = Block {
    name: "an `mcpServers` file",
    expected: "a mapping with `mcpServers`",
    about: "A client's list of servers; every one becomes an upstream of `servers.default` at /mcp.",
    keys: &[required("mcpServers", Shape::Names(&Shape::Block(&MCP_SERVER)), "The servers, by name.")],
    later: &[],
    foreign: true,
};

pub static MCP_SERVER: Block = Block {
    name: "a server of `mcpServers`",
    expected: "a mapping with `command` or `url`",
    about: "Exactly one of command and url.",
    keys: &[
        key(
            "type",
            Shape::Words(&["stdio", "http", "streamable-http", "streamableHttp", "sse"]),
            "How it is reached; follows from the other keys.",
        ),
        key("command", Shape::Text, "A program on PATH, or a path."),
        key("args", Shape::List(&Shape::LooseText), "Its arguments."),
        key("env", Shape::Names(&Shape::Secret), "Its environment."),
        key("cwd", Shape::Text, "Working folder."),
        key("url", Shape::Text, "URL of a Streamable HTTP server."),
        key("disabled", Shape::Words(&["true", "false"]), "Leave this server out."),
        key("headers", Shape::Names(&Shape::Secret), "At most one header, sent with every request."),
    ],
    later: &["oauth", "auth", "envFile"],
    foreign: true,
};

/// Not part of the configuration language: what `strait keys` writes.
pub static KEY_FILE: Block = Block {
    name: "a key file",
    expected: "a mapping with `pepper` and `keys`",
    about: "Digests of API keys.",
    keys: &[
        required("pepper", Shape::Text, "64 hexadecimal digits: the key of the digests."),
        key("keys", Shape::List(&Shape::Block(&KEY)), "The keys."),
    ],
    later: &[],
    foreign: false,
};

pub static KEY: Block = Block {
    name: "a key",
    expected: "a mapping with `id`, `digest` and `created`",
    about: "Whom a key stands for.",
    keys: &[
        required("id", Shape::Text, "The principal's id."),
        key("groups", TEXTS, "Groups the principal is in."),
        key("user", Shape::Text, "On whose behalf the principal acts."),
        key("agent", Shape::Text, "Which program the principal is."),
        key("tenant", Shape::Text, "To which customer or team the principal belongs."),
        key("claims", Shape::Json, "What else is known of the principal, for conditions."),
        required("digest", Shape::Text, "64 hexadecimal digits."),
        required("created", Shape::Text, "RFC 3339."),
        key("revoked", Shape::Text, "RFC 3339."),
    ],
    later: &[],
    foreign: false,
};
