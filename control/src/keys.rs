//! API keys: from key files and the state folder to the ring of digests that workers ask.
//!
//! A generated key (`api_keys: { generate: […] }`) is made once and found again at every later start:
//! its digest in `keys/IDENTITY.yaml`, a key file like any other, and the key itself in
//! `keys/IDENTITY.ID.key`, so that whoever may read the state folder can use it. All but the id always
//! comes from the table: an edited config changes what a key may do without a new key.

use std::path::{Path, PathBuf};

use strait_config_compiler::keys::{self as key_file, KeyFileError};
use strait_engine::{IdentityKeys, KeyRing};
use strait_policy::Principal;
use strait_table::Snapshot;
use strait_table::rules::{ArchivedAuthMethod, ArchivedGeneratedKey, ArchivedIdentity};

use crate::failure::{Code, Failure};
use crate::log;
use crate::state::{State, file_name, read_secret, write_secret};

/// The ring, and the keys that this process may show to the person who started it.
pub struct Keys {
    pub ring: KeyRing,
    pub generated: Vec<Generated>,
    /// Files of digests that were written while they were loaded.
    pub written: Vec<PathBuf>,
}

/// A key of the state folder. No `Debug`: it holds the key itself.
pub struct Generated {
    /// Index of its identity in the table.
    pub identity: usize,
    pub principal: Principal,
    pub path: PathBuf,
    pub key: String,
}

/// Loads every identity of the table; makes what is to be generated.
pub fn load(snapshot: &Snapshot, base: &Path, state: &State) -> Result<Keys, Failure> {
    let mut keys = Keys {
        ring: KeyRing { principals: vec![Principal::anonymous()], identities: Vec::new() },
        generated: Vec::new(),
        written: Vec::new(),
    };
    for (index, identity) in snapshot.rules().identities.iter().enumerate() {
        let loaded = match &identity.method {
            ArchivedAuthMethod::KeyFile { path } => keys.read(&base.join(path.as_str()))?,
            ArchivedAuthMethod::Generated { keys: wanted } => {
                keys.generate(index, wanted, &generated_file(state, identity))?
            }
            ArchivedAuthMethod::Jwt(_)
            | ArchivedAuthMethod::Introspection(_)
            | ArchivedAuthMethod::Mtls(_) => IdentityKeys::default(),
        };
        keys.ring.identities.push(loaded);
    }
    Ok(keys)
}

/// The files that [`load`] reads.
pub fn files(snapshot: &Snapshot, base: &Path, state: &State) -> Vec<PathBuf> {
    let identities = snapshot.rules().identities.iter();
    identities.filter_map(|identity| file(identity, base, state)).collect()
}

/// Where the digests of an identity's keys are, if it has any.
pub fn file(identity: &ArchivedIdentity, base: &Path, state: &State) -> Option<PathBuf> {
    match &identity.method {
        ArchivedAuthMethod::KeyFile { path } => Some(base.join(path.as_str())),
        ArchivedAuthMethod::Generated { .. } => Some(generated_file(state, identity)),
        ArchivedAuthMethod::Jwt(_) | ArchivedAuthMethod::Introspection(_) | ArchivedAuthMethod::Mtls(_) => {
            None
        }
    }
}

/// Where the key that is generated for somebody is kept.
pub fn key_file_of(identity: &ArchivedIdentity, id: &str, state: &State) -> PathBuf {
    beside(&generated_file(state, identity), id)
}

fn beside(file: &Path, id: &str) -> PathBuf {
    file.with_extension(format!("{}.key", file_name(id)))
}

fn generated_file(state: &State, identity: &ArchivedIdentity) -> PathBuf {
    state.keys().join(format!("{}.yaml", file_name(&identity.name)))
}

impl Keys {
    fn read(&mut self, path: &Path) -> Result<IdentityKeys, Failure> {
        if !path.exists() {
            let path = path.display();
            log::warn(format!(
                "key file `{path}` does not exist: nobody is known by it until `strait keys new {path} --id NAME`"
            ));
            return Ok(IdentityKeys::default());
        }
        let file = key_file::load(path).map_err(refused)?;
        let mut identity = IdentityKeys { pepper: file.pepper, ..IdentityKeys::default() };
        for key in file.keys.into_iter().filter(|key| key.revoked.is_none()) {
            let principal = self.principal(key.principal);
            identity.by_digest.insert(key.digest, principal);
        }
        Ok(identity)
    }

    fn generate(
        &mut self,
        identity: usize,
        wanted: &[ArchivedGeneratedKey],
        file: &Path,
    ) -> Result<IdentityKeys, Failure> {
        let mut made = IdentityKeys::default();
        for entry in wanted {
            let principal = entry.principal();
            let path = beside(file, &principal.id);
            let (key, is_new) = known_or_new(file, &path, &principal)?;
            if is_new {
                self.written.push(file.to_owned());
            }
            let index = self.principal(principal.clone());
            made.pepper = key_file::load(file).map_err(refused)?.pepper;
            made.by_digest.insert(*key_file::digest(&made.pepper, &key).as_bytes(), index);
            self.generated.push(Generated { identity, principal, path, key });
        }
        Ok(made)
    }

