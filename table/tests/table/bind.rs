//! Joining rules with what upstreams list: which names are exposed, what is left out and told, and that a
//! definition keeps its bytes.

use strait_policy::Traits;
use strait_table::bind::{BindFinding, INSTRUCTIONS_BYTES_MAX, NAME_BYTES_MAX};
use strait_table::bound::{Bound, Capabilities, Shelf};
use strait_table::catalog::{Catalog, Definition, Known, Lists, Scopes};
use strait_table::limit::{Limit, Measure, Price};
use strait_table::rules::*;
use strait_table::snapshot::of_rules;
use strait_table::{Kind, bind};

use crate::support::*;

fn bound(rules: &Rules, catalog: &Catalog) -> (Bound, Vec<BindFinding>) {
    let snapshot = of_rules(rules).unwrap();
    let (bound, findings) = bind(snapshot.rules(), catalog);
    snapshot.with_bound(&bound).expect("what bind makes is sound");
    (bound, findings)
}

fn names(shelf: &Shelf) -> Vec<&str> {
    shelf.items.iter().map(|item| item.exposed.as_str()).collect()
}

/// One tool of one upstream, shown as `git__log`.
fn prefixed(definition: Definition) -> Result<String, String> {
    let mut rules = rules();
    rules.servers[0].naming = Naming::Prefix;
    let mut catalog = catalog();
    catalog.upstreams = vec![Lists { known: Known::Fresh, tools: vec![definition], ..Lists::default() }];
    let (bound, findings) = bound(&rules, &catalog);
    match findings.first() {
        Some(finding) => Err(finding.reason.to_string()),
        None => Ok(bound.fragments[bound.servers[0].tools.items[0].fragment as usize].clone()),
    }
}

#[test]
fn names_are_bare_or_prefixed() {
    #[track_caller]
    fn check(naming: Naming, tools: &[&str], resources: &[Pattern], expected: &[&str]) {
        let mut rules = rules();
        rules.servers = vec![Server { naming, resources: resources.to_vec(), ..server("s", "/mcp", tools) }];
        rules.servers[0].prompts.clear();
        let (bound, findings) = bound(&rules, &catalog());
        assert_eq!(findings, []);
        assert_eq!(names(&bound.servers[0].tools), expected);
    }
    use Naming::*;
    check(Auto, &["*"], &[], &["git__log", "git__push", "crm__get"]);
    check(Auto, &["git.*"], &[], &["log", "push"]);
    check(Auto, &["git.log"], &[], &["log"]);
    check(Auto, &["g*g"], &[], &["log"]);
    check(Auto, &["*g*"], &[], &["git__log", "git__push", "crm__get"]);
    check(Auto, &["git.log", "crm.get"], &[], &["git__log", "crm__get"]);
    // What a server joins is said by its patterns, not by what happens to be listed today.
    check(Auto, &["git.log", "crm.none"], &[], &["git__log"]);
    check(Auto, &["git.*"], &patterns(PatternKind::Any, &["crm.*"]), &["git__log", "git__push"]);
    check(Auto, &["git.*"], &patterns(PatternKind::Resource, &["note://*"]), &["log", "push"]);
    check(Auto, &["git", "gi", "crm"], &[], &[]);
    check(Auto, &[], &[], &[]);
    check(Prefix, &["git.*"], &[], &["git__log", "git__push"]);
    check(Bare, &["*"], &[], &["log", "push", "get"]);
}

