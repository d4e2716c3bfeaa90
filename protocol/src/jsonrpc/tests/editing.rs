use proptest::prelude::*;
use serde_json::value::RawValue;

use super::generate::{blank, object, quoted, value};
use crate::Span;
use crate::jsonrpc::{Elements, MemberFault, Members, SpliceFault, Splices};
use crate::limits::SPLICES_MAX;

fn edited(splices: &Splices, original: &str) -> Result<String, SpliceFault> {
    let mut out = b"> ".to_vec();
    splices.write(original.as_bytes(), &mut out)?;
    assert_eq!(out.len() as i64 - 2, original.len() as i64 + splices.delta());
    Ok(String::from_utf8(out.split_off(2)).unwrap())
}

#[test]
fn edits_are_applied_in_place_whatever_their_order() {
    let mut splices = Splices::new();
    splices.insert(9, b"<end>").unwrap();
    splices.replace(Span::between(3, 5), b"XYZ").unwrap();
    splices.insert(3, b"<1>").unwrap();
    splices.insert(3, b"<2>").unwrap();
    splices.insert(5, b"<3>").unwrap();
    splices.remove(Span::between(0, 2)).unwrap();
    assert_eq!(edited(&splices, "abcdefghi").unwrap(), "c<1><2>XYZ<3>fghi<end>");
    splices.clear();
    assert!(splices.is_empty());
    assert_eq!(edited(&splices, "abc").unwrap(), "abc");
}

#[test]
fn edits_of_the_same_bytes_are_refused() {
    let overlapping = [
        ((2, 6), (2, 6)),
        ((2, 6), (3, 4)),
        ((2, 6), (5, 8)),
        ((2, 6), (0, 3)),
        ((2, 6), (4, 4)),
        ((4, 4), (2, 6)),
    ];
    for ((a, b), (c, d)) in overlapping {
        let mut splices = Splices::new();
        splices.replace(Span::between(a, b), b"x").unwrap();
        assert_eq!(
            splices.replace(Span::between(c, d), b"y"),
            Err(SpliceFault::Overlap),
            "{a}..{b} {c}..{d}"
        );
        assert!(edited(&splices, "abcdefghi").is_ok());
    }
    let touching = [((2, 6), (6, 8)), ((2, 6), (0, 2)), ((2, 6), (2, 2)), ((2, 6), (6, 6)), ((2, 2), (2, 6))];
    for ((a, b), (c, d)) in touching {
        let mut splices = Splices::new();
        splices.replace(Span::between(a, b), b"x").unwrap();
        splices.replace(Span::between(c, d), b"y").unwrap();
    }
}

#[test]
fn edits_are_bounded_and_stay_inside() {
    let mut splices = Splices::new();
    for at in 0..SPLICES_MAX as u32 {
        splices.insert(at, b"x").unwrap();
    }
    assert_eq!(splices.insert(99, b"x"), Err(SpliceFault::Full));
    let mut out = b"kept".to_vec();
    assert_eq!(splices.write(b"short", &mut out), Err(SpliceFault::OutOfRange));
    assert_eq!(out, b"kept");
}

