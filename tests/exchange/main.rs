//! Exchanges through a real engine on real sockets, to scripted upstreams.

mod basics;
mod common;
mod smuggling;
