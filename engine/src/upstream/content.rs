//! What a result holds that the client's revision has no words for.
//!
//! The older revisions know fewer kinds of content, and structured results that are objects only. Everything else that is
//! newer is a member that an older client does not look at, and passes as it is. So do results too large to gather.

use strait_protocol::Span;
use strait_protocol::decimal;
use strait_protocol::jsonrpc::{Elements, Envelope, Members, Splices, append_string, tight, unescape};
use strait_protocol::mcp::{Method, Revision};

/// Plans the edits that make a result's content readable in `revision`, and gives the member of the result that has to
/// go. `legacy` is what the server is.
pub fn fit(
    splices: &mut Splices,
    bytes: &[u8],
    envelope: &Envelope,
    method: Method,
    revision: Revision,
    legacy: bool,
) -> Option<Span> {
    let result = envelope.result?;
    // Up to 2025-11-25 a structured result is an object.
    let unfit = envelope.structured.filter(|said| !legacy && !said.of(bytes).starts_with(b"{"));
    if unfit.is_none() && revision >= Revision::V2025_06_18 {
        return None;
    }
    match method {
        Method::ToolsCall => {
            let content = Members::find(bytes, result, "content").ok().flatten();
            if let Some(content) = content.filter(|content| content.of(bytes).starts_with(b"[")) {
                blocks(splices, bytes, content, revision, unfit);
            }
            unfit
        }
        Method::PromptsGet => {
            let messages = Members::find(bytes, result, "messages").ok().flatten()?;
            for message in Elements::of(bytes, messages).map_while(Result::ok) {
                let content = Members::find(bytes, message, "content").ok().flatten();
                if let Some(block) = content.filter(|block| is_unknown(bytes, *block, revision)) {
                    // Beyond what can be edited at once, content stays as it is.
                    let _ = splices.replace_with(block, |out| in_words(bytes, block, out));
                }
            }
            None
        }
        _ => None,
    }
}

/// The content of a tool's result, written anew as a whole when any of it must be said otherwise: one edit, however many
/// blocks there are.
fn blocks(splices: &mut Splices, bytes: &[u8], content: Span, revision: Revision, unfit: Option<Span>) {
    let all = || Elements::of(bytes, content).map_while(Result::ok);
    let unsaid = unfit.filter(|unfit| !all().any(|block| says(bytes, block, unfit.of(bytes))));
    if unsaid.is_none() && !all().any(|block| is_unknown(bytes, block, revision)) {
        return;
    }
    let _ = splices.replace_with(content, |out| {
        out.push(b'[');
        for (at, block) in all().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            if is_unknown(bytes, block, revision) {
                in_words(bytes, block, out);
            } else {
                out.extend_from_slice(block.of(bytes));
            }
        }
        if let Some(unsaid) = unsaid {
            if out.last() != Some(&b'[') {
                out.push(b',');
            }
            text(unsaid.of(bytes), out);
        }
        out.push(b']');
    });
}

fn is_unknown(bytes: &[u8], block: Span, revision: Revision) -> bool {
    match kind(bytes, block) {
        Some(b"\"audio\"") => revision < Revision::V2025_03_26,
        Some(b"\"resource_link\"") => revision < Revision::V2025_06_18,
        _ => false,
    }
}

fn kind(bytes: &[u8], block: Span) -> Option<&[u8]> {
    Some(Members::find(bytes, block, "type").ok()??.of(bytes))
}

/// The block as text: what it says, or that there is a sound which nobody can read.
fn in_words(bytes: &[u8], block: Span, out: &mut Vec<u8>) {
    if kind(bytes, block) != Some(b"\"audio\"") {
        return text(block.of(bytes), out);
    }
    let inside = |key: &str| {
        let value = Members::find(bytes, block, key).ok().flatten()?.of(bytes);
        value.strip_prefix(b"\"")?.strip_suffix(b"\"")
    };
    let mut note = b"[audio".to_vec();
    if let Some(mime) = inside("mimeType") {
        note.extend_from_slice(b", ");
        unescape(mime, &mut note);
    }
    note.extend_from_slice(b", ");
    decimal::append(&mut note, inside("data").map_or(0, <[u8]>::len) as u64 / 4 * 3);
    note.extend_from_slice(b" bytes: this client's revision of MCP has no audio]");
    text(&note, out);
}

fn text(said: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
    append_string(out, said);
    out.push(b'}');
}

