//! Kept tables, one per format version: what an older build wrote is read as it was meant, or refused by version.
//!
//! When a test here fails because a type changed, the format changed: docs/TABLE_FORMAT.md says what to do.

use std::path::PathBuf;

use rkyv::rancor;
use strait_table::audit::{Audit, AuditOfRule, Durability, Payload, WhenFull};
use strait_table::bound::{Bound, BoundServer, Capabilities, Held, Item, Mirrored, Scalar, Section, Shelf};
use strait_table::condition::*;
use strait_table::file::{FORMAT_VERSION, write};
use strait_table::limit::{Facet, Limit, Measure, Price, Unit};
use strait_table::mtls::{Mtls, San};
use strait_table::names::Names;
use strait_table::rules::*;
use strait_table::secret::{self, Secret};
use strait_table::shape::{Argument, Narrowed, Said, Shape, Step};
use strait_table::ship::{Anchor, Begin, Collector, Form, Keeper, Ship};
use strait_table::telemetry::{HeaderLine, Otlp, ServerTiming, Telemetry, Traces};
use strait_table::window::{Hours, Offset, Window};
use strait_table::{Kind, OpenError, Snapshot};

const CHANGED: &str = "the archived layout changed. Tables in use would be misread: bump `FORMAT_VERSION`, keep the \
                       old golden file, and make a new one (docs/TABLE_FORMAT.md, \"Golden files\")";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn path() -> PathBuf {
    folder().join(format!("v{FORMAT_VERSION}.table"))
}

fn kept() -> Vec<u8> {
    std::fs::read(path()).unwrap_or_else(|error| {
        panic!("{}: {error}: make it with the test `make_the_golden_file`", path().display())
    })
}

#[test]
#[ignore = "writes the golden file of a new format version"]
fn make_the_golden_file() {
    assert!(!path().exists(), "{} exists. {CHANGED}", path().display());
    std::fs::write(path(), write(&rules(), Some(&bound()))).unwrap();
}

#[test]
fn the_same_values_are_written_as_the_same_bytes() {
    assert!(kept() == write(&rules(), Some(&bound())), "{CHANGED}");
}

#[test]
fn the_kept_file_says_what_it_was_made_of() {
    let snapshot = Snapshot::from_bytes(&kept()).unwrap_or_else(|error| panic!("{error}. {CHANGED}"));
    let found: Rules = rkyv::deserialize::<_, rancor::Error>(snapshot.rules()).unwrap();
    assert_eq!(format!("{found:#?}"), format!("{:#?}", rules()), "{CHANGED}");
    let found: Bound = rkyv::deserialize::<_, rancor::Error>(snapshot.bound()).unwrap();
    assert_eq!(format!("{found:#?}"), format!("{:#?}", bound()), "{CHANGED}");
    assert_eq!(snapshot.server_at(b"/support/mcp"), Some(1));
    let tools = &snapshot.bound().servers[0].tools;
    assert_eq!(tools.find("git__log".as_bytes()), Some(0));
    assert_eq!(tools.find(b"log"), None);
}

#[test]
fn tables_of_older_versions_are_refused_by_their_version() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        match Snapshot::open(&path) {
            Ok(_) => assert_eq!(path, self::path()),
            Err(OpenError::Version { found }) => {
                assert!(found < FORMAT_VERSION);
                assert_eq!(path, folder().join(format!("v{found}.table")));
            }
            Err(error) => panic!("{}: {error}. {CHANGED}", path.display()),
        }
    }
}

/// The golden values hold every variant of everything. A variant that is new has to be added to them, and here.
#[test]
fn the_golden_values_use_every_variant() {
    let text = format!("{:?}{:?}", rules(), bound());
    let variants = "Http Stdio Sample(Stdio) Sample(Http) Shared Session Principal Auto Modern Legacy Sse Bearer Header Basic OAuth Exchange Line Variable \
                    Literal Env Secret File Prefix Bare Any Tool Prompt Resource KeyFile Generated Jwt Discovered Url Introspection Mtls Uri Dns Email Const Trait \
                    Window Has HasHeader IsType Compare In Holds InGroups AnyGroup Matches Network Each Not And Or UnlessFalse \
                    UnlessTrue Read Size Call Number Null Arguments Claims Element Id User Agent Tenant Method Server Upstream Rate Calls Cost Concurrency Second Minute Hour Day \
                    Equal NotEqual Less LessOrEqual More MoreOrEqual StartsWith EndsWith Contains All Exists ExistsOne Allow Hold Deny Everyone Roles Text Integer Boolean";
    // Of `LogTo` a table holds one: the one with content.
    for variant in variants.split_whitespace() {
        let whole = |at: usize| {
            let word = |c: char| c.is_alphanumeric();
            !text[..at].ends_with(word) && !text[at + variant.len()..].starts_with(word)
        };
        assert!(text.match_indices(variant).any(|(at, _)| whole(at)), "{variant} in {text}");
    }
}

