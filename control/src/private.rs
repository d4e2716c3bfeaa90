//! A gateway whose only client is this process: `strait stdio CONFIG`.
//!
//! The decision: what differs is said as a table, so that no worker knows of it. A table is *secluded*: its
//! listeners become one on a free loopback port, its identities one whose only key was made at this start, is
//! shown to nobody and is gone with the process. What that key may do is what the client might do at the gateway
//! of this configuration: it stands for the key that the client presents, or else for the first that the
//! configuration generates for the server. The same happens to every table that a reload brings.

use std::path::Path;

use strait_config_compiler::keys as key_file;
use strait_engine::{IdentityKeys, KeyRing};
use strait_policy::Principal;
use strait_table::Snapshot;
use strait_table::rules::{ArchivedAuthMethod, ArchivedServer, AuthMethod, Identity, Listener, Rules};

use crate::failure::{Code, Failure};
use crate::keys::{self, Keys};
use crate::state::State;

/// The name of the listener and of the identity, in access lines.
const NAME: &str = "stdio";

/// No `Debug`: it holds keys.
pub struct Private {
    wish: Wish,
    key: String,
    pepper: [u8; 32],
}

/// What the client wants of the configuration.
#[derive(Default)]
pub struct Wish {
    /// Which server; `default` or the only one when not said.
    pub server: Option<String>,
    /// The key that it would show to a gateway elsewhere.
    pub key: Option<String>,
    /// The admin endpoints are served where the configuration says.
    pub admin: bool,
}

impl Private {
    pub fn new(wish: Wish) -> Result<Private, Failure> {
        let failed = |error: key_file::KeyFileError| Failure::new(Code::Unfit, error.to_string());
        let (key, pepper) = (key_file::generate().map_err(failed)?, key_file::random().map_err(failed)?);
        Ok(Private { wish, key, pepper })
    }

    /// What the one client presents.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn wants_admin(&self) -> bool {
        self.wish.admin
    }

    /// The path of the server that the client wants.
    pub fn path(&self, snapshot: &Snapshot) -> Result<String, Failure> {
        Ok(self.server(snapshot)?.path.as_str().to_owned())
    }

    /// The table as the one client may have it.
    pub fn seclude(&self, snapshot: &Snapshot, base: &Path, state: &State) -> Result<Snapshot, Failure> {
        let principal = self.principal(snapshot, base, state)?;
        let secluded = snapshot.with_rules(|rules| seclude(rules, principal));
        secluded.map_err(|error| Failure::bug(format!("the secluded table does not open: {error}")))
    }

    /// The ring of a secluded table.
    pub fn keys(&self, snapshot: &Snapshot) -> Keys {
        let mut ring = KeyRing { principals: vec![Principal::anonymous()], identities: Vec::new() };
        for identity in snapshot.rules().identities.iter() {
            let mut keys = IdentityKeys { pepper: self.pepper, ..IdentityKeys::default() };
            if let ArchivedAuthMethod::Generated { keys: wanted } = &identity.method
                && let Some(wanted) = wanted.first()
            {
                ring.principals.push(wanted.principal());
                let index = ring.principals.len() as u32 - 1;
                keys.by_digest.insert(*key_file::digest(&self.pepper, &self.key).as_bytes(), index);
            }
            ring.identities.push(keys);
        }
        Keys { ring, generated: Vec::new(), written: Vec::new() }
    }

    fn server<'s>(&self, snapshot: &'s Snapshot) -> Result<&'s ArchivedServer, Failure> {
        server_of(snapshot, self.wish.server.as_deref())
    }

    /// For whom the client calls.
    fn principal(&self, snapshot: &Snapshot, base: &Path, state: &State) -> Result<Principal, Failure> {
        let server = self.server(snapshot)?;
        if server.auth.is_empty() {
            return Ok(Principal::anonymous());
        }
        let all = &snapshot.rules().identities;
        let accepted = || server.auth.iter().filter_map(|at| all.get(usize::from(at.to_native())));
        let Some(key) = &self.wish.key else {
            let first = accepted().find_map(|identity| match &identity.method {
                ArchivedAuthMethod::Generated { keys } => keys.first(),
                _ => None,
            });
            let Some(first) = first else {
                let message = format!(
                    "server `{}` knows its callers by key files alone, and no key was given",
                    server.name.as_str()
                );
                return Err(Failure::new(Code::NotAuthorised, message)
                    .help("put the client's key in STRAIT_KEY, or its file in --key-file"));
            };
            return Ok(first.principal());
        };
        for identity in accepted() {
            let Some(path) = keys::file(identity, base, state) else { continue };
            // One that is not there, or cannot be read, knows nobody; others may.
            let Ok(file) = key_file::load(&path) else { continue };
            if let Some(found) = file.find(key) {
                return Ok(found.principal.clone());
            }
        }
        let message = format!("server `{}` does not know the key that was given", server.name.as_str());
        Err(Failure::new(Code::NotAuthorised, message)
            .help("the key in STRAIT_KEY or --key-file must be in a key file of this configuration"))
    }
}

fn seclude(rules: &mut Rules, principal: Principal) {
    rules.listeners = vec![Listener {
        name: NAME.into(),
        bind: "127.0.0.1:0".into(),
        public: None,
        hosts: vec!["127.0.0.1".into()],
        origins: Vec::new(),
        tls: None,
    }];
    let method = AuthMethod::Generated { keys: vec![principal.into()] };
    rules.identities = vec![Identity { name: NAME.into(), method }];
    for server in &mut rules.servers {
        // An open server too: the port is open to everybody on this machine.
        server.auth = vec![0];
    }
}

