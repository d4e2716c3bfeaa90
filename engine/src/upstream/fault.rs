//! What can go wrong with an upstream, by layer, in words for whoever has to mend it.

use std::fmt;

use strait_protocol::mcp::Declared;

use crate::figures::labels::{Layer, Outcome};

/// Why an upstream did not answer a call as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamFault {
    /// Control could not resolve it; the text says which layer.
    Unreachable(String),
    /// There is nothing that it may be shown on this caller's behalf.
    Credential(String),
    Connect(String),
    ConnectTimeout {
        ms: u32,
    },
    /// The TLS handshake with it.
    Tls(String),
    Send(String),
    FirstByteTimeout {
        ms: u32,
    },
    CallTimeout {
        ms: u32,
    },
    /// It closed the connection or ended before its answer was complete.
    Closed {
        after_bytes: bool,
    },
    Http(String),
    Status {
        status: u16,
    },
    NotMcp(String),
    WrongId,
    TooLarge {
        limit: usize,
    },
    Handshake(String),
    Busy {
        limit: usize,
    },
    Spawn(String),
    Exited(String),
    /// This core holds too many bytes already to gather more of the answer.
    NoRoom,
    /// It does not understand what this gateway wrote, and says so with this code.
    Misunderstood {
        code: i64,
    },
    /// It wants input that cannot be given.
    Input(String),
    /// It wants input of a kind that this client did not declare.
    Undeclared(Declared),
    /// It wants input, and the client did not give it in time.
    Unanswered,
    /// The client went away; nobody reads this.
    ClientGone,
    /// The client said that it does not want the answer any more.
    Cancelled,
    /// Its caller was revoked meanwhile.
    Revoked,
    /// The certificate of its caller is trusted no more.
    Outside,
}

impl UpstreamFault {
    pub fn label(&self) -> &'static str {
        use UpstreamFault::*;
        match self {
            Unreachable(_) => "upstream_unreachable",
            Credential(_) => "upstream_credential",
            Connect(_) => "upstream_connect",
            ConnectTimeout { .. } => "upstream_connect_timeout",
            Tls(_) => "upstream_tls",
            Send(_) => "upstream_send",
            FirstByteTimeout { .. } => "upstream_first_byte_timeout",
            CallTimeout { .. } => "upstream_call_timeout",
            Closed { .. } => "upstream_closed",
            Http(_) => "upstream_http",
            Status { .. } => "upstream_status",
            NotMcp(_) => "upstream_not_mcp",
            WrongId => "upstream_wrong_id",
            TooLarge { .. } => "upstream_reply_too_large",
            Handshake(_) => "upstream_handshake",
            Busy { .. } => "upstream_busy",
            Spawn(_) => "upstream_spawn",
            Exited(_) => "upstream_exited",
            NoRoom => "overloaded",
            Misunderstood { .. } => "upstream_misunderstood",
            Input(_) => "upstream_input",
            Undeclared(_) => "capability_undeclared",
            Unanswered => "client_unanswered",
            ClientGone => "client_gone",
            Cancelled => "cancelled",
            Revoked => "revoked",
            Outside => "untrusted_certificate",
        }
    }

    /// What kind of ending it makes of the exchange.
    pub fn outcome(&self) -> Outcome {
        match self {
            UpstreamFault::ClientGone | UpstreamFault::Cancelled | UpstreamFault::Unanswered => {
                Outcome::ClientGone
            }
            UpstreamFault::NoRoom => Outcome::Overloaded,
            UpstreamFault::Undeclared(_) | UpstreamFault::Revoked | UpstreamFault::Outside => {
                Outcome::Refused
            }
            _ => Outcome::UpstreamFault,
        }
    }

    /// Where it failed, for the figures; `None` when the upstream has no part in it.
    pub fn layer(&self) -> Option<Layer> {
        use UpstreamFault::*;
        Some(match self {
            Unreachable(_) | Credential(_) => Layer::Resolve,
            Connect(_) | ConnectTimeout { .. } | Tls(_) => Layer::Connect,
            Send(_) | Closed { .. } => Layer::Transport,
            FirstByteTimeout { .. } | CallTimeout { .. } => Layer::Timeout,
            Http(_) | Status { .. } => Layer::Http,
            NotMcp(_) | WrongId | TooLarge { .. } | Handshake(_) | Misunderstood { .. } | Input(_) => {
                Layer::Mcp
            }
            Spawn(_) | Exited(_) => Layer::Process,
            Busy { .. } => Layer::Busy,
            NoRoom | Unanswered | Undeclared(_) | ClientGone | Cancelled | Revoked | Outside => return None,
        })
    }

    /// What a server is told whose call we give up because of this.
    pub fn giving_up(&self) -> &'static str {
        match self {
            UpstreamFault::ClientGone => "the client went away",
            UpstreamFault::Cancelled => "cancelled by the client",
            UpstreamFault::Revoked => "the caller was revoked",
            UpstreamFault::Outside => "the caller's connection is trusted no more",
            _ => "no answer in time",
        }
    }

    /// Whether the same call may succeed later without anyone mending anything.
    pub fn is_retryable(&self) -> bool {
        use UpstreamFault::*;
        !matches!(
            self,
            NotMcp(_)
                | WrongId
                | TooLarge { .. }
                | Http(_)
                | Spawn(_)
                | Misunderstood { .. }
                | Input(_)
                | Undeclared(_)
                | ClientGone
                | Cancelled
                | Revoked
                | Outside
        )
    }
}

