//! What the two engines say of a call.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicySet, Request, RestrictedExpression,
};
use strait_config_compiler::{Outcome, load};
use strait_policy::{Principal, Verdict};
use strait_protocol::Span;
use strait_table::bound::Kind;
use strait_table::condition::evaluate::Header;
use strait_table::condition::{self, Asked, Moment, Workspace};
use strait_table::snapshot::{Snapshot, of_rules};

use crate::dice::Dice;
use crate::world::{CONFIG, Call, Json, Thing};

/// The policies of a text, by the numbers that Cedar gives them.
pub type Policies = BTreeSet<usize>;

/// What Cedar says.
#[derive(Debug)]
pub struct Theirs {
    pub allows: bool,
    /// Policies that decided.
    pub by: Policies,
    /// Policies that were skipped for an error.
    pub erred: Policies,
}

/// What our table says: whether it permits, and by which policy.
#[derive(Debug, PartialEq, Eq)]
pub struct Ours {
    pub permits: bool,
    pub by: Option<usize>,
}

/// Reads a text as a configuration names it.
pub fn compile(folder: &Path, policies: &str) -> Outcome {
    std::fs::write(folder.join("strait.yaml"), CONFIG).unwrap();
    std::fs::write(folder.join("p.cedar"), policies).unwrap();
    load(&folder.join("strait.yaml"), &|_| None)
}

pub fn snapshot(outcome: &Outcome) -> Option<Snapshot> {
    outcome.rules.as_ref().map(|rules| of_rules(rules).unwrap())
}

struct Sent<'c>(&'c Call);

impl condition::Request for Sent<'_> {
    fn header(&self, name: &str) -> Header<'_> {
        let mut found = self.0.headers.iter().filter(|(known, _)| *known == name);
        match (found.next(), found.next()) {
            (None, _) => Header::Missing,
            (Some((_, value)), None) => Header::One(value.as_bytes()),
            _ => Header::Several,
        }
    }

    fn ip(&self) -> IpAddr {
        self.0.ip
    }
}

pub fn ours(snapshot: &Snapshot, call: &Call, dice: &mut Dice) -> Ours {
    let mut claims = String::new();
    call.claims.written(dice, &mut claims);
    let principal = Principal {
        id: call.id.clone(),
        user: call.user.clone(),
        agent: call.agent.clone(),
        tenant: call.tenant.clone(),
        groups: call.groups.clone(),
        claims,
    };
    let mut body = String::from("{\"params\":");
    let from = body.len();
    let arguments = call.args.as_ref().map(|args| {
        args.written(dice, &mut body);
        Span::between(from, body.len())
    });
    body.push('}');
    let request = Sent(call);
    let asked = Asked { method: call.method, body: body.as_bytes(), arguments, request: &request, with_scopes: false };
    let traits = snapshot.traits_of(&principal);
    let windows = snapshot.windows_at(call.now);
    let moment = Moment {
        traits: Some(&traits),
        windows: Some(&windows.bits),
        principal: Some(&principal),
        thing: None,
        asked: Some(&asked),
    };
    let rules = snapshot.rules();
    let server = rules.servers.iter().position(|server| server.name == call.server).unwrap();
    let upstream = rules.upstreams.iter().position(|upstream| upstream.name == call.upstream).unwrap();
    let kind = match call.thing {
        Thing::Tool => Kind::Tool,
        Thing::Prompt => Kind::Prompt,
        Thing::Resource => Kind::Resource,
    };
    let mut workspace = Workspace::default();
    let explained = snapshot.explain(server, upstream, kind, &call.name, &moment, &mut workspace);
    let (ruling, _) = explained.unwrap().unwrap();
    assert!(ruling.open.is_empty(), "everything is known of a call");
    let by = ruling.verdict.rule().map(|rule| {
        let id = rules.policy.rules[rule as usize].id.as_str();
        id.strip_prefix("p.cedar:policy").unwrap().parse().unwrap()
    });
    Ours { permits: matches!(ruling.verdict, Verdict::Permit(_)), by }
}

fn uid(kind: &str, id: &str) -> EntityUid {
    let kind: EntityTypeName = kind.parse().unwrap();
    EntityUid::from_type_name_and_id(kind, EntityId::new(id))
}

fn text(of: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(of.to_owned())
}

fn value(of: &Json) -> RestrictedExpression {
    // Of a type that policies cannot say anything about: a decimal, another one for each text.
    let strange = |written: &str| {
        let number = written.bytes().fold(7u32, |all, byte| (all * 31 + u32::from(byte)) % 1_000_003);
        RestrictedExpression::new_decimal(format!("{number}.0"))
    };
    match of {
        Json::Null => strange("null"),
        Json::Bool(value) => RestrictedExpression::new_bool(*value),
        Json::Number(number) => match number.parse::<i64>() {
            Ok(value) => RestrictedExpression::new_long(value),
            Err(_) => strange(number),
        },
        Json::Text(said) => text(said),
        Json::List(items) => RestrictedExpression::new_set(items.iter().map(value)),
        Json::Object(members) => {
            let members = members.iter().map(|(key, member)| (key.clone(), value(member)));
            RestrictedExpression::new_record(members).unwrap()
        }
    }
}

