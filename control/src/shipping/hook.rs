//! How a webhook's receiver knows who speaks: the scheme of Standard Webhooks, `v1`, HMAC-SHA256 over id, time and body.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use strait_engine::Secret;

/// What goes into the three headers.
pub struct Signature {
    pub id: String,
    pub timestamp: String,
    pub signature: String,
}

/// `whsec_` and base64, as the scheme writes a secret; any other text is a key by its bytes.
pub fn sign(secret: &Secret, id: &str, unix_s: i64, body: &[u8]) -> Result<Signature, String> {
    let key = match secret.strip_prefix("whsec_") {
        Some(coded) => STANDARD
            .decode(coded)
            .map_err(|_| "its secret begins with `whsec_`, and what follows is no base64")?,
        None => secret.as_bytes().to_vec(),
    };
    let key = zeroize::Zeroizing::new(key);
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
    let timestamp = unix_s.to_string();
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        context.update(part);
    }
    let signature = format!("v1,{}", STANDARD.encode(context.sign()));
    Ok(Signature { id: id.to_owned(), timestamp, signature })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the scheme's own specification.
    #[test]
    fn it_is_the_published_scheme() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed =
            sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signed.signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(signed.timestamp, "1614265330");
        assert!(sign(&Secret::new("whsec_*"), "a", 1, b"").is_err());
        let plain = sign(&Secret::new("plain"), "a", 1, b"b").unwrap();
        assert_ne!(plain.signature, sign(&Secret::new("other"), "a", 1, b"b").unwrap().signature);
    }
}
