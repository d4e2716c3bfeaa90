//! Where secrets come from: names and places, never a value.

use rkyv::{Archive, Deserialize, Serialize};

use crate::rules::Text;

/// What `${secret:NAME}` stands for, where a configuration says it.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Secret {
    pub name: String,
    pub source: Source,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub enum Source {
    /// Path as resolved against the file that named it.
    File(String),
    Env(String),
    /// A name in `$CREDENTIALS_DIRECTORY`.
    Systemd(String),
    Vault(Vault),
    Aws(Aws),
}

/// A field of a secret in a KV store, version 2, of HashiCorp Vault or OpenBao.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub struct Vault {
    /// A URL without the `/v1` of its interface.
    pub address: String,
    /// `kv/data/crm`: below `/v1/`.
    pub path: String,
    pub field: String,
    pub namespace: Option<String>,
    pub login: VaultLogin,
    pub refresh_s: u32,
    /// Whom to believe, where it is not whom this machine believes; a path like those of files.
    pub ca: Option<String>,
}

/// How a gateway is let in there.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub enum VaultLogin {
    Token(Text),
    AppRole {
        /// Where the method is mounted, below `auth/`.
        mount: String,
        role: Text,
        secret: Text,
    },
}

impl ArchivedVaultLogin {
    pub fn texts(&self) -> Vec<&crate::rules::ArchivedText> {
        match self {
            ArchivedVaultLogin::Token(token) => vec![token],
            ArchivedVaultLogin::AppRole { role, secret, .. } => vec![role, secret],
        }
    }
}

/// A secret of AWS Secrets Manager; whose it is, the gateway's environment says.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub struct Aws {
    pub region: String,
    /// Its name or ARN.
    pub name: String,
    /// Of a secret that is a JSON object; `None`: all of it.
    pub field: Option<String>,
    /// A URL in the place of the region's own.
    pub endpoint: Option<String>,
    pub refresh_s: u32,
}
