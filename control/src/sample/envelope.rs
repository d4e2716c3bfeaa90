//! What stands around a sample's answer: which era a message belongs to, what every modern request
//! must carry, and the errors with their codes and HTTP statuses in one list.

use serde_json::{Value, json};

use super::Arguments;

pub const MODERN: &str = "2026-07-28";
/// Newest first.
pub const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

pub const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    Modern,
    Legacy,
}

/// A message that wants an answer, after its era's checks.
pub struct Request<'a> {
    pub id: Value,
    pub method: &'a str,
    pub era: Era,
    params: Option<&'a Value>,
}

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub code: i32,
    /// Over HTTP; 200 where the fault is the handler's and not the protocol's.
    pub status: u16,
    message: String,
    data: Option<Value>,
}

impl<'a> Request<'a> {
    /// `Ok(None)`: a notification or a response.
    pub fn read(message: &'a Value) -> Result<Option<Request<'a>>, Fault> {
        let invalid = |what: &str| Fault::new(-32600, 400, format!("invalid request: {what}"));
        let object = message.as_object().ok_or_else(|| invalid("expected one JSON object"))?;
        if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(invalid("expected `\"jsonrpc\": \"2.0\"`"));
        }
        let Some(method) = object.get("method") else {
            let is_response = object.contains_key("result") || object.contains_key("error");
            return if is_response { Ok(None) } else { Err(invalid("`method` is missing")) };
        };
        let method = method.as_str().ok_or_else(|| invalid("`method` is not a string"))?;
        let id = match object.get("id") {
            None => return Ok(None),
            Some(id) if id.is_string() || id.is_i64() || id.is_u64() => id.clone(),
            Some(_) => return Err(invalid("`id` is neither a string nor an integer")),
        };
        let request = Request { id, method, era: era_of(message), params: object.get("params") };
        if request.era == Era::Modern {
            request.check_meta()?;
        }
        Ok(Some(request))
    }

    pub fn param(&self, name: &str) -> Option<&'a Value> {
        self.params.and_then(|params| params.get(name))
    }

    pub fn text(&self, name: &str) -> Result<&'a str, Fault> {
        let missing = || Fault::params(format!("`params.{name}` is missing or not a string"));
        self.param(name).and_then(Value::as_str).ok_or_else(missing)
    }

    pub fn arguments(&self) -> Arguments<'a> {
        Arguments(self.param("arguments").and_then(Value::as_object))
    }

    fn check_meta(&self) -> Result<(), Fault> {
        let meta = self.param("_meta");
        let field = |name: &str| meta.and_then(|meta| meta.get(name));
        let missing =
            |name: &str, what: &str| Fault::meta(format!("`_meta[\"{name}\"]` is missing or not {what}"));
        let version = field(VERSION).and_then(Value::as_str).ok_or_else(|| missing(VERSION, "a string"))?;
        if version != MODERN {
            return Err(Fault::version(version));
        }
        field(CAPABILITIES).and_then(Value::as_object).ok_or_else(|| missing(CAPABILITIES, "an object"))?;
        Ok(())
    }
}

/// A message belongs to the modern era when it says so; `server/discover` exists in no other.
pub fn era_of(message: &Value) -> Era {
    let says_so = message.pointer("/params/_meta").is_some_and(|meta| meta.get(VERSION).is_some());
    let is_discover = message["method"] == "server/discover";
    if says_so || is_discover { Era::Modern } else { Era::Legacy }
}

/// The id to answer under, where there is one.
pub fn id_of(message: &Value) -> Value {
    message.get("id").filter(|id| id.is_string() || id.is_number()).cloned().unwrap_or(Value::Null)
}

/// The legacy revision to go on with.
pub fn agreed(requested: Option<&str>) -> &'static str {
    LEGACY.into_iter().find(|known| Some(*known) == requested).unwrap_or(LEGACY[0])
}

impl Fault {
    pub fn new(code: i32, status: u16, message: impl Into<String>) -> Fault {
        Fault { code, status, message: message.into(), data: None }
    }

    pub fn params(message: impl Into<String>) -> Fault {
        Fault::new(-32602, 200, message)
    }

    /// What every modern request must carry is not there.
    pub fn meta(message: impl Into<String>) -> Fault {
        Fault::new(-32602, 400, message)
    }

    pub fn method(method: &str) -> Fault {
        Fault::new(-32601, 404, format!("method `{method}` not found"))
    }

    pub fn header(message: impl Into<String>) -> Fault {
        Fault::new(-32020, 400, message)
    }

    pub fn version(requested: &str) -> Fault {
        let data = json!({ "supported": [MODERN], "requested": requested });
        let message = format!("unsupported protocol version `{requested}`: expected `{MODERN}`");
        Fault { data: Some(data), ..Fault::new(-32022, 400, message) }
    }

    pub fn resource(uri: &str, era: Era) -> Fault {
        let code = if era == Era::Modern { -32602 } else { -32002 };
        Fault {
            data: Some(json!({ "uri": uri })),
            ..Fault::new(code, 200, format!("unknown resource `{uri}`"))
        }
    }

    pub fn into_message(self, id: Value) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(data) = self.data {
            error["data"] = data;
        }
        json!({ "jsonrpc": "2.0", "id": id, "error": error })
    }
}
