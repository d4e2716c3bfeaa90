//! Values picked out of an object of a body that was accepted, by paths of keys: what conditions, defaults and detectors
//! read. HOT: one pass over the object for all of them, and no allocation once the list of keys has grown.
//!
//! The decision: every object on the way is guarded as the message was. A key repeated, or differing by case from one that
//! is asked for, is refused, because the server behind may take the other one.

use memchr::memchr;

use super::guard::{Guard, Keys, Objection, Only};
use super::members::Members;
use super::{DecodeCause, DecodeFault};
use crate::Span;

/// Paths that can be picked at once.
pub const PICKED_MAX: usize = 32;

/// Where a path leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Picked {
    /// The value as written; `escaped`: it is a string, with escapes.
    Value { at: Span, escaped: bool },
    /// The object that should have it has no such key.
    #[default]
    Missing,
    /// A part of the path before the last is missing, or is no object.
    Broken,
}

/// What is to be picked out of one object. Paths have numbers, which may have gaps.
pub trait Paths {
    /// The number of each path, and how many keys it has.
    fn all(&self) -> impl Iterator<Item = (usize, usize)>;
    /// Calls with each path whose first key has this sketch: its number, and the first letters of that key.
    fn sketched(&self, folded: u64, each: impl FnMut(usize, u64));
    /// The keys of a path, outermost first.
    fn keys(&self, number: usize) -> impl Iterator<Item = &str>;
}

/// One per worker.
#[derive(Default)]
pub struct Picker {
    guard: Guard,
}

impl Picker {
    /// Picks `paths` out of the value at `root`, each into the place of its number. The empty path is the root itself.
    #[inline]
    pub fn pick(
        &mut self,
        body: &[u8],
        root: Span,
        paths: &impl Paths,
        picked: &mut [Picked],
    ) -> Result<(), DecodeFault> {
        let is_object = is_object(body, root);
        let (mut any, mut is_deep) = (false, false);
        for (number, keys) in paths.all() {
            let Some(slot) = picked.get_mut(number) else { continue };
            *slot = match keys {
                0 => Picked::Value { at: root, escaped: is_escaped(body, root) },
                _ if is_object => Picked::Missing,
                _ => Picked::Broken,
            };
            any |= keys > 0;
            is_deep |= keys > 1;
        }
        if !any || !is_object {
            return Ok(());
        }
        guarded(&mut self.guard, body, root, &Firsts(paths), |number, at, escaped| {
            if let Some(slot) = picked.get_mut(number) {
                *slot = Picked::Value { at, escaped };
            }
        })?;
        match is_deep {
            true => self.follow(body, paths, picked),
            false => Ok(()),
        }
    }

    /// Goes on from where the first keys led.
    fn follow(&mut self, body: &[u8], paths: &impl Paths, picked: &mut [Picked]) -> Result<(), DecodeFault> {
        for (number, keys) in paths.all() {
            let Some(slot) = picked.get_mut(number).filter(|_| keys > 1) else { continue };
            for key in paths.keys(number).skip(1) {
                *slot = match *slot {
                    Picked::Value { at: object, .. } if is_object(body, object) => {
                        let mut found = Picked::Missing;
                        guarded(&mut self.guard, body, object, &Only::of(key), |_, at, escaped| {
                            found = Picked::Value { at, escaped };
                        })?;
                        found
                    }
                    _ => Picked::Broken,
                };
            }
        }
        Ok(())
    }
}

/// The first keys of paths, with the numbers of these.
struct Firsts<'p, P>(&'p P);

impl<P: Paths> Keys for Firsts<'_, P> {
    #[inline]
    fn sketched(&self, folded: u64, each: impl FnMut(usize, u64)) {
        self.0.sketched(folded, each);
    }

    fn numbers(&self) -> impl Iterator<Item = usize> {
        self.0.all().filter(|(_, keys)| *keys > 0).map(|(number, _)| number)
    }

    fn text(&self, number: usize) -> &str {
        self.0.keys(number).next().unwrap_or_default()
    }
}

