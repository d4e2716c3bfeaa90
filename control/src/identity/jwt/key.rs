//! One key of an issuer, and what it may sign with: a matter of the key alone, never of the token that names an algorithm.
//!
//! Keys of other kinds are passed over, a shared secret above all: what everybody may read in a JWKS would let everybody sign.

use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// A public key that stands for an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub id: Option<String>,
    /// Of its material: what workers know of it.
    pub number: u64,
    algorithms: Vec<Algorithm>,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point, uncompressed, or an Edwards key.
    Bytes(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

use Algorithm::*;

const RSA: [Algorithm; 6] = [Rs256, Rs384, Rs512, Ps256, Ps384, Ps512];

impl Algorithm {
    pub fn parse(name: &str) -> Option<Algorithm> {
        Some(match name {
            "RS256" => Rs256,
            "RS384" => Rs384,
            "RS512" => Rs512,
            "PS256" => Ps256,
            "PS384" => Ps384,
            "PS512" => Ps512,
            "ES256" => Es256,
            "ES384" => Es384,
            "EdDSA" | "Ed25519" => EdDsa,
            _ => return None,
        })
    }
}

impl Key {
    /// The key of a JWK; `None`: nothing that an issuer signs tokens with here.
    pub fn parse(jwk: &Value) -> Option<Key> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
        let is_for = |wanted: &str| text("use").is_none_or(|used| used == wanted);
        let may = jwk.get("key_ops").and_then(Value::as_array);
        let verifies = may.is_none_or(|may| may.iter().any(|one| one == "verify"));
        if !is_for("sig") || !verifies {
            return None;
        }
        let point = |length: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            (x.len() == length && y.len() == length).then(|| [vec![4], x, y].concat())
        };
        let (material, possible): (_, &[Algorithm]) = match (text("kty")?, text("crv")) {
            ("RSA", _) => (Material::Rsa { modulus: bytes("n")?, exponent: bytes("e")? }, &RSA),
            ("EC", Some("P-256")) => (Material::Bytes(point(32)?), &[Es256]),
            ("EC", Some("P-384")) => (Material::Bytes(point(48)?), &[Es384]),
            ("OKP", Some("Ed25519")) => {
                let x = bytes("x").filter(|x| x.len() == 32)?;
                (Material::Bytes(x), &[EdDsa])
            }
            _ => return None,
        };
        let algorithms = match text("alg") {
            Some(name) => {
                let own = Algorithm::parse(name)?;
                possible.contains(&own).then(|| vec![own])?
            }
            None => possible.to_vec(),
        };
        let mut hash = blake3::Hasher::new();
        match &material {
            Material::Rsa { modulus, exponent } => {
                hash.update(b"rsa").update(&(modulus.len() as u64).to_le_bytes());
                hash.update(modulus).update(exponent);
            }
            Material::Bytes(bytes) => {
                hash.update(b"bytes").update(bytes);
            }
        }
        let number = hash.finalize().as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Some(Key { id: text("kid").map(str::to_owned), number, algorithms, material })
    }

    pub fn signs_with(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    pub fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        if !self.signs_with(algorithm) {
            return false;
        }
        match &self.material {
            Material::Rsa { modulus, exponent } => {
                let parameters = match algorithm {
                    Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
                    Es256 | Es384 | EdDsa => return false,
                };
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .verify(parameters, signed, signature)
                    .is_ok()
            }
            Material::Bytes(bytes) => {
                let algorithm: &dyn signature::VerificationAlgorithm = match algorithm {
                    Es256 => &signature::ECDSA_P256_SHA256_FIXED,
                    Es384 => &signature::ECDSA_P384_SHA384_FIXED,
                    EdDsa => &signature::ED25519,
                    _ => return false,
                };
                UnparsedPublicKey::new(algorithm, bytes).verify(signed, signature).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_signs_with_what_its_kind_allows_and_it_says() {
        let rsa = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
        let ec = json!({"kty": "EC", "crv": "P-256", "x": "A".repeat(43), "y": "A".repeat(43)});
        let all = |jwk: &Value| Key::parse(jwk).map(|key| key.algorithms);
        assert_eq!(all(&rsa), Some(RSA.to_vec()));
        assert_eq!(all(&ec), Some(vec![Es256]));
        let with = |of: &Value, name: &str, value: Value| {
            let mut jwk = of.clone();
            jwk[name] = value;
            all(&jwk)
        };
        assert_eq!(with(&rsa, "alg", "PS384".into()), Some(vec![Ps384]));
        for alg in ["ES256", "HS256", "none", "RSA-OAEP"] {
            assert_eq!(with(&rsa, "alg", alg.into()), None, "{alg}");
        }
        assert_eq!(with(&rsa, "use", "enc".into()), None);
        assert_eq!(with(&rsa, "key_ops", json!(["sign"])), None);
        assert_eq!(with(&ec, "crv", "secp256k1".into()), None);
        assert_eq!(with(&ec, "x", "AAAA".into()), None);
        assert_eq!(all(&json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"})), None);
    }
}
