//! How upstreams are told who calls: the key resolved, and looked at. Statements are made by workers.

use std::sync::Arc;

use strait_engine::Stated;
use strait_table::rules::ArchivedIdentityHeader;

use crate::secrets::references::References;

/// A shorter one can be guessed: whoever sees a statement can try keys as fast as a machine hashes.
const KEY_BYTES_MIN: usize = 32;

pub fn stated(of: &ArchivedIdentityHeader, references: &References) -> Result<Arc<Stated>, String> {
    let key = references.resolve(&of.key)?;
    if key.len() < KEY_BYTES_MIN {
        return Err(format!(
            "the key of `identity_header` has {} bytes, expected {KEY_BYTES_MIN} at least: make one with `openssl rand -base64 32`",
            key.len()
        ));
    }
    let [header, issuer, audience] =
        [&of.name, &of.issuer, &of.audience].map(|text| text.as_str().to_owned());
    Ok(Arc::new(Stated { header, issuer, audience, key }))
}