fn text(part: TextPart) -> Text {
    Text { parts: vec![TextPart::Literal("a".into()), part] }
}

fn jwt(name: &str, jwks: Jwks) -> Identity {
    let method = AuthMethod::Jwt(Jwt {
        issuer: "https://idp.example".into(),
        jwks,
        algorithms: vec!["RS256".into(), "EdDSA".into()],
        types: vec!["at+jwt".into()],
        skew_s: 30,
        accepted: accepted(),
    });
    Identity { name: name.into(), method }
}

fn accepted() -> Accepted {
    Accepted {
        audiences: vec!["https://gw.example/mcp".into()],
        scopes: vec!["mcp".into()],
        principal: PrincipalClaims {
            id: vec!["sub".into()],
            user: vec!["email".into(), "sub".into()],
            agent: vec!["act.sub".into()],
            tenant: vec!["org".into()],
            groups: vec!["groups".into()],
        },
    }
}

fn upstreams() -> Vec<Upstream> {
    let timeout = Timeouts { connect_ms: 1, first_byte_ms: 2, call_ms: 3 };
    let told = |transport: &Transport| {
        matches!(transport, Transport::Http { .. }).then(|| IdentityHeader {
            name: "X-Strait-Identity".into(),
            key: text(TextPart::Secret("identity".into())),
            issuer: "https://gw.example".into(),
            audience: "crm".into(),
        })
    };
    let upstream = |name: &str, transport, era, credential| Upstream {
        name: name.into(),
        identity_header: told(&transport),
        transport,
        era,
        credential,
        timeout,
        list_ttl_ms: 60_000,
        tls: UpstreamTls { ca: Some("ca.pem".into()), pair: Some(pair("up")) },
    };
    let stdio = |per| {
        Transport::Stdio(Stdio {
            command: "uvx".into(),
            args: vec!["mcp-server-git".into(), "--repository".into(), "/srv/repo".into()],
            env: vec![
                ("TOKEN".into(), text(TextPart::Secret("git".into()))),
                ("HOME".into(), text(TextPart::Env { name: "HOME".into(), default: None })),
            ],
            cwd: Some("/srv".into()),
            per,
            max: 16,
            idle_ms: 600_000,
        })
    };
    let endpoint = |host: &str| Endpoint {
        host: host.into(),
        port: 8443,
        path: "/mcp?x=1".into(),
        https: host.starts_with("crm-b"),
    };
    let http = || Transport::Http { endpoints: vec![endpoint("crm-a.internal"), endpoint("crm-b.internal")] };
    let env = TextPart::Env { name: "CRM".into(), default: Some("none".into()) };
    vec![
        upstream("git", stdio(Per::Shared), Era::Auto, None),
        upstream("crm", http(), Era::Modern, Some(Credential::Bearer(text(env)))),
        upstream(
            "erp",
            http(),
            Era::Legacy,
            Some(Credential::Header { name: "x-key".into(), value: text(TextPart::File("/run/key".into())) }),
        ),
        upstream("hr", http(), Era::Sse, Some(Credential::Basic(Text { parts: Vec::new() }))),
        upstream("pay", http(), Era::Auto, Some(Credential::OAuth { grant: grant(), shown: Shown::Line })),
        upstream(
            "lent",
            http(),
            Era::Auto,
            Some(Credential::Exchange {
                grant: grant(),
                acts: true,
                identities: vec![2, 5],
                shown: Shown::Line,
            }),
        ),
        upstream(
            "one",
            stdio(Per::Session),
            Era::Auto,
            Some(Credential::OAuth { grant: grant(), shown: Shown::Variable("TOKEN".into()) }),
        ),
        upstream("own", stdio(Per::Principal), Era::Auto, None),
        upstream("hello", Transport::Sample(Sample::Stdio), Era::Auto, None),
        upstream("there", Transport::Sample(Sample::Http), Era::Auto, None),
    ]
}

