//! What a client declared that it can do for a server: answer questions about sampling, elicitation and roots, and work
//! with tasks.
//!
//! The decision: capabilities are read once into bits. A gateway asks of them "may this server put this question to this
//! client?" and "what shall I declare on its behalf?", and both questions need no more than bits; they fit into a sealed
//! session id and into the key of an upstream's session.

use super::{Method, Revision};
use crate::Span;
use crate::jsonrpc::Members;

/// A client's capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Declared(u16);

impl Declared {
    pub const NOTHING: Declared = Declared(0);
    pub const SAMPLING: Declared = Declared(1);
    pub const SAMPLING_TOOLS: Declared = Declared(1 << 1);
    pub const SAMPLING_CONTEXT: Declared = Declared(1 << 2);
    pub const ELICITATION_FORM: Declared = Declared(1 << 3);
    pub const ELICITATION_URL: Declared = Declared(1 << 4);
    pub const ROOTS: Declared = Declared(1 << 5);
    pub const ROOTS_CHANGED: Declared = Declared(1 << 6);
    /// The extension of 2026-07-28.
    pub const TASKS: Declared = Declared(1 << 7);

    /// Whatever a server may ask.
    pub const QUESTIONS: Declared = Declared::SAMPLING
        .and(Declared::SAMPLING_TOOLS)
        .and(Declared::SAMPLING_CONTEXT)
        .and(Declared::ELICITATION_FORM)
        .and(Declared::ELICITATION_URL)
        .and(Declared::ROOTS);

    /// The inverse of [`Declared::bits`]; bits that mean nothing are dropped.
    pub const fn from_bits(bits: u16) -> Declared {
        Declared(bits & 0xff)
    }

    pub const fn bits(self) -> u16 {
        self.0
    }

    pub const fn has(self, other: Declared) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn and(self, other: Declared) -> Declared {
        Declared(self.0 | other.0)
    }

    pub const fn without(self, other: Declared) -> Declared {
        Declared(self.0 & !other.0)
    }

