//! What a configuration becomes: the examples, whole, and the rules of the language that findings do
//! not show: defaults, references, paths, the order of things.

use std::path::{Path, PathBuf};

use strait_config_compiler::{Outcome, Rules, load, load_text, render};
use strait_table::audit::{Durability, Payload, WhenFull};
use strait_table::condition::{Op, Operand};
use strait_table::limit::{Facet, Measure, Unit};
use strait_table::rules::*;
use strait_table::ship::{Anchor, Collector, Keeper};
use strait_table::telemetry::{ServerTiming, Traces};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn env(name: &str) -> Option<String> {
    (name == "HOST").then(|| "crm.internal".to_owned())
}

#[track_caller]
fn rules(outcome: Outcome) -> Rules {
    let text = render(&outcome, false);
    outcome.rules.unwrap_or_else(|| panic!("{text}"))
}

/// A configuration with these blocks and an open policy.
#[track_caller]
fn compile(blocks: &str) -> Rules {
    let text = format!("strait: 1\npolicy: {{ default: allow }}\n{blocks}");
    rules(load_text("test.yaml", &text, &env))
}

fn any(glob: &str) -> Pattern {
    Pattern { kind: PatternKind::Any, glob: glob.to_owned() }
}

/// The example of docs/SHAPING.md.
#[test]
fn a_shape_is_what_it_says() {
    let text = include_str!("../../docs/SHAPING.md")
        .split("```")
        .nth(1)
        .and_then(|text| text.strip_prefix("yaml\n"));
    let config = format!(
        "strait: 1\nupstreams: {{ crm: {{ sample: http }} }}\nidentity: {{ staff: {{ api_keys: k.yaml }} }}\n\
         policy: {{ default: allow }}\n{}",
        text.expect("an example")
    );
    let rules = rules(load_text("test.yaml", &config, &env));
    let snapshot = strait_table::snapshot::of_rules(&rules).unwrap();
    let shapes = &snapshot.rules().servers[0].shapes;
    assert_eq!(
        shapes.iter().map(|shape| shape.describe("crm")).collect::<Vec<_>>(),
        ["crm.refund as refund_small: amount must be there, must be a number of at most 500; \
          currency must be one of \"USD\", \"EUR\"; debug is hidden; note is \"via support\" by default; \
          region is always \"eu\"; to.iban is hidden; without customer.email; without items.*.secret"]
    );
    assert_eq!(rules.servers[0].shapes[0].description.as_deref(), Some("Gives back at most 500."));
}

#[test]
fn the_quickstart_is_what_it_says() {
    let outcome = load(&example("quickstart.yaml"), &|_| None);
    assert!(outcome.findings.is_empty(), "{}", render(&outcome, false));
    let rules = rules(outcome);
    assert_eq!(rules.listeners[0].bind, "127.0.0.1:8080");
    assert_eq!(rules.listeners[0].hosts, ["localhost", "127.0.0.1", "[::1]"]);
    assert_eq!(rules.admin_bind, "127.0.0.1:8081");
    let names: Vec<&str> = rules.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["hello", "shop"]);
    assert!(matches!(rules.upstreams[1].transport, Transport::Sample(Sample::Http)));
    assert_eq!((rules.servers[0].path.as_str(), rules.servers[0].auth.as_slice()), ("/mcp", &[0u16][..]));
    let AuthMethod::Generated { keys } = &rules.identities[0].method else { panic!("generated keys") };
    assert_eq!((keys[0].id.as_str(), keys[0].groups.join(" ")), ("you", "everyone staff".to_owned()));
    assert_eq!(rules.policy.default, Effect::Deny);
    let last = rules.policy.rules.last().unwrap();
    assert_eq!((last.effect, last.patterns.as_slice()), (Effect::Deny, &[any("*.delete_*")][..]));
    assert!(matches!(last.to, To::Everyone));
    let everyone = &rules.traits[usize::from(rules.roles[0].yes)];
    assert_eq!(everyone.condition.ops, [Op::InGroups(Operand::Text("everyone".into()))]);
    assert_eq!(rules.body_bytes_max, 4 << 20);
    assert_eq!(rules.caps, Caps::default());
    assert_eq!(rules.sources.len(), 1);
    assert_eq!(rules.sources[0].path, "quickstart.yaml");
}