    fn principal(&mut self, principal: Principal) -> u32 {
        self.ring.principals.push(principal);
        (self.ring.principals.len() - 1) as u32
    }
}

/// The key at `path` while `file` knows it and nobody revoked it; else a new one, and that it is new.
fn known_or_new(file: &Path, path: &Path, principal: &Principal) -> Result<(String, bool), Failure> {
    if file.exists() {
        let known = key_file::load(file).map_err(refused)?;
        if let Ok(key) = read_secret(path)
            && known.find(&key).is_some_and(|found| found.principal.id == principal.id)
        {
            return Ok((key, false));
        }
        // Its text is lost, or it was revoked: a digest that nobody can use must not stay valid.
        match key_file::revoke(file, &principal.id) {
            Ok(_) | Err(KeyFileError::Unknown { .. }) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    let key = key_file::new_key(file, principal).map_err(refused)?;
    write_secret(path, &key).map_err(|error| {
        Failure::new(Code::Unfit, format!("cannot write the key file `{}`: {error}", path.display()))
    })?;
    Ok((key, true))
}

fn refused(error: KeyFileError) -> Failure {
    let code = if matches!(error, KeyFileError::Io { .. }) { Code::Unfit } else { Code::Failed };
    Failure::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use strait_table::rules::{AuthMethod, GeneratedKey, Identity, Rules};

    use super::*;
    use crate::test_support::Folder;

    fn table(methods: Vec<AuthMethod>) -> Snapshot {
        let identities =
            methods.into_iter().map(|method| Identity { name: "quick".into(), method }).collect();
        let rules = Rules { identities, ..crate::test_support::rules() };
        strait_table::snapshot::of_rules(&rules).unwrap()
    }

    fn generated(groups: &[&str]) -> Snapshot {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        table(vec![AuthMethod::Generated {
            keys: vec![GeneratedKey { id: "you".into(), groups, ..GeneratedKey::default() }],
        }])
    }

    fn named(id: &str) -> Principal {
        Principal { id: id.into(), tenant: "acme".into(), ..Principal::default() }
    }

    fn principal_of<'k>(keys: &'k Keys, key: &str) -> Option<&'k Principal> {
        let identity = &keys.ring.identities[0];
        let digest = key_file::digest(&identity.pepper, key);
        identity.by_digest.get(digest.as_bytes()).map(|index| &keys.ring.principals[*index as usize])
    }

    #[test]
    fn a_generated_key_is_made_once_and_kept_0600() {
        let folder = Folder::new();
        let state = State::open(folder.path()).unwrap();
        let first = load(&generated(&["a"]), folder.path(), &state).unwrap();
        let key = first.generated[0].key.clone();
        assert!(key.starts_with("sk-strait-"));
        assert_eq!(principal_of(&first, &key).unwrap().groups, ["a"]);
        for entry in std::fs::read_dir(state.keys()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        }
        let again = load(&generated(&["b", "c"]), folder.path(), &state).unwrap();
        assert_eq!(again.generated[0].key, key);
        assert_eq!(principal_of(&again, &key).unwrap().groups, ["b", "c"]);
        assert!(principal_of(&again, "sk-strait-other").is_none());
    }

    #[test]
    fn a_lost_or_revoked_key_is_replaced_and_the_old_one_is_dead() {
        let folder = Folder::new();
        let state = State::open(folder.path()).unwrap();
        let table = generated(&[]);
        let first = load(&table, folder.path(), &state).unwrap().generated.remove(0);
        std::fs::remove_file(&first.path).unwrap();
        let second = load(&table, folder.path(), &state).unwrap();
        assert_ne!(second.generated[0].key, first.key);
        assert!(principal_of(&second, &first.key).is_none());
        key_file::revoke(&state.keys().join("quick.yaml"), "you").unwrap();
        let third = load(&table, folder.path(), &state).unwrap();
        assert!(principal_of(&third, &second.generated[0].key).is_none());
        assert!(principal_of(&third, &third.generated[0].key).is_some());
    }

    #[test]
    fn key_files_are_read_without_what_was_revoked() {
        let folder = Folder::new();
        let state = State::open(&folder.path().join("state")).unwrap();
        let path = folder.path().join("keys.yaml");
        let table = table(vec![AuthMethod::KeyFile { path: "keys.yaml".into() }]);
        assert!(load(&table, folder.path(), &state).unwrap().ring.identities[0].by_digest.is_empty());
        let ada = key_file::new_key(&path, &named("ada")).unwrap();
        let bob = key_file::new_key(&path, &named("bob")).unwrap();
        key_file::revoke(&path, "bob").unwrap();
        let keys = load(&table, folder.path(), &state).unwrap();
        assert_eq!(principal_of(&keys, &ada), Some(&named("ada")));
        assert!(principal_of(&keys, &bob).is_none());
        std::fs::write(&path, "pepper: [").unwrap();
        assert!(load(&table, folder.path(), &state).is_err());
    }
}
