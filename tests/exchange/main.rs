//! Exchanges through a real engine on real sockets, to scripted upstreams.

mod basics;
mod bodies;
mod common;
mod edge;
mod smuggling;
