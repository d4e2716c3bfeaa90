//! Values picked out of an object of a body that was accepted, by paths of keys: what conditions, defaults and detectors
//! read. HOT: one pass over the object for all of them, and no allocation once the list of keys has grown.
//!
//! The decision: every object on the way is guarded as the message was. A key repeated, or differing by case from one that
//! is asked for, is refused, because the server behind may take the other one.

use super::guard::{Guard, Known, Objection};
use super::members::Members;
use super::{DecodeCause, DecodeFault};
use crate::Span;

/// Paths that can be picked at once.
pub const PICKED_MAX: usize = 32;

/// Where a path leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Picked {
    /// The value as written.
    Value(Span),
    /// The object that should have it has no such key.
    #[default]
    Missing,
    /// A part of the path before the last is missing, or is no object.
    Broken,
}

/// One per worker.
#[derive(Default)]
pub struct Picker {
    guard: Guard,
}

impl Picker {
    /// Picks `paths` out of the value at `root` into `picked`, one for one; paths beyond [`PICKED_MAX`] are not looked at. The
    /// empty path is the root itself.
    pub fn pick<'p, P>(
        &mut self,
        body: &[u8],
        root: Span,
        paths: impl Iterator<Item = P> + Clone,
        picked: &mut [Picked],
    ) -> Result<(), DecodeFault>
    where
        P: Iterator<Item = &'p str> + Clone,
    {
        let mut keys = [""; PICKED_MAX];
        let mut count = 0;
        for path in paths.clone().take(PICKED_MAX) {
            if let Some(key) = path.clone().next()
                && !keys.iter().take(count).any(|known| *known == key)
                && let Some(slot) = keys.get_mut(count)
            {
                *slot = key;
                count += 1;
            }
        }
        let keys = keys.get(..count).unwrap_or_default();
        let mut found = [Picked::Missing; PICKED_MAX];
        match is_object(body, root) {
            true if count > 0 => self.members(body, root, keys, &mut found)?,
            true => {}
            false => found = [Picked::Broken; PICKED_MAX],
        }
        for (path, slot) in paths.zip(picked.iter_mut()) {
            let mut path = path;
            let Some(first) = path.next() else {
                *slot = Picked::Value(root);
                continue;
            };
            let at = keys.iter().position(|key| *key == first).and_then(|at| found.get(at).copied());
            let mut at = at.unwrap_or_default();
            for key in path {
                at = match at {
                    Picked::Value(object) if is_object(body, object) => {
                        let mut one = [Picked::Missing];
                        self.members(body, object, &[key], &mut one)?;
                        let [one] = one;
                        one
                    }
                    _ => Picked::Broken,
                };
            }
            *slot = at;
        }
        Ok(())
    }

    fn members(
        &mut self,
        body: &[u8],
        object: Span,
        keys: &[&str],
        found: &mut [Picked],
    ) -> Result<(), DecodeFault> {
        let refuse = |(cause, at): Objection| DecodeFault { cause, at, id: None };
        self.guard.begin();
        for member in Members::of(body, object) {
            let member = member.map_err(|fault| refuse((DecodeCause::SyntaxInvalid, fault.at)))?;
            let inner = member.key_inner();
            let text = inner.of(body);
            let escaped = memchr::memchr(b'\\', text).is_some();
            self.guard.key(inner, escaped);
            let is = |key: &&str| match escaped {
                false => text == key.as_bytes(),
                true => member.key_is(body, key),
            };
            if let Some(slot) = keys.iter().position(is).and_then(|at| found.get_mut(at)) {
                *slot = Picked::Value(member.value);
            }
        }
        self.guard.judge(body, &Known::of(keys)).map_err(refuse)
    }
}

fn is_object(body: &[u8], span: Span) -> bool {
    span.of(body).first() == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(body: &str, paths: &[&[&str]]) -> Result<Vec<String>, DecodeFault> {
        let mut picked = vec![Picked::Missing; paths.len()];
        let root = Span::between(0, body.len());
        Picker::default().pick(
            body.as_bytes(),
            root,
            paths.iter().map(|path| path.iter().copied()),
            &mut picked,
        )?;
        Ok(picked
            .into_iter()
            .map(|picked| match picked {
                Picked::Value(span) => String::from_utf8_lossy(span.of(body.as_bytes())).into_owned(),
                Picked::Missing => "missing".to_owned(),
                Picked::Broken => "broken".to_owned(),
            })
            .collect())
    }

    #[test]
    fn paths_lead_to_values() {
        let body = r#"{"amount": 5.0, "to": {"iban": "X", "a": {"b": [1, {"c":2}]}}, "caf\u00e9": null}"#;
        let paths: &[&[&str]] = &[
            &["amount"],
            &["to", "iban"],
            &["to", "a", "b"],
            &["café"],
            &["no"],
            &["no", "x"],
            &["amount", "x"],
            &["to", "no"],
            &[],
        ];
        let expected =
            ["5.0", "\"X\"", "[1, {\"c\":2}]", "null", "missing", "broken", "broken", "missing", body];
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
