//! Lock files that were made to hurt, or spoiled at random: refused with findings, or read as what they said before, and
//! never anything between.

#[path = "locks/mod.rs"]
#[allow(dead_code, reason = "golden cases are of tests/golden.rs")]
mod locks;

use std::fs::File;
use std::time::{Duration, Instant};

use locks::{CONFIG, Folder, crm, git, pinned, tool};
use proptest::prelude::*;
use strait_config_compiler::{Outcome, load, render, render_short, to_json};
use strait_table::catalog::Lists;

/// A hundred times what it takes on a quiet machine.
const TIME_MAX: Duration = Duration::from_secs(60);

#[test]
fn what_is_no_file_or_too_large_is_refused_unread() {
    let folder = Folder::new();
    drop(folder.load(CONFIG, ""));
    let path = folder.path().join("strait.lock");
    let refused = |code: &str| {
        let outcome = load(&folder.path().join("strait.yaml"), &|_| None);
        assert!(
            outcome.rules.is_none() && render_short(&outcome).contains(code),
            "{}",
            render(&outcome, false)
        );
    };
    // Sparse: if anybody read it, it would be 100 MB of zero bytes.
    File::create(&path).unwrap().set_len(100 << 20).unwrap();
    refused("ST0002");
    std::fs::write(&path, b"\xff\xfe{\0").unwrap();
    refused("ST0003");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    refused("ST0001");
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    refused("ST0001");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn ten_thousand_tools_are_read_and_looked_at() {
    let properties =
        r#""order":{"type":"string","description":"The number of the order, as in get_order_7."}"#;
    let lists = |of: &str| Lists {
        tools: (0..5_000)
            .map(|n| tool(&format!("{of}_tool_{n:05}"), "Does what it says, once.", properties))
            .collect(),
        ..git()
    };
    let lock = pinned(&[("crm", lists("crm")), ("git", lists("git"))]);
    let folder = Folder::new();
    let start = Instant::now();
    let outcome = folder.load(CONFIG, &lock);
    assert!(start.elapsed() < TIME_MAX, "took {:?}", start.elapsed());
    let catalog = outcome.catalog.as_ref().unwrap_or_else(|| panic!("{}", render(&outcome, false)));
    assert_eq!(catalog.upstreams.iter().map(|lists| lists.tools.len()).sum::<usize>(), 10_000);
    assert_eq!(outcome.rules.unwrap().pins.len(), 2);
}

/// What is pinned: hashes of definitions, and instructions.
fn said(outcome: &Outcome) -> Option<(Vec<[u8; 32]>, Vec<String>)> {
    let pins = &outcome.rules.as_ref()?.pins;
    let lists = pins.iter().flat_map(|pins| [&pins.tools, &pins.prompts, &pins.resources, &pins.templates]);
    let hashes = lists.flatten().map(|pin| pin.blake3).collect();
    Some((hashes, pins.iter().filter_map(|pins| pins.instructions.clone()).collect()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// One stretch of a definition, name, hash or instruction is overwritten, cut or doubled.
    #[test]
    fn a_spoiled_definition_is_never_believed(from in 0usize..10_000, len in 0usize..40, put in "[ -~]{0,12}|\\\\u[0-9a-f]{4}|\u{202e}") {
        let whole = pinned(&[("git", git()), ("crm", crm())]);
        let folder = Folder::new();
        let first = folder.load(CONFIG, &whole);
        let from = whole.floor_char_boundary(from % whole.len());
        let to = whole.ceil_char_boundary((from + len).min(whole.len()));
        let outcome = folder.load(CONFIG, &format!("{}{put}{}", &whole[..from], &whole[to..]));
        render(&outcome, true);
        to_json(&outcome);
        // What stands outside of definitions (an era, a capability, a name of an upstream) has no hash: it changes what
        // is exposed to less, or to nothing.
        if let Some((hashes, instructions)) = said(&outcome) {
            let before = said(&first).unwrap();
            prop_assert!(hashes.iter().all(|hash| before.0.contains(hash)));
            prop_assert!(instructions.iter().all(|text| before.1.contains(text)));
        } else {
            prop_assert!(outcome.errors() > 0);
        }
    }
}