#[test]
fn patterns_speak_of_their_kind() {
    let mut catalog = catalog();
    let git = &mut catalog.upstreams[0];
    let prompt = |name: &str| Definition { name: name.into(), json: format!(r#"{{"name":"{name}"}}"#) };
    git.prompts = vec![prompt("log"), prompt("review")];
    git.resources = vec![resource("note://a"), resource("file:///a")];
    git.templates = vec![template("note://{id}")];
    catalog.upstreams[1].resources = vec![resource("note://crm")];
    let check = |tools: &[Pattern], prompts: &[Pattern], resources: &[Pattern], expected: [&[&str]; 4]| {
        let mut rules = rules();
        let server = &mut rules.servers[0];
        server.naming = Naming::Bare;
        (server.tools, server.prompts, server.resources) =
            (tools.to_vec(), prompts.to_vec(), resources.to_vec());
        let (bound, findings) = bound(&rules, &catalog);
        assert_eq!(findings, []);
        let server = &bound.servers[0];
        let found = [&server.tools, &server.prompts, &server.resources, &server.templates].map(names);
        assert_eq!(found.each_ref().map(Vec::as_slice), expected);
    };
    use PatternKind::*;
    let any = |globs: &[&str]| patterns(Any, globs);
    check(&any(&["git.log"]), &[], &[], [&["log"], &[], &[], &[]]);
    check(&[], &any(&["git.log"]), &[], [&[], &["log"], &[], &[]]);
    check(
        &patterns(Tool, &["*"]),
        &patterns(Prompt, &["git.r*"]),
        &[],
        [&["log", "push", "get"], &["review"], &[], &[]],
    );
    // A pattern of another kind than its list says nothing there.
    check(&patterns(Prompt, &["*"]), &patterns(Tool, &["*"]), &patterns(Tool, &["*"]), [&[], &[], &[], &[]]);
    check(&[], &[], &any(&["git.note:*"]), [&[], &[], &["note://a"], &["note://{id}"]]);
    // Over bare URIs, of every upstream; and not when the pattern is not said to be of resources.
    check(
        &[],
        &[],
        &patterns(Resource, &["note://*"]),
        [&[], &[], &["note://a", "note://crm"], &["note://{id}"]],
    );
    check(&[], &[], &patterns(Resource, &["git.file:*"]), [&[], &[], &["file:///a"], &[]]);
    check(&[], &[], &any(&["note://*"]), [&[], &[], &[], &[]]);
}

#[test]
fn rules_are_joined_to_what_they_speak_of() {
    let mut catalog = catalog();
    catalog.upstreams[0].resources = vec![resource("note://a")];
    let mut rules = rules();
    let everyone = |kind, globs: &[&str]| rule(Effect::Deny, kind, globs, To::Everyone);
    rules.policy.rules = vec![
        everyone(PatternKind::Any, &["*"]),
        everyone(PatternKind::Tool, &["git.log", "crm.*"]),
        everyone(PatternKind::Prompt, &["*"]),
        everyone(PatternKind::Resource, &["note://*"]),
        // By what the upstream calls it, never by what agents call it.
        everyone(PatternKind::Any, &["git__log"]),
    ];
    let (bound, _) = bound(&rules, &catalog);
    let server = &bound.servers[0];
    let joined: Vec<&[u32]> = server.tools.items.iter().map(|item| item.rules.as_slice()).collect();
    assert_eq!(joined, [&[0, 1][..], &[0], &[0, 1]]);
    assert_eq!(server.resources.items[0].rules, [0, 3]);
}

#[test]
fn limits_and_prices_are_joined_to_what_they_speak_of() {
    let limit = |on: Vec<Pattern>, to| Limit {
        id: "l".into(),
        state: 0,
        per: Vec::new(),
        on,
        to,
        measure: Measure::Concurrency { max: 1 },
    };
    let price = |kind, glob: &str, micro_usd| Price {
        on: Pattern { kind, glob: glob.into() },
        micro_usd,
        kib_micro_usd: 0,
        told: None,
        up_to_micro_usd: None,
    };
    let rules = Rules {
        limits: vec![
            limit(Vec::new(), To::Everyone),
            limit(patterns(PatternKind::Tool, &["git.*"]), To::Everyone),
            limit(patterns(PatternKind::Prompt, &["git.*"]), To::Everyone),
            limit(patterns(PatternKind::Any, &["x", "*.get"]), To::Roles(vec![0])),
            limit(patterns(PatternKind::Resource, &["file:///x*"]), To::Everyone),
        ],
        prices: vec![
            price(PatternKind::Any, "git.*", 5),
            price(PatternKind::Any, "*.push", 7),
            price(PatternKind::Any, "git.push", 6),
            price(PatternKind::Resource, "file:///x/dear", 9),
            // What a call may cost at most is what counts.
            Price { kib_micro_usd: 1, up_to_micro_usd: Some(8), ..price(PatternKind::Any, "git.push", 1) },
            price(PatternKind::Any, "git.pus*", 8),
        ],
        traits: vec![a_trait(0)],
        roles: vec![role(0)],
        ..rules()
    };
    let (bound, _) = bound(&rules, &catalog());
    let found: Vec<(&str, &[u16], Option<u16>)> = bound.servers[0]
        .tools
        .items
        .iter()
        .map(|item| (item.exposed.as_str(), item.limits.as_slice(), item.price))
        .collect();
    let expected: [(&str, &[u16], Option<u16>); 3] =
        [("git__log", &[0, 1], Some(0)), ("git__push", &[0, 1], Some(4)), ("crm__get", &[0, 3], None)];
    assert_eq!(found, expected);
    let mut prints: Vec<u64> = bound.servers[0].tools.items.iter().map(|item| item.print).collect();
    prints.dedup();
    assert_eq!(prints.len(), 3);
    let snapshot = of_rules(&rules).unwrap().with_bound(&bound).unwrap();
    let get = &snapshot.bound().servers[0].tools.items[2];
    let mut roles = Traits::none(1);
    assert_eq!(snapshot.limits_met(get, &roles).count(), 1);
    roles.insert(0);
    assert_eq!(snapshot.limits_met(get, &roles).count(), 2);
    let of = |uri: &str| {
        let found = snapshot.limits_of_uri(0, uri).unwrap();
        (found.limits, found.price)
    };
    assert_eq!(of("file:///x/dear"), (vec![0, 4], Some(3)));
    assert_eq!(of("file:///y"), (vec![0], Some(0)));
    // Whatever could be reached by a method that only the upstream knows.
    let found = snapshot.limits_of_method(0, "vendor/thing").unwrap();
    assert_eq!((found.limits, found.price), (vec![0, 1, 2, 3, 4], Some(0)));
    assert_eq!(snapshot.limits_of_method(1, "vendor/thing").unwrap().limits, [0, 3, 4]);
    assert!(snapshot.limits_of_method(2, "vendor/thing").is_none());
}

#[test]
fn what_cannot_be_exposed_is_left_out_and_told() {
    let check = |naming,
                 first: Vec<Definition>,
                 second: Vec<Definition>,
                 shown: &[&str],
                 told: &[(&str, &str, &str)]| {
        let mut rules = rules();
        rules.servers[0].naming = naming;
        let lists = |tools| Lists { known: Known::Fresh, tools, ..Lists::default() };
        let catalog = Catalog { upstreams: vec![lists(first), lists(second)] };
        let (bound, findings) = bound(&rules, &catalog);
        assert_eq!(names(&bound.servers[0].tools), shown);
        let found: Vec<(&str, &str, &str)> = findings
            .iter()
            .map(|finding| (finding.upstream.as_str(), finding.name.as_str(), &*finding.reason))
            .collect();
        assert_eq!(found, told);
        assert!(findings.iter().all(|finding| finding.server == "default"));
    };
    let taken = "another upstream exposes this name already";
    check(Naming::Bare, vec![tool("a")], vec![tool("a"), tool("b")], &["a", "b"], &[("crm", "a", taken)]);
    check(Naming::Prefix, vec![tool("a")], vec![tool("a")], &["git__a", "crm__a"], &[]);
    let twice = "its upstream lists it twice";
    check(Naming::Bare, vec![tool("a"), tool("a")], vec![], &["a"], &[("git", "a", twice)]);
    // What is left out does not take a name.
    let ambiguous = "its definition does not name it exactly once";
    let nameless = Definition { name: "a".into(), json: "{}".into() };
    check(Naming::Bare, vec![nameless], vec![tool("a")], &["a"], &[("git", "a", ambiguous)]);
    check(Naming::Bare, vec![tool("")], vec![], &[], &[("git", "", "its name is empty")]);
    let control = Definition { name: "\u{1b}[2J".into(), json: "{}".into() };
    check(
        Naming::Bare,
        vec![control],
        vec![],
        &[],
        &[("git", "\\u{1b}[2J", "its name has a control character")],
    );
    let (longest, longer) = ("n".repeat(NAME_BYTES_MAX), "n".repeat(NAME_BYTES_MAX + 1));
    let told = [("git", &longer[..128], "its name is longer than 1,024 bytes")];
    check(Naming::Bare, vec![tool(&longest), tool(&longer)], vec![], &[&longest], &told);
}

#[test]
fn two_upstreams_may_meet_at_one_prefixed_name() {
    let mut rules = rules();
    rules.upstreams = vec![upstream("a"), upstream("a__b")];
    let catalog = Catalog { upstreams: vec![lists(&["b__c"]), lists(&["c"])] };
    let (bound, findings) = bound(&rules, &catalog);
    assert_eq!(names(&bound.servers[0].tools), ["a__b__c"]);
    assert_eq!(bound.servers[0].tools.items[0].upstream, 0);
    assert_eq!(findings[0].reason, "another upstream exposes this name already");
}

#[test]
fn of_two_upstreams_with_one_uri_the_second_s_is_shown_under_its_name() {
    let app = |name: &str, meta: &str| Definition {
        name: name.into(),
        json: format!(r#"{{ "_meta" : {meta},"name":"{name}"}}"#),
    };
    let ui = r#"{"ui":{"x":1, "resourceUri":"ui:\/\/a/b"},"ui/resourceUri":"ui://a/b"}"#;
    let own = r#"{"ui":{"resourceUri":"ui://own"}}"#;
    let lists = |uris: &[&str], templates: &[&str]| Lists {
        known: Known::Fresh,
        tools: vec![app("t", ui), app("own", own)],
        resources: uris.iter().map(|uri| resource(uri)).collect(),
        templates: templates.iter().map(|uri| template(uri)).collect(),
        ..Lists::default()
    };
    let git = lists(&["note://a", "ui://a/b"], &["file:///{path}", "git://{x}"]);
    let crm = lists(
        &["note://a", "ui://a/b", "note://b", "note://a", "file:///z"],
        &["file:///{+path}", "file:///b/{x}", "crm://{x}"],
    );
    let rules = rules();
    let catalog = Catalog { upstreams: vec![git, crm] };
    let (bound, findings) = bound(&rules, &catalog);
    let server = &bound.servers[0];
    assert_eq!(
        names(&server.resources),
        ["note://a", "ui://a/b", "mcp+crm://note%3A%2F%2Fa", "ui://crm/a/b", "note://b", "file:///z"]
    );
    assert_eq!(
        names(&server.templates),
        [
            "file:///{path}",
            "git://{x}",
            "mcp+crm://file%3A%2F%2F%2F{+path}",
            "mcp+crm://file%3A%2F%2F%2Fb%2F{x}",
            "crm://{x}"
        ]
    );
    assert_eq!(server.renamed_uris, [1]);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].reason, "its upstream lists it twice");
    let fragment = |item: &strait_table::bound::Item| bound.fragments[item.fragment as usize].as_str();
    assert_eq!(fragment(&server.resources.items[2]), r#"{"uri":"mcp+crm://note%3A%2F%2Fa","name":"r"}"#);
    assert_eq!(server.templates.items[2].glob, "mcp+crm://file%3A%2F%2F%2F*");
    // A tool is shown with the resource that is its own.
    assert_eq!(fragment(&server.tools.items[0]), format!(r#"{{ "_meta" : {ui},"name":"git__t"}}"#));
    let moved = r#"{"ui":{"x":1, "resourceUri":"ui://crm/a/b"},"ui/resourceUri":"ui://crm/a/b"}"#;
    assert_eq!(fragment(&server.tools.items[2]), format!(r#"{{ "_meta" : {moved},"name":"crm__t"}}"#));
    assert_eq!(fragment(&server.tools.items[3]), format!(r#"{{ "_meta" : {own},"name":"crm__own"}}"#));
    // There and back.
    let snapshot = of_rules(&rules).unwrap().with_bound(&bound).unwrap();
    let server = &snapshot.bound().servers[0];
    for (uri, shown) in [
        ("note://a", Some("mcp+crm://note%3A%2F%2Fa")),
        ("ui://a/b", Some("ui://crm/a/b")),
        ("note://b", None),
        ("file:///z", None),
        ("file:///a%20b/c", Some("mcp+crm://file%3A%2F%2F%2Fa%20b/c")),
        ("crm://1", None),
        ("other://a", None),
    ] {
        assert_eq!(server.shown_uri(1, "crm", uri).as_deref(), shown, "{uri}");
        assert_eq!(server.shown_uri(0, "git", uri), None, "{uri}");
    }
    let template = &server.templates.items[2];
    assert_eq!(template.covered_uri("mcp+crm://file%3A%2F%2F%2Fa%20b/c").as_deref(), Some("file:///a%20b/c"));
    assert_eq!(server.templates.items[0].covered_uri("file:///a"), None);
}

#[test]
fn a_rename_changes_the_name_and_no_other_byte() {
    #[track_caller]
    fn check(name: &str, json: &str, expected: Result<&str, &'static str>) {
        let found = prefixed(Definition { name: name.into(), json: json.into() });
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }
    let ambiguous = Err("its definition does not name it exactly once");
    check("log", r#"{"name":"log"}"#, Ok(r#"{"name":"git__log"}"#));
    check(
        "log",
        "{ \"title\" : \"log\",\n\t\"name\" : \"log\" , \"n\":1.0e+2 , \"x\":[1,{\"name\":\"log\"}] }",
        Ok(
            "{ \"title\" : \"log\",\n\t\"name\" : \"git__log\" , \"n\":1.0e+2 , \"x\":[1,{\"name\":\"log\"}] }",
        ),
    );
    check(
        "log",
        r##"{"inputSchema":{"$defs":{"name":{"$ref":"#/$defs/name"}},"properties":{"name":{"type":"string"}}},"name":"log"}"##,
        Ok(
            r##"{"inputSchema":{"$defs":{"name":{"$ref":"#/$defs/name"}},"properties":{"name":{"type":"string"}}},"name":"git__log"}"##,
        ),
    );
    // Escapes in key and value are read; what is written needs none.
    check(
        "log",
        r#"{"n\u0061me":"l\u006fg","d":"\"name\":\"x\""}"#,
        Ok(r#"{"n\u0061me":"git__log","d":"\"name\":\"x\""}"#),
    );
    check("sagt \"ü\"\\", r#"{"name":"sagt \"ü\"\\"}"#, Ok(r#"{"name":"git__sagt \"ü\"\\"}"#));
    for json in [
        "{}",
        r#"{"Name":"log"}"#,
        r#"{"name":"log","name":"log"}"#,
        r#"{"name":"log","n\u0061me":"evil"}"#,
        r#"{"name":"evil"}"#,
        r#"{"name":1}"#,
        r#"{"name":["log"]}"#,
        r#"{"name":{"log":"log"}}"#,
    ] {
        check("log", json, ambiguous);
    }
    let deep = format!(r#"{{"name":"log","x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    for json in [
        "",
        "[]",
        "null",
        r#"{"name":"log""#,
        r#"{"name":"log"} "x""#,
        r#"{"name":"log",}"#,
        r#"{"name":"log","x":1..2}"#,
        r#"{"name":"log","x":"\q"}"#,
        r#"{"name":"log","x":"\ud800"}"#,
        r#"{"name":"log","x":1e999}"#,
        &deep,
    ] {
        check("log", json, Err("its definition is not a JSON object that every client can read"));
    }
}

#[test]
fn what_keeps_its_name_must_say_it_once_too() {
    let refused = |lists: Lists| {
        let mut rules = rules();
        rules.servers[0].naming = Naming::Bare;
        let (bound, findings) = bound(&rules, &Catalog { upstreams: vec![lists] });
        assert_eq!(bound.fragments.len(), 0);
        assert_eq!(findings[0].reason, "its definition does not name it exactly once");
    };
    let twice = |key: &str| Definition { name: "a".into(), json: format!(r#"{{"{key}":"a","{key}":"b"}}"#) };
    refused(Lists { tools: vec![twice("name")], ..Lists::default() });
    refused(Lists { prompts: vec![twice("name")], ..Lists::default() });
    refused(Lists { resources: vec![twice("uri")], ..Lists::default() });
    refused(Lists { templates: vec![twice("uriTemplate")], ..Lists::default() });
}

#[test]
fn a_definition_that_several_servers_show_is_kept_once() {
    let mut rules = rules();
    rules.servers =
        vec![server("a", "/a", &["git.*"]), server("b", "/b", &["git.*"]), server("c", "/c", &["*"])];
    rules.paths = strait_table::names::Names::build(["/a", "/b", "/c"].into_iter());
    let (bound, _) = bound(&rules, &catalog());
    assert_eq!(bound.fragments.len(), 2 + 3);
    let fragments = |server: usize| bound.servers[server].tools.items.iter().map(|item| item.fragment);
    assert!(fragments(0).eq(fragments(1)));
}

#[test]
fn templates_stand_for_the_uris_they_make() {
    let globs = |templates: &[&str]| -> Vec<String> {
        let mut catalog = catalog();
        catalog.upstreams[0].templates = templates.iter().map(|uri| template(uri)).collect();
        let (bound, _) = bound(&rules(), &catalog);
        bound.servers[0].templates.items.iter().map(|item| item.glob.clone()).collect()
    };
    assert_eq!(
        globs(&["file:///{path}", "a/{x}/b/{+y}{?q*}", "plain:x", "open:{x", "}{"]),
        ["file:///*", "a/*/b/**", "plain:x", "open:*", "}*"]
    );
}

#[test]
fn a_server_tells_what_its_upstreams_tell() {
    let mut catalog = catalog();
    catalog.upstreams[0].instructions = Some("use log".into());
    catalog.upstreams[0].capabilities.completions = true;
    catalog.upstreams[1].capabilities.logging = true;
    let mut rules = rules();
    rules.servers.push(Server { instructions: "ours".into(), ..server("crm", "/crm", &["crm.*"]) });
    rules.servers.push(server("git", "/git", &["git.*"]));
    rules.paths = strait_table::names::Names::build(["/mcp", "/crm", "/git"].into_iter());
    let told = |catalog: &Catalog| {
        let (bound, _) = bound(&rules, catalog);
        let told = |server: &strait_table::bound::BoundServer| {
            let sections = server.sections.iter().map(|section| (section.upstream, section.text.clone()));
            (
                server.instructions.clone(),
                sections.collect::<Vec<_>>(),
                server.capabilities.completions,
                server.capabilities.logging,
                server.partial,
            )
        };
        [told(&bound.servers[0]), told(&bound.servers[1]), told(&bound.servers[2])]
    };
    let joined = vec![(0, "# git\nuse log\n".to_owned())];
    // Where there is one upstream, its words are passed on as they are.
    let alone = vec![(0, "use log".to_owned())];
    let (none, ours) = (String::new(), "ours".to_owned());
    let crm = |partial| (ours.clone(), vec![], false, true, partial);
    assert_eq!(
        told(&catalog),
        [
            (none.clone(), joined.clone(), true, true, false),
            crm(false),
            (none.clone(), alone.clone(), true, false, false)
        ]
    );
    // A server misses what its own upstreams miss; what was last good stays.
    catalog.upstreams[0].known = Known::Stale;
    assert_eq!(
        told(&catalog),
        [(none.clone(), joined, true, true, true), crm(false), (none.clone(), alone, true, false, true)]
    );
    let unknown = (none.clone(), vec![], false, false, true);
    assert_eq!(
        told(&Catalog::default()),
        [unknown.clone(), (ours.clone(), vec![], false, false, true), unknown]
    );
    let unheard = of_rules(&rules).unwrap();
    assert!(unheard.bound().servers[1].partial);
    assert_eq!(unheard.bound().servers[1].instructions, "ours");
    assert_eq!(unheard.bound().servers[0].shelf(Kind::Tool).items.len(), 0);
}

#[test]
fn a_server_can_what_it_lets_through() {
    let all = Capabilities {
        tools: true,
        prompts: true,
        resources: true,
        subscribe: true,
        completions: true,
        logging: true,
        core_tasks: true,
        tasks: true,
        ui: true,
    };
    let check = |declared: [Capabilities; 2], change: &dyn Fn(&mut Server), expected: Capabilities| {
        let mut rules = rules();
        change(&mut rules.servers[0]);
        let known = |capabilities| Lists { known: Known::Fresh, capabilities, ..Lists::default() };
        let (bound, _) = bound(&rules, &Catalog { upstreams: declared.map(known).into() });
        assert_eq!(bound.servers[0].capabilities, expected);
        assert_eq!(bound.upstreams, declared);
    };
    let none = Capabilities::default();
    let tools = Capabilities { tools: true, ..none };
    check([none, none], &|_| {}, none);
    check([all, none], &|_| {}, all);
    check([tools, Capabilities { logging: true, ..none }], &|_| {}, Capabilities { logging: true, ..tools });
    // Of an upstream that no pattern reaches, nothing; of a kind that no pattern speaks of, nothing.
    let one = |server: &mut Server| *server = self::server("s", "/mcp", &["git.*"]);
    check([none, all], &one, none);
    check([all, none], &one, all);
    let only_tools = |server: &mut Server| {
        server.prompts.clear();
        server.resources.clear();
    };
    let of_tools =
        Capabilities { prompts: false, resources: false, subscribe: false, completions: false, ..all };
    check([all, none], &only_tools, of_tools);
    let over_uris = |server: &mut Server| {
        *server = self::server("s", "/mcp", &[]);
        server.resources = patterns(PatternKind::Resource, &["note://*"]);
    };
    let of_resources =
        Capabilities { resources: true, subscribe: true, completions: true, logging: true, ..none };
    check([all, none], &over_uris, of_resources);
}

#[test]
fn what_is_listed_exists_and_what_was_never_reached_may() {
    let server = |catalog: &Catalog| bound(&rules(), catalog).0.servers.remove(0).capabilities;
    let listed = Lists { resources: vec![resource("note://a")], ..lists(&["log"]) };
    let found = server(&Catalog { upstreams: vec![listed, lists(&[])] });
    assert_eq!((found.tools, found.prompts, found.resources), (true, false, true));
    let found = server(&Catalog { upstreams: vec![lists(&[]), Lists::default()] });
    assert_eq!((found.tools, found.prompts, found.resources, found.completions), (true, true, true, false));
}

#[test]
fn instructions_are_cut_where_they_are_too_long() {
    let mut catalog = catalog();
    catalog.upstreams[0].instructions = Some("\u{e9}".repeat(INSTRUCTIONS_BYTES_MAX / 2 - 10));
    catalog.upstreams[1].instructions = Some("\u{e9}".repeat(10));
    let (bound, findings) = bound(&rules(), &catalog);
    let texts: Vec<&str> = bound.servers[0].sections.iter().map(|section| section.text.as_str()).collect();
    assert_eq!(texts.iter().map(|text| text.len()).sum::<usize>(), INSTRUCTIONS_BYTES_MAX - 1);
    assert_eq!(texts[1], "# crm\n\u{e9}\u{e9}\u{e9}");
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].upstream.as_str(), findings[0].name.as_str()), ("crm", "instructions"));
}

#[test]
fn a_list_is_public_when_all_that_is_in_it_is_and_anyone_may_ask() {
    let check = |public: [bool; 2], auth: &[u16], globs: &[&str], expected: bool| {
        let mut rules = rules();
        rules.identities =
            vec![Identity { name: "i".into(), method: AuthMethod::KeyFile { path: "k".into() } }];
        rules.servers = vec![Server { auth: auth.to_vec(), ..server("s", "/mcp", globs) }];
        let mut catalog = catalog();
        for (lists, public) in catalog.upstreams.iter_mut().zip(public) {
            lists.scopes = Scopes { tools: public, about: public, ..Scopes::default() };
        }
        let (bound, _) = bound(&rules, &catalog);
        assert_eq!(bound.servers[0].tools.public, expected);
        assert_eq!(bound.servers[0].public, expected);
    };
    check([true, true], &[], &["*"], true);
    check([true, false], &[], &["*"], false);
    check([true, false], &[], &["git.*"], true);
    check([true, true], &[0], &["*"], false);
}
