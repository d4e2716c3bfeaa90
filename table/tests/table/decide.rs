//! One way to decide: what a list shows, what a call may do, and what the globs say are the same, whatever the
//! rules, roles and catalogs.

use proptest::prelude::*;
use strait_policy::{Traits, Verdict, glob};
use strait_table::catalog::{Catalog, Definition, Known, Lists};
use strait_table::condition::Workspace;
use strait_table::rules::*;
use strait_table::snapshot::of_rules;
use strait_table::{Kind, Snapshot, View, bind};

use crate::support::*;

const KINDS: [Kind; 4] = [Kind::Tool, Kind::Prompt, Kind::Resource, Kind::Template];
const UPSTREAMS: [&str; 3] = ["a", "ab", "b"];
const ROLES: usize = 4;

fn a_pattern(any: bool) -> impl Strategy<Value = Pattern> {
    let kinds = if any {
        prop_oneof![
            Just(PatternKind::Any),
            Just(PatternKind::Tool),
            Just(PatternKind::Prompt),
            Just(PatternKind::Resource)
        ]
        .boxed()
    } else {
        prop_oneof![Just(PatternKind::Any), Just(PatternKind::Resource)].boxed()
    };
    let globs = prop_oneof![
        2 => "[ab*]{1,3}",
        5 => "(a|ab|b|\\*)\\.[ab*]{0,3}",
        2 => "(a|ab|b|\\*)\\.u:[ab*]{0,3}",
        1 => "u:[ab*]{0,3}",
    ];
    (kinds, globs).prop_map(|(kind, glob)| Pattern { kind, glob })
}

fn a_rule() -> impl Strategy<Value = Rule> {
    let effect = prop_oneof![Just(Effect::Allow), Just(Effect::Hold), Just(Effect::Deny)];
    let roles = proptest::option::of(proptest::collection::vec(0..ROLES as u16, 0..3));
    let to = roles.prop_map(|roles| roles.map_or(To::Everyone, To::Roles));
    (effect, proptest::collection::vec(a_pattern(true), 0..3), to).prop_map(|(effect, patterns, to)| Rule {
        id: String::new(),
        effect,
        patterns,
        to,
        condition: None,
        scopes: Vec::new(),
        audit: Default::default(),
        place: Place::default(),
    })
}

fn some_patterns() -> impl Strategy<Value = Vec<Pattern>> {
    proptest::collection::vec(a_pattern(false), 0..4)
}

fn a_server() -> impl Strategy<Value = Server> {
    let naming = prop_oneof![Just(Naming::Auto), Just(Naming::Prefix), Just(Naming::Bare)];
    (some_patterns(), some_patterns(), some_patterns(), naming).prop_map(
        |(tools, prompts, resources, naming)| Server {
            tools,
            prompts,
            resources,
            naming,
            ..server("s", "/mcp", &[])
        },
    )
}

fn some_lists() -> impl Strategy<Value = Lists> {
    let named = |key: &'static str, names: &'static str| {
        proptest::collection::vec(names, 0..5).prop_map(move |names| {
            let define = |name: String| {
                let json = format!(r#"{{"{key}":"{name}"}}"#);
                Definition { name, json }
            };
            names.into_iter().map(define).collect::<Vec<_>>()
        })
    };
    (
        named("name", "[ab]{1,3}"),
        named("name", "[ab]{1,3}"),
        named("uri", "u:[ab]{0,3}"),
        named("uriTemplate", "u:[ab]?\\{x\\}[ab]?"),
    )
        .prop_map(|(tools, prompts, resources, templates)| Lists {
            known: Known::Fresh,
            tools,
            prompts,
            resources,
            templates,
            ..Lists::default()
        })
}

prop_compose! {
    fn a_case()(
        effect in prop_oneof![Just(Effect::Allow), Just(Effect::Deny)],
        server in a_server(),
        rules in proptest::collection::vec(a_rule(), 0..6),
        upstreams in proptest::collection::vec(some_lists(), UPSTREAMS.len()),
        roles in proptest::collection::vec(0..ROLES, 0..ROLES),
        uri in "u:[ab]{0,3}",
    ) -> (Rules, Catalog, Traits, String) {
        let mut set = Traits::none(ROLES);
        roles.into_iter().for_each(|role| set.insert(role));
        let rules = Rules {
            upstreams: UPSTREAMS.map(upstream).into(),
            servers: vec![server],
            traits: (0..ROLES).map(a_trait).collect(),
            roles: (0..ROLES).map(role).collect(),
            policy: Policy { default: effect, rules },
            ..crate::support::rules()
        };
        (rules, Catalog { upstreams }, set, uri)
    }
}

/// Read from the language's description alone.
struct Oracle<'r> {
    rules: &'r Rules,
    roles: Traits,
}

