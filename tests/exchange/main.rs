//! Exchanges through a real engine on real sockets, to scripted upstreams.

mod basics;
mod bodies;
mod cancel;
mod catalog;
mod changes;
mod common;
mod conversion;
mod drain;
mod edge;
mod http_sse;
mod kept;
mod legacy;
mod listen;
mod overload;
mod parameters;
mod replay;
mod rounds;
mod sessions;
mod smuggling;
mod stdio;
mod streams;
mod suspend;
mod tasks;
mod transparent;
mod upstream_faults;
mod uris;
