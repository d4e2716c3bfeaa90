//! Which bytes go when several members of an object, or elements of an array, are taken out of it: each with one comma, so
//! that what is left is JSON and every other byte stays.
//!
//! The decision: fed in order, it needs to remember no more than the last gap, so that a walk can cut while it goes on.

use crate::Span;

/// The gaps of one object or array.
#[derive(Default, Clone, Copy, Debug)]
pub struct Gaps {
    /// Where the last one that stays ends.
    kept_end: Option<u32>,
    /// From where to where the last ones that go reach so far.
    open: Option<(u32, u32)>,
}

impl Gaps {
    /// A member or element that goes; a member from its key on.
    pub fn goes(&mut self, item: Span) {
        let from = self.open.map_or(self.kept_end.unwrap_or(item.start), |(from, _)| from);
        self.open = Some((from, item.end()));
    }

    /// One that stays. Gives what goes before it.
    pub fn stays(&mut self, item: Span) -> Option<Span> {
        let gap = self.open.take().map(|(from, to)| match self.kept_end {
            Some(_) => (from, to),
            // Nothing is before them: the comma behind them goes as well.
            None => (from, item.start),
        });
        self.kept_end = Some(item.end());
        gap.map(|(from, to)| Span::between(from as usize, to as usize))
    }

    /// What goes at the end.
    pub fn finish(self) -> Option<Span> {
        self.open.map(|(from, to)| Span::between(from as usize, to as usize))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jsonrpc::Elements;

    fn left(array: &str, goes: impl Fn(usize) -> bool) -> String {
        let bytes = array.as_bytes();
        let (mut gaps, mut cuts) = (Gaps::default(), Vec::new());
        for (at, element) in Elements::of(bytes, Span::between(0, bytes.len())).enumerate() {
            let element = element.unwrap();
            if goes(at) {
                gaps.goes(element);
            } else {
                cuts.extend(gaps.stays(element));
            }
        }
        cuts.extend(gaps.finish());
        let mut out = array.to_owned();
        for cut in cuts.into_iter().rev() {
            out.replace_range(cut.start as usize..cut.end() as usize, "");
        }
        out
    }

    #[test]
    fn items_go_with_one_comma_each() {
        let check =
            |array, gone: &[usize], expected| assert_eq!(left(array, |at| gone.contains(&at)), expected);
        check("[ 1 , 2 , 3 ]", &[], "[ 1 , 2 , 3 ]");
        check("[ 1 , 2 , 3 ]", &[0], "[ 2 , 3 ]");
        check("[ 1 , 2 , 3 ]", &[1], "[ 1 , 3 ]");
        check("[ 1 , 2 , 3 ]", &[2], "[ 1 , 2 ]");
        check("[ 1 , 2 , 3 ]", &[0, 1], "[ 3 ]");
        check("[ 1 , 2 , 3 ]", &[0, 2], "[ 2 ]");
        check("[ 1 , 2 , 3 ]", &[1, 2], "[ 1 ]");
        check("[ 1 , 2 , 3 ]", &[0, 1, 2], "[  ]");
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_was_not_taken(goes in prop::collection::vec(any::<bool>(), 0..12)) {
            let all: Vec<usize> = (0..goes.len()).collect();
            let array = serde_json::to_string_pretty(&all).unwrap();
            let kept: Vec<usize> = serde_json::from_str(&left(&array, |at| goes[at])).unwrap();
            let expected: Vec<usize> = all.into_iter().filter(|at| !goes[*at]).collect();
            prop_assert_eq!(kept, expected);
        }
    }
}