impl Oracle<'_> {
    fn speaks(&self, pattern: &Pattern, kind: Kind, upstream: usize, name: &str) -> bool {
        let full = glob::matches(&pattern.glob, &format!("{}.{name}", UPSTREAMS[upstream]));
        match (pattern.kind, kind) {
            (PatternKind::Any, _) => full,
            (PatternKind::Tool, Kind::Tool) | (PatternKind::Prompt, Kind::Prompt) => full,
            (PatternKind::Resource, Kind::Resource | Kind::Template) => {
                full || glob::matches(&pattern.glob, name)
            }
            _ => false,
        }
    }

    /// Does the server show it, to those who may?
    fn exposed(&self, kind: Kind, upstream: usize, name: &str) -> bool {
        let server = &self.rules.servers[0];
        let patterns = match kind {
            Kind::Tool => &server.tools,
            Kind::Prompt => &server.prompts,
            Kind::Resource | Kind::Template => &server.resources,
        };
        patterns.iter().any(|pattern| self.speaks(pattern, kind, upstream, name))
    }

    fn verdict(&self, kind: Kind, upstream: usize, name: &str) -> Verdict {
        let policy = &self.rules.policy;
        let speaking = |effect: Effect| {
            policy.rules.iter().position(|rule| {
                rule.effect == effect
                    && rule.patterns.iter().any(|pattern| self.speaks(pattern, kind, upstream, name))
                    && match &rule.to {
                        To::Everyone => true,
                        To::Roles(roles) => roles.iter().any(|role| self.roles.contains(usize::from(*role))),
                    }
            })
        };
        let by = |rule: usize| Some(rule as u32);
        if let Some(rule) = speaking(Effect::Deny) {
            Verdict::Deny(by(rule))
        } else if let Some(rule) = speaking(Effect::Hold) {
            Verdict::Hold(by(rule))
        } else if let Some(rule) = speaking(Effect::Allow) {
            Verdict::Permit(by(rule))
        } else if policy.default == Effect::Allow {
            Verdict::Permit(None)
        } else {
            Verdict::Deny(None)
        }
    }
}