/// Whether a block is text that is this JSON, however it is spaced.
fn says(bytes: &[u8], block: Span, json: &[u8]) -> bool {
    let said = Members::find(bytes, block, "text").ok().flatten();
    let inside = said.and_then(|said| said.of(bytes).strip_prefix(b"\"")?.strip_suffix(b"\""));
    let mut plain = Vec::new();
    kind(bytes, block) == Some(b"\"text\"")
        && inside.is_some_and(|inside| unescape(inside, &mut plain))
        && without_blanks(&plain) == without_blanks(json)
}

fn without_blanks(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    tight(json, |piece| out.extend_from_slice(piece));
    out
}

#[cfg(test)]
mod tests {
    use strait_protocol::jsonrpc::Scanner;

    use super::*;

    const SOUND: &str = r#"{"type":"audio","data":"AAAAAAAA","mimeType":"audio/\"wav"}"#;
    const NOTE: &str = r#"{"type":"text","text":"[audio, audio/\"wav, 6 bytes: this client's revision of MCP has no audio]"}"#;
    const LINK: &str = r#"{"uri":"a:b", "type":"resource_link"}"#;
    const SAID: &str = r#"{"type":"text","text":"{\"uri\":\"a:b\", \"type\":\"resource_link\"}"}"#;
    const PLAIN: &str = r#"{"type":"text","text":"t"}"#;

    fn seen(result: &str, method: Method, revision: Revision, legacy: bool) -> String {
        let message = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        let mut scanner = Scanner::new();
        scanner.feed(message.as_bytes()).unwrap();
        let envelope = scanner.finish().unwrap();
        let (mut splices, mut out) = (Splices::new(), Vec::new());
        let unfit = fit(&mut splices, message.as_bytes(), envelope, method, revision, legacy);
        splices.omit(message.as_bytes(), [unfit, None, None, None]).unwrap();
        splices.write(message.as_bytes(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let inside = text.strip_prefix(r#"{"jsonrpc":"2.0","id":1,"result":"#).unwrap();
        inside.strip_suffix('}').unwrap().to_owned()
    }

    fn content(blocks: &[&str]) -> String {
        format!(r#"{{"structuredContent":{{"a":1}},"content":[{}]}}"#, blocks.join(","))
    }

    #[test]
    fn kinds_of_content_that_a_revision_has_not_are_text_in_it() {
        let result = content(&[PLAIN, SOUND, LINK, SOUND]);
        for (revision, expected) in [
            (Revision::V2024_11_05, [PLAIN, NOTE, SAID, NOTE]),
            (Revision::V2025_03_26, [PLAIN, SOUND, SAID, SOUND]),
            (Revision::V2025_06_18, [PLAIN, SOUND, LINK, SOUND]),
            (Revision::V2025_11_25, [PLAIN, SOUND, LINK, SOUND]),
        ] {
            for legacy in [true, false] {
                let seen = seen(&result, Method::ToolsCall, revision, legacy);
                assert_eq!(seen, content(&expected), "{revision:?}");
            }
        }
        let prompt = |block: &str| format!(r#"{{"messages":[{{"content":{block}}},{{"content":{PLAIN}}}]}}"#);
        let told = |revision| seen(&prompt(LINK), Method::PromptsGet, revision, true);
        assert_eq!(told(Revision::V2025_03_26), prompt(SAID));
        assert_eq!(told(Revision::V2025_06_18), prompt(LINK));
    }

    #[test]
    fn structured_results_that_are_no_objects_become_text_once() {
        let array = r#"[1,"a b"]"#;
        let (spaced, said, other) = (
            r#"{"text":" [1,\n\"a b\"]","type":"text"}"#,
            r#"{"type":"text","text":"[1,\"a b\"]"}"#,
            r#"{"type":"text","text":"[1]"}"#,
        );
        let result = |blocks: &str| format!(r#"{{"structuredContent":{array},"content":[{blocks}]}}"#);
        for (blocks, expected) in
            [(spaced, spaced.to_owned()), ("", said.to_owned()), (other, format!("{other},{said}"))]
        {
            let latest = Revision::V2025_11_25;
            let told = seen(&result(blocks), Method::ToolsCall, latest, false);
            assert_eq!(told, format!(r#"{{"content":[{expected}]}}"#));
            assert_eq!(seen(&result(blocks), Method::ToolsCall, latest, true), result(blocks));
        }
    }
}
