//! Errors on their way between the eras: the same fault has another code on the other side.
//!
//! Codes that mean something only between a modern server and whoever wrote its request never come here: they are
//! faults of this gateway ([`is_about_us`]), and clients are told so in its own words.

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Envelope, Members, Splices, append_string};
use strait_protocol::mcp::{Declared, Method, codes};

use super::dialect::Client;

/// Whether a modern server's error is about the headers or the version of a request, which this gateway wrote.
pub const fn is_about_us(code: i64) -> bool {
    matches!(code, codes::HEADER_MISMATCH | codes::UNSUPPORTED_PROTOCOL_VERSION)
}

/// Plans the edits of an error for a client of the other era. `legacy` is what its server is.
pub fn answer(splices: &mut Splices, bytes: &[u8], envelope: &Envelope, client: &Client<'_>, legacy: bool) {
    let (Some(code), Some(place)) = (envelope.error_code, envelope.error_code_span) else { return };
    let _ = match (client.modern, legacy, code) {
        (true, true, codes::RESOURCE_NOT_FOUND_LEGACY) => {
            splices.replace(place, codes::INVALID_PARAMS.to_string().as_bytes())
        }
        // The same code says that a request was malformed; of a resource that is not there it says which.
        (false, false, codes::INVALID_PARAMS)
            if client.method == Method::ResourcesRead
                && member(bytes, envelope, &["data", "uri"]).is_some() =>
        {
            splices.replace(place, codes::RESOURCE_NOT_FOUND_LEGACY.to_string().as_bytes())
        }
        (false, false, codes::MISSING_CLIENT_CAPABILITY) => {
            match (member(bytes, envelope, &["message"]), needed(bytes, envelope)) {
                (Some(message), Some(words)) => splices.replace_with(message, |out| {
                    let text = format!("the server needs {words} of this client, which did not declare it");
                    append_string(out, text.as_bytes());
                }),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    };
}

/// The capabilities that an error of a modern server asks for, by name.
fn needed(bytes: &[u8], envelope: &Envelope) -> Option<String> {
    let needed = Declared::read(bytes, member(bytes, envelope, &["data", "requiredCapabilities"])?);
    Some(needed.words().join(" and ")).filter(|words| !words.is_empty())
}

/// A member of the error, by its path.
pub fn member(bytes: &[u8], envelope: &Envelope, path: &[&str]) -> Option<Span> {
    path.iter().try_fold(envelope.error?, |within, key| Members::find(bytes, within, key).ok().flatten())
}

#[cfg(test)]
mod tests {
    use strait_protocol::jsonrpc::Scanner;

    use super::*;

    fn told(error: &str, method: Method, modern: bool, legacy: bool) -> String {
        let message = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#);
        let mut scanner = Scanner::new();
        scanner.feed(message.as_bytes()).unwrap();
        let envelope = scanner.finish().unwrap();
        let (mut splices, mut out) = (Splices::new(), Vec::new());
        let client = Client { modern, method, ..Client::nobody() };
        answer(&mut splices, message.as_bytes(), envelope, &client, legacy);
        splices.write(message.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_missing_resource_has_the_code_of_the_clients_era() {
        let (old, new) = (
            r#"{"code":-32002,"message":"m","data":{"uri":"a:b"}}"#,
            r#"{"code":-32602,"message":"m","data":{"uri":"a:b"}}"#,
        );
        let read = Method::ResourcesRead;
        for (error, method, modern, legacy, expected) in [
            (old, read, true, true, "-32602"),
            (old, read, false, true, "-32002"),
            (new, read, false, false, "-32002"),
            (new, read, true, false, "-32602"),
            (new, Method::ToolsCall, false, false, "-32602"),
            (r#"{"code":-32602,"message":"m"}"#, read, false, false, "-32602"),
            (r#"{"code":-32602,"message":"m","data":"uri"}"#, read, false, false, "-32602"),
        ] {
            let said = told(error, method, modern, legacy);
            let expected = error.replacen("-32002", expected, 1).replacen("-32602", expected, 1);
            assert!(said.ends_with(&format!("{expected}}}")), "{said} of {error}");
        }
    }

    #[test]
    fn an_older_client_reads_which_capability_is_missing() {
        let error =
            r#"{"code":-32021,"message":"no","data":{"requiredCapabilities":{"sampling":{"tools":{}}}}}"#;
        let said = told(error, Method::ToolsCall, false, false);
        assert!(
            said.contains(r#""message":"the server needs sampling and sampling.tools of this"#),
            "{said}"
        );
        assert!(said.contains(r#""data":{"requiredCapabilities":{"sampling":{"tools":{}}}}"#), "{said}");
        assert!(told(error, Method::ToolsCall, true, false).contains(r#""message":"no""#));
    }
}
