//! Values picked out of an object of a body that was accepted, by paths of keys: what conditions, defaults and detectors
//! read. HOT: one pass over the object for all of them, and no allocation once the list of keys has grown.
//!
//! The decision: every object on the way is guarded as the message was. A key repeated, or differing by case from one that
//! is asked for, is refused, because the server behind may take the other one.

use super::guard::{Guard, KNOWN_MAX, Known, Objection};
use super::members::Members;
use super::{DecodeCause, DecodeFault};
use crate::Span;

/// Paths that can be picked at once.
pub const PICKED_MAX: usize = KNOWN_MAX;

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
    /// Picks `paths` out of the value at `root`, each into its place of `picked`; paths beyond [`PICKED_MAX`] are not looked
    /// at. The empty path is the root itself.
    pub fn pick<'p, P>(
        &mut self,
        body: &[u8],
        root: Span,
        paths: impl Iterator<Item = (usize, P)> + Clone,
        picked: &mut [Picked],
    ) -> Result<(), DecodeFault>
    where
        P: Iterator<Item = &'p str> + Clone,
    {
        let is_object = is_object(body, root);
        let (mut keys, mut places, mut count) = ([""; PICKED_MAX], [0; PICKED_MAX], 0);
        let mut is_deep = false;
        for (place, mut path) in paths.clone() {
            let Some(slot) = picked.get_mut(place) else { continue };
            *slot = match path.next() {
                None => Picked::Value(root),
                Some(_) if !is_object => Picked::Broken,
                Some(first) => {
                    if let (Some(key), Some(its)) = (keys.get_mut(count), places.get_mut(count)) {
                        (*key, *its) = (first, place);
                        count += 1;
                    }
                    is_deep |= path.next().is_some();
                    Picked::Missing
                }
            };
        }
        if count == 0 {
            return Ok(());
        }
        let known = Known::of(keys.get(..count).unwrap_or_default());
        guarded(&mut self.guard, body, root, &known, |key, value| {
            if let Some(slot) = places.get(key).and_then(|place| picked.get_mut(*place)) {
                *slot = Picked::Value(value);
            }
        })?;
        if !is_deep {
            return Ok(());
        }
        for (place, mut path) in paths {
            let (Some(_), Some(slot)) = (path.next(), picked.get_mut(place)) else { continue };
            for key in path {
                *slot = match *slot {
                    Picked::Value(object) if self::is_object(body, object) => {
                        let mut found = Picked::Missing;
                        guarded(&mut self.guard, body, object, &Known::of(&[key]), |_, value| {
                            found = Picked::Value(value);
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

/// The values of the keys that are read in an object, by the number of the key. The object is guarded as the message was.
#[inline]
pub(super) fn guarded(
    guard: &mut Guard,
    body: &[u8],
    object: Span,
    known: &Known<'_>,
    mut found: impl FnMut(usize, Span),
) -> Result<(), DecodeFault> {
    let refuse = |(cause, at): Objection| DecodeFault { cause, at, id: None };
    guard.begin();
    for member in Members::of(body, object) {
        let member = member.map_err(|fault| refuse((DecodeCause::SyntaxInvalid, fault.at)))?;
        let sketch = guard.key(body, member.key_inner(), member.escaped);
        known.each(body, &member, sketch, |key| found(key, member.value));
    }
    guard.judge(body, known).map_err(refuse)
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
            paths.iter().map(|path| path.iter().copied()).enumerate(),
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
