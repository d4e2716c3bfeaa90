//! Import, compile, ask: what may be called is what the source said, by the functions that workers decide with.

use std::net::IpAddr;

use strait_config_compiler::{load_text, render};
use strait_policy::{Principal, Verdict};
use strait_protocol::jsonrpc::Decoder;
use strait_table::catalog::{self, Catalog, Definition, Lists};
use strait_table::condition::evaluate::Header;
use strait_table::condition::{Asked, Moment, Request, Workspace};
use strait_table::{Kind, Snapshot, bind, snapshot};

use super::{env, folder, imported};

struct Nothing;

impl Request for Nothing {
    fn header(&self, _: &str) -> Header<'_> {
        Header::Missing
    }

    fn ip(&self) -> IpAddr {
        [127, 0, 0, 1].into()
    }
}

/// A configuration that was imported, with upstreams that offer these tools each, and a prompt and a resource.
pub struct World {
    snapshot: Snapshot,
}

impl World {
    pub fn of(file: &str, tools: &[&str]) -> World {
        let config = imported(&folder().join(file)).config.expect("something was carried");
        let outcome = load_text("strait.yaml", &config, &env);
        let rules = outcome.rules.as_ref().unwrap_or_else(|| panic!("{}", render(&outcome, false)));
        let lists = rules.upstreams.iter().map(|_| {
            let mut lists = Lists { known: catalog::Known::Fresh, ..Lists::default() };
            for tool in tools {
                let json = format!(r#"{{"name":"{tool}","inputSchema":{{"type":"object"}}}}"#);
                lists.of_mut(Kind::Tool).push(Definition { name: (*tool).to_owned(), json });
            }
            let prompt = Definition { name: "ask".to_owned(), json: r#"{"name":"ask"}"#.to_owned() };
            lists.of_mut(Kind::Prompt).push(prompt);
            lists
        });
        let catalog = Catalog { upstreams: lists.collect() };
        let snapshot = snapshot::of_rules(rules).unwrap();
        let (bound, _) = bind(snapshot.rules(), &catalog);
        World { snapshot: snapshot.with_bound(&bound).unwrap() }
    }

    /// May somebody call this tool of this upstream through the server at this path?
    #[track_caller]
    pub fn may(&self, who: &Principal, path: &str, upstream: &str, tool: &str) -> bool {
        self.may_kind(who, path, upstream, Kind::Tool, tool)
    }

    #[track_caller]
    pub fn may_kind(&self, who: &Principal, path: &str, upstream: &str, kind: Kind, name: &str) -> bool {
        let rules = self.snapshot.rules();
        let Some(server) = rules.servers.iter().position(|server| server.path.as_str() == path) else {
            panic!("no server at {path}");
        };
        let Some(upstream) = rules.upstreams.iter().position(|known| known.name.as_str() == upstream) else {
            return false;
        };
        // What a server does not show cannot be called through it.
        let shelf = self.snapshot.bound().servers[server].shelf(kind);
        let exposed = format!("{}__{name}", rules.upstreams[upstream].name.as_str());
        let is_shown = |name: &str| {
            let found = shelf.find(name.as_bytes());
            found.is_some_and(|at| shelf.items[at].upstream.to_native() as usize == upstream)
        };
        let is_permitted = self.is_permitted(who, server, upstream, kind, name);
        (is_shown(&exposed) || is_shown(name)) && is_permitted
    }

    fn is_permitted(&self, who: &Principal, server: usize, upstream: usize, kind: Kind, name: &str) -> bool {
        let traits = self.snapshot.traits_of(who);
        let windows = self.snapshot.windows_at(0).bits;
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{}}}"#;
        let mut decoder = Decoder::new();
        let arguments = decoder.decode(body.as_bytes()).unwrap().arguments;
        let asked = Asked {
            method: "tools/call",
            body: body.as_bytes(),
            arguments,
            request: &Nothing,
            with_scopes: false,
        };
        let moment = Moment {
            traits: Some(&traits),
            windows: Some(&windows),
            principal: Some(who),
            thing: None,
            asked: Some(&asked),
        };
        let ruling = self.snapshot.explain(server, upstream, kind, name, &moment, &mut Workspace::default());
        match ruling.unwrap() {
            Some((ruling, _)) => matches!(ruling.verdict, Verdict::Permit(_)),
            None => false,
        }
    }

    pub fn servers(&self) -> Vec<(&str, bool)> {
        let servers = self.snapshot.rules().servers.iter();
        servers.map(|server| (server.path.as_str(), !server.auth.is_empty())).collect()
    }
}

fn anybody() -> Principal {
    Principal::anonymous()
}

#[test]
fn a_claude_file_reaches_what_it_reached() {
    let world = World::of("claude_desktop.json", &["echo", "delete_repository"]);
    let may = |upstream: &str, tool: &str| world.may(&anybody(), "/mcp", upstream, tool);
    assert!(may("everything", "echo") && may("git_hub", "echo") && may("everything", "delete_repository"));
    assert!(!may("git_hub", "delete_repository"), "it was switched off");
    // Left out: one has a password in its arguments, one is switched off.
    assert!(!may("db", "echo") && !may("old", "echo"));
    assert!(world.may_kind(&anybody(), "/mcp", "everything", Kind::Prompt, "ask"));
    assert_eq!(world.servers(), [("/mcp", false)]);
}

#[test]
fn a_list_of_tools_is_all_that_is_reached() {
    let world = World::of("claude_code.mcp.json", &["get_issue", "delete_issue"]);
    let may = |upstream: &str, tool: &str| world.may(&anybody(), "/mcp", upstream, tool);
    assert!(may("few", "get_issue") && may("api", "delete_issue") && may("feed", "get_issue"));
    assert!(!may("few", "delete_issue"));
    // Without its second header a server could be more open than it was.
    assert!(!may("two-headers", "get_issue") && !may("hosted", "get_issue"));
}

