//! Built-in MCP servers for the first minute: something real to stand a gateway in front of, before
//! anything else is installed.
//!
//! One core, [`Sample::answer`], takes a JSON-RPC message and gives its answer; two faces carry it:
//! [`stdio`] (a line loop, run as a child by `strait sample stdio`) and [`http`] (an axum router on a
//! loopback port of the serving process). Both speak every revision: 2026-07-28 when a message says so
//! in its `_meta`, the four older ones otherwise, always without sessions. Annotations are true: what
//! is marked read-only changes nothing, what is marked destructive deletes.
//!
//! `envelope.rs` knows eras and errors; `hello.rs` and `shop.rs` are the two servers.

mod envelope;
mod hello;
pub mod http;
mod shop;
pub mod stdio;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use envelope::{Era, Fault};

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Greetings, sums and notes; served over stdio.
    Hello,
    /// A shop with orders; served over HTTP.
    Shop,
}

/// A server with its state: notes or orders live as long as it does.
pub struct Sample {
    kind: Kind,
    offer: Box<dyn Offer>,
}

/// What a server has, without any of the protocol around it.
trait Offer: Send + Sync {
    fn instructions(&self) -> &'static str;
    fn tools(&self) -> Value;
    /// `None`: there is no such tool. `Err`: the tool ran and failed, for the model to read.
    fn call(&self, tool: &str, arguments: &Arguments) -> Option<Result<Output, String>>;
    fn prompts(&self) -> Value {
        json!([])
    }
    fn prompt(&self, _name: &str, _arguments: &Arguments) -> Option<Value> {
        None
    }
    fn resources(&self) -> Value;
    fn templates(&self) -> Value {
        json!([])
    }
    /// Contents and their media type.
    fn read(&self, uri: &str) -> Option<(String, &'static str)>;
}

/// What a tool answers: text for a model, and the same as data where there is some.
struct Output {
    text: String,
    data: Option<Value>,
}

impl Output {
    fn text(text: impl Into<String>) -> Output {
        Output { text: text.into(), data: None }
    }

    fn data(data: Value) -> Output {
        Output { text: data.to_string(), data: Some(data) }
    }
}

/// A tool's arguments; what is missing or of another type says so in words a model can act on.
struct Arguments<'a>(Option<&'a Map<String, Value>>);

impl<'a> Arguments<'a> {
    fn text(&self, name: &str) -> Result<&'a str, String> {
        self.find(name, "a string", Value::as_str)
    }

    fn number(&self, name: &str) -> Result<f64, String> {
        self.find(name, "a number", Value::as_f64)
    }

    fn find<T>(&self, name: &str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<T, String> {
        match self.0.and_then(|arguments| arguments.get(name)) {
            None => Err(format!("argument `{name}` is missing: expected {what}")),
            Some(value) => {
                read(value).ok_or_else(|| format!("argument `{name}`: expected {what}, found `{value}`"))
            }
        }
    }
}

impl Sample {
    pub fn new(kind: Kind) -> Sample {
        let offer: Box<dyn Offer> = match kind {
            Kind::Hello => Box::new(hello::Hello::default()),
            Kind::Shop => Box::new(shop::Shop::default()),
        };
        Sample { kind, offer }
    }

    /// Answers one message. `None` for a notification or a response, which nobody answers.
    pub fn answer(&self, message: &Value) -> Option<Value> {
        self.reply(message).map(|(answer, _)| answer)
    }

    /// The answer with its HTTP status.
    fn reply(&self, message: &Value) -> Option<(Value, u16)> {
        let request = match envelope::Request::read(message) {
            Ok(Some(request)) => request,
            Ok(None) => return None,
            Err(fault) => return Some((fault.clone().into_message(envelope::id_of(message)), fault.status)),
        };
        let answer = match request.era {
            Era::Modern => self.modern(&request),
            Era::Legacy => self.legacy(&request),
        };
        Some(match answer {
            Ok(result) => (json!({ "jsonrpc": "2.0", "id": request.id, "result": result }), 200),
            Err(fault) if request.era == Era::Legacy => (fault.into_message(request.id), 200),
            Err(fault) => (fault.clone().into_message(request.id), fault.status),
        })
    }

