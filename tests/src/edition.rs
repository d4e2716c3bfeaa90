//! What control does for an engine, as far as tests need it: keys and addresses for a table, and lists bound to its
//! rules as upstreams tell them.

use std::collections::HashMap;
use std::sync::Arc;

use strait_engine::{Edition, Facts, HttpEndpoint, IdentityKeys, KeyRing, Reach, Secret, UpstreamId};
use strait_policy::Principal;
use strait_table::catalog::{Catalog, FreshUntil, Known, Lists};
use strait_table::rules::{ArchivedAuthMethod, ArchivedText, ArchivedTextPart, ArchivedTransport};
use strait_table::{Snapshot, bind};

/// A key, whose it is, and in which groups they are; for every identity of the config.
pub type Key = (&'static str, &'static str, &'static [&'static str]);

/// The last lists of every upstream, bound.
pub struct Ledger {
    edition: Arc<Edition>,
    catalog: Catalog,
}

impl Ledger {
    /// Of an edition whose upstreams have told nothing yet.
    pub fn of(edition: Arc<Edition>) -> Ledger {
        let upstreams = edition.snapshot.rules().upstreams.len();
        let catalog = Catalog { upstreams: (0..upstreams).map(|_| Default::default()).collect() };
        Ledger { edition, catalog }
    }

    /// The upstream's place in the first table; `None`: it is of another.
    pub fn index_of(&self, upstream: UpstreamId) -> Option<usize> {
        self.edition.index_of(upstream)
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The edition that knows what an upstream has told, or that it could not be asked.
    pub fn learned(&mut self, upstream: usize, outcome: Result<Lists, String>) -> Arc<Edition> {
        let lists = &mut self.catalog.upstreams[upstream];
        match outcome {
            Ok(told) => *lists = told,
            Err(_) if lists.known == Known::Fresh => {
                (lists.known, lists.fresh_until) = (Known::Stale, FreshUntil::default());
            }
            Err(_) => {}
        }
        let (bound, _) = bind(self.edition.snapshot.rules(), &self.catalog);
        let snapshot = self.edition.snapshot.with_bound(&bound).expect("bind");
        self.edition = Arc::new(self.edition.rebound(Arc::new(snapshot), &self.catalog));
        self.edition.clone()
    }
}

/// Keys and addresses for a table that has addresses in the place of host names, and no secrets.
pub fn facts(snapshot: &Snapshot, keys: &[Key]) -> Facts {
    let rules = snapshot.rules();
    let mut principals = vec![Principal::anonymous()];
    let pepper = [7; 32];
    let mut by_digest = HashMap::default();
    for (key, id, groups) in keys {
        by_digest.insert(*blake3::keyed_hash(&pepper, key.as_bytes()).as_bytes(), principals.len() as u32);
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        principals.push(Principal { id: (*id).to_owned(), groups, ..Principal::default() });
    }
    let identities = rules
        .identities
        .iter()
        .map(|identity| match &identity.method {
            ArchivedAuthMethod::KeyFile { .. } | ArchivedAuthMethod::Generated { .. } => {
                IdentityKeys { pepper, by_digest: by_digest.clone() }
            }
            // Tokens are control's.
            ArchivedAuthMethod::Jwt(_)
            | ArchivedAuthMethod::Introspection(_)
            | ArchivedAuthMethod::Mtls(_) => IdentityKeys::default(),
        })
        .collect();
    let reaches = rules.upstreams.iter().map(|upstream| match &upstream.transport {
        ArchivedTransport::Http { endpoints } => Reach::Http {
            endpoints: endpoints
                .iter()
                .map(|endpoint| HttpEndpoint {
                    address: format!("{}:{}", endpoint.host.as_str(), endpoint.port)
                        .parse()
                        .expect("an address"),
                    host: format!("{}:{}", endpoint.host.as_str(), endpoint.port),
                    path: endpoint.path.as_str().to_owned(),
                    headers: Vec::new(),
                    previous: Vec::new(),
                    stated: None,
                    tls: None,
                    lender: None,
                })
                .collect(),
        },
        ArchivedTransport::Stdio(stdio) => Reach::Stdio {
            command: stdio.command.as_str().to_owned(),
            args: stdio.args.iter().map(|arg| arg.as_str().to_owned()).collect(),
            env: stdio
                .env
                .iter()
                .map(|pair| (pair.0.as_str().to_owned(), Secret::new(literal(&pair.1))))
                .collect(),
            cwd: None,
            lender: None,
        },
        ArchivedTransport::Sample(_) => Reach::Unreachable("samples are control's".to_owned()),
    });
    Facts {
        keys: Arc::new(KeyRing { principals, identities }),
        reaches: Arc::new(reaches.collect()),
        ..Facts::default()
    }
}

/// A text of the table that holds no reference.
fn literal(text: &ArchivedText) -> String {
    let parts = text.parts.iter().map(|part| match part {
        ArchivedTextPart::Literal(text) => text.as_str(),
        _ => panic!("references are control's"),
    });
    parts.collect()
}
