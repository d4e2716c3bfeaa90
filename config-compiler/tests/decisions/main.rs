//! Whole decisions beside a reference that shares nothing with them: configurations of chance are compiled, bound, viewed and asked
//! by the functions that workers use, and every list and every call is worked out again from what was written (`meaning`).
//!
//! A failure prints the seed and the configuration. `STRAIT_DECISIONS_SEED=N` runs one; `STRAIT_DECISIONS_CASES=N` so many.

mod condition;
mod meaning;
mod world;

use std::net::IpAddr;
use std::path::Path;

use meaning::{Decided, Known};
use strait_config_compiler::{keys, load_text};
use strait_policy::{Principal, Verdict};
use strait_protocol::jsonrpc::Decoder;
use strait_table::catalog::{self, Catalog, Definition, Lists};
use strait_table::condition::evaluate::{Header, Thing};
use strait_table::condition::{Asked, Moment, Request, Workspace};
use strait_table::view::Ruled;
use strait_table::{Snapshot, View, bind, snapshot};
use world::{Call, Dice, Effect, Kind, Person, World};

const CASES: u64 = 300;

#[test]
fn every_decision_is_what_the_configuration_says() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("STRAIT_DECISIONS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STRAIT_DECISIONS_CASES").unwrap_or(CASES),
    };
    let mut counted = Counted::default();
    let count = seeds.end - seeds.start;
    seeds.for_each(|seed| case(seed, &mut counted));
    println!("{counted:?}");
    // What is compared must be worth it: of every outcome a part.
    if count >= CASES {
        let Counted { refused, listed, hidden, permitted, held, denied, uris } = counted;
        assert!(refused * 5 < count * 2, "{refused} of {count} configurations were refused");
        let least = [listed, hidden, permitted, held, denied, uris].into_iter().min().unwrap();
        assert!(least > count, "{counted:?}");
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    refused: u64,
    listed: u64,
    hidden: u64,
    permitted: u64,
    held: u64,
    denied: u64,
    uris: u64,
}

fn case(seed: u64, counted: &mut Counted) {
    let dice = &mut Dice(seed);
    let world = World::of(dice);
    let text = world.text();
    let outcome = load_text("case.yaml", &text, &|_| None);
    let Some(rules) = &outcome.rules else {
        // A rule of chance may be one that can never speak, which is a finding.
        counted.refused += 1;
        return;
    };
    let snapshot = snapshot::of_rules(rules).unwrap();
    let (bound, findings) = bind(snapshot.rules(), &offered(&world));
    let taken = |finding: &&bind::BindFinding| !finding.reason.contains("another upstream exposes this name");
    assert_eq!(findings.iter().find(taken), None, "seed {seed}\n{text}");
    let snapshot = snapshot.with_bound(&bound).unwrap();
    let people: Vec<(&Person, Principal)> = world.people.iter().zip(principals(&world)).collect();
    // Around the hours at which windows turn and clocks are put forward or back, too.
    let moments = [
        meaning::unix(2026, 11, 20, 17) + dice.below(7_200) as i64,
        meaning::unix(2027, 3, 27, 0) + dice.below(3 * 86_400) as i64,
        meaning::unix(2026, 10, 25, 0) + dice.below(86_400) as i64,
    ];
    for now in [dice.pick(&moments), dice.pick(&moments)] {
        for (person, principal) in &people {
            for server in 0..world.servers.len() {
                let asked = Case {
                    seed,
                    text: &text,
                    world: &world,
                    snapshot: &snapshot,
                    person,
                    principal,
                    server,
                    now,
                };
                asked.run(dice, counted);
            }
        }
    }
}

struct Case<'a> {
    seed: u64,
    text: &'a str,
    world: &'a World,
    snapshot: &'a Snapshot,
    person: &'a Person,
    principal: &'a Principal,
    server: usize,
    now: i64,
}

