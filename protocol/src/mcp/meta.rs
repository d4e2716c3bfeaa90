//! The keys of `_meta` that a gateway reads or writes, and the rendering of a `_meta` for a request that had none: a
//! legacy client's call on its way to a modern upstream.

use crate::jsonrpc::append_string;

/// Prefix of every key below.
pub const NAMESPACE: &str = "io.modelcontextprotocol/";
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";
pub const PROGRESS_TOKEN: &str = "progressToken";
pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";

/// Extension ids, as they appear under `capabilities.extensions`.
pub const EXTENSION_TASKS: &str = "io.modelcontextprotocol/tasks";
pub const EXTENSION_UI: &str = "io.modelcontextprotocol/ui";

/// What a synthesised `_meta` says. The values are raw JSON, copied from where the peer said them; `log_level` and
/// the two of a trace are plain text.
#[derive(Clone, Copy, Default)]
pub struct Meta<'a> {
    pub protocol_version: &'a str,
    /// `{}` when nothing is known.
    pub client_capabilities: &'a [u8],
    pub client_info: Option<&'a [u8]>,
    pub log_level: Option<&'a [u8]>,
    pub progress_token: Option<&'a [u8]>,
    pub traceparent: Option<&'a [u8]>,
    pub tracestate: Option<&'a [u8]>,
}

impl Meta<'_> {
    /// Appends the object, braces included. HOT.
    pub fn append(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        self.append_members(out);
        out.push(b'}');
    }

    /// Appends the members alone, to be spliced after the `{` of a `_meta` that is already there.
    pub fn append_members(&self, out: &mut Vec<u8>) {
        key(out, PROTOCOL_VERSION, true);
        append_string(out, self.protocol_version.as_bytes());
        key(out, CLIENT_CAPABILITIES, false);
        out.extend_from_slice(if self.client_capabilities.is_empty() {
            b"{}"
        } else {
            self.client_capabilities
        });
        for (name, raw) in [(CLIENT_INFO, self.client_info), (PROGRESS_TOKEN, self.progress_token)] {
            if let Some(raw) = raw {
                key(out, name, false);
                out.extend_from_slice(raw);
            }
        }
        let of_trace = [(TRACEPARENT, self.traceparent), (TRACESTATE, self.tracestate)];
        for (name, text) in [(LOG_LEVEL, self.log_level)].into_iter().chain(of_trace) {
            if let Some(text) = text {
                key(out, name, false);
                append_string(out, text);
            }
        }
    }
}

fn key(out: &mut Vec<u8>, name: &str, first: bool) {
    if !first {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

#[cfg(test)]
mod tests {
    use super::Meta;

    #[test]
    fn a_synthesised_meta_is_json_and_says_what_it_was_told() {
        let mut out = Vec::new();
        let meta = Meta {
            protocol_version: "2026-07-28",
            client_info: Some(br#"{"name":"a"}"#),
            progress_token: Some(b"7"),
            log_level: Some(b"in\"fo"),
            ..Meta::default()
        };
        meta.append(&mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        assert_eq!(value["io.modelcontextprotocol/clientCapabilities"], serde_json::json!({}));
        assert_eq!(value["io.modelcontextprotocol/clientInfo"]["name"], "a");
        assert_eq!(value["io.modelcontextprotocol/logLevel"], "in\"fo");
        assert_eq!(value["progressToken"], 7);
    }
}
