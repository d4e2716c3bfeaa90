//! Where secrets come from: names and places, never a value.

use rkyv::{Archive, Deserialize, Serialize};

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
}
