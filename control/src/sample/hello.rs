//! The stdio sample: greetings, sums, the time, and a few notes that can be deleted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::{Arguments, Offer, Output, changes, reads, tool};

pub struct Hello {
    notes: Mutex<BTreeMap<String, String>>,
}

impl Default for Hello {
    fn default() -> Self {
        let note = |id: &str, text: &str| (id.to_owned(), text.to_owned());
        let notes = [
            note("welcome", "Welcome. This note came through the gateway from a child process."),
            note("todo", "Write a policy that lets only the right people delete notes."),
        ];
        Hello { notes: Mutex::new(notes.into()) }
    }
}

impl Offer for Hello {
    fn instructions(&self) -> &'static str {
        "A sample server: it greets, adds, tells the time and keeps a few notes."
    }

    fn tools(&self) -> Value {
        let name =
            json!({ "name": { "type": "string", "description": "whom to greet", "examples": ["Ada"] } });
        let terms = json!({
            "a": { "type": "number", "examples": [19] },
            "b": { "type": "number", "examples": [23] },
        });
        let note =
            json!({ "id": { "type": "string", "description": "the note's id", "examples": ["todo"] } });
        json!([
            tool("greet", "Greets somebody by name.", name, reads()),
            tool("add", "Adds two numbers.", terms, reads()),
            tool("now", "Tells the time in UTC.", json!({}), reads()),
            tool("delete_note", "Deletes a note for good.", note, changes(true, true)),
        ])
    }

    fn call(&self, tool: &str, arguments: &Arguments) -> Option<Result<Output, String>> {
        Some(match tool {
            "greet" => arguments.text("name").map(|name| Output::text(format!("Hello, {name}!"))),
            "add" => add(arguments),
            "now" => Ok(Output::text(crate::time::now())),
            "delete_note" => self.delete(arguments),
            _ => return None,
        })
    }

    fn prompts(&self) -> Value {
        json!([{
            "name": "introduce",
            "description": "Asks for an introduction of somebody.",
            "arguments": [{ "name": "name", "description": "who is introduced", "required": false }],
        }])
    }

    fn prompt(&self, name: &str, arguments: &Arguments) -> Option<Value> {
        let who = arguments.text("name").unwrap_or("yourself");
        (name == "introduce").then(|| {
            let text = format!("Introduce {who} in two sentences.");
            json!({ "description": "An introduction.", "messages": [{
                "role": "user", "content": { "type": "text", "text": text },
            }]})
        })
    }

    fn resources(&self) -> Value {
        json!([{ "uri": "note://welcome", "name": "welcome", "mimeType": "text/plain", "description": "A first note." }])
    }

    fn templates(&self) -> Value {
        json!([{ "uriTemplate": "note://{id}", "name": "note", "mimeType": "text/plain", "description": "A note by its id." }])
    }

    fn read(&self, uri: &str) -> Option<(String, &'static str)> {
        let text = self.notes().get(uri.strip_prefix("note://")?)?.clone();
        Some((text, "text/plain"))
    }
}

impl Hello {
    fn delete(&self, arguments: &Arguments) -> Result<Output, String> {
        let id = arguments.text("id")?;
        match self.notes().remove(id) {
            Some(_) => Ok(Output::text(format!("note `{id}` is deleted"))),
            None => Err(format!("there is no note `{id}`")),
        }
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(arguments: &Arguments) -> Result<Output, String> {
    let sum = arguments.number("a")? + arguments.number("b")?;
    Ok(Output::text(sum.to_string()))
}
