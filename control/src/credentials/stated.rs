//! Credentials that are a text of the configuration: `bearer`, `basic`, `header`.

use base64::Engine;
use strait_engine::Secret;
use zeroize::Zeroizing;

pub fn bearer(token: &str) -> (String, Secret) {
    authorization("Bearer ", token)
}

/// Of `user:password`.
pub fn basic(pair: &str) -> (String, Secret) {
    let coded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(pair));
    authorization("Basic ", &coded)
}

fn authorization(scheme: &str, value: &str) -> (String, Secret) {
    // As large as it becomes: a text that grows leaves copies behind.
    let mut line = String::with_capacity(scheme.len() + value.len());
    line.push_str(scheme);
    line.push_str(value);
    ("Authorization".to_owned(), Secret::new(line))
}
