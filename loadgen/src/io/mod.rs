//! What neither std nor rustix asks of a socket. The one folder of this crate where `unsafe` may stand: each block has
//! its reason beside it, and its line in docs/UNSAFE.md.

pub mod stamps;
