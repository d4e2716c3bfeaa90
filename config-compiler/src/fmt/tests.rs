//! The form by example, and what must hold for every text: formatted twice is formatted once, and the compiled table is
//! the same.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use strait_table::snapshot::table_of;

use super::format;

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(format(text).as_deref(), Ok(expected), "{text}");
    assert_eq!(format(expected).as_deref(), Ok(expected), "not in the form yet");
}

#[test]
fn white_space_moves_and_nothing_else() {
    check("a:   1\r\nb  : 2", "a: 1\nb: 2\n");
    check("a:\n- b\n-   c: 1\n    d: 2\n", "a:\n  - b\n  - c: 1\n    d: 2\n");
    check("a:\n      - - x\n        -  y\n", "a:\n  - - x\n    - y\n");
    check("\n\n\na: 1\n\n\n\nb: 2   \n\n\n", "a: 1\n\nb: 2\n");
    check("a: {b: c,d:   [ 1,2 ],e: [ ],f: { }}\n", "a: { b: c, d: [1, 2], e: [], f: {} }\n");
    check("a: [\n b,\n   { c: d },\n   ]\n", "a: [\n  b,\n  { c: d },\n]\n");
    check("a:\n    {\n  b: c\n }\n", "a:\n  {\n    b: c\n  }\n");
    check("a:\n  - [1,\n   2]\n", "a:\n  - [1,\n      2]\n");
    check("a: \"one\n     two\"\nb: one\n      two\n", "a: \"one\n  two\"\nb: one\n  two\n");
    check("---\na: 1\n", "---\na: 1\n");
    check("a: &x   1\nb:   *x\nc: !!str   2\n*x : d\n", "a: &x 1\nb: *x\nc: !!str 2\n*x : d\n");
    check("", "");
}

#[test]
fn comments_stay_with_what_they_are_about() {
    check(
        "#top\na: # behind\n    # of b\n    b: 1\n    # of a\n# end",
        "#top\na:  # behind\n  # of b\n  b: 1\n  # of a\n# end\n",
    );
    check("a:\n- b\n# of c\n- c\n# of d\nd: 1\n", "a:\n  - b\n  # of c\n  - c\n# of d\nd: 1\n");
    check("a:\n  b: {}\n     # c: {}\n", "a:\n  b: {}\n  # c: {}\n");
    check("a: [\n   # of b\n  b # behind\n ]\n", "a: [\n  # of b\n  b  # behind\n]\n");
    check("a:    1    # kept\nlong: 22222  # so\n", "a: 1       # kept\nlong: 22222  # so\n");
    check("# only\n\n\n# two\n", "# only\n\n# two\n");
    check("a:\n- b\n# end", "a:\n  - b\n# end\n");
}

#[test]
fn blocks_of_text_are_moved_as_a_whole() {
    check(
        "a:  |  # head\n        one\n\n          two\n\n\nb: 1\n",
        "a: |   # head\n  one\n\n    two\n\nb: 1\n",
    );
    check(
        "a:\n- >-\n      folded\n      on\n- |2\n    in\n   out\n",
        "a:\n  - >-\n    folded\n    on\n  - |2\n      in\n     out\n",
    );
    check("a: |+\n   x\n\n\nb: 1\n", "a: |+\n  x\n\n\nb: 1\n");
    check("a: |\nb: 1\n", "a: |\nb: 1\n");
}

#[test]
fn what_cannot_be_done_safely_is_refused_with_its_line() {
    let refused = |text: &str, line: usize, why: &str| {
        let refused = format(text).expect_err(text);
        assert!(refused.line == line && refused.why.contains(why), "{text}: {refused:?}");
    };
    refused("a: 1\nb: [\n", 2, "unclosed");
    refused("a: 1\n? b\n: c\n", 2, "`?`");
    refused("{\"mcpServers\": {}}", 1, "JSON");
    refused("%YAML 1.2\n---\na: 1\n", 1, "");
    refused("a: 1\n...\n", 2, "`.`");
}

