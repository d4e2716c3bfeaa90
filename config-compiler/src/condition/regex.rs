//! Regular expressions: from the text of `matches` to the automaton that the table keeps.
//!
//! The decision: the whole automaton is made here, within bounds, so that a call walks a table whose length per byte is one
//! step. An expression whose automaton would be too large is refused at the desk, not met in production.

use std::collections::{HashMap, VecDeque};

use regex_automata::{
    Anchored,
    dfa::{Automaton as _, StartKind, dense},
    util::{primitives::StateID, start},
};
use strait_table::condition::{
    Automaton,
    automaton::{DEAD, MATCHED, STATES_MAX},
};

/// Bytes of one expression.
pub const PATTERN_BYTES_MAX: usize = 1_024;
/// Memory of the automaton that is made first, and of making it.
const DFA_BYTES_MAX: usize = 2 << 20;
const DETERMINIZE_BYTES_MAX: usize = 16 << 20;

/// The automaton of an expression, or what is wrong with it.
pub fn automaton(pattern: &str) -> Result<Automaton, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("it is longer than {PATTERN_BYTES_MAX} bytes"));
    }
    let config = dense::Config::new()
        .start_kind(StartKind::Unanchored)
        .dfa_size_limit(Some(DFA_BYTES_MAX))
        .determinize_size_limit(Some(DETERMINIZE_BYTES_MAX));
    let thompson = regex_automata::nfa::thompson::Config::new().nfa_size_limit(Some(DFA_BYTES_MAX));
    let dfa = dense::Builder::new().configure(config).thompson(thompson).build(pattern);
    let dfa = dfa.map_err(|error| {
        let why = why(&error);
        match error.is_size_limit_exceeded() || why.contains("exceeded limit") {
            true => "its automaton would be too large".to_owned(),
            false => why,
        }
    })?;
    flatten(pattern, &dfa)
}

/// The innermost reason, in one line.
fn why(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    let last = text.lines().last().unwrap_or("it cannot be understood").trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

fn flatten(pattern: &str, dfa: &dense::DFA<Vec<u32>>) -> Result<Automaton, String> {
    let too_many = || format!("its automaton has more than {STATES_MAX} states");
    let of_library = dfa.byte_classes();
    // Classes numbered in the order of their first byte; the library's may leave numbers out.
    let mut numbers: HashMap<u8, u8> = HashMap::new();
    let mut representatives: Vec<u8> = Vec::new();
    let classes: Vec<u8> = (0..=255u8)
        .map(|byte| {
            *numbers.entry(of_library.get(byte)).or_insert_with(|| {
                representatives.push(byte);
                (representatives.len() - 1) as u8
            })
        })
        .collect();
    let columns = representatives.len() + 1;
    let start = dfa
        .start_state(&start::Config::new().anchored(Anchored::No))
        .map_err(|_| "it looks at what stands before the text".to_owned())?;
    let mut next = vec![DEAD; columns];
    next.resize(columns * 2, MATCHED);
    let mut states: HashMap<StateID, u16> = HashMap::new();
    let mut waiting: VecDeque<StateID> = VecDeque::new();
    let mut number = |id: StateID, waiting: &mut VecDeque<StateID>| {
        if dfa.is_match_state(id) {
            return Ok(MATCHED);
        }
        if dfa.is_dead_state(id) {
            return Ok(DEAD);
        }
        if dfa.is_quit_state(id) {
            return Err("it uses a word boundary over letters beyond ASCII: write `(?-u:\\b)`".to_owned());
        }
        if let Some(known) = states.get(&id) {
            return Ok(*known);
        }
        let number = states.len() + 2;
        if number >= STATES_MAX {
            return Err(too_many());
        }
        states.insert(id, number as u16);
        waiting.push_back(id);
        Ok(number as u16)
    };
    let start = number(start, &mut waiting)?;
    while let Some(id) = waiting.pop_front() {
        for byte in &representatives {
            next.push(number(dfa.next_state(id, *byte), &mut waiting)?);
        }
        next.push(number(dfa.next_eoi_state(id), &mut waiting)?);
    }
    Ok(Automaton { pattern: pattern.to_owned(), classes, columns: columns as u16, start, next })
}
