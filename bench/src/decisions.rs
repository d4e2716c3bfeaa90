//! A call decided as a worker decides it: the caller's view among those that are interned, the item by its name, and the rules that
//! were left open, asked with the call at hand.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use strait_engine::fold::Fold;
use strait_policy::{Principal, Traits, Verdict};
use strait_protocol::Span;
use strait_table::condition::evaluate::{Header, Thing};
use strait_table::condition::{Asked, Moment, Request, Workspace};
use strait_table::view::Ruled;
use strait_table::{Kind, Snapshot, View};

/// The text of a decided call's arguments; every condition of `large` is true of it.
pub const ARGUMENTS: &str =
    r#"{"id":"c-8841","fields":["name","city"],"amount":250,"currency":"EUR","limit":10}"#;

/// Everything that is there before a call comes.
pub struct Decisions {
    snapshot: Snapshot,
    views: HashMap<(u16, u32), Rc<View>, Fold>,
    traits: Traits,
    windows: Traits,
    principal: Principal,
    workspace: Workspace,
}

struct Nowhere;

impl Request for Nowhere {
    fn header(&self, _: &str) -> Header<'_> {
        Header::Missing
    }

    fn ip(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }
}

impl Decisions {
    /// For a principal of these teams.
    pub fn new(snapshot: Snapshot, teams: impl Iterator<Item = usize>) -> Decisions {
        let groups = teams.map(|team| format!("team{team}")).collect();
        let principal = Principal { id: "agent-1".into(), groups, ..Principal::default() };
        let (traits, windows) = (snapshot.traits_of(&principal), snapshot.windows_at(1_800_000_000).bits);
        let view = View::of(&snapshot, 0, &traits, &windows).expect("there is a server");
        let views = HashMap::from_iter([((0, 0), Rc::new(view))]);
        Decisions { snapshot, views, traits, windows, principal, workspace: Workspace::default() }
    }

    /// The names of tools of which so many rules are asked with the call at hand.
    pub fn with_open(&self, count: usize) -> Vec<String> {
        let view = &self.views[&(0, 0)];
        let items = self.snapshot.bound().servers[0].tools.items.iter().enumerate();
        let asked = items.filter(|(item, _)| match view.kind(Kind::Tool).ruled(*item) {
            Ruled::Settled(_) => count == 0,
            Ruled::Open { rules, .. } => rules.len() == count,
        });
        asked.map(|(_, item)| item.exposed.as_str().to_owned()).collect()
    }

    /// Decides a call of a tool with the arguments that are `body`.
    #[inline(never)]
    pub fn decide(&mut self, name: &str, body: &str) -> Option<Verdict> {
        let view = self.views.get(&(0, 0)).cloned()?;
        let shelf = self.snapshot.bound().servers.first()?.shelf(Kind::Tool);
        let index = shelf.find(name.as_bytes())?;
        let (so_far, open) = match view.kind(Kind::Tool).ruled(index) {
            Ruled::Settled(verdict) => return Some(verdict),
            Ruled::Open { so_far, rules } => (so_far, rules),
        };
        let (rules, item) = (self.snapshot.rules(), shelf.items.get(index)?);
        let (server, upstream) =
            (rules.servers.first()?, rules.upstreams.get(usize::from(item.upstream.to_native()))?);
        let arguments = Some(Span::between(0, body.len()));
        let asked = Asked {
            method: "tools/call",
            body: body.as_bytes(),
            arguments,
            request: &Nowhere,
            with_scopes: false,
        };
        let moment = Moment {
            traits: Some(&self.traits),
            windows: Some(&self.windows),
            principal: Some(&self.principal),
            thing: Some(Thing { server: &server.name, upstream: &upstream.name, name: &item.bare }),
            asked: Some(&asked),
        };
        self.snapshot.settle(so_far, open, &moment, &mut self.workspace).ok()
    }
}
