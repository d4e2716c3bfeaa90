//! Whether there is a text of which all of some tests say what they should.
//!
//! The decision: every test is a small machine that reads the text byte by byte, and all run side by side. The texts they
//! agree on are found by walking the states they can be in together, which is exact, and bounded by [`STATES_MAX`].

use std::collections::HashSet;

use strait_table::condition::{
    Automaton, Comparison, TextTest,
    automaton::{DEAD, MATCHED},
};

use super::{outside::is_true_of, value::holds};

/// Joint states that are walked; beyond them such a text counts as possible.
const STATES_MAX: usize = 2_048;
/// Tests side by side.
const TESTS_MAX: usize = 32;
/// Letters that are counted one by one.
const LETTERS_MAX: usize = 64;

#[derive(Clone, Copy)]
pub enum Test<'t> {
    Order(Comparison, &'t str),
    OneOf(&'t [String]),
    Part(TextTest, &'t str),
    Matches(&'t Automaton),
}

impl Test<'_> {
    fn is_true_of(&self, text: &str) -> bool {
        match self {
            Test::Order(by, other) => holds(*by, text.as_bytes().cmp(other.as_bytes())),
            Test::OneOf(texts) => texts.iter().any(|other| other == text),
            Test::Part(test, part) => is_true_of(*test, text, part),
            Test::Matches(automaton) => {
                let mut state = automaton.start;
                for byte in text.bytes() {
                    state = after(automaton, state, class(automaton, byte));
                }
                ends(automaton, state)
            }
        }
    }
}

/// Whether there is such a text, of which also the number of letters will do. `spend` says whether so many steps are left.
pub fn can_be(
    tests: &[(Test<'_>, bool)],
    letters: Option<&dyn Fn(usize) -> bool>,
    spend: &mut dyn FnMut(usize) -> bool,
) -> bool {
    let listed = tests.iter().find_map(|(test, is)| match test {
        Test::OneOf(texts) if *is => Some(texts.iter().map(String::as_str).collect::<Vec<_>>()),
        Test::Order(Comparison::Equal, text) if *is => Some(vec![*text]),
        Test::Order(Comparison::NotEqual, text) if !*is => Some(vec![*text]),
        _ => None,
    });
    if let Some(texts) = listed {
        return texts.iter().any(|text| {
            tests.iter().all(|(test, is)| test.is_true_of(text) == *is)
                && letters.is_none_or(|fits| fits(text.chars().count()))
        });
    }
    // One test alone has both answers, but for an expression that always or never matches, and what nothing is less than.
    let mut machines: Vec<(Machine<'_>, bool)> = Vec::new();
    for (test, is) in tests {
        match test {
            Test::OneOf(texts) => {
                machines.extend(texts.iter().map(|text| (Machine::Order(Comparison::Equal, text), *is)));
            }
            Test::Order(by, text) => machines.push((Machine::Order(*by, text), *is)),
            Test::Part(TextTest::StartsWith, text) => machines.push((Machine::Begins(text), *is)),
            Test::Part(test, text) => {
                let ends = *test == TextTest::EndsWith;
                machines.push((Machine::Holds { text, back: failures(text.as_bytes()), ends }, *is));
            }
            Test::Matches(automaton) => machines.push((Machine::Matches(automaton), *is)),
        }
    }
    machines.len() > TESTS_MAX || walk(&machines, letters, spend)
}

/// One test, as it reads. Its state is a number, 0 at the beginning.
enum Machine<'t> {
    /// State: bytes that were the same; then less or more.
    Order(Comparison, &'t str),
    Begins(&'t str),
    /// Somewhere, or at the end. `back`: how much of it stands before each place again.
    Holds {
        text: &'t str,
        back: Vec<usize>,
        ends: bool,
    },
    Matches(&'t Automaton),
}

const LESS: u32 = u32::MAX;
const MORE: u32 = u32::MAX - 1;
const FAILED: u32 = u32::MAX - 2;

impl Machine<'_> {
    fn start(&self) -> u32 {
        match self {
            Machine::Matches(automaton) => u32::from(automaton.start),
            _ => 0,
        }
    }

    fn after(&self, state: u32, byte: u8) -> u32 {
        match self {
            Machine::Order(_, text) => match (state, text.as_bytes().get(state as usize)) {
                (LESS | MORE, _) => state,
                (_, Some(other)) if byte == *other => state + 1,
                (_, Some(other)) if byte < *other => LESS,
                _ => MORE,
            },
            Machine::Begins(text) => match text.as_bytes().get(state as usize) {
                None => state,
                Some(other) if byte == *other => state + 1,
                Some(_) => FAILED,
            },
            Machine::Holds { text, back, ends } => {
                let text = text.as_bytes();
                let mut at = state as usize;
                if at == text.len() && !ends {
                    return state;
                }
                loop {
                    if text.get(at) == Some(&byte) {
                        return at as u32 + 1;
                    }
                    match at.checked_sub(1) {
                        Some(before) => at = back.get(before).copied().unwrap_or(0),
                        None => return 0,
                    }
                }
            }
            Machine::Matches(automaton) => u32::from(after(automaton, state as u16, class(automaton, byte))),
        }
    }

    fn is_true_at_end(&self, state: u32) -> bool {
        match self {
            Machine::Order(by, text) => holds(
                *by,
                match state {
                    LESS => std::cmp::Ordering::Less,
                    MORE => std::cmp::Ordering::Greater,
                    same => (same as usize).cmp(&text.len()),
                },
            ),
            Machine::Begins(text) => state != FAILED && state as usize >= text.len(),
            Machine::Holds { text, .. } => state as usize == text.len(),
            Machine::Matches(automaton) => ends(automaton, state as u16),
        }
    }

    /// Bytes that it tells apart from their neighbours.
    fn tells_apart(&self, apart: &mut [u32; 256], next: &mut u32) {
        match self {
            Machine::Order(_, text) | Machine::Begins(text) | Machine::Holds { text, .. } => {
                // Its own bytes each, and the stretches between them.
                let mut own = [false; 256];
                text.bytes().for_each(|byte| own[usize::from(byte)] = true);
                let mut stretch = 0u32;
                refine(apart, next, |byte| {
                    let is_own = own[usize::from(byte)];
                    stretch += u32::from(is_own) * 2;
                    if is_own { stretch - 1 } else { stretch }
                });
            }
            Machine::Matches(automaton) => {
                refine(apart, next, |byte| u32::from(class(automaton, byte)));
            }
        }
    }
}

/// Splits classes of bytes by what `of` says of each byte, in ascending order.
fn refine(apart: &mut [u32; 256], next: &mut u32, mut of: impl FnMut(u8) -> u32) {
    let mut known: std::collections::HashMap<(u32, u32), u32> = std::collections::HashMap::new();
    for byte in 0..=255u8 {
        let class = (apart[usize::from(byte)], of(byte));
        apart[usize::from(byte)] = *known.entry(class).or_insert_with(|| {
            *next += 1;
            *next
        });
    }
}

fn walk(
    machines: &[(Machine<'_>, bool)],
    letters: Option<&dyn Fn(usize) -> bool>,
    spend: &mut dyn FnMut(usize) -> bool,
) -> bool {
    let (mut apart, mut next) = ([0u32; 256], 0);
    machines.iter().for_each(|(machine, _)| machine.tells_apart(&mut apart, &mut next));
    if letters.is_some() {
        refine(&mut apart, &mut next, |byte| u32::from(begins_letter(byte)));
    }
    let mut seen = HashSet::new();
    let bytes: Vec<u8> = (0..=255u8).filter(|byte| seen.insert(apart[usize::from(*byte)])).collect();
    let begin: Vec<u32> = machines.iter().map(|(machine, _)| machine.start()).chain([0]).collect();
    let mut waiting = std::collections::VecDeque::from([begin.clone()]);
    let mut known = HashSet::from([begin]);
    while let Some(states) = waiting.pop_front() {
        let (count, of_machines) = states.split_last().unwrap_or((&0, &[]));
        let all = machines
            .iter()
            .zip(of_machines)
            .all(|((machine, is), state)| machine.is_true_at_end(*state) == *is);
        // More letters than are counted may be any number.
        let counted = *count as usize;
        if all && letters.is_none_or(|fits| counted >= LETTERS_MAX || fits(counted)) {
            return true;
        }
        if !spend(bytes.len() * machines.len()) {
            return true;
        }
        for byte in &bytes {
            let letter = letters.is_some() && begins_letter(*byte) && counted < LETTERS_MAX;
            let after =
                machines.iter().zip(of_machines).map(|((machine, _), state)| machine.after(*state, *byte));
            let after: Vec<u32> = after.chain([count + u32::from(letter)]).collect();
            if !known.contains(&after) {
                if known.len() == STATES_MAX {
                    return true;
                }
                known.insert(after.clone());
                waiting.push_back(after);
            }
        }
    }
    false
}

fn begins_letter(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

/// Of every beginning of a text: how much of the text it ends with again.
fn failures(text: &[u8]) -> Vec<usize> {
    let mut back = vec![0; text.len()];
    let mut at = 0;
    for place in 1..text.len() {
        while at > 0 && text[place] != text[at] {
            at = back[at - 1];
        }
        if text[place] == text[at] {
            at += 1;
        }
        back[place] = at;
    }
    back
}

fn class(automaton: &Automaton, byte: u8) -> u16 {
    automaton.classes.get(usize::from(byte)).copied().map_or(0, u16::from)
}

fn after(automaton: &Automaton, state: u16, column: u16) -> u16 {
    if state == MATCHED {
        return MATCHED;
    }
    let at = usize::from(state) * usize::from(automaton.columns) + usize::from(column);
    automaton.next.get(at).copied().unwrap_or(DEAD)
}

fn ends(automaton: &Automaton, state: u16) -> bool {
    after(automaton, state, automaton.columns.saturating_sub(1)) == MATCHED
}