fn listed(lists: &Lists, kind: Kind) -> &[Definition] {
    match kind {
        Kind::Tool => &lists.tools,
        Kind::Prompt => &lists.prompts,
        Kind::Resource => &lists.resources,
        Kind::Template => &lists.templates,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn lists_calls_and_globs_agree((rules, catalog, roles, uri) in a_case()) {
        let snapshot = of_rules(&rules).unwrap();
        let (bound, findings) = bind(snapshot.rules(), &catalog);
        let snapshot = snapshot.with_bound(&bound).unwrap();
        let view = View::of(&snapshot, 0, &roles, &Traits::default()).unwrap();
        let oracle = Oracle { rules: &rules, roles: roles.clone() };
        let mut left_out = 0;
        for kind in KINDS {
            let shelf = snapshot.bound().servers[0].shelf(kind);
            let shown: Vec<usize> = view.kind(kind).visible_from(0).collect();
            prop_assert_eq!(shown.len(), view.kind(kind).visible_count());
            for from in 0..shelf.items.len() + 2 {
                let after: Vec<usize> = shown.iter().copied().filter(|item| *item >= from).collect();
                prop_assert_eq!(view.kind(kind).visible_from(from).collect::<Vec<_>>(), after);
            }
            // Whatever is bound is decided as the globs say, found by its name, and listed exactly when permitted.
            for (index, item) in shelf.items.iter().enumerate() {
                let upstream = usize::from(item.upstream.to_native());
                let verdict = view.kind(kind).ruled(index).so_far();
                prop_assert_eq!(verdict, oracle.verdict(kind, upstream, &item.bare));
                prop_assert_eq!(shown.contains(&index), verdict.is_permit());
                prop_assert_eq!(shelf.find(item.exposed.as_bytes()), Some(index));
                prop_assert!(oracle.exposed(kind, upstream, &item.bare));
                prop_assert!(listed(&catalog.upstreams[upstream], kind).iter().any(|d| d.name == item.bare.as_str()));
            }
            // Whatever should be bound is, or was told of.
            let expected: usize = (0..UPSTREAMS.len()).map(|upstream| {
                let all = listed(&catalog.upstreams[upstream], kind).iter();
                all.filter(|definition| oracle.exposed(kind, upstream, &definition.name)).count()
            }).sum();
            left_out += expected - shelf.items.len();
            prop_assert_eq!(view.kind(kind).ruled(shelf.items.len()).so_far(), Verdict::Deny(None));
        }
        prop_assert_eq!(left_out, findings.len());
        for upstream in 0..UPSTREAMS.len() {
            // Open-ended names are decided like listed ones.
            let decided = snapshot.decide_uri(0, upstream, &uri, &moment(&roles), &mut Workspace::default());
            prop_assert_eq!(decided, Ok(oracle.verdict(Kind::Resource, upstream, &uri)));
        }
        let nowhere = snapshot.decide_uri(0, UPSTREAMS.len(), &uri, &moment(&roles), &mut Workspace::default());
        prop_assert_eq!(nowhere, Ok(Verdict::Deny(None)));
    }
}

#[test]
fn a_method_that_nobody_knows_is_allowed_where_everything_is() {
    #[track_caller]
    fn check(globs: &[&str], default: Effect, of: &[(Effect, PatternKind, &str)], permits: bool) {
        let mut rules = rules();
        rules.servers[0].tools = patterns(PatternKind::Tool, globs);
        let of = of.iter().map(|(effect, kind, glob)| rule(*effect, *kind, &[glob], To::Everyone));
        rules.policy = Policy { default, rules: of.collect() };
        let snapshot = of_rules(&rules).unwrap();
        let nobody = Traits::default();
        let mut workspace = Workspace::default();
        let mut decide = |server, upstream| {
            snapshot.decide_method(server, upstream, "acme/do", &moment(&nobody), &mut workspace).unwrap()
        };
        let verdict = decide(0, 0);
        assert_eq!(verdict.is_permit(), permits, "{verdict:?}");
        assert!(!decide(1, 0).is_permit());
        assert!(!decide(0, 9).is_permit());
    }
    use Effect::{Allow, Deny, Hold};
    use PatternKind::{Any, Prompt, Resource, Tool};
    check(&["*"], Allow, &[], true);
    check(&["git.*"], Allow, &[], true);
    check(&["git.log"], Allow, &[], false);
    check(&["*"], Deny, &[], false);
    check(&["*"], Deny, &[(Allow, Any, "*")], true);
    check(&["*"], Deny, &[(Allow, Any, "git.*")], true);
    check(&["*"], Deny, &[(Allow, Tool, "*")], false);
    check(&["*"], Deny, &[(Allow, Any, "git.log")], false);
    for (effect, kind, glob) in
        [(Deny, Tool, "git.push"), (Hold, Any, "*.push"), (Deny, Prompt, "g*"), (Deny, Resource, "note://*")]
    {
        check(&["*"], Allow, &[(effect, kind, glob)], false);
    }
    // Of another upstream.
    check(&["*"], Allow, &[(Deny, Tool, "crm.*")], true);
}

/// A server of this many tools, every `step`th of them denied.
fn tools(count: usize, step: usize) -> Snapshot {
    let mut rules = rules();
    let names: Vec<String> =
        (0..count).map(|n| format!("{}{n}", if n % step == 0 { "x" } else { "t" })).collect();
    rules.policy.rules = vec![rule(Effect::Deny, PatternKind::Tool, &["git.x*"], To::Everyone)];
    let snapshot = of_rules(&rules).unwrap();
    let catalog = Catalog { upstreams: vec![lists(&names.iter().map(String::as_str).collect::<Vec<_>>())] };
    let (bound, _) = bind(snapshot.rules(), &catalog);
    snapshot.with_bound(&bound).unwrap()
}

#[test]
fn a_page_begins_where_it_is_asked_to() {
    for count in [0, 1, 63, 64, 65, 127, 128, 129, 200] {
        for step in [1, 2, 63, 64, 1_000] {
            let snapshot = tools(count, step);
            let view = View::of(&snapshot, 0, &Traits::default(), &Traits::default()).unwrap();
            let view = view.kind(Kind::Tool);
            for from in (0..count + 130).chain([usize::MAX]) {
                let expected: Vec<usize> = (from.min(count)..count).filter(|n| n % step != 0).collect();
                assert_eq!(view.visible_from(from).collect::<Vec<_>>(), expected, "{count} {step} {from}");
            }
        }
    }
    assert!(View::of(&tools(1, 1), 1, &Traits::default(), &Traits::default()).is_none());
}
