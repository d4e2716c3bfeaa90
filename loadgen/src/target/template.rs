//! A request written once. The id and every `{{seq}}` of the arguments are thirteen digits wide, so that
//! stamping the next request patches digits in place and no length changes. HOT: [`Template::stamp`].
//!
//! The decision: one number is both the id and the sequence, so no two requests of a run carry the same
//! arguments and no cache can answer for the target.

use memchr::memmem;
use strait_protocol::http1::write;
use strait_protocol::jsonrpc::append_string;
use strait_protocol::mcp::{Method, Names, header, meta::Meta};

use super::{Era, Target};

/// The id of the first request of a run: the smallest number of thirteen digits. It is an exact integer
/// in every JSON parser, and stays one for nine million million requests.
pub const ID_FIRST: u64 = 1_000_000_000_000;
const ID_DIGITS: usize = 13;
/// Arguments beyond this say more about memory than about a gateway.
pub const ARGUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

const SEQUENCE: &str = "{{seq}}";
const PROTOCOL_VERSION_HEADER: &str = header::PROTOCOL_VERSION;
const CLIENT_INFO: &[u8] =
    concat!(r#"{"name":"strait-load","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#).as_bytes();

/// What a template asks.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    pub method: Method,
    /// The tool, prompt or resource; `None` for methods that name nothing.
    pub name: Option<&'a str>,
    /// A JSON object; `{{seq}}` in it is replaced by the request's number.
    pub arguments: &'a str,
    /// Ask for progress events, under the request's own id.
    pub progress: bool,
}

impl Call<'_> {
    /// A method that names nothing.
    pub const fn plain(method: Method) -> Call<'static> {
        Call { method, name: None, arguments: "{}", progress: false }
    }
}

/// One request's bytes, head and body.
#[derive(Clone)]
pub struct Template {
    bytes: Vec<u8>,
    /// Where thirteen digits stand for the request's number.
    places: Vec<usize>,
}

/// A header would not hold what it was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TemplateFault {
    /// A header or the path holds a byte that could split the request.
    Header,
    /// The arguments are no JSON object once `{{seq}}` is filled in.
    Arguments(String),
}

impl std::fmt::Display for TemplateFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TemplateFault::Header => f.write_str("a header holds a byte that could split the request"),
            TemplateFault::Arguments(why) => write!(f, "the arguments are no JSON object: {why}"),
        }
    }
}

impl Template {
    pub fn build(target: &Target, era: &Era, call: &Call<'_>) -> Result<Template, TemplateFault> {
        Template::around(target, era, call, &body(era, call)?)
    }

    /// `notifications/cancelled` for the request with the number it is stamped with, to a server of the older era.
    pub fn cancellation(target: &Target, era: &Era) -> Result<Template, TemplateFault> {
        let call = Call::plain(Method::NotifyCancelled);
        let body = format!(
            r#"{{"jsonrpc":"2.0","method":"{}","params":{{"requestId":{MARK},"reason":"no longer wanted"}}}}"#,
            call.method.as_str()
        );
        Template::around(target, era, &call, body.as_bytes())
    }

    fn around(target: &Target, era: &Era, call: &Call<'_>, body: &[u8]) -> Result<Template, TemplateFault> {
        let mut bytes = Vec::with_capacity(body.len() + 1024);
        let revision = era.revision().as_str();
        let mut head = write::request(&mut bytes, b"POST", target.path.as_bytes())
            .header("Host", target.authority.as_bytes());
        for (name, value) in target.headers() {
            head = head.named(name.as_bytes(), value);
        }
        head = head
            .header("Content-Type", b"application/json")
            .header("Accept", b"application/json, text/event-stream")
            .header(PROTOCOL_VERSION_HEADER, revision.as_bytes());
        match era {
            Era::Modern => {
                head = head.header(header::METHOD, call.method.as_str().as_bytes());
                let mut encoded = Vec::new();
                if let Some(name) = call.name.filter(|_| call.method.mirrors() != Names::Nothing) {
                    header::encode(&mut encoded, name.as_bytes());
                    head = head.header(header::NAME, &encoded);
                }
            }
            Era::Legacy { session, .. } => {
                head = head.header_if(header::SESSION_ID, session.as_deref());
            }
        }
        head.content_length(body.len() as u64).finish().map_err(|_| TemplateFault::Header)?;
        let head_bytes = bytes.len();
        bytes.extend_from_slice(body);
        let marks = memmem::find_iter(bytes.get(head_bytes..).unwrap_or_default(), MARK.as_bytes());
        let places: Vec<usize> = marks.map(|at| at + head_bytes).collect();
        let mut template = Template { bytes, places };
        template.stamp(ID_FIRST);
        Ok(template)
    }

    /// The request with this number. Numbers run from [`ID_FIRST`]; HOT, a few digits.
    pub fn stamp(&mut self, id: u64) -> &[u8] {
        let mut digits = [b'0'; ID_DIGITS];
        let mut value = id;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
        for place in &self.places {
            if let Some(field) = self.bytes.get_mut(*place..place + ID_DIGITS) {
                field.copy_from_slice(&digits);
            }
        }
        &self.bytes
    }

    /// As it was last stamped.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The head may hold credentials.
        write!(f, "Template({} bytes, {} places)", self.bytes.len(), self.places.len())
    }
}

/// Stands for the number while a body is written, and is as wide, so that the length in the head is the
/// final one. Its control characters can be in no JSON text that was checked: nothing an author wrote is
/// taken for it.
const MARK: &str = "\u{1}strait-seq!\u{1}";
const _: () = assert!(MARK.len() == ID_DIGITS);

