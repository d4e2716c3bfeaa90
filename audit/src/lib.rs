//! # strait-audit: the audit log as bytes
//!
//! What a gateway did, in a form in which nothing that was recorded can be changed unseen: frames in segments (`frame`, `segment`),
//! records that say where they stand in the chain of their core (`record`), one Merkle tree over all of them (RFC 6962; `tree`,
//! `tile`), and signed checkpoints of it (`note`, `key`). `docs/AUDIT.md` tells the form and what it is worth.
//!
//! - `log` opens a folder, mends what a crash left, and refuses damage; `folder` is the log as it grows, without any I/O: the
//!   engine's writer asks it which bytes belong where and writes them with its own ring. `disk` does the same with `std`.
//! - `reader` reads it in order, also while it grows; `verify` checks every byte of a folder; `proof` makes and checks proofs;
//!   `seal` encrypts payloads for those who may read them (`age`);
//!   `erase` takes payloads out, and `erasures` says so until the log does; `view` and `export` are for people and for other systems.
//!
//! The crate knows no gateway: records are JSON objects whose members it does not read, but for those that it adds itself.
#![forbid(unsafe_code)]

pub mod age;
pub mod disk;
pub mod erase;
pub mod erasures;
mod error;
pub mod export;
pub mod folder;
pub mod frame;
pub mod hash;
pub mod key;
pub mod limits;
pub mod log;
pub mod moment;
pub mod note;
mod payload;
pub mod proof;
pub mod reader;
pub mod record;
mod salt;
pub mod seal;
pub mod segment;
#[cfg(test)]
mod testing;
pub mod tile;
pub mod tree;
pub mod verify;
pub mod view;

pub use error::{Damage, LogError};
pub use folder::{AddError, Batch, Folder, Kept, Options, Payload, Piece, Step};
pub use frame::{Mode, Which};
pub use key::{PublicKey, SigningKey};
pub use log::{Cut, Lock, Log, Opened};