    /// What it declares, in the words of the capabilities object.
    pub fn words(self) -> Vec<&'static str> {
        let words = [
            (Declared::SAMPLING, "sampling"),
            (Declared::SAMPLING_TOOLS, "sampling.tools"),
            (Declared::SAMPLING_CONTEXT, "sampling.context"),
            (Declared::ELICITATION_FORM, "elicitation.form"),
            (Declared::ELICITATION_URL, "elicitation.url"),
            (Declared::ROOTS, "roots"),
            (Declared::ROOTS_CHANGED, "roots.listChanged"),
            (Declared::TASKS, "tasks"),
        ];
        words.into_iter().filter(|(bit, _)| self.has(*bit)).map(|(_, word)| word).collect()
    }

    /// Whether a server has anything to ask of this client.
    pub const fn can_be_asked(self) -> bool {
        const ASKED: u16 = Declared::SAMPLING.0
            | Declared::ELICITATION_FORM.0
            | Declared::ELICITATION_URL.0
            | Declared::ROOTS.0;
        self.0 & ASKED != 0
    }

    /// Reads a capabilities object. What is malformed declares nothing: a server must not ask for what is unclear.
    pub fn read(bytes: &[u8], capabilities: Span) -> Declared {
        let mut declared = Declared::NOTHING;
        for member in Members::of(bytes, capabilities) {
            let Ok(member) = member else { return Declared::NOTHING };
            let has = |key: &str| is_object(bytes, Members::find(bytes, member.value, key));
            if !member.value.of(bytes).starts_with(b"{") {
                continue;
            }
            if member.key_is(bytes, "sampling") {
                declared = declared.and(Declared::SAMPLING);
                if has("tools") {
                    declared = declared.and(Declared::SAMPLING_TOOLS);
                }
                if has("context") {
                    declared = declared.and(Declared::SAMPLING_CONTEXT);
                }
            } else if member.key_is(bytes, "elicitation") {
                let (form, url) = (has("form"), has("url"));
                if url {
                    declared = declared.and(Declared::ELICITATION_URL);
                }
                // `{}` is how clients before URL mode say form.
                if form || !url {
                    declared = declared.and(Declared::ELICITATION_FORM);
                }
            } else if member.key_is(bytes, "roots") {
                declared = declared.and(Declared::ROOTS);
                let changed = Members::find(bytes, member.value, "listChanged").ok().flatten();
                if changed.is_some_and(|value| value.of(bytes) == b"true") {
                    declared = declared.and(Declared::ROOTS_CHANGED);
                }
            } else if member.key_is(bytes, "extensions") && has(super::meta::EXTENSION_TASKS) {
                declared = declared.and(Declared::TASKS);
            }
        }
        declared
    }

    /// What is left of it in `revision`: what that revision has no words for cannot be declared in it.
    pub fn within(self, revision: Revision) -> Declared {
        let mut left = self;
        if revision < Revision::V2025_06_18 {
            left = left.without(Declared::ELICITATION_FORM);
        }
        if revision < Revision::V2025_11_25 {
            left = left.without(Declared::ELICITATION_URL).without(Declared::SAMPLING_TOOLS);
            left = left.without(Declared::SAMPLING_CONTEXT);
        }
        if !revision.is_modern() {
            left = left.without(Declared::TASKS);
        }
        left
    }

    /// Appends the object that declares this in `revision`.
    pub fn append(self, revision: Revision, out: &mut Vec<u8>) {
        let declared = self.within(revision);
        let has = |bit| declared.has(bit);
        let mut object = Object::open(out);
        if has(Declared::SAMPLING) {
            let mut sampling = object.object("sampling");
            if has(Declared::SAMPLING_CONTEXT) {
                sampling.object("context").close();
            }
            if has(Declared::SAMPLING_TOOLS) {
                sampling.object("tools").close();
            }
            sampling.close();
        }
        if has(Declared::ELICITATION_FORM) || has(Declared::ELICITATION_URL) {
            let mut elicitation = object.object("elicitation");
            // Before URL mode the empty object says form; modes are spelled where they exist.
            if revision >= Revision::V2025_11_25 {
                if has(Declared::ELICITATION_FORM) {
                    elicitation.object("form").close();
                }
                if has(Declared::ELICITATION_URL) {
                    elicitation.object("url").close();
                }
            }
            elicitation.close();
        }
        if has(Declared::ROOTS) {
            let mut roots = object.object("roots");
            if has(Declared::ROOTS_CHANGED) && !revision.is_modern() {
                roots.member("listChanged", b"true");
            }
            roots.close();
        }
        if has(Declared::TASKS) {
            let mut extensions = object.object("extensions");
            extensions.object(super::meta::EXTENSION_TASKS).close();
            extensions.close();
        }
        object.close();
    }

    /// Whether a server may put this question to the client. `params` are those of the server's request.
    pub fn permits(self, method: Method, bytes: &[u8], params: Option<Span>) -> bool {
        let has = |key: &str| {
            let found = params.and_then(|params| Members::find(bytes, params, key).ok().flatten());
            found.map(|value| value.of(bytes)).filter(|value| *value != b"null")
        };
        match method {
            Method::RootsList => self.has(Declared::ROOTS),
            Method::SamplingCreateMessage => {
                let with_tools = has("tools").is_some() || has("toolChoice").is_some();
                self.has(Declared::SAMPLING) && (!with_tools || self.has(Declared::SAMPLING_TOOLS))
            }
            Method::ElicitationCreate => match has("mode") {
                Some(b"\"url\"") => self.has(Declared::ELICITATION_URL),
                Some(b"\"form\"") | None => self.has(Declared::ELICITATION_FORM),
                Some(_) => false,
            },
            _ => false,
        }
    }
}