#[test]
fn members_and_elements_are_found_in_place() {
    let tool = br#" {"name" : "a\"b", "inputSchema":{"$defs":{"name":"}"}}, "n\u0061me2":[1, {"x":[]} ,"]"] , "e":[ ]} "#;
    let members: Vec<_> = Members::of_all(tool).map(Result::unwrap).collect();
    let keys: Vec<_> =
        members.iter().map(|member| String::from_utf8(member.key_text(tool).into_owned()).unwrap()).collect();
    assert_eq!(keys, ["name", "inputSchema", "name2", "e"]);
    assert_eq!(members[0].value.of(tool), br#""a\"b""#);
    assert_eq!(members[0].key.of(tool), b"\"name\"");
    let elements: Vec<_> = Elements::of(tool, members[2].value).map(|item| item.unwrap().of(tool)).collect();
    assert_eq!(elements, [&b"1"[..], br#"{"x":[]}"#, br#""]""#]);
    assert_eq!(Elements::of(tool, members[3].value).count(), 0);
    let whole = Span::between(1, tool.len() - 1);
    assert_eq!(Members::find(tool, whole, "e").unwrap().unwrap().of(tool), b"[ ]");
    assert_eq!(Members::find(tool, whole, "x"), Ok(None));
}

#[test]
fn what_is_no_object_ends_in_a_fault() {
    for (text, at) in [
        ("", 0),
        ("[]", 0),
        ("{", 1),
        ("{\"a\"}", 4),
        ("{\"a\":}", 5),
        ("{\"a\":1 2}", 7),
        ("{}x", 2),
        ("{\"a\":[}", 5),
        ("{\"a\":1,}", 7),
    ] {
        let last = Members::of_all(text.as_bytes()).last();
        assert_eq!(last, Some(Err(MemberFault { at })), "{text}");
        let mut members = Members::of_all(text.as_bytes());
        while members.next().is_some_and(|member| member.is_ok()) {}
        assert_eq!(members.next(), None);
    }
}

proptest! {
    #[test]
    fn splices_do_what_cutting_a_string_does(
        original in "[a-z]{0,30}",
        edits in proptest::collection::vec((0usize..31, 0usize..8, "[A-Z]{0,5}"), 0..12),
    ) {
        let mut splices = Splices::new();
        // The model: what each byte became, and what was put before each byte.
        let mut kept = vec![true; original.len()];
        let mut before = vec![String::new(); original.len() + 1];
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for (start, length, new) in edits {
            let (start, end) = (start.min(original.len()), (start + length).min(original.len()));
            let clashes = taken.iter().any(|(a, b)| *a < end && start < *b);
            // A replacement and an insert at the same place have no order in this model.
            if taken.iter().any(|(a, _)| *a == start) {
                continue;
            }
            let outcome = splices.replace(Span::between(start, end), new.as_bytes());
            prop_assert_eq!(outcome, if clashes { Err(SpliceFault::Overlap) } else { Ok(()) });
            if !clashes {
                taken.push((start, end));
                kept[start..end].fill(false);
                before[start].push_str(&new);
            }
        }
        let mut expected = String::new();
        for (index, text) in before.iter().enumerate() {
            expected.push_str(text);
            if kept.get(index) == Some(&true) {
                expected.push_str(&original[index..=index]);
            }
        }
        prop_assert_eq!(edited(&splices, &original).unwrap(), expected);
    }

    #[test]
    fn members_are_what_serde_finds(
        members in proptest::collection::vec((quoted("[a-z\"é]{0,5}"), value(), blank()), 0..6),
        inside in blank(),
    ) {
        let count = members.len();
        let text = object(members.clone(), &inside);
        let found: Vec<_> = Members::of_all(text.as_bytes()).map(Result::unwrap).collect();
        prop_assert_eq!(found.len(), count);
        for (found, (key, written, _)) in found.iter().zip(&members) {
            let expected: String = serde_json::from_str(key).unwrap();
            prop_assert_eq!(&found.key_text(text.as_bytes())[..], expected.as_bytes());
            prop_assert!(found.key_is(text.as_bytes(), &expected));
            prop_assert_eq!(found.value.of(text.as_bytes()), written.as_bytes());
        }
    }

    #[test]
    fn elements_are_what_serde_finds(items in proptest::collection::vec((value(), blank()), 0..6)) {
        let joined: Vec<_> = items.iter().map(|(item, blank)| format!("{blank}{item}{blank}")).collect();
        let text = format!("[{}]", joined.join(","));
        let expected: Vec<&RawValue> = serde_json::from_str(&text).unwrap();
        let found: Vec<_> = Elements::of(text.as_bytes(), Span::between(0, text.len())).map(Result::unwrap).collect();
        prop_assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            prop_assert_eq!(found.of(text.as_bytes()), expected.get().as_bytes());
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100), start in 0u32..120, len in 0u32..120) {
        Members::of_all(&bytes).for_each(drop);
        Members::of(&bytes, Span { start, len }).for_each(drop);
        Elements::of(&bytes, Span { start, len }).for_each(drop);
    }
}