fn grant() -> Grant {
    Grant {
        token_url: "https://idp.example/token".into(),
        client: "strait".into(),
        secret: text(TextPart::Secret("oauth".into())),
        in_body: true,
        scope: vec!["crm".into()],
        resource: Some("https://crm.internal/mcp".into()),
        audience: Some("crm".into()),
    }
}

fn pair(name: &str) -> KeyPair {
    KeyPair { cert: format!("{name}.pem"), key: format!("{name}.key") }
}

fn secrets() -> Vec<Secret> {
    let sources = [
        secret::Source::File("/run/crm".into()),
        secret::Source::Env("CRM".into()),
        secret::Source::Systemd("crm".into()),
    ];
    let one = |(at, source): (usize, secret::Source)| Secret { name: format!("s{at}"), source };
    sources.into_iter().enumerate().map(one).collect()
}

/// One collector of each kind.
fn ship() -> Vec<Ship> {
    let header = || HeaderLine { name: "X-Key".into(), value: text(TextPart::Secret("otlp".into())) };
    let collectors = [
        Collector::Syslog { tls: true, host: "logs.example".into(), port: 6514 },
        Collector::Hec {
            url: "https://splunk.example:8088".into(),
            token: text(TextPart::Secret("splunk".into())),
            ack_ms: 300_000,
        },
        Collector::Otlp { endpoint: "https://otlp.example".into(), headers: vec![header()] },
        Collector::Webhook {
            url: "https://hook.example".into(),
            secret: text(TextPart::Secret("hook".into())),
        },
    ];
    let forms = [Form::Cef, Form::Ndjson, Form::Ecs, Form::Ocsf];
    let one = |(at, (to, format)): (usize, (Collector, Form))| Ship {
        id: format!("c{at}"),
        to,
        format,
        begin: if at == 0 { Begin::Now } else { Begin::Oldest },
    };
    collectors.into_iter().zip(forms).enumerate().map(one).collect()
}

fn pattern(kind: PatternKind, glob: &str) -> Pattern {
    Pattern { kind, glob: glob.into() }
}

fn shape() -> Shape {
    let argument =
        |path: &[&str], said| Argument { path: path.iter().map(|key| (*key).into()).collect(), said };
    let text = |json: &str| Some(json.to_owned());
    Shape {
        upstream: 1,
        tool: "get".into(),
        name: text("crm__get"),
        title: text("Get"),
        description: text("Gets one."),
        arguments: vec![
            argument(&["debug"], Said::Hidden),
            argument(
                &["limit"],
                Said::Narrowed(Narrowed { min: text("1"), max: text("500.0"), ..Narrowed::default() }),
            ),
            argument(
                &["note"],
                Said::Narrowed(Narrowed { default: text("\"x\""), required: true, ..Narrowed::default() }),
            ),
            argument(&["to", "region"], Said::Fixed("\"eu\"".into())),
            argument(
                &["to", "size"],
                Said::Narrowed(Narrowed { among: vec!["1".into(), "null".into()], ..Narrowed::default() }),
            ),
        ],
        drops: vec![vec![Step::Key("items".into()), Step::Each, Step::Key("secret".into())]],
    }
}

fn servers() -> Vec<Server> {
    let server = |name: &str, path: &str, naming| Server {
        name: name.into(),
        path: path.into(),
        auth: vec![1, 0],
        tools: vec![pattern(PatternKind::Tool, "*"), pattern(PatternKind::Any, "crm.get_*")],
        prompts: vec![pattern(PatternKind::Prompt, "git.*")],
        resources: vec![pattern(PatternKind::Resource, "file:///*")],
        naming,
        instructions: "Be brief: \u{1f980}".into(),
        shapes: vec![shape()],
    };
    vec![
        server("default", "/mcp", Naming::Auto),
        server("support", "/support/mcp", Naming::Prefix),
        server("open", "/open/mcp", Naming::Bare),
    ]
}