#[test]
fn a_team_is_joined_from_its_files() {
    let outcome = load(&example("team.yaml"), &|_| None);
    assert_eq!(outcome.errors(), 0, "{}", render(&outcome, false));
    assert!(
        outcome.watched.iter().any(|path| path.ends_with("teams")),
        "the folder of an include is watched"
    );
    let rules = rules(outcome);
    let sources: Vec<&str> = rules.sources.iter().map(|source| source.path.as_str()).collect();
    assert_eq!(
        sources,
        ["team.yaml", "teams/code.yaml", "teams/support.yaml", "${env:REPOSITORY:-/srv/repo}"],
        "files first, in load order, then what references brought in"
    );
    let ids: Vec<&str> = rules.policy.rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["no-deletes", "code-git", "support-reads", "support-refunds"]);
    assert!(matches!(&rules.identities[0].method, AuthMethod::KeyFile { path } if path == "keys.yaml"));
    assert_eq!(rules.listeners[0].hosts, ["localhost", "127.0.0.1", "[::1]", "gw.example"]);
    assert_eq!(rules.listeners[0].origins, ["https://gw.example"]);
    let Transport::Stdio(git) = &rules.upstreams[0].transport else { panic!("stdio") };
    assert_eq!(git.args, ["mcp-server-git", "--repository", "/srv/repo"]);
    assert_eq!((git.per, git.max, git.idle_ms), (Per::Session, 16, 600_000));
    assert!(matches!(&rules.upstreams[1].credential,
        Some(Credential::Bearer(text)) if matches!(&text.parts[..], [TextPart::Secret(name)] if name == "crm")));
    assert_eq!(rules.access_log.sample_ppm, 100_000);
    assert_eq!(rules.access_log.to, LogTo::File("access.jsonl".into()));
}

#[test]
fn a_clients_own_file_is_a_configuration() {
    let outcome = load(&example("mcp-servers.json"), &|_| None);
    assert!(outcome.findings.is_empty(), "{}", render(&outcome, false));
    let rules = rules(outcome);
    assert_eq!(rules.policy.default, Effect::Allow);
    assert_eq!((rules.servers[0].name.as_str(), rules.servers[0].path.as_str()), ("default", "/mcp"));
    assert!(rules.servers[0].auth.is_empty());
    assert_eq!(rules.servers[0].resources, [Pattern { kind: PatternKind::Resource, glob: "*".into() }]);
    let Transport::Stdio(time) = &rules.upstreams[0].transport else { panic!("stdio") };
    assert_eq!((time.command.as_str(), time.args[2].as_str()), ("uvx", "UTC"));
    let Transport::Stdio(memory) = &rules.upstreams[1].transport else { panic!("stdio") };
    assert!(matches!(&memory.env[0].1.parts[..],
        [TextPart::Env { name, default: None }, TextPart::Literal(rest)] if name == "HOME" && rest == "/memory.json"));
    let Transport::Http { endpoints } = &rules.upstreams[2].transport else { panic!("http") };
    assert_eq!(
        (endpoints[0].host.as_str(), endpoints[0].port, endpoints[0].path.as_str()),
        ("127.0.0.1", 9000, "/mcp")
    );
    assert!(
        matches!(&rules.upstreams[2].credential, Some(Credential::Header { name, .. }) if name == "Authorization")
    );
}

#[test]
fn the_same_text_gives_the_same_rules() {
    let print = || format!("{:?}", rules(load(&example("team.yaml"), &|_| None)));
    let first = print();
    for _ in 0..10 {
        assert_eq!(print(), first);
    }
    assert!(!first.contains(env!("CARGO_MANIFEST_DIR")), "no path of this machine is in a table");
}

