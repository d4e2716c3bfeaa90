//! A limit that stands against a call, as its caller is told.
//!
//! The decision: the answer to a tool's call is a tool's result with `isError`, on status 200, in both eras: that is what
//! reaches the model, which can wait, do something else, or say so. An HTTP 429 or a JSON-RPC error ends in the client's
//! library, and often ends the turn. Prompts, resources and calls that begin a task of 2025-11-25 have no such result: they
//! get a JSON-RPC error, on 429 towards clients of 2026-07-28. `Retry-After` and the same members for programs
//! are in each of them.

use strait_policy::limit::Measure;
use strait_protocol::decimal;
use strait_protocol::jsonrpc::append_string;

use crate::upstream::dialect::append_server;

#[derive(Debug)]
pub struct Reached {
    pub limit: String,
    pub measure: Measure,
    /// What it allows, and to whom.
    pub allows: String,
    /// What the call costs, where the limit never allows as much.
    pub never: Option<String>,
    pub retry_after_s: Option<u64>,
    /// The call's answer is a tool's result, which the model reads.
    pub as_result: bool,
}

/// The member of a result's `_meta` under which programs find what the text says.
const META_REFUSAL: &str = "dev.strait/refusal";

impl Reached {
    pub fn label(&self) -> &'static str {
        match self.measure {
            Measure::Rate(_) => "limit_rate",
            Measure::Calls(_) => "limit_calls",
            Measure::Cost(_) => "limit_cost",
            Measure::Concurrency(_) => "limit_concurrency",
        }
    }

    pub fn message(&self) -> String {
        let Reached { limit, allows, .. } = self;
        match (&self.never, self.retry_after_s, self.measure) {
            (Some(cost), ..) => {
                format!("gateway: this call costs {cost}, more than limit `{limit}` ever allows: {allows}")
            }
            (None, Some(_), Measure::Concurrency(_)) => {
                format!(
                    "gateway: limit `{limit}` is reached: {allows}; try again when another call has ended"
                )
            }
            (None, Some(seconds), _) => {
                format!("gateway: limit `{limit}` is reached: {allows}; try again in {seconds} s")
            }
            (None, None, _) => format!("gateway: limit `{limit}` is reached: {allows}"),
        }
    }

    /// `{"reason":…,"limit":…,"allows":…,"retryAfter":…}`.
    pub fn append_data(&self, out: &mut Vec<u8>) {
        let mut text = |before: &str, text: &str| {
            out.extend_from_slice(before.as_bytes());
            append_string(out, text.as_bytes());
        };
        text("{\"reason\":", self.label());
        text(",\"limit\":", &self.limit);
        text(",\"allows\":", &self.allows);
        if let Some(seconds) = self.retry_after_s {
            out.extend_from_slice(b",\"retryAfter\":");
            decimal::append(out, seconds);
        }
        out.push(b'}');
    }
}

/// A refusal as a tool's result: the whole answer, to a call whose id is written so.
pub fn append_result(out: &mut Vec<u8>, id: &[u8], message: &[u8], data: &[u8], modern: bool) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"result\":{\"content\":[{\"type\":\"text\",\"text\":");
    append_string(out, message);
    out.extend_from_slice(b"}],\"isError\":true,");
    if modern {
        out.extend_from_slice(b"\"resultType\":\"complete\",");
    }
    out.extend_from_slice(b"\"_meta\":{");
    if modern {
        append_server(out);
        out.push(b',');
    }
    append_string(out, META_REFUSAL.as_bytes());
    out.push(b':');
    out.extend_from_slice(data);
    out.extend_from_slice(b"}}}");
}
