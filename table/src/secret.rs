//! Where secrets come from, and how tokens are asked for: names, addresses and references, never a value.

use rkyv::{Archive, Deserialize, Serialize};

use crate::rules::Text;

/// What `${secret:NAME}` stands for, where a configuration says it.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Secret {
    pub name: String,
    pub source: Source,
    /// How often a store is asked for it; nothing of this machine is.
    pub refresh_ms: u32,
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

/// One field of one secret in a KV store, version 2, of HashiCorp Vault or OpenBao.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub struct Vault {
    /// Origin, and what comes before `/v1/`.
    pub address: String,
    pub namespace: Option<String>,
    /// What comes behind `/v1/`: `kv/data/crm`.
    pub path: String,
    pub field: String,
    pub login: VaultLogin,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub enum VaultLogin {
    Token(Text),
    AppRole { mount: String, role: Text, secret: Text },
}

/// A secret of AWS Secrets Manager.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub struct Aws {
    pub region: String,
    /// Name or ARN.
    pub name: String,
    /// A member of its JSON; `None`: all of it.
    pub field: Option<String>,
    /// Instead of the region's own.
    pub endpoint: Option<String>,
    /// `None`: the variables that AWS's own tools read.
    pub key: Option<AwsKey>,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub struct AwsKey {
    pub id: Text,
    pub secret: Text,
    pub session: Option<Text>,
}

/// How a token is asked for at an authorization server.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub struct TokenRequest {
    /// The token endpoint.
    pub url: String,
    pub client: Text,
    pub secret: Option<Text>,
    pub shown: ClientShown,
    pub scope: Vec<String>,
    /// RFC 8707.
    pub resource: Option<String>,
    pub audience: Option<String>,
}

/// Where a client's secret stands in a token request.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub enum ClientShown {
    Basic,
    Post,
}

/// RFC 8693: the caller's token for one that is meant for an upstream.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub struct Exchange {
    pub request: TokenRequest,
    /// A token of the gateway's own, for whom the caller's is exchanged.
    pub actor: Option<Text>,
}
