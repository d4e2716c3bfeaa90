//! Conditions alone: the first line is CEL, the rest the arguments of a call. No panic; what is refused is told inside of the text;
//! what is understood is a table that opens, has an answer to every call, the same one each time; and what a list takes for sure
//! no call turns round.
#![no_main]

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use strait_config_compiler::condition::syntax::Parsing;
use strait_config_compiler::condition::{self, Of, Shared};
use strait_policy::{Principal, Truth};
use strait_protocol::jsonrpc::Decoder;
use strait_table::condition::cost::Cost;
use strait_table::condition::evaluate::{Header, Thing, evaluate};
use strait_table::condition::{Asked, Moment, Request, Workspace};
use strait_table::rules::{Effect, Listener, Policy, Role, Rule, Rules, To};
use strait_table::snapshot;

struct Nowhere;

impl Request for Nowhere {
    fn header(&self, name: &str) -> Header<'_> {
        if name == "x-env" { Header::One(b"prod") } else { Header::Missing }
    }

    fn ip(&self) -> IpAddr {
        Ipv4Addr::new(10, 1, 2, 3).into()
    }
}

thread_local! {
    /// A thread for each input would be most of the work.
    static PARSING: RefCell<Parsing> = RefCell::default();
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, arguments) = text.split_once('\n').unwrap_or((text, "{}"));
    let mut shared = Shared::default();
    shared.parsing = PARSING.take();
    asked(text, arguments, &mut shared);
    PARSING.set(shared.parsing);
});

fn asked(text: &str, arguments: &str, shared: &mut Shared) {
    let nobody = |_: &str| Err(None);
    let staff =
        condition::read("\"staff\" in principal.groups", Of::Role, &nobody, shared).expect("it is CEL");
    let (yes, error) = shared.principal(&staff).expect("one trait");
    shared.roles.push((yes, error));
    let role = |name: &str| if name == "staff" { Ok(0) } else { Err(None) };
    let tree = match condition::read(text, Of::Rule, &role, shared) {
        Ok(tree) => tree,
        Err(wrong) => {
            assert!(wrong.at.start <= wrong.at.end && wrong.at.end <= text.len(), "{wrong:?}");
            return;
        }
    };
    let Ok(program) = shared.rule(&tree) else { return };
    let rule = Rule {
        id: "r".into(),
        effect: Effect::Allow,
        patterns: Vec::new(),
        to: To::Everyone,
        condition: Some(program),
        scopes: Vec::new(),
        audit: Default::default(),
        place: Default::default(),
    };
    let listener = Listener {
        name: "main".into(),
        bind: "127.0.0.1:8080".into(),
        public: None,
        hosts: vec!["localhost".into()],
        origins: Vec::new(),
        tls: None,
    };
    let rules = Rules {
        listeners: vec![listener],
        body_bytes_max: 1 << 20,
        policy: Policy { default: Effect::Deny, rules: vec![rule] },
        traits: std::mem::take(&mut shared.traits),
        windows: std::mem::take(&mut shared.windows),
        automata: std::mem::take(&mut shared.automata),
        roles: vec![Role { name: "staff".into(), yes, error }],
        ..Rules::default()
    };
    let snapshot = snapshot::of_rules(&rules).unwrap_or_else(|error| panic!("{text}: {error}"));
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","arguments":{arguments}}}}}"#
    );
    let mut decoder = Decoder::new();
    let Ok(message) = decoder.decode(body.as_bytes()) else { return };
    let asked = Asked {
        method: "tools/call",
        body: body.as_bytes(),
        arguments: message.arguments,
        request: &Nowhere,
        with_scopes: false,
    };
    let principal = Principal {
        id: "ann".into(),
        groups: vec!["staff".into()],
        claims: r#"{"team":"a","level":3}"#.into(),
        ..Principal::default()
    };
    let (traits, windows) = (snapshot.traits_of(&principal), snapshot.windows_at(1_800_000_000).bits);
    let thing = Some(Thing { server: "s", upstream: "u", name: "t" });
    let listed =
        Moment { traits: Some(&traits), windows: Some(&windows), principal: None, thing, asked: None };
    let called = Moment { principal: Some(&principal), asked: Some(&asked), ..listed };
    let (all, mut workspace) = (snapshot.rules(), Workspace::default());
    let condition = all.policy.rules[0].condition.as_ref().expect("it has one");
    Cost::of(condition);
    let mut answer = |moment: &Moment<'_>| evaluate(condition, &all.automata, moment, &mut workspace);
    let sure = answer(&listed);
    let Ok(first) = answer(&called) else { return };
    assert_ne!(first, Truth::Unknown, "all is known: {text} of {arguments}");
    assert_eq!(answer(&called).ok(), Some(first), "{text} of {arguments}");
    if let Ok(sure @ (Truth::True | Truth::False)) = sure {
        assert_eq!(first, sure, "{text} of {arguments}");
    }
}
