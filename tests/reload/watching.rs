//! Every way in which a file is replaced, with nobody saying a word: the change is served, and so is the next one made
//! the same way.
//!
//! The gateway looks at files and is told nothing by the kernel ([`nobody_is_asked_to_tell_of_changes`]), so what passes
//! here passes on file systems without inotify as well.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;
use strait_tests::Scripted;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, json_reply};

use crate::process::*;

/// A table and the generation it has.
type Table = (Vec<u8>, String);

/// Two tables, of which the first shows all tools and the second one less.
fn tables(folder: &Folder, upstream: &Scripted) -> [Table; 2] {
    [folder.compile(&open_to_all(&upstream.url())), folder.compile(&open_but_for(&upstream.url(), "secret"))]
}

fn echoes() -> Scripted {
    Scripted::modern(|request| json_reply(&echoed(request)))
}

/// `lay` makes the files, with the first table at the path that it gives; `change` brings another one. It is told how
/// many changes there were before.
fn check(what: &str, lay: impl Fn(&Folder, &[u8]) -> &'static str, change: impl Fn(&Folder, &[u8], usize)) {
    let (folder, upstream) = (Folder::new(), echoes());
    let tables = tables(&folder, &upstream);
    let path = lay(&folder, &tables[0].0);
    let process = Process::serve(&folder, path);
    assert_eq!(process.generation(), tables[0].1, "{what}");
    for turn in 1..=4 {
        let (bytes, generation) = &tables[turn % 2];
        change(&folder, bytes, turn - 1);
        process.wait_for_generation(generation);
    }
    assert_eq!(process.reload()["state"], "ok", "{what}: {}", process.reload());
    assert_eq!(process.stop(), Some(0), "{what}");
}

fn plain(folder: &Folder, table: &[u8]) -> &'static str {
    folder.write("table", table);
    "table"
}

/// A link that is made beside and renamed over: there is no moment without one.
fn relink(to: impl AsRef<Path>, at: &Path) {
    let beside = at.with_file_name("link-beside");
    symlink(to, &beside).expect("link");
    fs::rename(beside, at).expect("rename");
}

#[test]
fn renamed_over() {
    check("renamed over", plain, |folder, table, _| folder.replace("table", table));
}

#[test]
fn written_in_place() {
    check("written in place", plain, |folder, table, _| folder.write("table", table));
}

#[test]
fn written_in_place_with_the_times_of_before() {
    check("times put back", plain, |folder, table, _| {
        let before = fs::metadata(folder.at("table")).expect("look").modified().expect("a time");
        folder.write("table", table);
        let file = fs::File::options().write(true).open(folder.at("table")).expect("open");
        file.set_modified(before).expect("set its time");
    });
}

#[test]
fn removed_and_made_again() {
    check("removed and made again", plain, |folder, table, _| {
        fs::remove_file(folder.at("table")).expect("remove");
        folder.write("table", table);
    });
}

#[test]
fn gone_for_a_while() {
    let (folder, upstream) = (Folder::new(), echoes());
    let [(all, first), (fewer, second)] = tables(&folder, &upstream);
    folder.write("table", all);
    let process = Process::serve(&folder, "table");
    for (bytes, generation) in [(&fewer, &second), (&folder.read("table"), &first)] {
        fs::remove_file(folder.at("table")).expect("remove");
        process.wait_for_state("rejected");
        let why = process.reload()["why"].as_str().unwrap_or_default().to_owned();
        assert!(why.contains("cannot read"), "{why}");
        assert!(call(&mut process.client(), "", "echo", json!({}))["result"].is_object());
        folder.write("table", bytes);
        process.wait_for_generation(generation);
        process.wait_for_state("ok");
    }
}

/// As Kubernetes updates a ConfigMap: the file is a link through `..data`, which is a link to a dated folder; another
/// folder is made, `..data` renamed over, and the old folder removed.
#[test]
fn switched_as_kubernetes_does_it() {
    let dated = |folder: &Folder, table: &[u8], turn: usize| {
        let name = format!("volume/..2026_11_22_{turn}");
        fs::create_dir_all(folder.at(&name)).expect("make a folder");
        folder.write(&format!("{name}/table"), table);
        relink(format!("..2026_11_22_{turn}"), &folder.at("volume/..data"));
    };
    let lay = |folder: &Folder, table: &[u8]| {
        dated(folder, table, 0);
        symlink("..data/table", folder.at("volume/table")).expect("link");
        "volume/table"
    };
    check("..data", lay, |folder, table, before| {
        dated(folder, table, before + 1);
        fs::remove_dir_all(folder.at(&format!("volume/..2026_11_22_{before}"))).expect("remove");
    });
}

