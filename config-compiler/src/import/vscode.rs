//! VS Code's `mcp.json`: `servers` like those of other clients, and `inputs`, which the editor asks its user for. An
//! input that is a password becomes a secret of ours; any other becomes a variable of the environment.

use super::{
    clients,
    draft::Draft,
    report::{Reader, text_of},
    secret,
    variables::{Input, Variables},
};
use crate::source::{Entry, Node, Value};

pub fn read(reader: &mut Reader<'_>, root: &Node, draft: &mut Draft, mut variables: Variables) {
    let Value::Map(entries) = &root.value else { return };
    if let Some(inputs) = entries.iter().find(|entry| entry.key == "inputs") {
        self::inputs(reader, inputs, &mut variables);
    }
    for entry in entries {
        match entry.key.as_str() {
            "servers" => {
                let Some(servers) = reader.map(entry) else { continue };
                reader.mapped(entry, "upstreams");
                clients::servers(reader, servers, draft, &variables);
            }
            "inputs" => {}
            // `settings.json` and dev containers hold the same in a mapping of its own.
            "mcp" => {
                reader.mapped(entry, "its servers");
                read(reader, &entry.value, draft, std::mem::take(&mut variables));
                return;
            }
            "sandbox" => reader.asked_whole(entry, "this version runs servers without a sandbox of its own"),
            "$schema" => reader.ignored(entry, "the schema of another form"),
            _ => reader.ignored_whole(entry, "not about servers: a setting of the editor"),
        }
    }
    clients::publish(draft);
}

fn inputs(reader: &mut Reader<'_>, entry: &Entry, variables: &mut Variables) {
    let Some(items) = reader.list(entry) else { return };
    reader.mapped(entry, "references to secrets and variables");
    for item in items {
        let Value::Map(keys) = &item.value else {
            reader.asked(entry, "an input is no mapping");
            continue;
        };
        let of = |name: &str| keys.iter().find(|entry| entry.key == name);
        let Some(id) = of("id").and_then(|entry| text_of(&entry.value)) else {
            keys.iter()
                .for_each(|key| reader.ignored_whole(key, "an input without an id: nothing can refer to it"));
            continue;
        };
        // `password` decides; an id like `api-key` does where nothing is written.
        let password = of("password").and_then(|entry| text_of(&entry.value));
        let is_secret = password == Some("true") || secret::is_named_like_one(id);
        let default = of("default").and_then(|entry| text_of(&entry.value)).filter(|_| !is_secret);
        let secret = is_secret.then(|| reader.secret("", id));
        let is_command = of("type").and_then(|entry| text_of(&entry.value)) == Some("command");
        for key in keys {
            match key.key.as_str() {
                "id" if is_secret => {
                    let name = secret.as_deref().unwrap_or_default();
                    reader.mapped(
                        key,
                        format!("`${{secret:{name}}}`: write its value to .strait/secrets/{name}"),
                    );
                }
                "id" => reader.mapped(key, "a variable of the environment of that name, in capital letters"),
                "password" => reader.mapped(key, if is_secret { "a secret" } else { "no secret" }),
                "default" if is_secret => reader.ignored(key, "a secret has no default"),
                "default" => reader.mapped(key, "the variable's default"),
                "type" if is_command => {
                    reader.asked(key, "a command of the editor gives its value: set the variable")
                }
                "type" => reader.mapped(key, "the editor's question becomes a value that you set"),
                "description" | "options" => reader.ignored_whole(key, "for whoever is asked by the editor"),
                _ => {}
            }
        }
        let input = Input { secret, default: default.map(str::to_owned) };
        variables.inputs.insert(id.to_owned(), input);
    }
}
