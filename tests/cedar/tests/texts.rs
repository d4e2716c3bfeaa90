//! Texts of chance: what is understood here is understood by Cedar, and what Cedar reads is at least well-formed here.

use std::str::FromStr;

use cedar_policy::PolicySet;
use strait_cedar_oracle::dice::Dice;
use strait_cedar_oracle::policy::policies;
use strait_config_compiler::cedar::syntax::parse;
use strait_config_compiler::diagnostic::codes;

const PIECES: [&str; 52] = [
    "&&",
    "||",
    "!",
    "-",
    "==",
    "!=",
    "<",
    "<=",
    "in",
    "has",
    "like",
    "is",
    "if",
    "then",
    "else",
    "true",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ".",
    "::",
    ":",
    "@",
    "@id(\"x\")",
    "when",
    "unless",
    "permit",
    "forbid",
    "principal",
    "action",
    "resource",
    "context",
    "1",
    "9223372036854775808",
    "\"a\"",
    "\"\\x41\"",
    "\"\\*\"",
    "\"\\u{110000}\"",
    "User",
    "a",
    "ip",
    "// c\n",
    "\n",
    "?principal",
    "=",
    "+",
    "\u{a0}",
];

/// One or two of: a piece put in, taken out, said twice, or put in the place of another.
fn spoiled(text: &str, dice: &mut Dice) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for letter in text.chars() {
        let is_word = letter.is_alphanumeric() || letter == '_';
        if !is_word && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if is_word { word.push(letter) } else { words.push(letter.to_string()) }
    }
    words.push(word);
    for _ in 0..=dice.below(2) {
        let at = dice.below(words.len());
        match dice.below(4) {
            0 => words.insert(at, format!(" {} ", dice.pick(&PIECES))),
            1 => drop(words.remove(at)),
            2 => words.insert(at, words[at].clone()),
            _ => words[at] = (*dice.pick(&PIECES)).to_owned(),
        }
    }
    words.concat()
}

#[test]
fn a_text_is_read_as_cedar_reads_it() {
    let seeds: u64 =
        std::env::var("STRAIT_CEDAR_SEEDS").map_or(2_400, |seeds| 4 * seeds.parse::<u64>().unwrap());
    let (mut both, mut neither) = (0, 0);
    for seed in 0..seeds {
        let mut dice = Dice::of(seed ^ 0x5eed);
        let text = spoiled(&policies(&mut dice), &mut dice);
        let cedar = PolicySet::from_str(&text);
        let (read, wrong) = parse(&text);
        let is_form = |wrong: &&strait_config_compiler::condition::Wrong| wrong.code == &codes::CEDAR_SYNTAX;
        match &cedar {
            Ok(set) => {
                let complaints: Vec<&str> =
                    wrong.iter().filter(is_form).map(|wrong| wrong.message.as_str()).collect();
                assert!(complaints.is_empty(), "seed {seed}: Cedar reads it; {complaints:?}\n{text}");
                let templates = set.templates().count();
                assert_eq!(read.len(), set.policies().count() + templates, "seed {seed}\n{text}");
                both += 1;
            }
            Err(_) => neither += usize::from(!wrong.is_empty()),
        }
    }
    println!("{both} read by both, {neither} by neither");
    assert!(seeds < 500 || both > seeds as usize / 20 && neither > seeds as usize / 5);
}
