//! Credentials to upstreams: a kind per file, each made into the header lines that its upstream gets.

mod stated;

use strait_engine::Secret;
use strait_table::rules::{ArchivedCredential, ArchivedText, ArchivedTransport, ArchivedUpstream};

use crate::secrets::references::References;

/// The lines that an upstream with this credential gets, or why there are none.
pub fn lines(
    credential: &ArchivedCredential,
    references: &References,
) -> Result<Vec<(String, Secret)>, String> {
    let (name, value) = match credential {
        ArchivedCredential::Bearer(text) => stated::bearer(&references.resolve(text)?),
        ArchivedCredential::Basic(text) => stated::basic(&references.resolve(text)?),
        ArchivedCredential::Header { name, value } => (name.as_str().to_owned(), references.resolve(value)?),
    };
    // Anything else could end the line and begin a header of its own.
    match value.chars().all(|c| matches!(c, ' '..='~' | '\t')) {
        true => Ok(vec![(name, value)]),
        false => Err(format!("the credential for header `{name}` has a character that no header may have")),
    }
}

/// Every text of an upstream that may hold a secret.
pub fn texts(upstream: &ArchivedUpstream) -> impl Iterator<Item = &ArchivedText> {
    let mut texts = Vec::new();
    match upstream.credential.as_ref() {
        None => {}
        Some(ArchivedCredential::Bearer(text) | ArchivedCredential::Basic(text)) => texts.push(text),
        Some(ArchivedCredential::Header { value, .. }) => texts.push(value),
    }
    if let ArchivedTransport::Stdio(stdio) = &upstream.transport {
        texts.extend(stdio.env.iter().map(|pair| &pair.1));
    }
    texts.into_iter()
}
