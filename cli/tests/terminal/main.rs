//! What a person meets at a terminal: the first file, completions, manual pages, `strait top`, and `strait load` while it runs.

#[path = "../common/mod.rs"]
mod common;

mod fmt;
mod init;
mod load;
mod man;
mod shells;
mod top;
