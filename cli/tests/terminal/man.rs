//! `strait man`: a page for every verb, which mandoc and man read without complaint.

use std::process::Command;

use crate::common::{Folder, strait};

#[test]
fn every_verb_has_a_page_and_each_reads_well() {
    let folder = Folder::new();
    let written = strait(folder.path(), &["man", "pages", "--json"]);
    assert_eq!((written.code, written.stderr.as_str()), (0, ""));
    let facts: serde_json::Value = serde_json::from_str(&written.stdout).unwrap();
    let pages: Vec<&str> =
        facts["pages"].as_array().unwrap().iter().filter_map(|page| page.as_str()).collect();
    // Hidden ones have none; verbs of verbs have their own.
    for page in ["strait.1", "strait-up.1", "strait-who-can.1", "strait-keys-new.1", "strait-man.1"] {
        assert!(pages.contains(&page), "{page} of {pages:?}");
    }
    assert!(!pages.iter().any(|page| page.contains("sample")), "{pages:?}");
    let help = strait(folder.path(), &["--help"]).stdout;
    let verbs =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs = verbs.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for verb in verbs.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help") {
        assert!(pages.contains(&format!("strait-{verb}.1").as_str()), "no page of {verb}");
    }
    for page in &pages {
        let path = folder.path().join("pages").join(page);
        let Ok(lint) = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&path).output()
        else {
            eprintln!("mandoc is not installed: not tried");
            break;
        };
        assert!(lint.status.success(), "{page}: {}", String::from_utf8_lossy(&lint.stdout));
    }
    let first = folder.path().join("pages/strait.1");
    if let Ok(shown) = Command::new("man").arg("-l").arg(first).env("MANWIDTH", "80").output() {
        let text = String::from_utf8_lossy(&shown.stdout);
        for part in
            ["EXIT STATUS", "ENVIRONMENT", "FILES", "SIGNALS", "SIGHUP", "STRAIT_DRIVER", "130", "who-can"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}

#[test]
fn one_page_goes_to_stdout() {
    let folder = Folder::new();
    let page = strait(folder.path(), &["man"]);
    assert!(page.code == 0 && page.stdout.contains(".TH"), "{}", page.stdout);
    assert_eq!(folder.names(), [""; 0]);
}