    fn modern(&self, request: &envelope::Request) -> Result<Value, Fault> {
        let (mut result, cached) = match request.method {
            "server/discover" => (self.discover(), true),
            method => {
                let cached = method.ends_with("/list") || method == "resources/read";
                (self.either(request)?.ok_or_else(|| Fault::method(method))?, cached)
            }
        };
        result["resultType"] = "complete".into();
        result["_meta"] = json!({ envelope::SERVER_INFO: self.info() });
        if cached {
            result["ttlMs"] = 0.into();
            result["cacheScope"] = "public".into();
        }
        Ok(result)
    }

    fn legacy(&self, request: &envelope::Request) -> Result<Value, Fault> {
        match request.method {
            "initialize" => Ok(json!({
                "protocolVersion": envelope::agreed(request.param("protocolVersion").and_then(Value::as_str)),
                "capabilities": self.capabilities(),
                "serverInfo": self.info(),
                "instructions": self.offer.instructions(),
            })),
            "ping" => Ok(json!({})),
            method => self.either(request)?.ok_or_else(|| Fault::method(method)),
        }
    }

    fn discover(&self) -> Value {
        json!({
            "supportedVersions": [envelope::MODERN],
            "capabilities": self.capabilities(),
            "instructions": self.offer.instructions(),
        })
    }

    /// Methods that every era has. `None`: not one of them.
    fn either(&self, request: &envelope::Request) -> Result<Option<Value>, Fault> {
        let has_prompts = self.kind == Kind::Hello;
        Ok(Some(match request.method {
            "tools/list" => json!({ "tools": self.offer.tools() }),
            "tools/call" => self.call(request)?,
            "prompts/list" if has_prompts => json!({ "prompts": self.offer.prompts() }),
            "prompts/get" if has_prompts => {
                let name = request.text("name")?;
                let unknown = || Fault::params(format!("unknown prompt `{name}`"));
                self.offer.prompt(name, &request.arguments()).ok_or_else(unknown)?
            }
            "resources/list" => json!({ "resources": self.offer.resources() }),
            "resources/templates/list" => json!({ "resourceTemplates": self.offer.templates() }),
            "resources/read" => {
                let uri = request.text("uri")?;
                let (text, media) = self.offer.read(uri).ok_or_else(|| Fault::resource(uri, request.era))?;
                json!({ "contents": [{ "uri": uri, "mimeType": media, "text": text }] })
            }
            _ => return Ok(None),
        }))
    }

    fn call(&self, request: &envelope::Request) -> Result<Value, Fault> {
        let tool = request.text("name")?;
        let outcome = self.offer.call(tool, &request.arguments());
        let outcome = outcome.ok_or_else(|| Fault::params(format!("unknown tool `{tool}`")))?;
        let (text, data, failed) = match outcome {
            Ok(output) => (output.text, output.data, false),
            Err(why) => (why, None, true),
        };
        let mut result = json!({ "content": [{ "type": "text", "text": text }], "isError": failed });
        if let Some(data) = data {
            result["structuredContent"] = data;
        }
        Ok(result)
    }

    fn capabilities(&self) -> Value {
        match self.kind {
            Kind::Hello => json!({ "tools": {}, "prompts": {}, "resources": {} }),
            Kind::Shop => json!({ "tools": {}, "resources": {} }),
        }
    }

    fn info(&self) -> Value {
        let name = match self.kind {
            Kind::Hello => "strait-sample-hello",
            Kind::Shop => "strait-sample-shop",
        };
        json!({ "name": name, "version": env!("CARGO_PKG_VERSION") })
    }
}

/// One entry of `tools/list`. `required` are all of `properties`.
fn tool(name: &str, description: &str, properties: Value, annotations: Value) -> Value {
    let required: Vec<&String> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({
        "name": name,
        "description": description,
        "inputSchema": { "type": "object", "properties": properties, "required": required, "additionalProperties": false },
        "annotations": annotations,
    })
}

/// Annotations of a tool that changes nothing.
fn reads() -> Value {
    json!({ "readOnlyHint": true, "openWorldHint": false })
}

/// Annotations of a tool that changes something; a second same call changes nothing more when
/// `idempotent`.
fn changes(destructive: bool, idempotent: bool) -> Value {
    json!({
        "readOnlyHint": false, "destructiveHint": destructive, "idempotentHint": idempotent, "openWorldHint": false
    })
}
