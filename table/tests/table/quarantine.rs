//! What upstreams offer, held against what is pinned: only what is the same is exposed, as it is pinned.

use strait_table::bind::{What, quarantined};
use strait_table::bound::Bound;
use strait_table::catalog::{Catalog, Definition, Known, Lists};
use strait_table::rules::*;
use strait_table::snapshot::{of_rules, table_of};
use strait_table::{Kind, Snapshot, bind, pins};

use crate::support::*;

fn pin(definition: &Definition) -> Pin {
    let blake3 = pins::hash(&definition.json).unwrap();
    Pin { name: definition.name.clone(), json: definition.json.clone(), blake3 }
}

/// `git` is pinned with `log`, `push` and a resource, `crm` is in no lock file.
fn pinned() -> Rules {
    let git = Pins {
        instructions: Some("Be careful.".into()),
        tools: vec![pin(&tool("log")), pin(&tool("push"))],
        resources: vec![pin(&resource("note://a"))],
        ..Pins::default()
    };
    Rules { pins: vec![git, Pins::default()], ..rules() }
}

fn offered(tools: Vec<Definition>) -> Catalog {
    let git = Lists {
        known: Known::Fresh,
        tools,
        resources: vec![resource("note://a")],
        instructions: Some("Be careful.".into()),
        ..Lists::default()
    };
    Catalog { upstreams: vec![git, lists(&["get"])] }
}

/// What is exposed, what is held and whether it is gone, every difference, and all of it.
type Found = (Vec<String>, Vec<(String, bool)>, Vec<(String, What)>, Bound);

fn bound(catalog: &Catalog) -> Found {
    let snapshot = of_rules(&pinned()).unwrap();
    let (bound, findings) = bind(snapshot.rules(), catalog);
    assert_eq!(findings, []);
    snapshot.with_bound(&bound).expect("what bind makes is sound");
    let server = &bound.servers[0];
    let tools = server.tools.items.iter().map(|item| item.exposed.clone()).collect();
    let held = server.held.iter().map(|held| (held.exposed.clone(), held.gone)).collect();
    let differences = quarantined(snapshot.rules(), catalog);
    let differences =
        differences.into_iter().map(|one| (format!("{} {}", one.part, one.name), one.what)).collect();
    (tools, held, differences, bound)
}

#[track_caller]
fn check(tools: Vec<Definition>, exposed: &[&str], held: &[(&str, bool)], differences: &[(&str, What)]) {
    let found = bound(&offered(tools));
    assert_eq!(found.0, exposed);
    let held: Vec<(String, bool)> = held.iter().map(|(name, gone)| ((*name).to_owned(), *gone)).collect();
    assert_eq!(found.1, held);
    // Nothing of `crm` is pinned, whatever happens to `git`.
    let rest = [("tool get", What::New)];
    let expected: Vec<(String, What)> =
        differences.iter().chain(&rest).map(|(name, what)| ((*name).to_owned(), *what)).collect();
    assert_eq!(found.2, expected);
}

fn said(json: &str) -> Definition {
    Definition { name: "log".into(), json: json.into() }
}

#[test]
fn what_says_the_same_is_exposed_and_nothing_else() {
    check(vec![tool("push"), tool("log")], &["git__log", "git__push"], &[], &[]);
    let same = said("{ \"inputSchema\" : { } ,\n\"name\" : \"l\\u006fg\" }");
    check(vec![same.clone(), tool("push")], &["git__log", "git__push"], &[], &[]);
    let changed = said(r#"{"name":"log","inputSchema":{},"description":"Also mails it."}"#);
    check(
        vec![changed.clone(), tool("push")],
        &["git__push"],
        &[("git__log", false)],
        &[("tool log", What::Changed)],
    );
    // Nobody can say which of two a call would reach.
    check(
        vec![same, changed, tool("push")],
        &["git__push"],
        &[("git__log", false)],
        &[("tool log", What::Changed)],
    );
    check(vec![tool("log")], &["git__log"], &[("git__push", true)], &[("tool push", What::Gone)]);
    check(
        vec![tool("log"), tool("push"), tool("wipe")],
        &["git__log", "git__push"],
        &[],
        &[("tool wipe", What::New)],
    );
    check(
        vec![said("{"), tool("push")],
        &["git__push"],
        &[("git__log", false)],
        &[("tool log", What::Changed)],
    );
}

#[test]
fn what_is_shown_is_the_pin_and_not_what_is_said_now() {
    let same = said("{ \"inputSchema\" : { } ,\n\"name\" : \"log\" }");
    let (.., bound) = bound(&offered(vec![same, tool("push")]));
    let item = &bound.servers[0].tools.items[0];
    assert_eq!(bound.fragments[item.fragment as usize], r#"{"name":"git__log","inputSchema":{}}"#);
}

#[test]
fn instructions_and_capabilities_are_pinned_too() {
    let sections = |text: Option<&str>| {
        let mut catalog = offered(vec![tool("log"), tool("push")]);
        catalog.upstreams[0].instructions = text.map(str::to_owned);
        catalog.upstreams[0].capabilities.logging = true;
        let (_, _, differences, bound) = bound(&catalog);
        assert!(!bound.servers[0].capabilities.logging);
        assert!(differences.contains(&("capability logging".to_owned(), What::New)));
        let said = differences.into_iter().find(|(name, _)| name == "instructions ").map(|(_, what)| what);
        (bound.servers[0].sections.len(), said)
    };
    assert_eq!(sections(Some("Be careful.")), (1, None));
    assert_eq!(sections(Some("Be quick.")), (0, Some(What::Changed)));
    assert_eq!(sections(None), (0, Some(What::Gone)));
}

#[test]
fn before_an_upstream_is_heard_of_its_pins_are_what_is_known() {
    let (tools, held, differences, bound) = bound(&Catalog::default());
    assert_eq!(
        (tools.as_slice(), held.len(), differences.len()),
        (["git__log", "git__push"].map(String::from).as_slice(), 0, 0)
    );
    assert!(bound.servers[0].partial);
    // A compiled table is bound to them.
    let table = Snapshot::from_bytes(&table_of(&pinned()).unwrap()).unwrap();
    assert_eq!(table.bound().servers[0].tools.items.len(), 2);
    assert_eq!(table.catalog(), of_rules(&pinned()).unwrap().catalog());
}

#[test]
fn a_quarantined_name_is_found_by_kind_and_is_nobody_elses() {
    let mut rules = pinned();
    rules.servers[0].naming = Naming::Bare;
    rules.pins[1] = Pins { tools: vec![pin(&tool("log"))], ..Pins::default() };
    let snapshot = of_rules(&rules).unwrap();
    let mut catalog = offered(vec![tool("push")]);
    catalog.upstreams[1] = lists(&["log"]);
    let (bound, findings) = bind(snapshot.rules(), &catalog);
    assert_eq!(findings[0].reason, "another upstream exposes this name already");
    let snapshot = snapshot.with_bound(&bound).unwrap();
    let server = &snapshot.bound().servers[0];
    assert!(server.held(Kind::Tool, b"log").is_some_and(|held| held.gone && held.upstream == 0));
    assert!(server.tools.find(b"log").is_none());
    assert!(server.held(Kind::Prompt, b"log").is_none() && server.held(Kind::Tool, b"lo").is_none());
}
