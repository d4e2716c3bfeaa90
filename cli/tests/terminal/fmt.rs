//! `strait fmt`: what it writes, what it leaves alone, and its exit codes.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::{Value, json};

use crate::common::{Folder, strait, strait_with_input};

const ROUGH: &str = "strait: 1\nroles:   # who\n    a: 'true'\n";
const SMOOTH: &str = "strait: 1\nroles:   # who\n  a: 'true'\n";
/// An explicit key.
const STRANGE: &str = "? a\n: b\n";

#[test]
fn files_are_replaced_whole_and_keep_their_mode() {
    let folder = Folder::new();
    folder.write("a.yaml", ROUGH);
    folder.write("same.yaml", SMOOTH);
    let path = |name: &str| folder.path().join(name);
    std::fs::set_permissions(path("a.yaml"), std::fs::Permissions::from_mode(0o640)).unwrap();
    symlink("a.yaml", path("link.yaml")).unwrap();
    let before = path("same.yaml").metadata().unwrap().ino();

    let checked = strait(folder.path(), &["fmt", "--check", "a.yaml", "same.yaml"]);
    assert_eq!((checked.code, checked.stdout.as_str()), (1, "a.yaml: not in the form of `strait fmt`\n"));
    assert_eq!(folder.read("a.yaml"), ROUGH.as_bytes());

    let done = strait(folder.path(), &["fmt", "link.yaml", "same.yaml"]);
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "link.yaml: formatted\n", ""));
    assert_eq!(folder.read("a.yaml"), SMOOTH.as_bytes());
    assert_eq!(path("a.yaml").metadata().unwrap().mode() & 0o777, 0o640);
    assert!(path("link.yaml").is_symlink());
    assert_eq!(path("same.yaml").metadata().unwrap().ino(), before, "what is the same is not written");
    assert_eq!(strait(folder.path(), &["fmt", "--check", "a.yaml", "same.yaml"]).code, 0);
    assert_eq!(folder.names(), ["a.yaml", "link.yaml", "same.yaml"]);
}

#[test]
fn what_is_refused_is_left_and_the_rest_is_done() {
    let folder = Folder::new();
    folder.write("strange.yaml", STRANGE);
    folder.write("bytes.yaml", b"a: \xff\n");
    folder.write("a.yaml", ROUGH);
    let done = strait(folder.path(), &["fmt", "strange.yaml", "bytes.yaml", "a.yaml"]);
    assert_eq!((done.code, done.stdout.as_str()), (1, "a.yaml: formatted\n"));
    assert!(
        done.stderr.contains("strange.yaml:1: left as it is: keys that are announced with `?`"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("bytes.yaml:1: left as it is: it is not UTF-8"), "{}", done.stderr);
    assert_eq!(folder.read("strange.yaml"), STRANGE.as_bytes());
    let done = strait(folder.path(), &["fmt", "strange.yaml", "a.yaml", "--json"]);
    let facts: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (done.code, &facts["files"][0]["state"], &facts["files"][1]["state"]),
        (1, &json!("refused"), &json!("same"))
    );
    assert_eq!(serde_json::from_str::<Value>(&done.stderr).unwrap()["error"]["code"], "failed");
    assert_eq!(strait(folder.path(), &["fmt", "none.yaml"]).code, 64);
    assert_eq!(strait(folder.path(), &["fmt"]).code, 64);
}

#[test]
fn stdin_goes_to_stdout() {
    let folder = Folder::new();
    let done = strait_with_input(folder.path(), &["fmt", "-"], ROUGH);
    assert_eq!((done.code, done.stdout.as_str()), (0, SMOOTH));
    let done = strait_with_input(folder.path(), &["fmt", "-", "--check"], ROUGH);
    assert_eq!((done.code, done.stdout.as_str()), (1, "-: not in the form of `strait fmt`\n"));
    let done = strait_with_input(folder.path(), &["fmt", "-"], STRANGE);
    assert_eq!((done.code, done.stdout.as_str()), (1, ""));
}
