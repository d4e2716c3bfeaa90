//! Identities that clients' certificates show: whose names are accepted, and who their owners are.
//!
//! A pattern speaks of names of one kind, which its own form tells: nothing that an authority signs as a mail address is taken for
//! a host, or for a SPIFFE id. By then the listener has verified the certificate; here names are only looked at.

use rkyv::{Archive, Deserialize, Serialize};
use strait_policy::{Principal, glob};

/// What an identity accepts, and who shows it.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Mtls {
    /// Of several that fit the first decides. Never empty.
    pub sans: Vec<San>,
    /// Facts of everybody whom it knows.
    pub user: String,
    pub agent: String,
    pub tenant: String,
    pub groups: Vec<String>,
}

/// A pattern over subject alternative names.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq)]
pub struct San {
    pub kind: SanKind,
    pub glob: String,
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum SanKind {
    /// A SPIFFE id is one.
    Uri,
    Dns,
    Email,
}

/// The names of one certificate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'n> {
    pub uris: &'n [String],
    /// In lower case.
    pub dns: &'n [String],
    pub emails: &'n [String],
}

/// A principal's id is in access lines and session ids.
const NAME_BYTES_MAX: usize = 512;

const SPIFFE: &str = "spiffe://";

impl San {
    /// Only URIs have a colon, and of the others only mail addresses an `@`.
    pub fn read(text: &str) -> San {
        match (text.contains(':'), text.contains('@')) {
            (true, _) => San { kind: SanKind::Uri, glob: text.to_owned() },
            (false, true) => San { kind: SanKind::Email, glob: text.to_owned() },
            (false, false) => San { kind: SanKind::Dns, glob: text.to_ascii_lowercase() },
        }
    }
}

impl ArchivedMtls {
    /// As whom it knows the owner of these names.
    pub fn name_of<'n>(&self, names: Names<'n>) -> Option<&'n str> {
        self.sans.iter().find_map(|san| san.find(names))
    }

    pub fn principal(&self, id: &str, claims: String) -> Principal {
        Principal {
            id: id.to_owned(),
            user: self.user.as_str().to_owned(),
            agent: self.agent.as_str().to_owned(),
            tenant: self.tenant.as_str().to_owned(),
            groups: self.groups.iter().map(|group| group.as_str().to_owned()).collect(),
            claims,
        }
    }

    /// All that it says, as a text.
    pub fn content(&self) -> String {
        let sans: Vec<&str> = self.sans.iter().map(|san| san.glob.as_str()).collect();
        let groups: Vec<&str> = self.groups.iter().map(|group| group.as_str()).collect();
        let facts = [&self.user, &self.agent, &self.tenant].map(|fact| fact.as_str());
        format!("{sans:?} {facts:?} {groups:?}")
    }
}

impl ArchivedSan {
    fn find<'n>(&self, names: Names<'n>) -> Option<&'n str> {
        let of_kind = match self.kind {
            ArchivedSanKind::Uri => names.uris,
            ArchivedSanKind::Dns => names.dns,
            ArchivedSanKind::Email => names.emails,
        };
        // A certificate of SPIFFE has one URI; one that has two is nobody's, its standard says.
        let is_ambiguous = |name: &str| name.starts_with(SPIFFE) && of_kind.len() != 1;
        let fits = |name: &&str| is_name(name) && !is_ambiguous(name) && glob::matches(&self.glob, name);
        of_kind.iter().map(String::as_str).find(fits)
    }
}

/// Whether it can be somebody's: printable, of a bounded length, and no wildcard, which is the name of many.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'*';
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(is_plain)
        && name != Principal::anonymous().id
}

#[cfg(test)]
mod tests {
    use rkyv::rancor;

    use super::*;

    fn found(patterns: &[&str], uris: &[&str], dns: &[&str], emails: &[&str]) -> Option<String> {
        let sans = patterns.iter().map(|pattern| San::read(pattern)).collect();
        let (user, agent, tenant) = Default::default();
        let mtls = Mtls { sans, user, agent, tenant, groups: Vec::new() };
        let bytes = rkyv::to_bytes::<rancor::Error>(&mtls).unwrap();
        let archived = rkyv::access::<ArchivedMtls, rancor::Error>(&bytes).unwrap();
        let owned = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let (uris, dns, emails) = (owned(uris), owned(dns), owned(emails));
        archived.name_of(Names { uris: &uris, dns: &dns, emails: &emails }).map(str::to_owned)
    }

    #[test]
    fn a_pattern_speaks_of_names_of_its_own_kind() {
        let check = |pattern: &str, expected: Option<&str>| {
            let (uris, dns, emails) = (["spiffe://corp/agent/a"], ["a.corp"], ["a@corp"]);
            assert_eq!(found(&[pattern], &uris, &dns, &emails).as_deref(), expected, "{pattern}");
        };
        check("spiffe://corp/agent/*", Some("spiffe://corp/agent/a"));
        check("spiffe://corp/agent", None);
        check("spiffe://corp/other/*", None);
        check("*.corp", Some("a.corp"));
        check("*.CORP", Some("a.corp"));
        check("*@corp", Some("a@corp"));
        check("*", Some("a.corp"));
        check("*:*", Some("spiffe://corp/agent/a"));
        assert_eq!(found(&["*corp*"], &["https://corp"], &[], &["a@corp"]), None);
    }

    #[test]
    fn of_several_patterns_the_first_that_fits_decides() {
        let both = ["a.corp", "spiffe://corp/*"];
        assert_eq!(found(&both, &["spiffe://corp/a"], &["a.corp"], &[]).as_deref(), Some("a.corp"));
        assert_eq!(found(&both, &["spiffe://corp/a"], &["b.corp"], &[]).as_deref(), Some("spiffe://corp/a"));
        assert_eq!(found(&["*.corp"], &[], &["b.other", "a.corp"], &[]).as_deref(), Some("a.corp"));
    }

    #[test]
    fn names_that_are_nobodys_are_passed_over() {
        assert_eq!(found(&["spiffe://corp/*"], &["spiffe://corp/a", "spiffe://corp/b"], &[], &[]), None);
        assert_eq!(found(&["*.corp", "*"], &[], &["*.corp", "anonymous", "a b", ""], &[]), None);
        assert_eq!(found(&["urn:*"], &["urn:a\nb", &format!("urn:{}", "x".repeat(510))], &[], &[]), None);
    }
}
