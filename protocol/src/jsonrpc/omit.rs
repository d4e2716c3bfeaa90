//! Members taken out of an object: towards a peer whose revision does not know them.
//!
//! The decision: a scanner gives places of values only, and remembering keys as well would cost every message; the key
//! and the comma are found by walking back and forth from the value, so that a message which streams by in pieces can
//! be edited in the piece that holds the member.

use super::text::{skip_blanks, trim_blanks};
use super::{SpliceFault, Splices};
use crate::Span;

/// Members that are taken out at once.
pub const OMITTED_MAX: usize = 4;

impl Splices {
    /// Takes the members with these values out of one object. A member that is not whole in `bytes`, with whatever
    /// follows it, stays.
    pub fn omit(&mut self, bytes: &[u8], values: [Option<Span>; OMITTED_MAX]) -> Result<(), SpliceFault> {
        let mut members = values.map(|value| member(bytes, value?));
        members.sort_unstable_by_key(|member| member.map_or(usize::MAX, |(start, _)| start));
        let mut members = members.into_iter().flatten().peekable();
        while let Some((start, mut end)) = members.next() {
            // Neighbours go together: each has a comma that belongs to both.
            let gone = loop {
                let after = skip_blanks(bytes, end);
                match bytes.get(after) {
                    Some(b',') => {
                        let next = skip_blanks(bytes, after + 1);
                        match members.next_if(|(start, _)| *start == next) {
                            Some((_, next_end)) => end = next_end,
                            None => break Some((start, next)),
                        }
                    }
                    Some(b'}') => {
                        let before = trim_blanks(bytes, start);
                        break match before.checked_sub(1).and_then(|at| bytes.get(at)) {
                            Some(b',') => Some((before - 1, end)),
                            Some(b'{') => Some((start, end)),
                            _ => None,
                        };
                    }
                    _ => break None,
                }
            };
            if let Some((start, end)) = gone {
                self.remove(Span::between(start, end))?;
            }
        }
        Ok(())
    }
}

/// From the first quote of its key to the end of its value.
fn member(bytes: &[u8], value: Span) -> Option<(usize, usize)> {
    let colon = trim_blanks(bytes, value.start as usize).checked_sub(1)?;
    let close = trim_blanks(bytes.get(..colon)?, colon).checked_sub(1)?;
    if bytes.get(colon) != Some(&b':') || bytes.get(close) != Some(&b'"') {
        return None;
    }
    // A key that says one of our words holds no quote, however it is escaped.
    let start = memchr::memrchr(b'"', bytes.get(..close)?)?;
    Some((start, value.end() as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::Members;

    fn omitted(text: &str, keys: &[&str]) -> String {
        let mut values = [None; OMITTED_MAX];
        for (slot, key) in values.iter_mut().zip(keys) {
            *slot = Members::find(text.as_bytes(), Span::between(0, text.len()), key).unwrap();
        }
        let (mut splices, mut out) = (Splices::new(), Vec::new());
        splices.omit(text.as_bytes(), values).unwrap();
        splices.write(text.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn members_go_with_their_commas_wherever_they_are() {
        let cases = [
            (r#"{"a":1}"#, "{}"),
            (r#"{"a":1,"b":"x"}"#, "{}"),
            (r#"{"a":1,"x":2}"#, r#"{"x":2}"#),
            (r#"{"x":2,"a":1}"#, r#"{"x":2}"#),
            (r#"{"x":2,"a":1,"b":{"c":[]}}"#, r#"{"x":2}"#),
            (r#"{"a":1,"x":2,"b":3}"#, r#"{"x":2}"#),
            (r#"{"a":1,"b":2,"x":2,"c":3,"y":4}"#, r#"{"x":2,"y":4}"#),
            ("{ \"x\" : 2 , \"a\" : 1 , \"b\" : 2 }", "{ \"x\" : 2  }"),
            ("{ \"a\" : 1 ,\n \"x\" : 2 }", "{ \"x\" : 2 }"),
            (r#"{"\u0061":"a","x":2}"#, r#"{"x":2}"#),
            (r#"{"x":2}"#, r#"{"x":2}"#),
        ];
        for (text, expected) in cases {
            assert_eq!(omitted(text, &["a", "b", "c"]), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_whole_in_a_piece_stays() {
        let whole = br#"{"x":2,"a":1,"b":2}"#;
        let value = Some(Span::between(11, 12));
        for end in 0..whole.len() {
            let (mut splices, mut out) = (Splices::new(), Vec::new());
            splices.omit(&whole[..end], [value, None, None, None]).unwrap();
            splices.write(&whole[..end], &mut out).unwrap();
            let edited = end > 12;
            assert_eq!(out.len() < end, edited, "{end}");
            out.extend_from_slice(&whole[end..]);
            let kept: serde_json::Value = serde_json::from_slice(&out).expect("still JSON");
            assert_eq!(kept["b"], 2);
        }
    }
}
