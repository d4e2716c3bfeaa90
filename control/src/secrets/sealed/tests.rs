//! What the vault keeps, and everything that may be wrong with its files.

use super::*;
use crate::test_support::Folder;

fn place(folder: &Folder) -> Place {
    Place::of(folder.path(), None, &|_| None)
}

fn value(place: &Place, name: &str) -> Option<String> {
    place.open().unwrap()?.get(name).map(|secret| secret.to_string())
}

#[test]
fn what_is_set_is_there_and_the_file_does_not_say_it() {
    let folder = Folder::new();
    let place = place(&folder);
    assert_eq!(place.open(), Ok(None));
    assert_eq!(place.set("crm/key", "canary-one"), Ok(1));
    assert_eq!(place.set("crm/key", "canary-two"), Ok(2));
    assert_eq!(place.set("other", "canary-three"), Ok(1));
    assert_eq!(value(&place, "crm/key").as_deref(), Some("canary-two"));
    let listed: Vec<_> = place.list().unwrap().into_iter().map(|one| (one.name, one.version)).collect();
    assert_eq!(listed, [("crm/key".to_owned(), 2), ("other".to_owned(), 1)]);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let text = String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()).into_owned();
        assert!(!text.contains("canary"), "{text}");
    }
    assert_eq!(place.remove("other"), Ok(true));
    assert_eq!(place.remove("other"), Ok(false));
    assert_eq!(value(&place, "other"), None);
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.kek), mode(&place.file)), (0o400, 0o600));
}

#[test]
fn another_key_under_the_same_secrets() {
    let folder = Folder::new();
    let place = place(&folder);
    place.set("a", "one").unwrap();
    let (key, vault) = (std::fs::read(&place.kek).unwrap(), std::fs::read(&place.file).unwrap());
    assert_eq!(place.rotate(), Ok(1));
    assert!(std::fs::read(&place.kek).unwrap() != key);
    assert_eq!(value(&place, "a").as_deref(), Some("one"));
    // The old key opens nothing any more, and the vault of before is told from this one.
    std::fs::remove_file(&place.kek).unwrap();
    std::fs::write(&place.kek, &key).unwrap();
    private(&place.kek);
    assert!(matches!(place.open(), Err(SealedError::WrongKek { .. })), "{:?}", place.open());
    std::fs::write(&place.file, &vault).unwrap();
    assert!(
        matches!(place.open(), Err(SealedError::RolledBack { count: 1, seen: 2, .. })),
        "{:?}",
        place.open()
    );
    std::fs::remove_file(folder.path().join("vault.count")).unwrap();
    assert_eq!(value(&place, "a").as_deref(), Some("one"));
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o400)).unwrap();
}

#[test]
fn every_flipped_bit_and_every_cut_is_an_error_that_says_so() {
    let folder = Folder::new();
    let place = place(&folder);
    place.set("a", "one").unwrap();
    let whole = std::fs::read(&place.file).unwrap();
    for at in 0..whole.len() {
        let mut spoiled = whole.clone();
        spoiled[at] ^= 1;
        std::fs::write(&place.file, &spoiled).unwrap();
        assert!(place.open().is_err(), "byte {at} flipped passes");
        std::fs::write(&place.file, &whole[..at]).unwrap();
        let error = place.open().unwrap_err();
        assert!(matches!(error, SealedError::Damaged { .. }), "cut at {at}: {error:?}");
    }
    std::fs::write(&place.file, &whole).unwrap();
    assert!(place.open().is_ok());
}

#[test]
fn a_secret_cannot_be_put_in_the_place_of_another() {
    let kek = Kek::random().unwrap();
    let folder = Folder::new();
    let place = place(&folder);
    let entry = seal(&kek, "a", 1, "one").unwrap();
    assert!(place.unseal(&kek, "a", &entry).is_ok());
    assert!(place.unseal(&kek, "b", &entry).is_err());
    let later = Entry { version: 2, ..entry };
    assert!(place.unseal(&kek, "a", &later).is_err());
}

#[test]
fn a_key_that_others_may_read_or_that_is_none_is_refused() {
    let folder = Folder::new();
    let place = place(&folder);
    place.set("a", "one").unwrap();
    let check = |text: &str, expected: &str| {
        std::fs::remove_file(&place.kek).unwrap();
        std::fs::write(&place.kek, text).unwrap();
        private(&place.kek);
        let error = place.open().unwrap_err();
        assert!(matches!(error, SealedError::Kek { .. }) && error.to_string().contains(expected), "{error}");
    };
    check("", "empty");
    check("not base64!", "no base64");
    check("AAAA", "3 bytes");
    std::fs::remove_file(&place.kek).unwrap();
    assert!(matches!(place.open(), Err(SealedError::Kek { .. })));
    use std::os::unix::fs::PermissionsExt;
    Kek::random().unwrap().write(&place.kek).unwrap();
    std::fs::set_permissions(&place.kek, std::fs::Permissions::from_mode(0o444)).unwrap();
    assert!(place.open().unwrap_err().to_string().contains("chmod 400"));
}

#[test]
fn names_and_values_have_bounds() {
    let folder = Folder::new();
    let place = place(&folder);
    for name in ["", "..", "a/../b", "/a", "a b", "a\0"] {
        assert!(matches!(place.set(name, "x"), Err(SealedError::Refused(_))), "{name:?}");
    }
    assert!(place.set("a", "").is_err());
    assert!(place.set("a", &"x".repeat(SECRET_BYTES_MAX as usize + 1)).is_err());
    assert!(!place.exists());
}

#[test]
fn where_the_key_is() {
    let folder = Folder::new();
    let root = folder.path();
    let env = |name: &str| (name == "STRAIT_KEK_FILE").then(|| "/run/kek".to_owned());
    assert_eq!(Place::of(root, None, &|_| None).kek, root.join("vault.key"));
    assert_eq!(Place::of(root, None, &env).kek, Path::new("/run/kek"));
    assert_eq!(Place::of(root, Some(Path::new("/k")), &env).kek, Path::new("/k"));
    std::fs::write(root.join("strait-kek"), "").unwrap();
    let systemd = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| root.display().to_string());
    assert_eq!(Place::of(root, None, &systemd).kek, root.join("strait-kek"));
}