/// Every step and every operand.
fn everything(of_a_rule: bool) -> Condition {
    use Comparison::*;
    let text = |text: &str| Operand::Text(text.into());
    let compare = |left, by, right| Op::Compare { left, by, right };
    let number = || Operand::Number(Number("500.5".into()));
    let mut ops = vec![
        Op::Const(true),
        Op::Has(0),
        Op::HasHeader("x-env".into()),
        Op::IsType { of: Operand::Read(1), types: 12 },
        compare(Operand::Read(0), Equal, number()),
        compare(Operand::Size(0), NotEqual, number()),
        compare(Operand::Principal(PrincipalFact::Id), Less, text("a")),
        compare(Operand::Principal(PrincipalFact::User), LessOrEqual, text("b")),
        compare(Operand::Principal(PrincipalFact::Agent), More, text("c")),
        compare(Operand::Principal(PrincipalFact::Tenant), MoreOrEqual, text("d")),
        compare(Operand::Call(CallFact::Method), Equal, Operand::Call(CallFact::Server)),
        compare(Operand::Call(CallFact::Upstream), Equal, Operand::Call(CallFact::Tool)),
        compare(Operand::Header("x-env".into()), Equal, Operand::Bool(true)),
        compare(Operand::Read(0), Equal, Operand::Null),
        Op::In {
            of: Operand::Read(0),
            texts: vec!["EUR".into(), "USD".into()],
            numbers: vec![Number("1".into())],
        },
        Op::Holds { list: 1, item: text("a") },
        Op::InGroups(text("staff")),
        Op::AnyGroup { test: TextTest::StartsWith, text: "eu-".into() },
        Op::Text { of: Operand::Read(0), test: TextTest::EndsWith, text: text(".txt") },
        Op::Text { of: Operand::Read(0), test: TextTest::Contains, text: text("..") },
        Op::Matches { of: Operand::Read(0), automaton: 0 },
        Op::Network(vec![Network { address: [1; 16], bits: 8 }]),
        Op::Window(0),
        Op::Scope { scope: 0, scp: 1, text: "crm.write".into() },
        Op::StepUp,
    ];
    for quantifier in [Quantifier::All, Quantifier::Exists, Quantifier::ExistsOne] {
        ops.push(Op::Each { list: 1, quantifier, ops: 1 });
        ops.push(compare(Operand::Read(2), Equal, text("x")));
    }
    if of_a_rule {
        ops.extend([Op::Trait { yes: 0, error: 1 }, Op::Trait { yes: 1, error: NONE }]);
    }
    let depth = ops.len() - 3;
    for _ in 1..depth {
        ops.push(Op::And);
    }
    ops.extend([
        Op::Not,
        Op::UnlessFalse(2),
        Op::Const(true),
        Op::And,
        Op::UnlessTrue(2),
        Op::Const(false),
        Op::Or,
    ]);
    let read = |from, path: &[&str]| Read::of(from, path.iter().map(|key| (*key).into()).collect());
    let reads = vec![
        read(Root::Arguments, &["amount"]),
        read(Root::Claims, &["dept", "name"]),
        read(Root::Element, &["price"]),
    ];
    Condition { reads, ops }
}

