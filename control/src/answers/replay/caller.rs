//! Who called, as the candidate would know it: a record says a name, and rules ask for more.

use std::collections::HashMap;

use serde_json::Value;
use strait_audit::view::text;
use strait_policy::{Principal, Traits};
use strait_table::Snapshot;
use strait_table::rules::{ArchivedAuthMethod, ArchivedServer};

use super::super::people::{By, Person, known, who};
use crate::Failure;
use crate::source::Opened;

/// Whoever a record names.
pub enum Caller {
    Known(Principal, Traits),
    /// The log has the name, and nobody here has the rest.
    Unknown,
    /// The candidate lets nobody in by that name, and says why.
    Refused(String),
}

pub struct Callers<'o> {
    opened: &'o Opened,
    /// By name; whoever was described comes first.
    people: HashMap<String, Vec<Person>>,
    /// Every key file was read.
    is_complete: bool,
}

impl<'o> Callers<'o> {
    pub fn of(opened: &'o Opened, described: &[String]) -> Result<Callers<'o>, Failure> {
        let known = known(opened);
        let mut people: HashMap<String, Vec<Person>> = HashMap::new();
        for person in known.known {
            people.entry(person.principal.id.clone()).or_default().push(person);
        }
        for text in described {
            let person = who(opened, text)?;
            people.insert(person.principal.id.clone(), vec![person]);
        }
        Ok(Callers { opened, people, is_complete: known.unread.is_empty() })
    }

    pub fn of_record(&self, snapshot: &Snapshot, server: usize, record: &Value) -> Caller {
        let rules = snapshot.rules();
        let Some(server) = rules.servers.get(server) else { return Caller::Unknown };
        let with_traits = |principal: Principal| {
            let traits = snapshot.traits_of(&principal);
            Caller::Known(principal, traits)
        };
        if server.auth.is_empty() {
            return with_traits(Principal::anonymous());
        }
        let name = text(record, "principal").unwrap_or_default();
        if name == Principal::anonymous().id {
            // Whether this client could have shown a credential, nobody asked.
            return Caller::Unknown;
        }
        let of_name = self.people.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut here = of_name.iter().filter(|person| person.comes_to(snapshot, server));
        match (here.next(), here.next()) {
            (Some(person), None) if is_of_record(person, record) => with_traits(person.principal.clone()),
            (Some(_), _) => Caller::Unknown,
            (None, _) if self.is_complete && self.has_keys_only(server) => {
                Caller::Refused(format!("server `{}` knows no key of `{name}`", server.name.as_str()))
            }
            (None, _) => Caller::Unknown,
        }
    }

    /// Whether everybody who comes to a server has a key of which this configuration knows.
    fn has_keys_only(&self, server: &ArchivedServer) -> bool {
        let identities = &self.opened.snapshot.rules().identities;
        let mut methods =
            server.auth.iter().filter_map(|index| identities.get(usize::from(index.to_native())));
        methods.all(|identity| match &identity.method {
            ArchivedAuthMethod::Generated { .. } | ArchivedAuthMethod::KeyFile { .. } => true,
            ArchivedAuthMethod::Jwt(_)
            | ArchivedAuthMethod::Introspection(_)
            | ArchivedAuthMethod::Mtls(_) => false,
        })
    }
}

/// Whether a record can be of this one: it says user and agent where they are more than the name.
fn is_of_record(person: &Person, record: &Value) -> bool {
    let Principal { id, user, agent, .. } = &person.principal;
    let said = |name, known: &str| {
        let expected = Some(known).filter(|known| !known.is_empty() && known != id);
        text(record, name) == expected
    };
    person.by == By::Any || said("user", user) && said("agent", agent)
}