fn body(era: &Era, call: &Call<'_>) -> Result<Vec<u8>, TemplateFault> {
    let sample = call.arguments.replace(SEQUENCE, "1000000000000");
    match serde_json::from_str::<serde_json::Value>(&sample) {
        Ok(serde_json::Value::Object(_)) => {}
        Ok(_) => return Err(TemplateFault::Arguments("expected `{…}`, found another value".to_owned())),
        Err(error) => return Err(TemplateFault::Arguments(error.to_string())),
    }
    let mut out = Vec::new();
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(MARK.as_bytes());
    out.extend_from_slice(br#","method":"#);
    append_string(&mut out, call.method.as_str().as_bytes());
    out.extend_from_slice(br#","params":{"#);
    let mut comma = false;
    if let Some(name) = call.name {
        out.extend_from_slice(if call.method == Method::ResourcesRead {
            br#""uri":"#
        } else {
            br#""name":"#
        });
        append_string(&mut out, name.as_bytes());
        comma = true;
    }
    if matches!(call.method, Method::ToolsCall | Method::PromptsGet) {
        out.extend_from_slice(if comma { br#","arguments":"# } else { br#""arguments":"# });
        out.extend_from_slice(call.arguments.replace(SEQUENCE, MARK).as_bytes());
        comma = true;
    }
    let token = call.progress.then_some(MARK.as_bytes());
    let meta = match era {
        Era::Modern => Some(Meta {
            protocol_version: era.revision().as_str(),
            client_capabilities: b"{}",
            client_info: Some(CLIENT_INFO),
            progress_token: token,
            ..Meta::default()
        }),
        Era::Legacy { .. } => None,
    };
    if meta.is_some() || token.is_some() {
        out.extend_from_slice(if comma { br#","_meta":"# } else { br#""_meta":"# });
        match (meta, token) {
            (Some(meta), _) => meta.append(&mut out),
            (None, token) => {
                out.extend_from_slice(br#"{"progressToken":"#);
                out.extend_from_slice(token.unwrap_or_default());
                out.push(b'}');
            }
        }
    }
    out.extend_from_slice(b"}}");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use strait_protocol::mcp::Revision;

    fn built(era: &Era, call: &Call<'_>) -> Template {
        let mut target = Target::parse("http://127.0.0.1:9/mcp").unwrap();
        target.bearer("sk-hidden").unwrap();
        Template::build(&target, era, call).unwrap()
    }

    fn parts(bytes: &[u8]) -> (String, Value) {
        let at = memmem::find(bytes, b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
        (head, serde_json::from_slice(&bytes[at + 4..]).unwrap())
    }

    #[test]
    fn every_number_fits_the_length_that_was_announced() {
        let call = Call {
            method: Method::ToolsCall,
            name: Some("grüße"),
            arguments: r#"{"text":"call {{seq}}","n":{{seq}}}"#,
            progress: true,
        };
        let mut template = built(&Era::Modern, &call);
        for id in [ID_FIRST, ID_FIRST + 1, ID_FIRST + 987_654_321, 9_999_999_999_999] {
            let bytes = template.stamp(id).to_vec();
            let (head, body) = parts(&bytes);
            let length = bytes.len() - head.len() - 4;
            assert!(head.contains(&format!("Content-Length: {length}")), "{head}");
            assert!(head.contains("Mcp-Method: tools/call\r\nMcp-Name: =?base64?"), "{head}");
            assert_eq!(body["id"], json!(id));
            assert_eq!(body["params"]["arguments"], json!({ "text": format!("call {id}"), "n": id }));
            assert_eq!(body["params"]["_meta"]["progressToken"], json!(id));
            assert_eq!(body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        }
        assert!(!format!("{template:?}").contains("hidden"));
    }

    #[test]
    fn a_session_has_its_headers_and_no_meta() {
        let era = Era::Legacy { revision: Revision::LATEST_LEGACY, session: Some(b"abc".to_vec()) };
        let template = built(&era, &Call::plain(Method::Ping));
        let (head, body) = parts(template.bytes());
        assert!(head.contains("Mcp-Session-Id: abc\r\n") && !head.contains("Mcp-Method"), "{head}");
        assert_eq!(body, json!({ "jsonrpc": "2.0", "id": ID_FIRST, "method": "ping", "params": {} }));
    }

    #[test]
    fn a_cancellation_names_the_request_and_its_session() {
        let era = Era::Legacy { revision: Revision::LATEST_LEGACY, session: Some(b"abc".to_vec()) };
        let target = Target::parse("http://127.0.0.1:9/mcp").unwrap();
        let mut template = Template::cancellation(&target, &era).unwrap();
        let (head, body) = parts(template.stamp(ID_FIRST + 9));
        assert!(head.contains("Mcp-Session-Id: abc\r\n"), "{head}");
        assert_eq!((&body["method"], body.get("id")), (&json!("notifications/cancelled"), None));
        assert_eq!(body["params"]["requestId"], json!(ID_FIRST + 9));
    }

    #[test]
    fn arguments_that_are_no_object_are_told() {
        let target = Target::parse("http://127.0.0.1:9/mcp").unwrap();
        for arguments in ["", "[]", "{", r#"{"a":}"#, "{{seq}}"] {
            let call = Call { method: Method::ToolsCall, name: Some("t"), arguments, progress: false };
            let fault = Template::build(&target, &Era::Modern, &call).unwrap_err();
            assert!(matches!(fault, TemplateFault::Arguments(_)), "{arguments}: {fault}");
        }
    }
}