impl Case<'_> {
    fn run(&self, dice: &mut Dice, counted: &mut Counted) {
        let traits = self.snapshot.traits_of(self.principal);
        let windows = self.snapshot.windows_at(self.now).bits;
        let view = View::of(self.snapshot, self.server, &traits, &windows).unwrap();
        let exposed = meaning::exposed(self.world, &self.world.servers[self.server]);
        let of_kind = |kind: Kind| exposed.iter().filter(|(of, ..)| *of == kind).count();
        for kind in [Kind::Tool, Kind::Prompt, Kind::Resource, Kind::Template] {
            let shelf = self.snapshot.bound().servers[self.server].shelf(kind_of(kind));
            assert_eq!(shelf.items.len(), of_kind(kind), "{}", self.said(kind, "all", None));
        }
        for (kind, name, upstream, bare) in &exposed {
            let shelf = self.snapshot.bound().servers[self.server].shelf(kind_of(*kind));
            let index =
                shelf.find(name.as_bytes()).unwrap_or_else(|| panic!("{}", self.said(*kind, name, None)));
            let known = self.known(*kind, *upstream, bare);
            let listed = meaning::listed(&known);
            let kinds = view.kind(kind_of(*kind));
            assert_eq!(kinds.shows(index), listed, "listed? {}", self.said(*kind, name, None));
            *(if listed { &mut counted.listed } else { &mut counted.hidden }) += 1;
            let thing =
                Thing { server: self.world.servers[self.server].name, upstream: known.upstream, name: bare };
            for _ in 0..2 {
                let call = Call::of(dice);
                let call = Call {
                    arguments: call.arguments.filter(|_| matches!(kind, Kind::Tool | Kind::Prompt)),
                    ..call
                };
                // A URI under a template is decided on itself.
                let uri = format!("{}://{}", known.upstream, dice.pick(&["a", "ab", "zz"]));
                let is_template = *kind == Kind::Template;
                let known =
                    if is_template { Known { name: &uri, kind: Kind::Resource, ..known } } else { known };
                let expected = meaning::decided(&Known { call: Some(&call), ..known });
                let found = self.with_call(&call, *kind, dice.one_in(2), |moment, workspace| {
                    let moment = Moment { traits: Some(&traits), windows: Some(&windows), ..*moment };
                    let verdict = match kinds.ruled(index) {
                        _ if is_template => {
                            self.snapshot.decide_uri(self.server, *upstream, &uri, &moment, workspace)
                        }
                        Ruled::Settled(verdict) => Ok(verdict),
                        Ruled::Open { so_far, rules } => {
                            let moment = Moment { thing: Some(thing), ..moment };
                            self.snapshot.settle(so_far, rules, &moment, workspace)
                        }
                    };
                    verdict.unwrap_or_else(|fault| {
                        panic!("{}: {}", fault.message(), self.said(*kind, name, Some(&call)))
                    })
                });
                let found = decided(found);
                if listed || is_template {
                    assert_eq!(found, expected, "{}", self.said(*kind, name, Some(&call)));
                } else {
                    // What no call can get is refused; which refusal would win is not worked out.
                    let refused = |(effect, _): Decided| effect != Effect::Allow;
                    assert!(refused(found) && refused(expected), "{}", self.said(*kind, name, Some(&call)));
                }
                counted.uris += u64::from(is_template);
                match expected.0 {
                    Effect::Allow => counted.permitted += 1,
                    Effect::Hold => counted.held += 1,
                    Effect::Deny => counted.denied += 1,
                }
            }
        }
    }

    fn known<'k>(&'k self, kind: Kind, upstream: usize, name: &'k str) -> Known<'k> {
        Known {
            world: self.world,
            person: self.person,
            server: self.world.servers[self.server].name,
            upstream: self.world.upstreams[upstream].name,
            name,
            kind,
            now: self.now,
            call: None,
        }
    }

    /// The moment of a call whose body was read as a worker reads it.
    fn with_call<T>(
        &self,
        call: &Call,
        kind: Kind,
        escaped: bool,
        decide: impl FnOnce(&Moment<'_>, &mut Workspace) -> T,
    ) -> T {
        let arguments =
            call.arguments.as_ref().map(|json| format!(",\"arguments\":{}", json.written(escaped)));
        let (method, arguments) = (meaning::method(kind), arguments.unwrap_or_default());
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"x","uri":"x"{arguments}}}}}"#
        );
        let mut decoder = Decoder::new();
        let message =
            decoder.decode(body.as_bytes()).unwrap_or_else(|fault| panic!("{}: {body}", fault.message()));
        let arguments = message.arguments;
        let asked = Asked { method, body: body.as_bytes(), arguments, request: call, with_scopes: false };
        let principal = Some(self.principal);
        let moment = Moment { traits: None, windows: None, principal, thing: None, asked: Some(&asked) };
        decide(&moment, &mut Workspace::default())
    }

    /// All that somebody needs who looks at a failure.
    fn said(&self, kind: Kind, name: &str, call: Option<&Call>) -> String {
        let Person { id, user, agent, tenant, groups, claims } = self.person;
        let call = call.map(|call| {
            let arguments = call.arguments.as_ref().map(|json| json.written(false));
            format!("with {arguments:?}, headers {:?}, from {}", call.headers, call.ip)
        });
        format!(
            "seed {}: {kind:?} `{name}` of server {} at {}, {}\nby {id}, user `{user}`, agent `{agent}`, tenant `{tenant}`, \
             groups {groups:?}, claims {:?}\n{}",
            self.seed,
            self.server,
            self.now,
            call.unwrap_or_default(),
            claims.as_ref().map(|json| json.written(false)),
            self.text
        )
    }
}

