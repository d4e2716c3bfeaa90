//! One process of a gateway takes the place of another without a connection refused or reset (docs/UPGRADE.md).
//!
//! The decision: the listening sockets themselves are passed on, all of them. Closing one of several sockets that
//! share a port resets whatever waits in its queue, and a queue goes with its socket. So both processes
//! hold the same sockets, the new one accepts before the old one stops, and no moment is without a listener.

pub mod inherited;
pub mod line;
pub mod notify;
pub mod successor;

/// Names the process whose place the started one takes. Only a child of that process believes it.
const PREDECESSOR: &str = "STRAIT_SUCCESSOR_OF";
