//! The vault's file: one line of JSON, and below it the code over that line.

use std::collections::BTreeMap;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::SealedError;
use super::kek::Kek;
use crate::limits::VAULT_BYTES_MAX;

pub const FORMAT: u64 = 1;

/// What is readable before anything is checked: which format, under which key.
#[derive(Deserialize)]
struct Head {
    strait_vault: u64,
    kek: String,
}

#[derive(Serialize, Deserialize)]
struct Body {
    strait_vault: u64,
    kek: String,
    count: u64,
    secrets: BTreeMap<String, Written>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u64,
    set: String,
    key: String,
    value: String,
}

/// A vault, checked.
#[derive(Default)]
pub struct File {
    /// How often it was written.
    pub count: u64,
    pub secrets: BTreeMap<String, Entry>,
}

pub struct Entry {
    pub version: u64,
    /// RFC 3339.
    pub set: String,
    /// Its own key, wrapped.
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

impl File {
    pub fn read(path: &Path, kek: &Kek, kek_at: &Path) -> Result<File, SealedError> {
        let io = |why: String| SealedError::Io { path: path.to_owned(), why };
        let damaged = |why: &str| SealedError::Damaged { path: path.to_owned(), why: why.to_owned() };
        let length = std::fs::metadata(path).map_err(|error| io(error.to_string()))?.len();
        if length > VAULT_BYTES_MAX {
            return Err(damaged(&format!("it has {length} bytes, and none has over {VAULT_BYTES_MAX}")));
        }
        let text = std::fs::read(path).map_err(|error| io(error.to_string()))?;
        let text = String::from_utf8(text).map_err(|_| damaged("it is not text"))?;
        let whole = text.strip_suffix('\n').and_then(|text| text.split_once('\n'));
        let (line, code) = whole.ok_or_else(|| damaged("it is cut short"))?;
        let head: Head = serde_json::from_str(line).map_err(|_| damaged("it is no vault"))?;
        if head.strait_vault > FORMAT {
            return Err(SealedError::Newer { path: path.to_owned(), format: head.strait_vault });
        }
        if head.kek != kek.id() {
            return Err(SealedError::WrongKek {
                of_file: head.kek.chars().take(16).collect::<String>().escape_debug().to_string(),
                given: kek.id(),
                path: kek_at.to_owned(),
            });
        }
        let code = STANDARD.decode(code).map_err(|_| damaged("its code is cut short or changed"))?;
        hmac::verify(&kek.mac(), line.as_bytes(), &code)
            .map_err(|_| damaged("it was changed, or cut short"))?;
        let body: Body = serde_json::from_str(line).map_err(|_| damaged("it is no vault of this format"))?;
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| damaged("a secret in it is no base64"));
        let mut secrets = BTreeMap::new();
        for (name, Written { version, set, key, value }) in body.secrets {
            secrets.insert(name, Entry { version, set, key: bytes(&key)?, value: bytes(&value)? });
        }
        Ok(File { count: body.count, secrets })
    }

    pub fn written(self, kek: &Kek) -> String {
        let written = |(name, entry): (String, Entry)| {
            let Entry { version, set, key, value } = entry;
            (name, Written { version, set, key: STANDARD.encode(key), value: STANDARD.encode(value) })
        };
        let secrets = self.secrets.into_iter().map(written).collect();
        let body = Body { strait_vault: FORMAT, kek: kek.id(), count: self.count, secrets };
        let line = serde_json::to_string(&body).unwrap_or_default();
        let code = STANDARD.encode(hmac::sign(&kek.mac(), line.as_bytes()));
        format!("{line}\n{code}\n")
    }
}