fn rules() -> Rules {
    let role = |name: &str, yes, error| Role { name: name.into(), yes, error };
    let rule = |id: &str, effect, to, condition| Rule {
        id: id.into(),
        effect,
        patterns: vec![pattern(PatternKind::Any, "*.delete_*")],
        to,
        condition,
        scopes: vec!["crm.write".into()],
        audit: AuditOfRule { payload: Some(Payload::Full), durability: Some(Durability::Intent) },
        place: Place { source: 1, line: 7, column: 11 },
    };
    Rules {
        listeners: vec![
            Listener {
                name: "main".into(),
                bind: "127.0.0.1:8080".into(),
                public: Some("https://gw.example".into()),
                hosts: vec!["gw.example".into(), "localhost".into()],
                origins: vec!["http://localhost:*".into()],
                tls: Some(ListenerTls {
                    certificates: vec![pair("a"), pair("b")],
                    client_ca: Some("clients.pem".into()),
                    client_required: true,
                }),
            },
            Listener {
                name: "other".into(),
                bind: "[::1]:8082".into(),
                public: None,
                hosts: vec!["*".into()],
                origins: Vec::new(),
                tls: None,
            },
        ],
        admin_bind: "127.0.0.1:8081".into(),
        upstreams: upstreams(),
        servers: servers(),
        paths: Names::build(["/mcp", "/support/mcp", "/open/mcp"].into_iter()),
        identities: vec![
            Identity { name: "ci".into(), method: AuthMethod::KeyFile { path: "/etc/keys.yaml".into() } },
            Identity {
                name: "dev".into(),
                method: AuthMethod::Generated {
                    keys: vec![GeneratedKey {
                        id: "you".into(),
                        user: "ann".into(),
                        agent: "helper".into(),
                        tenant: "acme".into(),
                        groups: vec!["everyone".into()],
                        claims: r#"{"level":3}"#.into(),
                    }],
                },
            },
            jwt("found", Jwks::Discovered),
            jwt("there", Jwks::Url("https://idp.example/jwks".into())),
            jwt("here", Jwks::File("keys.json".into())),
            Identity {
                name: "asked".into(),
                method: AuthMethod::Introspection(Introspection {
                    endpoint: "https://idp.example/introspect".into(),
                    issuer: "https://idp.example".into(),
                    client: "strait".into(),
                    secret: text(TextPart::Secret("idp".into())),
                    keep_s: 60,
                    accepted: accepted(),
                }),
            },
            Identity {
                name: "shown".into(),
                method: AuthMethod::Mtls(Mtls {
                    sans: ["spiffe://corp/agent/*", "*.agents.corp", "*@corp"].map(San::read).into(),
                    user: "ann".into(),
                    agent: "helper".into(),
                    tenant: "acme".into(),
                    groups: vec!["agents".into()],
                }),
            },
        ],
        traits: vec![
            Trait { condition: everything(false), on_error: false },
            Trait { condition: everything(false), on_error: true },
        ],
        roles: vec![role("staff", 0, 1), role("bots", 1, NONE)],
        windows: vec![Window {
            text: "Mon 06:00-18:00 Europe/Berlin".into(),
            week: vec![Hours { from: 360, until: 1_080 }],
            offsets: vec![
                Offset { from: i64::MIN, seconds: 3_600 },
                Offset { from: 1_774_746_000, seconds: 7_200 },
            ],
            from: i64::MIN,
            until: i64::MAX,
        }],
        automata: vec![Automaton {
            pattern: "a".into(),
            classes: (0..=255u8).map(|byte| u8::from(byte == b'a')).collect(),
            columns: 3,
            start: 2,
            next: vec![0, 0, 0, 1, 1, 1, 2, 1, 0],
        }],
        limits: limits(),
        prices: vec![Price {
            on: Pattern { kind: PatternKind::Any, glob: "crm.*".into() },
            micro_usd: 2_000,
            kib_micro_usd: 30,
            told: Some("usageTotalUsd".into()),
            up_to_micro_usd: Some(500_000),
        }],
        policy: Policy {
            default: Effect::Deny,
            rules: vec![
                rule("reads", Effect::Allow, To::Everyone, None),
                rule("big", Effect::Hold, To::Roles(vec![0]), Some(everything(true))),
                rule("no-drop", Effect::Deny, To::Roles(vec![1]), None),
            ],
        },
        secrets: secrets(),
        access_log: AccessLog { to: LogTo::File("/var/log/strait.jsonl".into()), sample_ppm: 250_000 },
        audit: Some(Audit {
            path: "/var/lib/strait/audit".into(),
            payload: Payload::Hash,
            durability: Durability::Durable,
            when_full: WhenFull::Refuse,
            every_ms: 5,
            checkpoint_ms: 60_000,
            rotate_bytes: 1 << 30,
            keep_s: Some(90 * 86_400),
            encrypt: vec![[7; 32], [8; 32]],
            ship: ship(),
            anchors: vec![
                Anchor { to: Keeper::Stdout, every_ms: 10_000 },
                Anchor { to: Keeper::File("/mnt/checkpoints".into()), every_ms: 60_000 },
                Anchor {
                    to: Keeper::Webhook {
                        url: "https://hook.example".into(),
                        secret: text(TextPart::Secret("hook".into())),
                    },
                    every_ms: 1_000,
                },
            ],
        }),
        telemetry: Telemetry {
            otlp: Some(Otlp {
                endpoint: "https://otlp.example".into(),
                headers: vec![HeaderLine {
                    name: "X-Key".into(),
                    value: text(TextPart::Secret("otlp".into())),
                }],
                every_ms: 10_000,
                metrics: true,
            }),
            traces: Some(Traces { sample_ppm: 10_000, slower_than_ms: Some(250), errors: true }),
            server_timing: ServerTiming::Asked,
        },
        body_bytes_max: 4 << 20,
        caps: Caps { connections: 100, calls: 10, bytes: 1 << 24 },
        pins: (0..10).map(pins).collect(),
        sources: vec![
            Source { path: "gateway.yaml".into(), blake3: [7; 32] },
            Source { path: "teams/a.yaml".into(), blake3: std::array::from_fn(|at| at as u8) },
        ],
    }
}

