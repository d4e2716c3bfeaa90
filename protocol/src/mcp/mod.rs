//! The words of MCP, all revisions: what a message is called, which revision knows it, which codes answer it, which
//! headers mirror it, and what `_meta` says. Plain data and small functions; nothing here reads a message.

pub mod codes;
mod declared;
pub mod header;
mod level;
pub mod meta;
mod method;
mod revision;

pub use declared::Declared;
pub use level::LogLevel;
pub use method::{Method, Names};
pub use revision::Revision;