#[test]
fn cedar_files_are_rules_like_others() {
    let outcome = load(&example("cedar.yaml"), &|_| None);
    assert_eq!(outcome.findings.len(), 0, "{}", render(&outcome, false));
    for watched in ["policies", "crm.cedar", "everywhere.cedar"] {
        assert!(outcome.watched.iter().any(|path| path.ends_with(watched)), "{watched} is watched");
    }
    let rules = rules(outcome);
    let sources: Vec<&str> = rules.sources.iter().map(|source| source.path.as_str()).collect();
    assert_eq!(sources, ["cedar.yaml", "policies/crm.cedar", "policies/everywhere.cedar"]);
    let said = |rule: &Rule| {
        let patterns: Vec<_> = rule.patterns.iter().map(|one| (one.kind, one.glob.clone())).collect();
        let to = matches!(&rule.to, To::Roles(roles) if roles == &[0]);
        (
            rule.id.clone(),
            rule.effect,
            patterns,
            to,
            rule.condition.is_some(),
            rule.place.source,
            rule.place.line,
        )
    };
    let (tool, any) = (PatternKind::Tool, PatternKind::Any);
    let expected = [
        ("reads", Effect::Allow, tool, "crm.*", false, true, 1, 3),
        ("refunds", Effect::Allow, tool, "crm.refund", false, true, 1, 10),
        ("admins", Effect::Allow, any, "*", true, false, 2, 2),
        ("no-drop", Effect::Deny, tool, "*", false, true, 2, 6),
    ];
    let found: Vec<_> = rules.policy.rules.iter().map(said).collect();
    let expected = expected.map(|(id, effect, kind, glob, to, asks, source, line)| {
        (id.to_owned(), effect, vec![(kind, glob.to_owned())], to, asks, source, line)
    });
    assert_eq!(found, expected);
}