impl fmt::Display for UpstreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use UpstreamFault::*;
        match self {
            Unreachable(why) => f.write_str(why),
            Credential(why) => write!(f, "upstream credential: {why}"),
            Connect(error) => write!(f, "connect failed: {error}; is it running?"),
            Tls(why) => write!(f, "TLS handshake: {why}"),
            ConnectTimeout { ms } => write!(f, "connect timed out after {ms} ms"),
            Send(error) => write!(f, "sending the request failed: {error}"),
            FirstByteTimeout { ms } => write!(f, "no first byte of an answer within {ms} ms"),
            CallTimeout { ms } => write!(f, "no complete answer within {ms} ms"),
            Closed { after_bytes: false } => write!(f, "closed the connection without an answer"),
            Closed { after_bytes: true } => write!(f, "closed the connection in the middle of its answer"),
            Http(what) => write!(f, "malformed HTTP: {what}"),
            Status { status } => write!(f, "answered HTTP {status} without a JSON-RPC message"),
            NotMcp(what) => write!(f, "answer is not a JSON-RPC message: {what}"),
            WrongId => write!(f, "answered with another request's id"),
            TooLarge { limit } => write!(f, "answer over the limit of {limit} bytes"),
            Handshake(what) => write!(f, "MCP handshake failed: {what}"),
            Busy { limit } => write!(f, "busy: {limit} calls are waiting for it already"),
            Spawn(why) => f.write_str(why),
            Exited(how) => write!(f, "its process ended ({how}) before answering"),
            NoRoom => write!(f, "the gateway has no room for its answer: too many bytes on their way"),
            Misunderstood { code } => write!(f, "does not understand what this gateway wrote (error {code})"),
            Input(why) => write!(f, "wants input that it cannot have: {why}"),
            Undeclared(what) => {
                write!(f, "needs {} of its client, which did not declare it", what.words().join(" and "))
            }
            Unanswered => write!(f, "wants input, and the client did not give it in time"),
            ClientGone => write!(f, "the client went away"),
            Cancelled => write!(f, "cancelled by the client"),
            Revoked => write!(f, "its answer is not told: the caller was revoked meanwhile"),
            Outside => write!(
                f,
                "its answer is not told: its listener believes others meanwhile, and would not let this connection in"
            ),
        }
    }
}

impl std::error::Error for UpstreamFault {}