#[test]
fn disabled_tools_are_denied() {
    let world = World::of("windsurf.json", &["query", "purge", "reindex"]);
    let may = |tool: &str| world.may(&anybody(), "/mcp", "search", tool);
    assert!(may("query") && !may("purge") && !may("reindex"));
}

fn somebody(id: &str, claims: &str) -> Principal {
    Principal { id: id.to_owned(), claims: claims.to_owned(), ..Principal::anonymous() }
}

/// Against what agentgateway itself answers: a deny that is true wins, every require must be true, then some allow.
#[test]
fn rules_of_agentgateway_decide_as_they_did() {
    let world = World::of("agentgateway.yaml", &["echo", "get-sum", "get-env", "other"]);
    assert_eq!(world.servers(), [("/mcp", true)]);
    let people = [
        somebody("test-user", r#"{"level":2}"#),
        somebody("test-user", r#"{"level":1}"#),
        somebody("ann", r#"{"team":"ops","level":3}"#),
        somebody("ann", r#"{"team":"ops"}"#),
        somebody("bob", r#"{"level":9}"#),
    ];
    for (who, level, team) in [(0, 2, ""), (1, 1, ""), (2, 3, "ops"), (3, 0, "ops"), (4, 9, "")] {
        let person: &Principal = &people[who];
        for upstream in ["git", "crm"] {
            for tool in ["echo", "get-sum", "get-env", "other"] {
                let allowed = tool == "echo"
                    || (person.id == "test-user" && tool == "get-sum")
                    || (team == "ops" && upstream == "git");
                let expected = allowed && tool != "get-env" && level >= 2;
                assert_eq!(
                    world.may(person, "/mcp", upstream, tool),
                    expected,
                    "{person:?} {upstream}.{tool}"
                );
            }
            let ask = world.may_kind(person, "/mcp", upstream, Kind::Prompt, "ask");
            assert!(!ask, "rules over tools say nothing of prompts");
        }
    }
    assert!(!world.may(&anybody(), "/mcp", "git", "echo"), "nobody without a claim has its level");
}

#[test]
fn routes_are_servers_and_one_that_cannot_be_carried_is_closed() {
    let world = World::of("agentgateway_binds.yaml", &["echo", "drop"]);
    assert_eq!(world.servers(), [("/stdio/mcp", false), ("/guarded", false)]);
    let may = |path: &str, upstream: &str, tool: &str| world.may(&anybody(), path, upstream, tool);
    assert!(
        may("/stdio/mcp", "everything", "drop")
            && may("/guarded", "db", "echo")
            && may("/guarded", "feed", "drop")
    );
    assert!(!may("/guarded", "db", "drop"));
    assert!(!may("/guarded", "everything", "echo") && !may("/stdio/mcp", "everything-2", "echo"));
}

#[test]
fn servers_of_docker_and_of_the_registry_are_reached() {
    let world = World::of("docker_catalog.yaml", &["search"]);
    let may = |upstream: &str| world.may(&anybody(), "/mcp", upstream, "search");
    assert!(may("duckduckgo") && may("brave") && may("offline") && may("near"));
    assert!(!may("templated") && !may("hosted") && !may("tools-only"));
    let world = World::of("docker_profile.yaml", &["get_issue", "delete"]);
    let may = |upstream: &str, tool: &str| world.may(&anybody(), "/mcp", upstream, tool);
    assert!(may("github", "get_issue") && !may("github", "delete"));
    assert!(!may("notes", "get_issue"), "a list that names no tool lets none be used");
    let world = World::of("server.json", &["forecast"]);
    assert!(world.may(&anybody(), "/mcp", "weather", "forecast"));
    let world = World::of("server_remote.json", &["read"]);
    assert!(world.may(&anybody(), "/mcp", "notes", "read"));
}

#[test]
fn selectors_of_envoy_decide_as_they_did() {
    let tools = ["whoami", "list_issues", "delete_issue", "get_issue", "other"];
    let world = World::of("envoy.yaml", &tools);
    assert_eq!(world.servers(), [("/mcp", false)], "a route whose authorization is not carried is closed");
    let may = |upstream: &str, tool: &str| world.may(&anybody(), "/mcp", upstream, tool);
    for tool in tools {
        let expected = tool == "whoami" || (tool.contains("issue") && tool != "delete_issue");
        assert_eq!(may("issues", tool), expected, "{tool}");
        assert!(may("notes", tool) && may("hosted", tool), "nothing is selected of these: all of it");
    }
    assert!(world.may_kind(&anybody(), "/mcp", "issues", Kind::Prompt, "ask"));
}

#[test]
fn lists_of_mcp_proxy_decide_as_they_did() {
    let world = World::of("mcp_proxy.toml", &["read_file", "read_a/b", "list_directory", "delete_all"]);
    let may = |upstream: &str, tool: &str| world.may(&anybody(), "/mcp", upstream, tool);
    assert!(may("files", "read_file") && may("files", "list_directory") && !may("files", "delete_all"));
    assert!(!may("files", "read_a/b"), "a star there ends at a slash");
    assert!(may("api", "read_file") && may("api", "read_a/b") && !may("api", "delete_all"));
    assert!(!may("patterned", "read_file"), "a regular expression is asked about");
    let scoped = imported(&folder().join("mcp_proxy_scoped.toml"));
    assert!(scoped.config.is_none() && scoped.report.count("asked") > 0);
}