/// A Cedar file belongs to the file that names it, and is called as it is seen from the root.
#[test]
fn an_included_file_brings_its_own_policies() {
    let folder = std::env::temp_dir().join(format!("strait-lowering-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("teams/policies")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write(
        "strait.yaml",
        "strait: 1\ninclude: teams/*.yaml\nupstreams: { u: { sample: http } }\npolicy: { default: deny, rules: [{ id: y, allow: [u.b] }] }\n\
         servers: { s: { path: /mcp, tools: [u.*] } }\n",
    );
    write("teams/a.yaml", "policy: { cedar: [policies/a.cedar] }\n");
    write("teams/policies/a.cedar", "permit (principal, action, resource == Tool::\"u.a\");");
    let rules = rules(load(&folder.join("strait.yaml"), &|_| None));
    let ids: Vec<&str> = rules.policy.rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["y", "teams/policies/a.cedar:policy0"]);
    assert_eq!(rules.sources[usize::from(rules.policy.rules[1].place.source)].path, "teams/policies/a.cedar");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_passes_the_compiler_is_a_table() {
    for name in ["quickstart.yaml", "team.yaml", "mcp-servers.json", "cedar.yaml"] {
        let write = || strait_table::file::write(&rules(load(&example(name), &|_| None)), None);
        let bytes = write();
        assert_eq!(bytes, write(), "{name}: same input, same bytes");
        strait_table::Snapshot::from_bytes(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_resolved_reference_counts_among_the_sources() {
    let http = "upstreams: { crm: { http: 'http://${env:HOST}:81/${env:NONE:-mcp}' } }";
    let rules = compile(http);
    let Transport::Http { endpoints } = &rules.upstreams[0].transport else { panic!("http") };
    assert_eq!(
        (endpoints[0].host.as_str(), endpoints[0].port, endpoints[0].path.as_str()),
        ("crm.internal", 81, "/mcp")
    );
    let sources: Vec<&str> = rules.sources.iter().map(|source| source.path.as_str()).collect();
    assert_eq!(sources, ["test.yaml", "${env:HOST}", "${env:NONE:-mcp}"]);
    assert_eq!(&rules.sources[1].blake3, blake3::hash(b"crm.internal").as_bytes());
}

#[test]
fn words_of_yaml_1_1_are_text() {
    let rules = compile(
        "upstreams: { on: { stdio: { command: yes, args: [no, off, 0x10, 1.10, ~x, true] } } }\nservers: { y: { path: /mcp, tools: [\"on.*\"] } }",
    );
    let Transport::Stdio(stdio) = &rules.upstreams[0].transport else { panic!("stdio") };
    assert_eq!((rules.upstreams[0].name.as_str(), stdio.command.as_str()), ("on", "yes"));
    assert_eq!(stdio.args, ["no", "off", "0x10", "1.10", "~x", "true"]);
}

#[test]
fn paths_are_kept_as_seen_from_the_roots_folder() {
    let rules = compile(
        "upstreams:\n  a: { stdio: { command: ./bin/../run.sh, cwd: ./work } }\n  b: { stdio: { command: run, cwd: /srv } }\n  c: { stdio: { command: ../run } }\naccess_log: { path: logs/../access.jsonl }",
    );
    let stdio = |at: usize| match &rules.upstreams[at].transport {
        Transport::Stdio(stdio) => (stdio.command.as_str(), stdio.cwd.as_deref()),
        _ => panic!("stdio"),
    };
    assert_eq!(stdio(0), ("./run.sh", Some("work")));
    assert_eq!(stdio(1), ("run", Some("/srv")));
    assert_eq!(stdio(2), ("../run", None));
    assert_eq!(rules.access_log.to, LogTo::File("access.jsonl".into()));
}

#[test]
fn defaults_are_what_the_schema_says() {
    let rules = compile(
        "upstreams:\n  a: { stdio: { command: x } }\n  b: { http: http://b }\nservers: { s: { path: /s, tools: [] } }",
    );
    let Transport::Stdio(stdio) = &rules.upstreams[0].transport else { panic!("stdio") };
    assert_eq!((stdio.per, stdio.max, stdio.idle_ms, stdio.cwd.as_deref()), (Per::Shared, 1, 600_000, None));
    let timeout = rules.upstreams[1].timeout;
    assert_eq!((timeout.connect_ms, timeout.first_byte_ms, timeout.call_ms), (1_000, 30_000, 60_000));
    assert_eq!((rules.upstreams[1].era, rules.upstreams[1].list_ttl_ms), (Era::Auto, 0));
    let kept = compile("upstreams: { a: { http: http://a, list_ttl: 90s } }");
    assert_eq!(kept.upstreams[0].list_ttl_ms, 90_000);
    assert_eq!(rules.servers[0].naming, Naming::Auto);
    assert!(rules.servers[0].prompts.is_empty() && rules.servers[0].resources.is_empty());
    assert_eq!((rules.access_log.to.clone(), rules.access_log.sample_ppm), (LogTo::Stdout, 1_000_000));
    assert_eq!(rules.listeners[0].name, "main");
    assert_eq!(compile("access_log: off").access_log.to, LogTo::Off);
}

#[test]
fn an_audit_log_is_as_its_block_says_and_a_rule_may_say_otherwise() {
    assert!(compile("").audit.is_none());
    let audit = |rest: &str| compile(&format!("audit: {{ path: ./log/../audit{rest} }}")).audit.unwrap();
    let usual = audit("");
    assert_eq!(
        (usual.path.as_str(), usual.payload, usual.durability),
        ("audit", Payload::Redacted, Durability::Async)
    );
    assert_eq!((usual.when_full, usual.every_ms, usual.checkpoint_ms), (WhenFull::Block, 2, 1_000));
    assert_eq!((usual.rotate_bytes, usual.keep_s), (256 << 20, None));
    let said = audit(
        ", payload: none, durability: intent, when_full: drop, every: 10ms, checkpoint: 1m, rotate: 1GiB, keep: 90d",
    );
    assert_eq!(
        (said.payload, said.durability, said.when_full),
        (Payload::None, Durability::Intent, WhenFull::Drop)
    );
    assert_eq!((said.every_ms, said.checkpoint_ms, said.rotate_bytes), (10, 60_000, 1 << 30));
    assert_eq!(said.keep_s, Some(90 * 86_400));
    assert!(usual.ship.is_empty() && usual.anchors.is_empty() && usual.encrypt.is_empty());
    let sealed =
        audit(", encrypt: { recipients: [age1sah4jl4wdtqn3x85mq0rvrd20zqafjameyfemmned548zt29genq0u2tr3] }");
    assert_eq!(&sealed.encrypt[0][..4], [135, 111, 89, 126], "{:x?}", sealed.encrypt);
    let rules = rules(load_text(
        "test.yaml",
        "strait: 1\naudit: { path: a }\nupstreams: { up: { http: http://a } }\npolicy: { default: allow, rules: [ { id: r, deny: [\"up.*\"], audit: { payload: full } } ] }",
        &env,
    ));
    assert_eq!(rules.policy.rules[0].audit.payload, Some(Payload::Full));
    assert_eq!(rules.policy.rules[0].audit.durability, None);
}

#[test]
fn collectors_and_anchors_are_read_with_their_defaults() {
    let audit = compile(
        "audit:\n  path: a\n  ship:\n    - { id: relay, syslog: \"tcp://localhost:5140\" }\n    \
         - { id: siem, syslog: \"tls://[2001:db8::1]\", format: cef, from: now }\n    \
         - { id: splunk, hec: \"https://splunk.example:8088/\", token: \"${secret:splunk}\", acknowledge: 2m }\n    \
         - { id: otel, otlp: \"http://127.0.0.1:4318/\", headers: { X-Key: \"${secret:o}\" }, format: ecs }\n    \
         - { id: hook, webhook: \"https://hook.example/in?a=b\", secret: \"${secret:hook}\" }\n  anchors:\n    \
         - stdout\n    - { file: ./checkpoints, every: 1m }\n    - { webhook: \"https://hook.example\", secret: \"${secret:hook}\" }",
    );
    let audit = audit.audit.unwrap();
    let said: Vec<String> =
        audit.ship.iter().map(|ship| format!("{} {:?} {:?}", ship.id, ship.format, ship.begin)).collect();
    assert_eq!(
        said,
        [
            "relay Ndjson Oldest",
            "siem Cef Now",
            "splunk Ndjson Oldest",
            "otel Ecs Oldest",
            "hook Ndjson Oldest"
        ]
    );
    let to = |at: usize| &audit.ship[at].to;
    assert!(matches!(to(0), Collector::Syslog { tls: false, host, port: 5140 } if host == "localhost"));
    assert!(matches!(to(1), Collector::Syslog { tls: true, host, port: 6514 } if host == "2001:db8::1"));
    assert!(
        matches!(to(2), Collector::Hec { url, ack_ms: 120_000, .. } if url == "https://splunk.example:8088")
    );
    assert!(
        matches!(to(3), Collector::Otlp { endpoint, headers } if endpoint == "http://127.0.0.1:4318" && headers.len() == 1)
    );
    assert!(matches!(to(4), Collector::Webhook { url, .. } if url == "https://hook.example/in?a=b"));
    assert!(matches!(&audit.anchors[0], Anchor { to: Keeper::Stdout, every_ms: 10_000 }));
    assert!(
        matches!(&audit.anchors[1], Anchor { to: Keeper::File(path), every_ms: 60_000 } if path == "checkpoints")
    );
    assert!(matches!(&audit.anchors[2].to, Keeper::Webhook { .. }));
}

#[test]
fn telemetry_is_read_with_its_defaults() {
    let silent = compile("access_log: off").telemetry;
    assert!(silent.otlp.is_none() && silent.traces.is_none());
    assert_eq!(silent.server_timing, ServerTiming::Never);
    let least =
        compile("telemetry: { otlp: { endpoint: \"http://127.0.0.1:4318/\" }, traces: {} }").telemetry;
    let otlp = least.otlp.unwrap();
    assert_eq!(
        (otlp.endpoint.as_str(), otlp.every_ms, otlp.metrics),
        ("http://127.0.0.1:4318", 10_000, true)
    );
    assert_eq!(least.traces, Some(Traces { sample_ppm: 10_000, slower_than_ms: None, errors: true }));
    let most = compile(
        "telemetry:\n  otlp: { endpoint: \"https://o.example/a\", every: 1m, metrics: false, headers: { X-Key: \"${secret:o}\" } }\n  \
         traces: { sample: 2.5%, slower_than: 250ms, errors: false }\n  server_timing: asked",
    );
    let otlp = most.telemetry.otlp.unwrap();
    assert_eq!((otlp.endpoint.as_str(), otlp.every_ms, otlp.metrics), ("https://o.example/a", 60_000, false));
    assert!(matches!(&otlp.headers[0].value.parts[..], [TextPart::Secret(name)] if name == "o"));
    let traces = Traces { sample_ppm: 25_000, slower_than_ms: Some(250), errors: false };
    assert_eq!((most.telemetry.traces, most.telemetry.server_timing), (Some(traces), ServerTiming::Asked));
    assert_eq!(compile("access_log: { sample: 1% }").access_log.sample_ppm, 10_000);
}

#[test]
fn numbers_in_the_table_are_those_of_the_text() {
    let rules = compile(
        "upstreams: { a: { sample: http } }\nservers: { s: { path: /s, tools: [\"*\"], auth: [two, one] } }\nidentity:\n  one: { api_keys: { generate: [{ id: x }] } }\n  two: { api_keys: { generate: [{ id: y }] } }",
    );
    assert_eq!(rules.servers[0].auth, [1, 0], "in the order they are tried");
}

/// Compiles a server whose instructions are this text, in a file that a JSON writer made, and gives back what came of
/// them. What would begin a reference is written as `$${`.
fn instructions_by_json(text: &str, pretty: bool) -> String {
    let config = serde_json::json!({
        "strait": 1,
        "policy": { "default": "allow" },
        "upstreams": { "a": { "sample": "http" } },
        "servers": { "s": { "path": "/s", "tools": ["*"], "instructions": text.replace("${", "$${") } },
    });
    let json = if pretty { indented_by_tabs(&config) } else { config.to_string() };
    let mut rules = rules(load_text("any.json", &json, &env));
    rules.servers.remove(0).instructions
}

/// Spaces inside a text stay: only those before a line's first character are its indentation.
fn indented_by_tabs(config: &serde_json::Value) -> String {
    let printed = format!("{config:#}");
    let lines = printed.lines().map(|line| {
        let said = line.trim_start_matches(' ');
        "\t".repeat((line.len() - said.len()) / 2) + said
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn dollars_and_braces_come_back_as_they_were() {
    for text in [
        "$${",
        "${{",
        "$${*f",
        "a$$${b}",
        "${${${",
        "$${env:HOST}${env:HOST}",
        "$$",
        "$ {x}",
        "\u{2028}${\u{a0}",
        "two  spaces",
    ] {
        for pretty in [false, true] {
            assert_eq!(instructions_by_json(text, pretty), text);
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// JSON is a subset of what we read: any text that a JSON writer escapes comes back as it was.
    #[test]
    fn any_json_text_is_read_as_json_means_it(text in "\\PC{0,40}|[\\x01-\\x7e\u{a0}\u{2028}\u{1f600}]{0,20}|[${}:env]{0,12}", pretty: bool) {
        proptest::prop_assert_eq!(instructions_by_json(&text, pretty), text);
    }
}

#[test]
fn each_measure_is_a_limit_and_what_is_left_alone_keeps_its_state() {
    let with = |limits: &str| {
        compile(&format!(
            "upstreams: {{ crm: {{ sample: http }} }}\nservers: {{ s: {{ path: /s, tools: [\"*\"] }} }}\nprices: {{ \"crm.*\": 0.002 usd }}\nlimits:\n{limits}"
        ))
    };
    let rules = with(
        "  - { id: all, per: [tool, principal], on: [\"tool:crm.*\"], rate: 20/min, calls: 10/h, cost: 2.5 usd/day, concurrency: 8 }\n  - { per: [], calls: 1/day }",
    );
    let told: Vec<(&str, Measure)> =
        rules.limits.iter().map(|limit| (limit.id.as_str(), limit.measure)).collect();
    assert_eq!(
        told,
        [
            ("all", Measure::Rate { count: 20, per: Unit::Minute, burst: 20 }),
            ("all", Measure::Calls { max: 10, per: Unit::Hour }),
            ("all", Measure::Cost { max_micro_usd: 2_500_000, per: Unit::Day }),
            ("all", Measure::Concurrency { max: 8 }),
            ("limit-2", Measure::Calls { max: 1, per: Unit::Day }),
        ]
    );
    assert_eq!(rules.limits[0].per, [Facet::Principal, Facet::Tool]);
    assert_eq!(rules.limits[0].on, [Pattern { kind: PatternKind::Tool, glob: "crm.*".into() }]);
    assert_eq!((rules.prices[0].on.clone(), rules.prices[0].micro_usd), (any("crm.*"), 2_000));
    // Other numbers in a window or of calls at once count on; another rate begins anew; what has no name of its own
    // is known by all that it says.
    let states = |rules: &Rules| -> Vec<u64> { rules.limits.iter().map(|limit| limit.state).collect() };
    let changed = with(
        "  - { id: all, per: [principal, tool], rate: 30/min, calls: 5/h, cost: 9 usd/day, concurrency: 1 }\n  - { per: [], calls: 2/day }",
    );
    let same: Vec<bool> = states(&rules).iter().zip(states(&changed)).map(|(a, b)| *a == b).collect();
    assert_eq!(same, [false, true, true, true, false]);
    let mut all = states(&rules);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 5);
}
