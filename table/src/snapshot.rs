//! A table and a bound catalog, opened and checked: what an exchange holds from its first byte to its
//! record, and the one way in for bytes from outside.
//!
//! A [`Snapshot`] that exists is sound: header, checksums, bytecheck and our own invariants
//! ([`crate::invariants`]) have all passed. A refresh of an upstream's lists makes a new snapshot that
//! shares the rules' memory.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::bind::bind;
use crate::bound::{ArchivedBound, Bound};
use crate::catalog::Catalog;
use crate::file::{Generation, HEADER_BYTES, Header, OpenError, section_of_bound};
use crate::invariants;
use crate::mapping::{Mapping, Section};
use crate::rules::{ArchivedRules, Rules};
use crate::signature::{SIGNED_BYTES, Signature};

/// An opened table with the catalog it is bound to.
#[derive(Clone)]
pub struct Snapshot {
    rules: Section<ArchivedRules>,
    bound: Section<ArchivedBound>,
    /// Of the file that the rules came in.
    header: Header,
    catalog: Generation,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot(generation {}, catalog {})", self.generation(), self.catalog)
    }
}

impl Snapshot {
    /// Opens the table at `path`. The file may change afterwards: what was checked stays in use.
    pub fn open(path: &Path) -> Result<Snapshot, OpenError> {
        let io = |error| OpenError::Io { doing: "read", error };
        let mut file = File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut bytes).map_err(io)?;
        // A file that is no table, however long, is refused by its first bytes; one byte more than the header
        // promises is enough to see that there is too much.
        let rest = Header::parse_start(&bytes)?.length.saturating_sub(bytes.len() as u64) + 1;
        file.take(rest).read_to_end(&mut bytes).map_err(io)?;
        Snapshot::from_bytes(&bytes)
    }

    /// Opens the bytes of a table.
    pub fn from_bytes(bytes: &[u8]) -> Result<Snapshot, OpenError> {
        // Once for a cheap refusal, then again on the copy that nobody can change.
        Header::parse(bytes)?;
        let mapping = Arc::new(Mapping::seal(bytes)?);
        let header = Header::parse(mapping.bytes())?;
        let places = header.places()?;
        check_hash(&mapping.bytes()[places.rules.clone()], &header.rules.blake3, "rules")?;
        check_hash(&mapping.bytes()[places.bound.clone()], &header.bound.blake3, "catalog")?;
        if mapping.bytes()[places.padding].iter().any(|byte| *byte != 0) {
            return Err(OpenError::Meaning { what: "the padding between its sections is not zero" });
        }
        let rules = Section::<ArchivedRules>::validate(mapping.clone(), places.rules, "rules")?;
        invariants::rules(rules.get())?;
        if places.bound.is_empty() {
            // Nothing is known of any upstream yet, which is also something to bind to.
            let (bound, _) = bind(rules.get(), &Catalog::default());
            return Snapshot::join(rules, header, &bound);
        }
        let bound = Section::<ArchivedBound>::validate(mapping, places.bound, "catalog")?;
        invariants::bound(rules.get(), bound.get())?;
        Ok(Snapshot { rules, bound, header, catalog: Generation(header.bound.blake3) })
    }

    /// The same rules, bound to a newer catalog.
    pub fn with_bound(&self, bound: &Bound) -> Result<Snapshot, OpenError> {
        Snapshot::join(self.rules.clone(), self.header, bound)
    }

    fn join(rules: Section<ArchivedRules>, header: Header, bound: &Bound) -> Result<Snapshot, OpenError> {
        let bytes = section_of_bound(bound)?;
        let catalog = Generation(*blake3::hash(&bytes).as_bytes());
        let mapping = Arc::new(Mapping::seal(&bytes)?);
        let bound = Section::<ArchivedBound>::validate(mapping, 0..bytes.len(), "catalog")?;
        invariants::bound(rules.get(), bound.get())?;
        Ok(Snapshot { rules, bound, header, catalog })
    }

    /// A table with these rules, changed; bound to nothing yet.
    pub fn with_rules(&self, change: impl FnOnce(&mut Rules)) -> Result<Snapshot, OpenError> {
        let mut rules = self.unpacked()?;
        change(&mut rules);
        of_rules(&rules)
    }

    /// The rules out of the table.
    pub fn unpacked(&self) -> Result<Rules, OpenError> {
        let rules = rkyv::deserialize::<Rules, rkyv::rancor::Error>(self.rules());
        rules.map_err(|error| OpenError::Layout { section: "rules", detail: crate::mapping::detail(&error) })
    }

    pub fn rules(&self) -> &ArchivedRules {
        self.rules.get()
    }

    pub fn bound(&self) -> &ArchivedBound {
        self.bound.get()
    }

    /// The table as it was opened, whole: the bytes of its file.
    pub fn table(&self) -> &[u8] {
        self.rules.whole()
    }

    /// Names the rules.
    pub fn generation(&self) -> Generation {
        Generation(self.header.rules.blake3)
    }

    /// Who says that he vouches for the table; whether that is so, [`Snapshot::signed`] is to be asked with his key.
    pub fn signature(&self) -> Option<&Signature> {
        self.header.signature.as_ref()
    }

    /// What the signature must be of, made from the header of the sealed copy: what was checked of the sections stands in it.
    pub fn signed(&self) -> [u8; SIGNED_BYTES] {
        self.header.signed()
    }

    /// Names the bound catalog.
    pub fn catalog(&self) -> Generation {
        self.catalog
    }

    /// The server at `path`.
    pub fn server_at(&self, path: &[u8]) -> Option<usize> {
        let rules = self.rules();
        rules.paths.find(path, |server| rules.servers.get(server).is_some_and(|s| s.path.as_bytes() == path))
    }
}

fn check_hash(bytes: &[u8], expected: &[u8; 32], section: &'static str) -> Result<(), OpenError> {
    if blake3::hash(bytes).as_bytes() == expected { Ok(()) } else { Err(OpenError::Damaged { section }) }
}

/// A snapshot of rules that were just compiled, without a file between.
pub fn of_rules(rules: &Rules) -> Result<Snapshot, OpenError> {
    Snapshot::from_bytes(&crate::file::write(rules, None))
}

/// The bytes of the table of these rules; where they pin what upstreams offer, bound to that.
pub fn table_of(rules: &Rules) -> Result<Vec<u8>, OpenError> {
    if rules.pins.is_empty() {
        return Ok(crate::file::write(rules, None));
    }
    let (bound, _) = bind(of_rules(rules)?.rules(), &Catalog::default());
    Ok(crate::file::write(rules, Some(&bound)))
}

const _: () = assert!(HEADER_BYTES.is_multiple_of(crate::file::ALIGN));
