//! What a person meets at a terminal: the first file, completions, manual pages.

#[path = "../common/mod.rs"]
mod common;

mod init;
mod man;
mod shells;
