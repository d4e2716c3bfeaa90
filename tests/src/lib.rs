//! What the workspace's tests share: a gateway in this process ([`Gateway`]), an upstream that does
//! what a test tells it ([`Scripted`]), and a client that sends exactly the bytes it is given
//! ([`client`]).
//!
//! The gateway is the real engine on real sockets with a table made by the real compiler; only control
//! is replaced by the twenty lines that bind lists. The scripted upstream is a stub on purpose: real
//! servers do not misbehave on demand. Real clients and servers are under `peers/`.

pub mod client;
pub mod edition;
pub mod gateway;
pub mod scripted;

pub use client::{Answer, Client};
pub use gateway::{Gateway, Setup};
pub use scripted::{Gate, Scripted, Step};
