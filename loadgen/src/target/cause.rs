//! Why a call did not succeed, one word each: errors are counted apart from speed and apart from each
//! other. The order of [`Cause::WORDS`] is the order of reports.

/// What was wrong with one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// No connection could be made.
    Connect,
    /// The connection broke before the first byte of a reply.
    Transport,
    /// No complete answer in the time given.
    Timeout,
    /// Another HTTP status than 2xx.
    HttpStatus(u16),
    /// A JSON-RPC error.
    JsonRpc(i64),
    /// A tool's result with `isError: true`.
    IsError,
    /// The tool is unknown to this caller: how a gateway denies.
    Denied,
    /// An answer to another request.
    WrongId,
    /// A reply that began and did not end.
    Truncated,
    /// A reply that is no HTTP, no JSON, or no message.
    Malformed,
}

impl Cause {
    /// Stable names, as in reports.
    pub const WORDS: [&str; 10] = [
        "connect",
        "transport",
        "timeout",
        "http_status",
        "jsonrpc",
        "is_error",
        "denied",
        "wrong_id",
        "truncated",
        "malformed",
    ];

    /// Its place in [`Cause::WORDS`].
    pub const fn index(self) -> usize {
        match self {
            Cause::Connect => 0,
            Cause::Transport => 1,
            Cause::Timeout => 2,
            Cause::HttpStatus(_) => 3,
            Cause::JsonRpc(_) => 4,
            Cause::IsError => 5,
            Cause::Denied => 6,
            Cause::WrongId => 7,
            Cause::Truncated => 8,
            Cause::Malformed => 9,
        }
    }

    pub const fn word(self) -> &'static str {
        Cause::WORDS[self.index()]
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::HttpStatus(status) => write!(f, "HTTP status {status}"),
            Cause::JsonRpc(code) => write!(f, "JSON-RPC error {code}"),
            other => f.write_str(match other {
                Cause::Connect => "no connection",
                Cause::Transport => "the connection broke before a reply",
                Cause::Timeout => "no complete answer in time",
                Cause::IsError => "a result with isError",
                Cause::Denied => "denied (unknown tool)",
                Cause::WrongId => "an answer to another request",
                Cause::Truncated => "a reply cut short",
                _ => "a reply that cannot be read",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cause;

    #[test]
    fn every_cause_has_its_own_word() {
        let all = [
            Cause::Connect,
            Cause::Transport,
            Cause::Timeout,
            Cause::HttpStatus(503),
            Cause::JsonRpc(-32603),
            Cause::IsError,
            Cause::Denied,
            Cause::WrongId,
            Cause::Truncated,
            Cause::Malformed,
        ];
        for (index, cause) in all.into_iter().enumerate() {
            assert_eq!(cause.index(), index);
        }
    }
}