impl Request for Call {
    fn header(&self, wanted: &str) -> Header<'_> {
        let mut all = self.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        match (all.next(), all.next()) {
            (None, _) => Header::Missing,
            (Some((_, value)), None) => Header::One(value.as_bytes()),
            _ => Header::Several,
        }
    }

    fn ip(&self) -> IpAddr {
        self.ip.parse().unwrap()
    }
}

fn kind_of(kind: Kind) -> strait_table::Kind {
    match kind {
        Kind::Tool => strait_table::Kind::Tool,
        Kind::Prompt => strait_table::Kind::Prompt,
        Kind::Resource => strait_table::Kind::Resource,
        Kind::Template => strait_table::Kind::Template,
    }
}

fn decided(verdict: Verdict) -> Decided {
    let effect = match verdict {
        Verdict::Permit(_) => Effect::Allow,
        Verdict::Hold(_) => Effect::Hold,
        Verdict::Deny(_) => Effect::Deny,
    };
    (effect, verdict.rule().map(|rule| rule as usize))
}

fn offered(world: &World) -> Catalog {
    let lists = world.upstreams.iter().map(|upstream| {
        let mut lists = Lists { known: catalog::Known::Fresh, ..Lists::default() };
        for (kind, name) in &upstream.items {
            let json = match kind {
                Kind::Tool => format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#),
                Kind::Prompt => format!(r#"{{"name":"{name}"}}"#),
                Kind::Resource => format!(r#"{{"uri":"{name}","name":"it"}}"#),
                Kind::Template => format!(r#"{{"uriTemplate":"{name}","name":"it"}}"#),
            };
            lists.of_mut(kind_of(*kind)).push(Definition { name: name.clone(), json });
        }
        lists
    });
    Catalog { upstreams: lists.collect() }
}

/// As their keys make them: from the text of a key file, each found by the key itself.
fn principals(world: &World) -> Vec<Principal> {
    let pepper = [7; 32];
    let key = |id: &str| format!("{}{id}", keys::KEY_PREFIX);
    let mut text = format!("pepper: \"{}\"\nkeys:\n", blake3::Hash::from_bytes(pepper).to_hex());
    for Person { id, user, agent, tenant, groups, claims } in &world.people {
        let digest = keys::digest(&pepper, &key(id)).to_hex();
        let facts = [("user", user), ("agent", agent), ("tenant", tenant)];
        let facts = facts.iter().filter(|(_, fact)| !fact.is_empty());
        let mut more: String = facts.map(|(name, fact)| format!(", {name}: {fact}")).collect();
        more.extend(
            claims.as_ref().map(|json| json.written(false)).map(|claims| format!(", claims: {claims}")),
        );
        let created = "created: 2026-11-21T10:15:00Z";
        text.push_str(&format!(
            "  - {{ id: {id}, groups: {groups:?}, digest: \"{digest}\", {created}{more} }}\n"
        ));
    }
    let file = keys::parse(Path::new("keys.yaml"), text).unwrap_or_else(|error| panic!("{error}"));
    world.people.iter().map(|person| file.find(&key(person.id)).unwrap().principal.clone()).collect()
}