/// The server of a name; without one `default`, or the only one.
pub fn server_of<'s>(snapshot: &'s Snapshot, wanted: Option<&str>) -> Result<&'s ArchivedServer, Failure> {
    let servers = &snapshot.rules().servers;
    let named = |name: &str| servers.iter().find(|server| server.name.as_str() == name);
    let found = match (wanted, servers.as_slice()) {
        (Some(name), _) => named(name),
        (None, [only]) => Some(only),
        (None, _) => named("default"),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        let message = match wanted {
            Some(name) => format!("no server is called `{name}`"),
            None => format!("{} servers, and none is called `default`", names.len()),
        };
        Failure::new(Code::Usage, message).help(format!("name one with --server: {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use strait_table::rules::{GeneratedKey, Naming, Server};

    use super::*;
    use crate::test_support::Folder;

    fn table(servers: &[(&str, &[u16])]) -> Snapshot {
        let server = |(name, auth): &(&str, &[u16])| Server {
            name: (*name).into(),
            path: format!("/{name}"),
            auth: auth.to_vec(),
            tools: Vec::new(),
            prompts: Vec::new(),
            resources: Vec::new(),
            naming: Naming::Auto,
            instructions: String::new(),
            shapes: Vec::new(),
        };
        let generated = |id: &str| GeneratedKey {
            id: id.into(),
            groups: vec!["staff".into()],
            ..GeneratedKey::default()
        };
        let identities = vec![
            Identity { name: "file".into(), method: AuthMethod::KeyFile { path: "keys.yaml".into() } },
            Identity {
                name: "made".into(),
                method: AuthMethod::Generated { keys: vec![generated("you"), generated("other")] },
            },
        ];
        let paths: Vec<String> = servers.iter().map(|(name, _)| format!("/{name}")).collect();
        let rules = Rules {
            identities,
            paths: strait_table::names::Names::build(paths.iter().map(String::as_str)),
            servers: servers.iter().map(server).collect(),
            ..crate::test_support::rules()
        };
        strait_table::snapshot::of_rules(&rules).unwrap()
    }

    fn secluded(wish: Wish, table: &Snapshot, folder: &Folder) -> Result<(Private, Snapshot), Failure> {
        let private = Private::new(wish)?;
        let state = State::open(folder.path())?;
        let snapshot = private.seclude(table, folder.path(), &state)?;
        Ok((private, snapshot))
    }

    fn wish(server: Option<&str>, key: Option<&str>) -> Wish {
        Wish { server: server.map(str::to_owned), key: key.map(str::to_owned), admin: false }
    }

    #[test]
    fn only_the_made_key_opens_any_server_and_the_addresses_are_gone() {
        let folder = Folder::new();
        let table = table(&[("default", &[0, 1]), ("open", &[])]);
        let (private, snapshot) = secluded(wish(None, None), &table, &folder).unwrap();
        let rules = snapshot.rules();
        assert_eq!(rules.listeners.len(), 1);
        assert_eq!(rules.listeners[0].bind.as_str(), "127.0.0.1:0");
        assert!(rules.servers.iter().all(|server| server.auth.as_slice() == [0]));
        let keys = private.keys(&snapshot);
        let identity = &keys.ring.identities[0];
        let index = identity.by_digest[key_file::digest(&identity.pepper, private.key()).as_bytes()];
        let principal = &keys.ring.principals[index as usize];
        assert_eq!((principal.id.as_str(), &principal.groups), ("you", &vec!["staff".to_owned()]));
        assert_eq!(keys.ring.identities.len(), 1);
        assert_eq!(private.path(&snapshot).unwrap(), "/default");
    }

    #[test]
    fn a_presented_key_says_for_whom_the_client_calls() {
        let folder = Folder::new();
        let ada = key_file::new_key(
            &folder.path().join("keys.yaml"),
            &Principal { id: "ada".into(), user: "lovelace".into(), ..Principal::default() },
        )
        .unwrap();
        let table = table(&[("default", &[0])]);
        let (private, snapshot) = secluded(wish(None, Some(&ada)), &table, &folder).unwrap();
        let principal = &private.keys(&snapshot).ring.principals[1];
        assert_eq!((principal.id.as_str(), principal.user.as_str()), ("ada", "lovelace"));
        for key in [None, Some("sk-strait-other")] {
            let failure = secluded(wish(None, key), &table, &folder).err().unwrap();
            assert_eq!(failure.code, Code::NotAuthorised);
            assert!(failure.help.unwrap().contains("STRAIT_KEY"));
        }
    }

    #[test]
    fn an_open_server_is_called_by_anonymous() {
        let folder = Folder::new();
        let table = table(&[("a", &[1]), ("open", &[])]);
        let (private, snapshot) = secluded(wish(Some("open"), None), &table, &folder).unwrap();
        assert_eq!(private.keys(&snapshot).ring.principals[1], Principal::anonymous());
    }

    #[test]
    fn which_server_is_asked_for_when_it_is_not_plain() {
        let folder = Folder::new();
        let table = table(&[("a", &[]), ("b", &[])]);
        for (server, says) in [(None, "none is called `default`"), (Some("c"), "`c`")] {
            let failure = secluded(wish(server, None), &table, &folder).err().unwrap();
            assert!(failure.message.contains(says), "{failure:?}");
            assert!(failure.help.unwrap().contains("a, b"));
        }
    }
}
