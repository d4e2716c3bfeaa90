//! Who may ask: everybody who has a key, whoever comes without one, and whoever had one role alone.

use strait_config_compiler::keys;
use strait_policy::Principal;
use strait_table::Snapshot;
use strait_table::mtls::{Names, San, SanKind};
use strait_table::rules::{ArchivedAuthMethod, ArchivedRole, ArchivedServer};

use super::asked::usage;
use super::search;
use crate::Failure;
use crate::source::Opened;

/// Somebody who may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub principal: Principal,
    pub by: By,
}

/// How somebody comes to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// With a key or a certificate; the names of the identities that know it.
    Key(Vec<String>),
    /// Through whatever identity there is.
    Any,
    /// Without a credential, where none is asked for.
    Nothing,
}

impl Person {
    pub fn anonymous() -> Person {
        Person { principal: Principal::anonymous(), by: By::Nothing }
    }

    /// Whether a server lets this one in under its own name. Where no credential is asked for, everybody is `anonymous`.
    pub fn comes_to(&self, snapshot: &Snapshot, server: &ArchivedServer) -> bool {
        let identities = &snapshot.rules().identities;
        let accepts = |known: &Vec<String>| {
            let accepted =
                server.auth.iter().filter_map(|index| identities.get(usize::from(index.to_native())));
            accepted.into_iter().any(|identity| known.iter().any(|name| identity.name == name.as_str()))
        };
        match &self.by {
            By::Nothing => server.auth.is_empty(),
            By::Any => !server.auth.is_empty(),
            By::Key(known) => accepts(known),
        }
    }
}

/// Everybody of whom a configuration tells.
pub struct People {
    /// Each principal once; `anonymous` first, where a server is open.
    pub known: Vec<Person>,
    /// Key files that could not be read, and why: whom they know is not known here.
    pub unread: Vec<String>,
}

/// Everybody who has a key that is not revoked, and `anonymous` where a server asks for none.
pub fn known(opened: &Opened) -> People {
    let rules = opened.snapshot.rules();
    let mut people = People { known: Vec::new(), unread: Vec::new() };
    if rules.servers.iter().any(|server| server.auth.is_empty()) {
        people.known.push(Person::anonymous());
    }
    let mut places: std::collections::HashMap<String, Vec<usize>> = std::collections::HashMap::new();
    for identity in rules.identities.iter() {
        let principals: Vec<Principal> = match &identity.method {
            ArchivedAuthMethod::Generated { keys } => keys.iter().map(|key| key.principal()).collect(),
            // Whom an issuer knows is not known here.
            ArchivedAuthMethod::Jwt(_)
            | ArchivedAuthMethod::Introspection(_)
            | ArchivedAuthMethod::Mtls(_) => Vec::new(),
            ArchivedAuthMethod::KeyFile { path } => {
                let at = opened.base.join(path.as_str());
                match keys::load(&at) {
                    Ok(file) => {
                        let valid = file.keys.into_iter().filter(|key| key.revoked.is_none());
                        valid.map(|key| key.principal).collect()
                    }
                    Err(error) => {
                        people.unread.push(format!("key file `{}`: {}", path.as_str(), error.why()));
                        Vec::new()
                    }
                }
            }
        };
        for principal in principals {
            let name = identity.name.as_str();
            let same = places.entry(principal.id.clone()).or_default();
            let before = same.iter().copied().find(|at| people.known[*at].principal == principal);
            match before.map(|at| &mut people.known[at].by) {
                Some(By::Key(known)) if !known.iter().any(|known| known == name) => {
                    known.push(name.to_owned())
                }
                Some(_) => {}
                None => {
                    same.push(people.known.len());
                    people.known.push(Person { principal, by: By::Key(vec![name.to_owned()]) });
                }
            }
        }
    }
    people
}

/// A principal by the id of a key, by a name in its certificate, or as it is described.
pub fn who(opened: &Opened, text: &str) -> Result<Person, Failure> {
    if text.trim_start().starts_with('{') {
        return read(text).map(|principal| Person { principal, by: By::Any });
    }
    if text == Principal::anonymous().id {
        return Ok(Person::anonymous());
    }
    let people = known(opened);
    if let Some(person) = people.known.into_iter().find(|person| person.principal.id == text) {
        return Ok(person);
    }
    let shown = by_certificate(&opened.snapshot, text);
    if let Some(person) = shown {
        return Ok(person);
    }
    let unread: String = people.unread.iter().map(|why| format!("; {why}")).collect();
    let failure = usage(format!("no key has the id `{text}`{unread}"));
    Err(failure.help("describe the principal instead, as JSON: '{\"id\":\"ann\",\"groups\":[\"staff\"]}'"))
}

/// Whoever has a certificate with this name alone. What else is in it is not known here.
pub fn by_certificate(snapshot: &Snapshot, name: &str) -> Option<Person> {
    let san = San::read(name);
    let names = [san.glob];
    let of_kind = |kind| if san.kind == kind { &names[..] } else { &[] };
    let names =
        Names { uris: of_kind(SanKind::Uri), dns: of_kind(SanKind::Dns), emails: of_kind(SanKind::Email) };
    let claims = serde_json::json!({"san": {"uri": names.uris, "dns": names.dns, "email": names.emails}});
    let mut found = snapshot.rules().identities.iter().filter_map(|identity| match &identity.method {
        ArchivedAuthMethod::Mtls(method) => Some((identity, method, method.name_of(names)?)),
        _ => None,
    });
    let (identity, method, id) = found.next()?;
    let by = By::Key(vec![identity.name.as_str().to_owned()]);
    Some(Person { principal: method.principal(id, claims.to_string()), by })
}

fn read(text: &str) -> Result<Principal, Failure> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Described {
        id: String,
        #[serde(default)]
        user: String,
        #[serde(default)]
        agent: String,
        #[serde(default)]
        tenant: String,
        #[serde(default)]
        groups: Vec<String>,
        claims: Option<Box<serde_json::value::RawValue>>,
    }
    let described: Described = serde_json::from_str(text)
        .map_err(|error| usage(format!("this is not a principal, as JSON: {error}")))?;
    let claims = described.claims.map(|claims| claims.get().to_owned()).unwrap_or_default();
    if !claims.is_empty() && !claims.starts_with('{') {
        return Err(usage("`claims` of a principal must be an object".to_owned()));
    }
    let Described { id, user, agent, tenant, groups, .. } = described;
    Ok(Principal { id, user, agent, tenant, groups, claims })
}

/// Whoever has one role, and as little else as may be: an example of the people it was made for. None: nobody was found who
/// could have it.
pub fn role_alone(snapshot: &Snapshot, role: &ArchivedRole) -> Option<Person> {
    search::with_role(snapshot, role).map(|principal| Person { principal, by: By::Any })
}

/// A principal as [`who`] reads it, without what is empty.
pub fn described(principal: &Principal) -> serde_json::Value {
    let Principal { id, user, agent, tenant, groups, claims } = principal;
    let mut out = serde_json::json!({ "id": id });
    for (key, text) in [("user", user), ("agent", agent), ("tenant", tenant)] {
        if !text.is_empty() {
            out[key] = text.as_str().into();
        }
    }
    if !groups.is_empty() {
        out["groups"] = groups.clone().into();
    }
    if let Ok(claims) = serde_json::from_str::<serde_json::Value>(claims) {
        out["claims"] = claims;
    }
    out
}