/// The roles of [`CONFIG`]; of what cannot be decided nobody is.
fn roles(call: &Call) -> Vec<&'static str> {
    let level = match &call.claims {
        Json::Object(members) => members.iter().find(|(key, _)| key == "level").map(|(_, level)| level),
        _ => None,
    };
    let is_senior = match level {
        Some(Json::Number(number)) => number.parse::<f64>().unwrap() > 3.0,
        _ => false,
    };
    let has = [
        ("admin", call.groups.iter().any(|group| group == "admins")),
        ("ide", call.agent == "ide"),
        ("senior", is_senior),
    ];
    has.into_iter().filter(|(_, has)| *has).map(|(role, _)| role).collect()
}

/// Whether the condition of the role `senior` comes to anything.
pub fn roles_are_certain(call: &Call) -> bool {
    let Json::Object(members) = &call.claims else { return false };
    let level = members.iter().find(|(key, _)| key == "level");
    matches!(level, Some((_, Json::Number(number))) if number != "1E400")
}

pub fn theirs(policies: &PolicySet, call: &Call) -> Theirs {
    let roles = roles(call);
    let mut parents: HashSet<EntityUid> = HashSet::new();
    for (kind, id) in [("User", &call.user), ("Agent", &call.agent), ("Tenant", &call.tenant)] {
        if !id.is_empty() {
            parents.insert(uid(kind, id));
        }
    }
    parents.extend(call.groups.iter().map(|group| uid("Group", group)));
    parents.extend(roles.iter().map(|role| uid("Role", role)));
    let attributes = HashMap::from([
        ("id".to_owned(), text(&call.id)),
        ("user".to_owned(), text(&call.user)),
        ("agent".to_owned(), text(&call.agent)),
        ("tenant".to_owned(), text(&call.tenant)),
        ("groups".to_owned(), RestrictedExpression::new_set(call.groups.iter().map(|group| text(group)))),
        ("roles".to_owned(), RestrictedExpression::new_set(roles.iter().map(|role| text(role)))),
        ("claims".to_owned(), value(&call.claims)),
    ]);
    let principal = uid("Principal", &call.id);
    let (kind, action) = match call.thing {
        Thing::Tool => ("Tool", "call_tool"),
        Thing::Prompt => ("Prompt", "get_prompt"),
        Thing::Resource => ("Resource", "read_resource"),
    };
    let resource = uid(kind, &format!("{}.{}", call.upstream, call.name));
    let of_resource = HashMap::from([
        ("name".to_owned(), text(&call.name)),
        ("upstream".to_owned(), text(call.upstream)),
        ("server".to_owned(), text(call.server)),
    ]);
    let inside = HashSet::from([uid("Upstream", call.upstream), uid("Server", call.server)]);
    let entities = Entities::from_entities(
        [
            Entity::new(principal.clone(), attributes, parents).unwrap(),
            Entity::new(resource.clone(), of_resource, inside).unwrap(),
        ],
        None,
    )
    .unwrap();
    let headers = call.headers.iter().map(|(name, header)| ((*name).to_owned(), text(header)));
    let nothing = Json::Object(Vec::new());
    let context = Context::from_pairs([
        ("args".to_owned(), value(call.args.as_ref().unwrap_or(&nothing))),
        ("headers".to_owned(), RestrictedExpression::new_record(headers).unwrap()),
        ("ip".to_owned(), RestrictedExpression::new_ip(call.ip.to_string())),
        ("now".to_owned(), moment(call.now)),
        ("method".to_owned(), text(call.method)),
    ])
    .unwrap();
    let request = Request::new(principal, uid("Action", action), resource, context, None).unwrap();
    let response = Authorizer::new().is_authorized(&request, policies, &entities);
    let number =
        |id: &cedar_policy::PolicyId| id.to_string().strip_prefix("policy").unwrap().parse().unwrap();
    let erred = response.diagnostics().errors().map(|error| match error {
        AuthorizationError::PolicyEvaluationError(error) => number(error.policy_id()),
    });
    Theirs {
        allows: response.decision() == Decision::Allow,
        by: response.diagnostics().reason().map(number).collect(),
        erred: erred.collect(),
    }
}

/// A second of Unix time, of one of the days that calls are made on.
fn moment(second: i64) -> RestrictedExpression {
    let (day, second) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    let date = match day {
        -1 => "1969-12-31",
        0 => "1970-01-01",
        20_818 => "2026-12-31",
        20_819 => "2027-01-01",
        21_990 => "2030-03-17",
        _ => panic!("no calls are made on day {day}"),
    };
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    RestrictedExpression::new_datetime(format!("{date}T{hour:02}:{minute:02}:{second:02}Z"))
}
