//! Regular expressions as the table has them: a table of states that is walked byte by byte, in time that depends on the
//! text alone.
//!
//! The decision: a form of our own, of plain numbers. A serialised automaton of a library would have to be checked again by
//! that library at every open, and tie tables to its version; this one is checked with the rest of the table, is used in
//! place, and the engine needs no regex library at all. The compiler makes it from `regex-automata`'s dense DFA.

use rkyv::{Archive, Deserialize, Serialize};

/// The state from which nothing matches any more.
pub const DEAD: u16 = 0;
/// The state that has matched, whatever follows.
pub const MATCHED: u16 = 1;
/// States of one automaton.
pub const STATES_MAX: usize = 16_384;

#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq, Hash)]
pub struct Automaton {
    /// As the author wrote it.
    pub pattern: String,
    /// The class of each byte.
    pub classes: Vec<u8>,
    /// Columns of `next`: one per class, and the last for the end of the text.
    pub columns: u16,
    pub start: u16,
    /// Rows of [`Self::columns`] states.
    pub next: Vec<u16>,
}

impl ArchivedAutomaton {
    /// Whether it matches somewhere in `text`.
    pub fn matches(&self, text: impl Iterator<Item = u8>) -> bool {
        let mut state = self.start.to_native();
        for byte in text {
            let class = self.classes.get(usize::from(byte)).copied().unwrap_or(0);
            state = self.after(state, u16::from(class));
            if state <= MATCHED {
                return state == MATCHED;
            }
        }
        self.after(state, self.columns.to_native().saturating_sub(1)) == MATCHED
    }

    /// A short text of printable ASCII that it matches, and that another one does not. Both are walked side by side, through at
    /// most `PAIRS_MAX` pairs of states: that there is none within that says little.
    pub fn example(&self, not: Option<&ArchivedAutomaton>) -> Option<String> {
        const PAIRS_MAX: usize = 65_536;
        let class = |of: &ArchivedAutomaton, byte: u8| {
            u16::from(of.classes.get(usize::from(byte)).copied().unwrap_or(0))
        };
        let ends = |of: &ArchivedAutomaton, state: u16| {
            of.after(state, of.columns.to_native().saturating_sub(1)) == MATCHED
        };
        // Letters first: they are read best.
        let bytes = (b'a'..=b'z').chain(b'0'..=b'9').chain(b' '..=b'/').chain(b':'..=b'`').chain(b'{'..=b'~');
        let mut told_apart = std::collections::HashSet::new();
        let bytes: Vec<u8> = bytes
            .filter(|byte| told_apart.insert((class(self, *byte), not.map(|not| class(not, *byte)))))
            .collect();
        let mut pairs = vec![((self.start.to_native(), not.map_or(DEAD, |not| not.start.to_native())), 0, 0)];
        let mut seen = std::collections::HashSet::from([pairs[0].0]);
        let mut at = 0;
        while let Some(((state, other), _, _)) = pairs.get(at).copied() {
            if ends(self, state) && not.is_none_or(|not| !ends(not, other)) {
                let mut text = String::new();
                while at != 0 {
                    let (_, before, byte) = pairs[at];
                    text.insert(0, char::from(byte));
                    at = before;
                }
                return Some(text);
            }
            for byte in &bytes {
                let next = (
                    self.after(state, class(self, *byte)),
                    not.map_or(DEAD, |not| not.after(other, class(not, *byte))),
                );
                let is_hopeless = next.0 == DEAD || (not.is_some() && next.1 == MATCHED);
                if !is_hopeless && pairs.len() < PAIRS_MAX && seen.insert(next) {
                    pairs.push((next, at, *byte));
                }
            }
            at += 1;
        }
        None
    }

    fn after(&self, state: u16, column: u16) -> u16 {
        let at = usize::from(state) * usize::from(self.columns.to_native()) + usize::from(column);
        self.next.get(at).map_or(DEAD, |next| next.to_native())
    }

    /// Every state that can be reached is there, and dead and matched stay what they are.
    pub(crate) fn is_sound(&self) -> bool {
        let columns = usize::from(self.columns.to_native());
        if columns < 2 || self.classes.len() != 256 || !self.next.len().is_multiple_of(columns) {
            return false;
        }
        let states = self.next.len() / columns;
        let row = |state: usize, is: u16| {
            self.next.iter().skip(state * columns).take(columns).all(|next| *next == is)
        };
        (2..=STATES_MAX).contains(&states)
            && usize::from(self.start.to_native()) < states
            && self.classes.iter().all(|class| usize::from(*class) + 1 < columns)
            && self.next.iter().all(|next| usize::from(next.to_native()) < states)
            && row(0, DEAD)
            && row(1, MATCHED)
    }
}