/// The values of the keys that are read in an object, by the number of the key, and whether each is a string with escapes. The object
/// is guarded as the message was.
#[inline]
pub(super) fn guarded(
    guard: &mut Guard,
    body: &[u8],
    object: Span,
    keys: &impl Keys,
    mut found: impl FnMut(usize, Span, bool),
) -> Result<(), DecodeFault> {
    let refuse = |(cause, at): Objection| DecodeFault { cause, at, id: None };
    guard.begin();
    let walked = Members::of(body, object).each(|member| {
        guard.key(body, member.key_inner(), member.escaped, keys, |number| {
            found(number, member.value, member.value_escaped);
        });
    });
    walked.map_err(|fault| refuse((DecodeCause::SyntaxInvalid, fault.at)))?;
    guard.judge(body, keys).map_err(refuse)
}

fn is_object(body: &[u8], span: Span) -> bool {
    span.of(body).first() == Some(&b'{')
}

fn is_escaped(body: &[u8], span: Span) -> bool {
    matches!(span.of(body), text @ [b'"', ..] if memchr(b'\\', text).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::KeySketch;

    struct Written<'p>(&'p [&'p [&'p str]]);

    impl Paths for Written<'_> {
        fn all(&self) -> impl Iterator<Item = (usize, usize)> {
            self.0.iter().map(|path| path.len()).enumerate()
        }

        fn sketched(&self, folded: u64, mut each: impl FnMut(usize, u64)) {
            for (number, path) in self.0.iter().enumerate() {
                match path.first().map(|key| KeySketch::of(key)) {
                    Some(sketch) if sketch.folded == folded => each(number, sketch.head),
                    _ => {}
                }
            }
        }

        fn keys(&self, number: usize) -> impl Iterator<Item = &str> {
            self.0[number].iter().copied()
        }
    }

    fn pick(body: &str, paths: &[&[&str]]) -> Result<Vec<String>, DecodeFault> {
        let mut picked = vec![Picked::Missing; paths.len()];
        let root = Span::between(0, body.len());
        Picker::default().pick(body.as_bytes(), root, &Written(paths), &mut picked)?;
        Ok(picked
            .into_iter()
            .map(|picked| match picked {
                Picked::Value { at, escaped } => {
                    let value = String::from_utf8_lossy(at.of(body.as_bytes())).into_owned();
                    assert_eq!(escaped, value.starts_with('"') && value.contains('\\'), "{value}");
                    value
                }
                Picked::Missing => "missing".to_owned(),
                Picked::Broken => "broken".to_owned(),
            })
            .collect())
    }

    #[test]
    fn paths_lead_to_values() {
        let body = r#"{"amount": 5.0, "to": {"iban": "X", "a": {"b": [1, {"c":2}]}}, "caf\u00e9": null, "s": "\u00e9"}"#;
        let paths: &[&[&str]] = &[
            &["amount"],
            &["to", "iban"],
            &["to", "a", "b"],
            &["café"],
            &["s"],
            &["no"],
            &["no", "x"],
            &["amount", "x"],
            &["to", "no"],
            &[],
        ];
        let expected = [
            "5.0",
            "\"X\"",
            "[1, {\"c\":2}]",
            "null",
            "\"\\u00e9\"",
            "missing",
            "broken",
            "broken",
            "missing",
            body,
        ];
        assert_eq!(pick(body, paths).unwrap(), expected);
        assert_eq!(pick("[1]", &[&["a"], &[]]).unwrap(), ["broken", "[1]"]);
        assert_eq!(pick("{}", &[&["a"]]).unwrap(), ["missing"]);
    }

    #[test]
    fn an_object_that_can_be_read_in_two_ways_is_refused() {
        let refused = |body: &str, cause| {
            let paths: &[&[&str]] = &[&["amount"], &["to", "iban"]];
            assert_eq!(pick(body, paths).unwrap_err().cause, cause, "{body}");
        };
        refused(r#"{"amount":1,"amount":2}"#, DecodeCause::KeyRepeated);
        refused(r#"{"amount":1,"\u0061mount":2}"#, DecodeCause::KeyRepeated);
        refused(r#"{"amount":1,"Amount":2}"#, DecodeCause::KeyCaseVariant);
        refused(r#"{"amount":1,"x":1,"x":2}"#, DecodeCause::KeyRepeated);
        refused(r#"{"amount":1,"to":{"iban":"a","IBAN":"b"}}"#, DecodeCause::KeyCaseVariant);
        // Nobody reads these objects.
        assert!(
            pick(
                r#"{"amount":1,"other":{"a":1,"a":2},"to":{"iban":{"a":1,"A":2}}}"#,
                &[&["amount"], &["to", "iban"]]
            )
            .is_ok()
        );
    }
}
