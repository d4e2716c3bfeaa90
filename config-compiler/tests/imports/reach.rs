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
        // Both hold back what was not to be reached, each for itself.
        let is_shown = is_shown(&exposed) || is_shown(name);
        assert!(is_shown || !is_permitted, "{name} of upstream {upstream} is permitted and not shown");
        is_shown && is_permitted
    }

    fn is_permitted(&self, who: &Principal, server: usize, upstream: usize, kind: Kind, name: &str) -> bool {
        let traits = self.snapshot.traits_of(who);
        let windows = self.snapshot.windows_at(0).bits;
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{}}}"#;
        let mut decoder = Decoder::new();
        let arguments = decoder.decode(body.as_bytes()).unwrap().arguments;
        let asked = Asked { method: "tools/call", body: body.as_bytes(), arguments, request: &Nothing };
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