fn pins(at: usize) -> Pins {
    let pin = |name: &str| Pin {
        name: name.into(),
        json: format!("{{\"name\":\"{name}\"}}"),
        blake3: [at as u8; 32],
    };
    Pins {
        older: at.is_multiple_of(2),
        capabilities: Capabilities { tools: true, ..Capabilities::default() },
        instructions: (at == 0).then(|| "use it".into()),
        tools: vec![pin("a"), pin("b")],
        prompts: vec![pin("p")],
        resources: vec![pin("note://a")],
        templates: vec![pin("note://{a}")],
    }
}

fn held(kind: Kind, gone: bool) -> Held {
    Held { kind, exposed: "a".into(), upstream: 1, rules: vec![0, 2], gone }
}

fn shelf(items: Vec<Item>) -> Shelf {
    Shelf {
        index: Names::build(items.iter().map(|item| item.exposed.as_str())),
        items,
        upstreams: vec![0, 1],
        public: true,
    }
}

fn limits() -> Vec<Limit> {
    let limit = |id: &str, per: &[Facet], measure| Limit {
        id: id.into(),
        state: 7,
        per: per.to_vec(),
        on: vec![Pattern { kind: PatternKind::Tool, glob: "crm.*".into() }],
        to: To::Roles(vec![0]),
        measure,
    };
    let all = Facet::ALL.map(|(_, facet)| facet);
    vec![
        limit("burst", &all, Measure::Rate { count: 20, per: Unit::Second, burst: 40 }),
        limit("daily", &[], Measure::Calls { max: 10_000, per: Unit::Day }),
        limit("daily", &[Facet::Tenant], Measure::Cost { max_micro_usd: 25_000_000, per: Unit::Hour }),
        limit("slow", &[Facet::Upstream], Measure::Concurrency { max: 8 }),
        limit("minute", &[Facet::User], Measure::Calls { max: 1, per: Unit::Minute }),
    ]
}

fn bound() -> Bound {
    let item = |exposed: &str, bare: &str, fragment, rules: &[u32], glob: &str| Item {
        exposed: exposed.into(),
        bare: bare.into(),
        upstream: 1,
        fragment,
        modern_fragment: fragment / 2,
        rules: rules.to_vec(),
        glob: glob.into(),
        limits: vec![0, 3],
        price: Some(0),
        print: 0x1234_5678_9abc_def0,
        shape: (bare == "get").then_some(0),
        mirrored: [("Region", Scalar::Text), ("Count", Scalar::Integer), ("Dry", Scalar::Boolean)]
            .map(|(header, scalar)| Mirrored {
                header: header.into(),
                path: vec!["at".into(), header.into()],
                scalar,
            })
            .into(),
    };
    let capabilities = Capabilities { tools: true, subscribe: true, tasks: true, ..Capabilities::default() };
    let full = BoundServer {
        tools: shelf(vec![item("git__log", "log", 0, &[0, 2], ""), item("crm__get", "get", 1, &[], "")]),
        prompts: shelf(vec![item("review", "review", 2, &[1], "")]),
        resources: shelf(vec![item("file:///a", "file:///a", 3, &[0, 1, 2], "")]),
        templates: shelf(vec![item("file:///{p}", "file:///{p}", 4, &[], "file:///*")]),
        upstreams: vec![0, 1],
        capabilities,
        instructions: "use all".into(),
        sections: vec![Section { upstream: 1, text: "# git\nuse it\n".into() }],
        partial: true,
        public: true,
        renamed_uris: vec![0, 7],
        held: vec![
            held(Kind::Tool, false),
            held(Kind::Prompt, true),
            held(Kind::Resource, false),
            held(Kind::Template, true),
        ],
    };
    let fragments = [
        r#"{"name":"git__log"}"#,
        r#"{"name":"crm__get"}"#,
        r#"{"name":"review"}"#,
        r#"{"uri":"file:///a","name":"a"}"#,
        r#"{"uriTemplate":"file:///{p}","name":"p"}"#,
    ];
    Bound {
        servers: vec![full, BoundServer::default(), BoundServer::default()],
        upstreams: (0..10).map(|at| Capabilities { ui: at == 7, ..capabilities }).collect(),
        fragments: fragments.map(str::to_owned).into(),
    }
}
