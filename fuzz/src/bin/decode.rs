//! Client messages: no panic; what is accepted is JSON to serde as well, every place found is the place of a whole
//! value, and the ids agree.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use strait_protocol::Span;
use strait_protocol::jsonrpc::{Decoder, Members};

thread_local! {
    /// One for all inputs, as a worker has one for all messages: what it keeps must not show.
    static DECODER: RefCell<Decoder> = RefCell::new(Decoder::new());
}

fuzz_target!(|body: &[u8]| {
    DECODER.with_borrow_mut(|decoder| match decoder.decode(body).copied() {
        Err(fault) => {
            assert!(fault.at as usize <= body.len(), "{fault:?}");
            assert!(!fault.label().is_empty() && !fault.message().is_empty());
            if let Some(id) = fault.id {
                value(body, id);
            }
        }
        Ok(message) => {
            let whole: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(message.id.map(|id| value(body, id)).as_ref(), whole.get("id"));
            assert_eq!(
                message.params.map(|params| value(body, params)).as_ref(),
                whole.get("params").filter(|_| message.params.is_some())
            );
            let params = whole.get("params");
            if let Some(arguments) = message.arguments {
                assert_eq!(Some(&value(body, arguments)), params.and_then(|params| params.get("arguments")));
                Members::of(body, arguments).for_each(|member| assert!(member.is_ok()));
                let _ = decoder.member(body, arguments, "a");
            }
            if let Some(name) = message.name {
                let expected = params.and_then(|params| params.get("name")?.as_str()).unwrap();
                assert_eq!(name.read(body, &mut Vec::new()), expected.as_bytes());
                assert_eq!(value(body, name.raw), expected);
            }
            let others =
                [message.meta, message.client_capabilities, message.progress_token, message.input_responses];
            for span in others.into_iter().flatten() {
                value(body, span);
            }
        }
    });
});

/// The place holds one whole value and nothing else, not even white space.
fn value(body: &[u8], span: Span) -> Value {
    let raw: &serde_json::value::RawValue = serde_json::from_slice(span.of(body)).unwrap();
    assert_eq!(raw.get().len(), span.len as usize);
    serde_json::from_str(raw.get()).unwrap()
}
