//! JSON-RPC errors out. HOT: refusals must be as cheap as answers, or refusing becomes the attack.

use super::text::append_string;
use crate::decimal;

/// Which id the error carries.
#[derive(Clone, Copy, Debug)]
pub enum ErrorId<'a> {
    /// As the peer wrote it.
    Raw(&'a [u8]),
    /// `null`: legacy peers expect the member.
    Null,
    /// No member: modern peers, when the id could not be read.
    Omitted,
}

/// Appends `{"jsonrpc":"2.0","id":…,"error":{"code":…,"message":…,"data":…}}`. `data` is raw JSON.
pub fn append_error(out: &mut Vec<u8>, id: ErrorId<'_>, code: i64, message: &str, data: Option<&[u8]>) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",");
    match id {
        ErrorId::Raw(raw) => {
            out.extend_from_slice(b"\"id\":");
            out.extend_from_slice(raw);
            out.push(b',');
        }
        ErrorId::Null => out.extend_from_slice(b"\"id\":null,"),
        ErrorId::Omitted => {}
    }
    out.extend_from_slice(b"\"error\":{\"code\":");
    decimal::append_signed(out, code);
    out.extend_from_slice(b",\"message\":");
    append_string(out, message.as_bytes());
    if let Some(data) = data {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data);
    }
    out.extend_from_slice(b"}}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_back_as_they_were_meant() {
        let cases: [(ErrorId<'_>, Option<&[u8]>, &str); 3] = [
            (
                ErrorId::Raw(b"\"a\""),
                None,
                r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32602,"message":"no \"x\"\n"}}"#,
            ),
            (
                ErrorId::Null,
                Some(b"[1]"),
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"no \"x\"\n","data":[1]}}"#,
            ),
            (ErrorId::Omitted, None, r#"{"jsonrpc":"2.0","error":{"code":-32602,"message":"no \"x\"\n"}}"#),
        ];
        for (id, data, expected) in cases {
            let mut out = Vec::new();
            append_error(&mut out, id, -32602, "no \"x\"\n", data);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