#[test]
fn a_link_that_leads_to_another_folder() {
    let lay = |folder: &Folder, table: &[u8]| {
        for name in ["releases/0", "etc"] {
            fs::create_dir_all(folder.at(name)).expect("make a folder");
        }
        folder.write("releases/0/table", table);
        symlink("../releases/0/table", folder.at("etc/table")).expect("link");
        "etc/table"
    };
    check("another folder", lay, |folder, table, before| {
        let name = format!("releases/{}", before + 1);
        fs::create_dir_all(folder.at(&name)).expect("make a folder");
        folder.write(&format!("{name}/table"), table);
        relink(format!("../{name}/table"), &folder.at("etc/table"));
    });
}

/// What a link leads to changes, and the link does not.
#[test]
fn the_file_behind_a_link() {
    let lay = |folder: &Folder, table: &[u8]| {
        fs::create_dir_all(folder.at("elsewhere")).expect("make a folder");
        folder.write("elsewhere/table", table);
        symlink("elsewhere/table", folder.at("table")).expect("link");
        "table"
    };
    check("behind a link", lay, |folder, table, _| folder.replace("elsewhere/table", table));
}

/// A folder on the path is moved away and another one takes its place.
#[test]
fn a_folder_that_changes_places() {
    let lay = |folder: &Folder, table: &[u8]| {
        fs::create_dir_all(folder.at("etc")).expect("make a folder");
        folder.write("etc/table", table);
        "etc/table"
    };
    check("a folder", lay, |folder, table, before| {
        fs::create_dir_all(folder.at("next")).expect("make a folder");
        folder.write("next/table", table);
        fs::rename(folder.at("etc"), folder.at(&format!("etc.{before}"))).expect("rename");
        fs::rename(folder.at("next"), folder.at("etc")).expect("rename");
    });
}

/// A configuration, what it includes and its key file, all in one volume that is switched.
#[test]
fn a_configuration_with_its_parts_and_keys() {
    let (folder, upstream) = (Folder::new(), echoes());
    let all = "    - { id: all, allow: [\"*\"] }\n";
    let fewer = format!("{all}    - {{ id: no, deny: [\"*.secret\"] }}\n");
    let config = config(&format!(
        "include: [\"rules/*.yaml\"]\nupstreams:\n  up: {{ http: \"{}\" }}\nidentity:\n  staff: {{ api_keys: \
         keys.yaml }}\nservers:\n  default: {{ path: /mcp, auth: [staff], tools: [\"up.*\"] }}\n",
        upstream.url()
    ));
    let lay = |turn: usize, rules: &str| -> String {
        let name = format!("volume/..{turn}");
        fs::create_dir_all(folder.at(&format!("{name}/rules"))).expect("make a folder");
        folder.write(&format!("{name}/strait.yaml"), &config);
        folder
            .write(&format!("{name}/rules/one.yaml"), format!("policy:\n  default: deny\n  rules:\n{rules}"));
        let keys = format!("{name}/keys.yaml");
        let made = strait(&folder.0, &["keys", "new", &keys, "--id", "ann", "--quiet"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        relink(format!("..{turn}"), &folder.at("volume/..data"));
        String::from_utf8(made.stdout).expect("text").trim().to_owned()
    };
    let first = lay(0, all);
    for name in ["strait.yaml", "rules", "keys.yaml"] {
        symlink(format!("..data/{name}"), folder.at(&format!("volume/{name}"))).expect("link");
    }
    let process = Process::serve(&folder, "volume/strait.yaml");
    process.wait_for_tools(&first, &["echo", "slow", "secret"]);
    let mut last = first;
    for (turn, rules, tools) in
        [(1, fewer.as_str(), &["echo", "slow"][..]), (2, all, &["echo", "slow", "secret"])]
    {
        let next = lay(turn, rules);
        wait_for("the new key", || {
            process.client().roundtrip(modern(&next, 1, "tools/list", json!({}))).status == 200
        });
        // That was one worker.
        wait_for("every worker", || process.ready()["reload"]["adopting"].is_null());
        process.wait_for_tools(&next, tools);
        let old = process.client().roundtrip(modern(&last, 1, "tools/list", json!({})));
        assert_eq!(old.status, 401, "the key of the volume before");
        last = next;
    }
}

/// Were there a file descriptor of inotify or fanotify, then the tests above would say nothing of file systems that
/// have none.
#[test]
fn nobody_is_asked_to_tell_of_changes() {
    let (folder, upstream) = (Folder::new(), echoes());
    let [(all, _), (fewer, second)] = tables(&folder, &upstream);
    folder.write("table", all);
    let process = Process::serve(&folder, "table");
    folder.replace("table", fewer);
    process.wait_for_generation(&second);
    let open = fs::read_dir(format!("/proc/{}/fd", process.pid())).expect("its descriptors").flatten();
    for entry in open {
        let to = fs::read_link(entry.path()).unwrap_or_default().to_string_lossy().into_owned();
        assert!(!to.contains("notify"), "{to}");
    }
}