/// Everything that configurations are tried with here, good and bad.
fn corpus() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["../examples", "tests", "../fuzz/corpus/config_text", "src"].map(|f| root.join(f)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            let is_config = path.extension().is_some_and(|e| e == "yaml") || folder.ends_with("config_text");
            match path.is_dir() {
                true => folders.push(path),
                false if is_config => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// The table of a text; where the text came from is left out of it, since that has changed.
fn table(text: &str) -> Option<Vec<u8>> {
    let mut rules = crate::load_text("x.yaml", text, &|_| None).rules?;
    rules.sources.clear();
    Some(table_of(&rules).unwrap())
}

#[test]
fn of_every_configuration_here_the_table_stays_the_same() {
    let (mut formatted, mut compiled) = (0, 0);
    for path in corpus() {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let Ok(after) = format(&text) else { continue };
        assert_eq!(format(&after).as_deref(), Ok(after.as_str()), "{}", path.display());
        let (before, now) = (table(&text), table(&after));
        assert!(before == now, "{}", path.display());
        formatted += 1;
        compiled += usize::from(now.is_some());
    }
    assert!(formatted > 40 && compiled > 5, "{formatted} formatted, {compiled} compiled");
}

#[test]
fn what_we_ship_is_in_the_form() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in
        ["src/first.yaml", "../examples/quickstart.yaml", "../examples/team.yaml", "../examples/cedar.yaml"]
    {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        assert_eq!(format(&text).as_deref(), Ok(text.as_str()), "{file}");
    }
}

/// A mapping, list or word, written with as many blanks, empty lines and comments as chance wants.
#[derive(Clone, Debug)]
enum Tree {
    Word(&'static str),
    Flow(&'static str),
    Block(&'static str),
    Map(Vec<Tree>),
    List(Vec<Tree>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let word = prop::sample::select(vec!["x", "'it''s'", "\"q # no\"", "a b:c", "1", "&a x", "!!str 7"]);
    let flow =
        prop::sample::select(vec!["[a,b]", "{ a: 1,b: [ ]}", "[\n @{a: b}, # c\n @c\n @]", "\"one\n @two\""]);
    let block = prop::sample::select(vec!["one\n\ntwo", "one\n   deeper\n# no comment", "one"]);
    let leaf = prop_oneof![word.prop_map(Tree::Word), flow.prop_map(Tree::Flow), block.prop_map(Tree::Block)];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let many = prop::collection::vec(inner, 1..4);
        prop_oneof![many.clone().prop_map(Tree::Map), many.prop_map(Tree::List)]
    })
}

/// Writes what stands behind a `:` or a `-`, whose block is at this column.
fn write(tree: &Tree, column: usize, chance: &mut impl Iterator<Item = u8>, out: &mut String) {
    let mut next = |below: u8| usize::from(chance.next().unwrap_or(0) % below);
    let trivia = |n: usize, column: usize| match n {
        0 => "\n\n\n".to_owned(),
        1 => format!("  # behind\n{:column$}# above\n", ""),
        2 => "   \n".to_owned(),
        _ => "\n".to_owned(),
    };
    match tree {
        Tree::Word(word) => {
            out.push_str(&" ".repeat(1 + next(3)));
            out.push_str(word);
            let end = trivia(next(6), column);
            out.push_str(&end);
        }
        Tree::Flow(text) => {
            let indent = " ".repeat(column + 1 + next(4));
            out.push_str(&format!(" {}\n", text.replace(" @", &indent)));
        }
        Tree::Block(text) => {
            let indent = " ".repeat(column + 1 + next(4));
            out.push_str(&format!(" {}\n", ["|", ">-", "|+"][next(3)]));
            text.lines().for_each(|line| {
                out.push_str(&format!(
                    "{}\n",
                    if line.is_empty() { String::new() } else { format!("{indent}{line}") }
                ))
            });
        }
        Tree::Map(values) | Tree::List(values) => {
            let is_list = matches!(tree, Tree::List(_));
            let inner = column + 1 + next(4);
            let first = trivia(next(5), inner);
            out.push_str(&first);
            for (at, value) in values.iter().enumerate() {
                let name = if is_list { "-".to_owned() } else { format!("k{at}:") };
                out.push_str(&format!("{:inner$}{name}", ""));
                write(value, inner, chance, out);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_configuration_has_one_form(trees in prop::collection::vec(tree(), 1..4), chance in prop::collection::vec(any::<u8>(), 200)) {
        let mut text = String::new();
        let mut chance = chance.into_iter().cycle();
        for (at, tree) in trees.iter().enumerate() {
            text.push_str(&format!("root{at}:"));
            write(tree, 0, &mut chance, &mut text);
        }
        // What is no YAML (an anchor where a value is missing) has no form.
        prop_assume!(crate::source::pieces::meaning(&text).is_ok());
        let formatted = format(&text);
        prop_assert!(formatted.is_ok(), "{:?} of\n{}", formatted, text);
        let formatted = formatted.unwrap();
        prop_assert_eq!(format(&formatted).unwrap(), formatted.clone(), "twice is not once:\n{}", text);
        prop_assert!(formatted.lines().all(|line| !line.ends_with(['\t'])));
    }
}