fn is_object<E>(bytes: &[u8], found: Result<Option<Span>, E>) -> bool {
    found.ok().flatten().is_some_and(|value| value.of(bytes).starts_with(b"{"))
}

/// An object on its way into a buffer.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Object<'o> {
    fn open(out: &'o mut Vec<u8>) -> Object<'o> {
        out.push(b'{');
        Object { out, first: true }
    }

    fn member(&mut self, key: &str, value: &[u8]) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out.extend_from_slice(value);
    }

    fn object(&mut self, key: &str) -> Object<'_> {
        self.member(key, b"");
        Object::open(self.out)
    }

    fn close(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Declared {
        Declared::read(text.as_bytes(), Span::between(0, text.len()))
    }

    fn said(declared: Declared, revision: Revision) -> String {
        let mut out = Vec::new();
        declared.append(revision, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn capabilities_are_said_as_each_revision_says_them() {
        let all = read(
            r#"{"experimental":{"a":1},"roots":{"listChanged":true},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
        );
        let cases = [
            (Revision::V2024_11_05, r#"{"sampling":{},"roots":{"listChanged":true}}"#),
            (Revision::V2025_06_18, r#"{"sampling":{},"elicitation":{},"roots":{"listChanged":true}}"#),
            (
                Revision::V2025_11_25,
                r#"{"sampling":{"context":{},"tools":{}},"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true}}"#,
            ),
            (
                Revision::V2026_07_28,
                r#"{"sampling":{"context":{},"tools":{}},"elicitation":{"form":{},"url":{}},"roots":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
            ),
        ];
        for (revision, expected) in cases {
            assert_eq!(said(all, revision), expected, "{revision:?}");
            assert_eq!(read(expected).within(revision).bits(), {
                let kept = all.within(revision);
                if revision.is_modern() { kept.without(Declared::ROOTS_CHANGED).bits() } else { kept.bits() }
            });
        }
        assert_eq!(Declared::from_bits(all.bits()), all);
        assert_eq!(said(Declared::NOTHING, Revision::V2025_11_25), "{}");
    }

    #[test]
    fn an_empty_elicitation_means_form_and_malformed_means_nothing() {
        assert_eq!(read(r#"{"elicitation":{}}"#), Declared::ELICITATION_FORM);
        assert_eq!(read(r#"{"elicitation":{"url":{}}}"#), Declared::ELICITATION_URL);
        for text in ["{}", r#"{"sampling":true}"#, r#"{"roots":null}"#, r#"{"sampling":{}"#, "[]"] {
            assert_eq!(read(text), Declared::NOTHING, "{text}");
        }
    }

    #[test]
    fn a_question_needs_what_it_needs() {
        let form = Declared::ELICITATION_FORM;
        let cases = [
            (form, Method::ElicitationCreate, r#"{"message":"m"}"#, true),
            (form, Method::ElicitationCreate, r#"{"mode":"form"}"#, true),
            (form, Method::ElicitationCreate, r#"{"mode":"url"}"#, false),
            (form, Method::ElicitationCreate, r#"{"mode":"voice"}"#, false),
            (Declared::ELICITATION_URL, Method::ElicitationCreate, r#"{"mode":"url"}"#, true),
            (Declared::SAMPLING, Method::SamplingCreateMessage, r#"{"messages":[]}"#, true),
            (Declared::SAMPLING, Method::SamplingCreateMessage, r#"{"tools":[]}"#, false),
            (Declared::SAMPLING, Method::RootsList, "{}", false),
            (Declared::ROOTS, Method::RootsList, "{}", true),
            (Declared::ROOTS, Method::ToolsCall, "{}", false),
        ];
        for (declared, method, params, allowed) in cases {
            let span = Span::between(0, params.len());
            assert_eq!(
                declared.permits(method, params.as_bytes(), Some(span)),
                allowed,
                "{method:?} {params}"
            );
        }
    }
}
