//! Joining rules with what upstreams list: which names are exposed, what is left out and told, and that a
//! definition keeps its bytes.

use strait_table::bind::{BindFinding, NAME_BYTES_MAX};
use strait_table::bound::{Bound, Shelf};
use strait_table::catalog::{Catalog, Definition, Known, Lists};
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
fn prefixed(definition: Definition) -> Result<String, &'static str> {
    let mut rules = rules();
    rules.servers[0].naming = Naming::Prefix;
    let mut catalog = catalog();
    catalog.upstreams = vec![Lists { known: Known::Fresh, tools: vec![definition], ..Lists::default() }];
    let (bound, findings) = bound(&rules, &catalog);
    match findings.first() {
        Some(finding) => Err(finding.reason),
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
    let joined: Vec<&[u16]> = server.tools.items.iter().map(|item| item.rules.as_slice()).collect();
    assert_eq!(joined, [&[0, 1][..], &[0], &[0, 1]]);
    assert_eq!(server.resources.items[0].rules, [0, 3]);
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
            .map(|finding| (finding.upstream.as_str(), finding.name.as_str(), finding.reason))
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
fn a_rename_changes_the_name_and_no_other_byte() {
    #[track_caller]
    fn check(name: &str, json: &str, expected: Result<&str, &'static str>) {
        let found = prefixed(Definition { name: name.into(), json: json.into() });
        assert_eq!(found.as_deref().map_err(|reason| *reason), expected);
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
    catalog.upstreams[0].completions = true;
    catalog.upstreams[1].logging = true;
    let mut rules = rules();
    rules.servers.push(Server { instructions: "ours".into(), ..server("crm", "/crm", &["crm.*"]) });
    rules.paths = strait_table::names::Names::build(["/mcp", "/crm"].into_iter());
    let told = |catalog: &Catalog| {
        let (bound, _) = bound(&rules, catalog);
        let told = |server: &strait_table::bound::BoundServer| {
            (server.instructions.clone(), server.completions, server.logging, server.partial)
        };
        [told(&bound.servers[0]), told(&bound.servers[1])]
    };
    let joined = "# git\nuse log\n".to_owned();
    assert_eq!(told(&catalog), [(joined.clone(), true, true, false), ("ours".into(), false, true, false)]);
    // A server misses what its own upstreams miss; what was last good stays.
    catalog.upstreams[0].known = Known::Stale;
    assert_eq!(told(&catalog), [(joined, true, true, true), ("ours".into(), false, true, false)]);
    assert_eq!(
        told(&Catalog::default()),
        [(String::new(), false, false, true), ("ours".into(), false, false, true)]
    );
    let unheard = of_rules(&rules).unwrap();
    assert!(unheard.bound().servers[1].partial);
    assert_eq!(unheard.bound().servers[1].instructions, "ours");
    assert_eq!(unheard.bound().servers[0].shelf(Kind::Tool).items.len(), 0);
}
