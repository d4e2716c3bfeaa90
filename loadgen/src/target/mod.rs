//! The far end of a measurement, without sockets except for the one blocking greeting: whoever measures
//! brings its own loop. The decision: a request is written once, with ids of a fixed width, so that
//! sending it is a patch of a few digits and one write.

mod cause;
mod greet;
mod patience;
mod reply;
mod template;
mod tls;
mod url;

pub use cause::Cause;
pub use greet::{EraChoice, Peer, Tool, Unreached, Wire, greet, leave};
pub use patience::Patience;
pub(crate) use patience::begin_connect;
pub use reply::{Progress, ReplyReader};
pub use template::{ARGUMENT_BYTES_MAX, Call, ID_FIRST, Template, TemplateFault};
pub use tls::{Tls, TlsFiles};
pub use url::{Secret, Target, TargetFault};

/// How a peer is spoken to once it has been greeted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Era {
    /// 2026-07-28: every request stands alone.
    Modern,
    /// 2025-11-25 and before: the revision agreed on, and the session when the server opened one.
    Legacy { revision: strait_protocol::mcp::Revision, session: Option<Vec<u8>> },
}

impl Era {
    pub const fn is_modern(&self) -> bool {
        matches!(self, Era::Modern)
    }

    pub const fn revision(&self) -> strait_protocol::mcp::Revision {
        match self {
            Era::Modern => strait_protocol::mcp::Revision::LATEST,
            Era::Legacy { revision, .. } => *revision,
        }
    }
}
