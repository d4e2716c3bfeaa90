//! Policies and calls of chance: the same verdict by the same policy. Where the two differ, they differ as `docs/CEDAR.md` says:
//! a forbid that is an error denies here.

use std::path::PathBuf;
use std::str::FromStr;

use cedar_policy::PolicySet;
use strait_cedar_oracle::dice::Dice;
use strait_cedar_oracle::judge::{Ours, Theirs, compile, ours, roles_are_certain, snapshot, theirs};
use strait_cedar_oracle::policy::policies;
use strait_cedar_oracle::world::{Call, Json};
use strait_config_compiler::Severity;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("strait-cedar-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[derive(Debug, Default)]
struct Counted {
    texts: usize,
    refused: usize,
    permits: usize,
    denies: usize,
    defaults: usize,
    erred_permits: usize,
    /// Forbids that Cedar skipped and we did not.
    deviations: usize,
}

/// What ours must be, by what Cedar says.
fn expected(theirs: &Theirs, permits: &[bool], ours: &Ours, counted: &mut Counted) -> bool {
    let erred: Vec<usize> = theirs.erred.iter().copied().filter(|policy| !permits[*policy]).collect();
    counted.erred_permits += theirs.erred.len() - erred.len();
    if !erred.is_empty() {
        // A forbid that cannot be decided.
        let forbids = theirs.by.iter().copied().filter(|policy| !permits[*policy]);
        counted.deviations += usize::from(theirs.allows);
        return !ours.permits
            && ours.by.is_some_and(|by| erred.contains(&by) || forbids.clone().any(|policy| policy == by));
    }
    match (theirs.allows, theirs.by.is_empty()) {
        (true, _) => counted.permits += 1,
        (false, false) => counted.denies += 1,
        (false, true) => counted.defaults += 1,
    }
    ours.permits == theirs.allows
        && match ours.by {
            Some(by) => theirs.by.contains(&by),
            None => theirs.by.is_empty(),
        }
}

#[test]
fn policies_of_chance_mean_what_cedar_says() {
    let seeds: u64 = std::env::var("STRAIT_CEDAR_SEEDS").map_or(600, |seeds| seeds.parse().unwrap());
    let from: u64 = std::env::var("STRAIT_CEDAR_FROM").map_or(0, |from| from.parse().unwrap());
    let folder = folder("chance");
    let mut counted = Counted::default();
    for seed in from..from + seeds {
        let mut dice = Dice::of(seed);
        let text = policies(&mut dice);
        let outcome = compile(&folder, &text);
        let set = PolicySet::from_str(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        counted.texts += 1;
        let Some(snapshot) = snapshot(&outcome) else {
            counted.refused += 1;
            for finding in outcome.findings.iter().filter(|finding| finding.severity() == Severity::Error) {
                let code = finding.code.to_string();
                // Too much, never true, covered by a deny, head without a thing, unguarded, of types that never meet, or nothing exact.
                let known = ["ST0403", "ST0453", "ST0501", "ST0505", "ST0452", "ST0454", "ST0456"];
                assert!(known.contains(&code.as_str()), "seed {seed}: {code} {}\n{text}", finding.message);
            }
            continue;
        };
        let permits: Vec<bool> = text.lines().map(|line| line.starts_with("permit")).collect();
        let asks_senior = text.contains("senior");
        for _ in 0..25 {
            let call = Call::of(&mut dice);
            if asks_senior && !roles_are_certain(&call) {
                continue;
            }
            let (ours, theirs) = (ours(&snapshot, &call, &mut dice), theirs(&set, &call));
            assert!(
                expected(&theirs, &permits, &ours, &mut counted),
                "seed {seed}\n{text}\n{call:?}\nours: {ours:?}\ntheirs: {theirs:?}"
            );
        }
    }
    println!("{counted:?}");
    std::fs::remove_dir_all(&folder).unwrap();
    // Chance must reach every way a call can be decided, once it has had some.
    if seeds < 500 {
        return;
    }
    assert!(counted.refused * 2 < counted.texts, "{counted:?}");
    let many = seeds as usize / 10;
    for count in [counted.permits, counted.denies, counted.defaults, counted.erred_permits] {
        assert!(count > many, "{counted:?}");
    }
    assert!(counted.deviations > many / 5, "{counted:?}");
}

/// A call of Alice's to `crm.get_order` with these arguments.
fn call(args: Json) -> Call {
    Call {
        id: "alice".to_owned(),
        user: "alice".to_owned(),
        agent: String::new(),
        tenant: String::new(),
        groups: Vec::new(),
        claims: Json::Object(Vec::new()),
        thing: strait_cedar_oracle::world::Thing::Tool,
        server: "default",
        upstream: "crm",
        name: "get_order".to_owned(),
        method: "tools/call",
        args: Some(args),
        headers: Vec::new(),
        ip: "10.0.0.7".parse().unwrap(),
        now: 0,
    }
}

/// The places where the meaning differs, one by one: where Cedar permits, ours refuses; never the other way.
#[test]
fn where_the_meaning_differs() {
    let folder = folder("differs");
    let check = |policies: &str, call: &Call, cedar_allows: bool, by: Option<usize>| {
        let outcome = compile(&folder, policies);
        let snapshot = snapshot(&outcome).unwrap_or_else(|| panic!("{:?}", outcome.findings));
        let theirs = theirs(&PolicySet::from_str(policies).unwrap(), call);
        assert_eq!(theirs.allows, cedar_allows, "{policies}");
        let ours = ours(&snapshot, call, &mut Dice::of(1));
        assert_eq!(ours, Ours { permits: false, by }, "{policies}");
    };
    let amount = |value: Json| call(Json::Object(vec![("amount".to_owned(), value)]));
    let all = "permit (principal, action, resource);";
    // An argument of another type is no way round a forbid.
    let large = format!(
        "{all} forbid (principal, action, resource) when {{ context.args has amount && context.args.amount > 500 }};"
    );
    for strange in [
        Json::Text("501".to_owned()),
        Json::Null,
        Json::Number("501.0".to_owned()),
        Json::Number("1e3".to_owned()),
    ] {
        check(&large, &amount(strange), true, Some(1));
    }
    // A list that is longer than a worker looks at.
    let long = Json::List((0..1_025).map(|n| Json::Number(n.to_string())).collect());
    check(
        "permit (principal, action, resource) when { context.args.amount.contains(1024) };",
        &amount(long),
        true,
        None,
    );
    // A header that is there twice.
    let mut twice = call(Json::Object(Vec::new()));
    twice.headers = vec![("x-env", "prod".to_owned()), ("x-env", "test".to_owned())];
    let outcome = compile(
        &folder,
        "permit (principal, action, resource) when { context.headers[\"x-env\"] != \"prod\" };",
    );
    let found = ours(&snapshot(&outcome).unwrap(), &twice, &mut Dice::of(1));
    assert_eq!(found, Ours { permits: false, by: None });
    // A role whose condition cannot be decided.
    let senior = "permit (principal, action, resource) unless { principal in Role::\"senior\" };";
    check(senior, &call(Json::Object(Vec::new())), true, None);
    std::fs::remove_dir_all(&folder).unwrap();
}
