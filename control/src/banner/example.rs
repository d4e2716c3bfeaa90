//! Requests in the modern dialect that work as they are: a list, and a call of a tool that the
//! principal may call, with arguments made from its schema.

use serde_json::{Map, Value, json};
use strait_policy::Principal;
use strait_table::{Kind, Snapshot, View};

const VERSION: &str = "2026-07-28";

pub struct Example {
    pub headers: Vec<(&'static str, String)>,
    pub body: Value,
}

pub fn list() -> Example {
    request("tools/list", None, json!({}))
}

/// How many tools of a server the principal sees, and how many there are.
pub fn tools(snapshot: &Snapshot, server: usize, principal: &Principal) -> Option<(usize, usize)> {
    let view = view(snapshot, server, principal)?;
    let all = snapshot.bound().servers.get(server)?.tools.items.len();
    Some((view.kind(Kind::Tool).visible_from(0).count(), all))
}

fn view(snapshot: &Snapshot, server: usize, principal: &Principal) -> Option<View> {
    let windows = snapshot.windows_at(crate::time::unix_s()).bits;
    View::of(snapshot, server, &snapshot.traits_of(principal), &windows)
}

/// A call of the first visible tool that only reads, or of the first visible one. `None` when the
/// principal sees no tool, or one whose name no header can carry as it is.
pub fn call(snapshot: &Snapshot, server: usize, principal: &Principal) -> Option<Example> {
    let view = view(snapshot, server, principal)?;
    let bound = snapshot.bound();
    let items = &bound.servers.get(server)?.tools.items;
    let visible = view.kind(Kind::Tool).visible_from(0).filter_map(|item| items.get(item));
    let mut tools = visible.filter_map(|item| {
        let fragment = bound.fragments.get(item.fragment.to_native() as usize)?;
        let definition: Value = serde_json::from_str(fragment).ok()?;
        Some((item.exposed.as_str().to_owned(), definition))
    });
    let first = tools.next()?;
    let reads = |(_, definition): &(String, Value)| definition["annotations"]["readOnlyHint"] == true;
    let (name, definition) = if reads(&first) { first } else { tools.find(reads).unwrap_or(first) };
    let is_plain = name.chars().all(|c| c.is_ascii_graphic()) && !name.starts_with("=?");
    let arguments = arguments(&definition["inputSchema"]);
    is_plain.then(|| request("tools/call", Some(&name), json!({ "name": name, "arguments": arguments })))
}

fn request(method: &str, name: Option<&str>, mut params: Value) -> Example {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut headers = vec![("MCP-Protocol-Version", VERSION.to_owned()), ("Mcp-Method", method.to_owned())];
    headers.extend(name.map(|name| ("Mcp-Name", name.to_owned())));
    Example { headers, body: json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }) }
}

/// A value for every required property.
fn arguments(schema: &Value) -> Value {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let values = required
        .iter()
        .filter_map(Value::as_str)
        .map(|name| (name.to_owned(), value(&schema["properties"][name])));
    Value::Object(values.collect::<Map<_, _>>())
}

fn value(schema: &Value) -> Value {
    let given = [&schema["examples"][0], &schema["default"], &schema["const"], &schema["enum"][0]];
    if let Some(given) = given.into_iter().find(|value| !value.is_null()) {
        return given.clone();
    }
    match schema["type"].as_str() {
        Some("integer" | "number") => 1.into(),
        Some("boolean") => true.into(),
        Some("array") => json!([]),
        Some("object") => arguments(schema),
        _ => "example".into(),
    }
}
