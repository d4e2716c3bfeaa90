//! What a person meets at a terminal: the first file, completions, manual pages, `strait top`.

#[path = "../common/mod.rs"]
mod common;

mod fmt;
mod init;
mod man;
mod shells;
mod top;
